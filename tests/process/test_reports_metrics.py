"""Metrics of real runs: what is told of them adds up, whatever becomes of the runs."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.process.lab import Lab, until

RUN = ("run", "--name", "job", "--report", "metrics")


@pytest.fixture
def folder(local: Lab) -> Path:
    """A folder for a collector, that the lab's runs write to."""
    folder = local.folder / "textfile"
    folder.mkdir()
    configure(local, type="prometheus", textfile=str(folder))
    return folder


def configure(lab: Lab, **settings: object) -> None:
    """Write a configuration with one reporter."""
    path = lab.folder / "cronguard.toml"
    rows = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    path.write_text("\n".join(["[reporters.metrics]", *rows, ""]))
    path.chmod(0o600)
    lab.env["CRONGUARD_CONFIG"] = str(path)


def told(folder: Path, job: str = "job") -> Callable[..., float | None]:
    """Return what gives the value of `cronguard_NAME` with some labels in the job's file."""
    try:
        text = (folder / f"cronguard-{job}.prom").read_text()
    except FileNotFoundError:
        text = ""
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float | None:
        return found.get((f"cronguard_{name}", tuple(sorted({"job": job, **labels}.items()))))

    return value


def test_runs_and_skips_are_in_the_file(local: Lab, folder: Path) -> None:
    """While one runs, and when it has ended; with what the command itself took."""
    run = local.start(*RUN, "--", *local.python("input()"), stdin=-1)
    until("the start is told", lambda: told(folder)("running_runs") == 1)
    assert local.call(*RUN, "--", "true").returncode == 0
    during = told(folder)
    assert (during("running_runs"), during("skips_total", reason="held")) == (1, 1)
    run.communicate(b"\n")
    assert local.call(*RUN, "--", "sh", "-c", "exit 3").returncode == 3
    after = told(folder)
    assert after("running_runs") == 0
    outcomes = ("succeeded", "failed")
    assert [after("runs_total", outcome=one) for one in outcomes] == [1, 1]
    assert (after("last_exit_status"), after("consecutive_failures")) == (3, 1)
    assert after("run_duration_seconds_count") == 1
    assert after("lock_wait_seconds_count") == 2
    assert after("last_run_duration_seconds") is not None
    for name in ("last_run_cpu_seconds", "last_run_max_rss_bytes"):
        assert (after(name) or 0) > 0, name
    times = [after(f"last_{one}_timestamp_seconds") or 0 for one in ("success", "start", "failure")]
    assert times == sorted(times)


def test_the_file_and_the_store_count_the_same(local: Lab, folder: Path) -> None:
    """On the one host that there is, what both tell is equal, but for the moment it was written."""
    for status in (0, 1, 0):
        local.call(*RUN, "--", "sh", "-c", f"exit {status}")
    out = local.call("export", "metrics").stdout.decode()
    exported = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(out)
        for sample in family.samples
    }
    text = (folder / "cronguard-job.prom").read_text()
    written = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert written.keys() <= exported.keys()
    apart = {key for key, value in written.items() if abs(exported[key] - value) > 1e-9}
    moments = {f"cronguard_last_{one}_timestamp_seconds" for one in ("start", "success", "failure")}
    assert {name for name, _ in apart} <= moments


def test_a_run_whose_keeper_was_killed_is_counted_by_the_next(local: Lab, folder: Path) -> None:
    """As abandoned, and under way no more."""
    run = local.start_ready(*RUN, "--wait", "1m", "--", "sh", "-c", "echo ready; sleep 60")
    until("the start is told", lambda: told(folder)("running_runs") == 1)
    run.kill()
    run.wait()
    assert local.call(*RUN, "--wait", "1m", "--", "true").returncode == 0
    after = told(folder)
    assert (after("running_runs"), after("abandoned_runs")) == (0, 1)
    assert (after("runs_total", outcome="succeeded"), after("consecutive_failures")) == (1, 0)
    assert (after("last_exit_status"), after("run_duration_seconds_count")) == (0, 1)


def test_a_folder_that_comes_later_gets_all_of_it_once(local: Lab, folder: Path) -> None:
    """Meanwhile the runs are as ever, and say what is missing."""
    folder.rmdir()
    for _ in range(3):
        ended = local.call(*RUN, "--", "true")
        assert ended.returncode == 0
        assert b"cannot write to" in ended.stderr
    folder.mkdir()
    assert local.call(*RUN, "--", "false").returncode == 1
    after = told(folder)
    outcomes = ("succeeded", "failed")
    assert [after("runs_total", outcome=one) for one in outcomes] == [3, 1]
    assert after("running_runs") == 0


def test_statsd_that_comes_later_gets_each_run_once(local: Lab) -> None:
    """Until somebody listens, reports wait."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    configure(local, type="statsd", address=f"127.0.0.1:{port}", on=["success", "failure"])
    ended = local.call(*RUN, "--", "true")
    assert (ended.returncode, b"connection refused" in ended.stderr) == (0, True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        server.settimeout(10)
        assert local.call("flush").returncode == 0
        assert local.call(*RUN, "--", "false").returncode == 1
        first, second = server.recv(2000), server.recv(2000)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(2000)
    assert b"cronguard.job.runs.succeeded:1|c\n" in first
    assert b"cronguard.job.runs.failed:1|c\n" in second
    assert b"cronguard.job.consecutive_failures:1|g" in second
