"""The prometheus reporter: textfiles that nobody's runs destroy, and a Pushgateway's groups."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cronguard.config.options import ConfigError
from cronguard.config.reporters import target
from cronguard.core import record as records
from cronguard.core.metrics import TABLE
from cronguard.reporters import textfile
from cronguard.reporters.contract import Never, NotNow, Report
from cronguard.reporters.prometheus import PUSHED, Prometheus, file_name
from cronguard.reporters.registry import make
from tests.servers import free_port

from .daemons import Daemon
from .receiver import Answer, Receiver
from .samples import AT, HOSTILE, ended, run_id, skipped, started, warned

FILE = "cronguard-backup.prom"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def reporter(folder: Path) -> Prometheus:
    """Return one that writes to that folder."""
    return Prometheus({"textfile": str(folder)})


def tell(folder: Path, *reports: Report) -> None:
    """Tell them, each by a process's own reporter."""
    for one in reports:
        reporter(folder).tell(one, 5)


def read(text: str) -> Samples:
    """Return each sample by name and labels; none is there twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """Return `cronguard_NAME` of the job with those labels, or None."""
    key = tuple(sorted({"job": "backup", **labels}.items()))
    return samples.get((f"cronguard_{name}", key))


def succeeded(path: Path) -> float | None:
    """Return how many runs that file says succeeded."""
    return value(read(path.read_text()), "runs_total", outcome="succeeded")


def test_a_file_for_each_job_counts_on(tmp_path: Path) -> None:
    """From process to process; nothing else is in the folder."""
    tell(tmp_path, ended(), ended(), ended(records.FAILED), ended(job="mail"), skipped())
    assert sorted(os.listdir(tmp_path)) == [FILE, "cronguard-mail.prom"]
    found = read((tmp_path / FILE).read_text())
    assert value(found, "runs_total", outcome="succeeded") == 2
    assert value(found, "runs_total", outcome="failed") == 1
    assert value(found, "skips_total", reason="held") == 1
    assert value(found, "run_duration_seconds_count") == 2
    assert succeeded(tmp_path / "cronguard-mail.prom") is None


def test_a_report_that_is_told_again_counts_once(tmp_path: Path) -> None:
    """The file stays as it is."""
    told = ended()
    tell(tmp_path, told)
    before = (tmp_path / FILE).stat()
    tell(tmp_path, told, warned(told.run_id), started(told.run_id))
    assert (tmp_path / FILE).stat() == before


def test_a_run_is_shown_while_it_runs(tmp_path: Path) -> None:
    """From its start to its end."""
    run = run_id()
    tell(tmp_path, started(run, pid=os.getpid()))
    found = read((tmp_path / FILE).read_text())
    assert value(found, "running_runs") == 1
    assert value(found, "last_start_timestamp_seconds") == AT / 1000
    tell(tmp_path, ended(run_id=run))
    assert value(read((tmp_path / FILE).read_text()), "running_runs") == 0


def test_a_run_whose_keeper_vanished_is_not_shown_for_ever(tmp_path: Path) -> None:
    """The next report takes it off: its pid is nobody's, or that of a process which came later."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    now = int(time.time() * 1000)
    lives = started(run_id(), at=now, pid=os.getpid())
    elsewhere = started(run_id(), pid=gone.pid, host="web-4")
    tell(tmp_path, started(run_id(), pid=gone.pid), elsewhere, lives)
    tell(tmp_path, started(run_id(), at=1000, pid=os.getpid()), skipped())
    assert value(read((tmp_path / FILE).read_text()), "running_runs") == 2


def test_everybody_can_read_the_file_whatever_the_umask(tmp_path: Path) -> None:
    """0644, the first time and later."""
    before = os.umask(0o077)
    try:
        for _ in range(2):
            tell(tmp_path, ended())
            assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o644
    finally:
        os.umask(before)


def test_the_file_is_replaced_whole(tmp_path: Path) -> None:
    """Who has the old one open reads that to its end."""
    tell(tmp_path, ended())
    with (tmp_path / FILE).open() as old:
        tell(tmp_path, ended())
        assert value(read(old.read()), "runs_total", outcome="succeeded") == 1
    assert succeeded(tmp_path / FILE) == 2


def test_runs_of_several_hosts_add_up(tmp_path: Path) -> None:
    """In a folder that they share, all at once, also where nothing is yet."""
    with ThreadPoolExecutor(8) as hosts:
        for done in [
            hosts.submit(tell, tmp_path, *[ended(host=f"web-{host}") for _ in range(5)])
            for host in range(8)
        ]:
            done.result()
    assert succeeded(tmp_path / FILE) == 40
    assert os.listdir(tmp_path) == [FILE]


def test_a_namespace_has_files_and_samples_of_its_own(tmp_path: Path) -> None:
    """No two samples of the folder are one and the same."""
    tell(tmp_path, ended(), ended(namespace="team"), ended(namespace="team"))
    assert sorted(os.listdir(tmp_path)) == [FILE, "cronguard-backup@team.prom"]
    assert succeeded(tmp_path / FILE) == 1
    found = read((tmp_path / "cronguard-backup@team.prom").read_text())
    assert value(found, "runs_total", outcome="succeeded", namespace="team") == 2
    assert {dict(labels)["namespace"] for _, labels in found} == {"team"}


def test_the_longest_names_have_files_of_their_own(tmp_path: Path) -> None:
    """Job and namespace of 128 letters each are more than a file's name can be."""
    reports = [ended(job="j" * 128, namespace="n" * 127 + last) for last in "ab"]
    tell(tmp_path, *reports)
    assert len({file_name(one) for one in reports}) == len(os.listdir(tmp_path)) == 2


def damage_nothing(path: Path) -> None:
    path.write_bytes(b"")


def damage_nonsense(path: Path) -> None:
    path.write_bytes(b"\xff\x00" * 1000)


def damage_state(path: Path) -> None:
    tell(path.parent, ended())
    path.write_bytes(path.read_bytes().replace(b'"succeeded":1', b'"succeeded":-1'))


def damage_depth(path: Path) -> None:
    path.write_bytes(textfile.KEPT + b"[" * 200_000 + b"\n")


def damage_cut(path: Path) -> None:
    tell(path.parent, ended())
    path.write_bytes(path.read_bytes()[:-20])


def damage_size(path: Path) -> None:
    tell(path.parent, ended())
    kept = path.read_bytes()
    path.write_bytes(b"#\n" * textfile.MOST_BYTES + kept)


def damage_pipe(path: Path) -> None:
    os.mkfifo(path)


def damage_link(path: Path) -> None:
    (path.parent / "other").write_text("precious")
    path.symlink_to("other")


def damage_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing,
        damage_nonsense,
        damage_state,
        damage_depth,
        damage_cut,
        damage_size,
        damage_pipe,
        damage_link,
        damage_dangling,
    ],
)
def test_a_file_that_is_broken_is_begun_anew(tmp_path: Path, damage: object) -> None:
    """Whoever broke it; what a link led to is left alone."""
    assert callable(damage)
    damage(tmp_path / FILE)
    tell(tmp_path, ended())
    assert succeeded(tmp_path / FILE) == 1
    assert stat.S_ISREG((tmp_path / FILE).lstat().st_mode)
    other = tmp_path / "other"
    assert not other.exists() or other.read_text() == "precious"
    tell(tmp_path, ended())
    assert succeeded(tmp_path / FILE) == 2


def test_who_holds_the_lock_for_good_holds_nobody_up(tmp_path: Path) -> None:
    """Any user who reads the file can lock it: it is passed over."""
    tell(tmp_path, ended())
    with (tmp_path / FILE).open() as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        reporter(tmp_path).tell(ended(), 0.2)
    assert succeeded(tmp_path / FILE) == 2


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """When it is old; what is written now is not."""
    old, new = tmp_path / f".{FILE}.abc", tmp_path / f".{FILE}.def"
    for left in (old, new):
        left.touch()
    os.utime(old, (1, 1))
    tell(tmp_path, ended())
    assert sorted(os.listdir(tmp_path)) == [new.name, FILE]


def test_a_folder_that_cannot_be_written_to_is_told_later(tmp_path: Path) -> None:
    """With the folder, and why; nothing is lost meanwhile."""
    away = tmp_path / "away"
    with pytest.raises(
        NotNow, match=r"cannot write to .*away: No such file or directory; textfile"
    ):
        tell(away, ended())
    (tmp_path / FILE).mkdir()
    with pytest.raises(NotNow, match="cannot write to"):
        tell(tmp_path, ended())
    assert os.listdir(tmp_path) == [FILE]


def test_names_of_strangers_are_no_samples(tmp_path: Path) -> None:
    """S10: hosts and reasons make no series; and a job's name that is none makes no path."""
    tell(tmp_path, skipped(HOSTILE, host=HOSTILE, user=HOSTILE), ended(command=HOSTILE))
    found = read((tmp_path / FILE).read_text())
    assert value(found, "skips_total", reason="other") == 1
    assert {name for _, labels in found for name, _ in labels} <= {"job", "le", "outcome", "reason"}
    for wrong in (ended(job="../x"), ended(namespace="../x")):
        with pytest.raises(Never, match="name or namespace"):
            tell(tmp_path, wrong)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "neither textfile nor pushgateway"),
        ({"textfile": "/x", "instance": "{host}"}, "instance is for a Pushgateway"),
        ({"pushgateway": "push:9091"}, "write https://HOST:9091"),
        ({"pushgateway": "ftp://push"}, "write https://HOST:9091"),
        ({"pushgateway": "https://push/?x=canary"}, "write https://HOST:9091"),
        ({"pushgateway": "http://push:canary@x"}, "set allow_http = true"),
        ({"pushgateway": "https://push", "ca": "/nowhere"}, "ca: No such file"),
    ],
)
def test_a_section_that_cannot_work_is_refused(settings: dict[str, object], said: str) -> None:
    """With what to write; never with the address, which may hold a password."""
    with pytest.raises(ValueError, match=said) as caught:
        Prometheus(settings)
    assert "canary" not in str(caught.value)


def test_the_section_is_read() -> None:
    """As the head of the module shows it."""
    source = "file.toml:1"
    section: dict[str, tuple[object, str]] = {
        "textfile": ("/var/lib/metrics", source),
        "pushgateway": ("https://push.example.net:9091/sub/", source),
        "instance": ("{host}", source),
    }
    found = make("prometheus", target("prometheus", section, {}).values)
    assert isinstance(found, Prometheus)
    assert (found.folder, found.gateway) == (
        "/var/lib/metrics",
        "https://push.example.net:9091/sub",
    )
    assert found.instance == "{host}"
    with pytest.raises(ConfigError, match="from the root on"):
        target("prometheus", {"textfile": ("metrics", source)}, {})


# -- what Prometheus' own programs make of it ------------------------------------------------------


def busy(folder: Path) -> None:
    """Tell whatever there is to tell, of jobs in two namespaces."""
    for namespace in ("cg", "team"):
        for job in ("backup", "mail"):
            facts = {"job": job, "namespace": namespace}
            tell(folder, started(run_id(), **facts), ended(**facts), ended(records.FAILED, **facts))  # type: ignore[arg-type]
            tell(folder, skipped(HOSTILE, **facts), ended(records.ABANDONED, **facts))  # type: ignore[arg-type]


@pytest.mark.debian
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's prometheus")
def test_promtool_accepts_the_files(tmp_path: Path) -> None:
    """Prometheus' own reader and linter have nothing to say."""
    busy(tmp_path)
    for path in tmp_path.iterdir():
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=path.read_bytes(),
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.debian
@pytest.mark.skipif(
    shutil.which("prometheus-node-exporter") is None,
    reason="needs Debian's prometheus-node-exporter",
)
def test_node_exporter_collects_the_files(tmp_path: Path) -> None:
    """All of them together: no sample is lost, none is in the way of another's."""
    folder, port = tmp_path / "textfile", free_port()
    folder.mkdir()
    busy(folder)
    argv = ["prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile"]
    argv += [f"--collector.textfile.directory={folder}", f"--web.listen-address=127.0.0.1:{port}"]
    exporter = Daemon(argv, port, tmp_path / "log")
    try:
        text = exporter.metrics()
    finally:
        exporter.stop()
    found = read(text)
    assert found["node_textfile_scrape_error", ()] == 0
    written: Samples = {}
    for path in folder.iterdir():
        written |= read(path.read_text())
    ours = {key: one for key, one in found.items() if key[0].startswith("cronguard_")}
    assert normal(ours) == normal(written)
    helps = {one.name: one.documentation for one in text_string_to_metric_families(text)}
    told = {name for name in TABLE if name in helps}
    assert len(told) > 15
    assert all(helps[name] == TABLE[name][2] for name in told)


def normal(samples: Samples) -> Samples:
    """Return them with bounds as numbers, and without labels that are empty."""
    return {
        (
            name,
            tuple((key, str(float(text)) if key == "le" else text) for key, text in labels if text),
        ): number
        for (name, labels), number in samples.items()
    }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A real Pushgateway."""
    port = free_port()
    argv = ["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}"]
    daemon = Daemon(argv, port, tmp_path_factory.mktemp("gateway") / "log")
    yield daemon
    daemon.stop()


def pushes(gateway: Daemon, **more: object) -> Prometheus:
    """Return a reporter that pushes there."""
    url = f"http://127.0.0.1:{gateway.port}"
    return Prometheus({"pushgateway": url, "allow_http": True, "allow_private": True, **more})


needs_gateway = pytest.mark.skipif(
    shutil.which("prometheus-pushgateway") is None, reason="needs Debian's prometheus-pushgateway"
)


def of_job(gateway: Daemon, job: str, **labels: str) -> dict[str, float]:
    """Return what the Pushgateway has of a job's group, by name without `cronguard_`."""
    want = {"instance": "", "job": job, **labels}
    return {
        name.removeprefix("cronguard_"): one
        for (name, found), one in read(gateway.metrics()).items()
        if dict(found) == want and name.startswith("cronguard_")
    }


@pytest.mark.debian
@needs_gateway
def test_a_pushgateway_has_the_gauges_of_the_newest_run(gateway: Daemon) -> None:
    """While it runs, when it has ended; a failure leaves the time of the last success."""
    run, sender = run_id(), pushes(gateway)
    sender.tell(started(run, job="one"), 5)
    assert of_job(gateway, "one") == {
        "running_runs": 1,
        "consecutive_failures": 0,
        "last_start_timestamp_seconds": AT / 1000,
    }
    sender.tell(ended(job="one", run_id=run, at=AT + 2000), 5)
    good = of_job(gateway, "one")
    assert {f"cronguard_{name}" for name in good} == set(PUSHED) - {
        "cronguard_last_failure_timestamp_seconds"
    }
    assert (good["running_runs"], good["last_exit_status"]) == (0, 0)
    assert good["last_success_timestamp_seconds"] == AT / 1000 + 2
    sender.tell(ended(records.FAILED, job="one", at=AT + 9000, exit_status=3, failures=1), 5)
    bad = of_job(gateway, "one")
    assert (bad["consecutive_failures"], bad["last_exit_status"]) == (1, 3)
    assert bad["last_success_timestamp_seconds"] == AT / 1000 + 2
    assert bad["last_failure_timestamp_seconds"] == AT / 1000 + 9


@pytest.mark.debian
@needs_gateway
def test_a_skip_does_not_touch_the_run_that_is_under_way(gateway: Daemon) -> None:
    """Nor does a warning."""
    run = run_id()
    for told in (started(run, job="two"), skipped(job="two"), warned(run, job="two")):
        pushes(gateway).tell(told, 5)
    assert of_job(gateway, "two")["running_runs"] == 1


@pytest.mark.debian
@needs_gateway
def test_namespaces_and_hosts_have_groups_of_their_own(gateway: Daemon) -> None:
    """A host's only if that was asked for; any name of a host is one label, and no path."""
    pushes(gateway).tell(ended(job="three", namespace="team"), 5)
    assert of_job(gateway, "three") == {}
    assert of_job(gateway, "three", namespace="team")["running_runs"] == 0
    for host in ("web-3", "a/../b", "..", "ä ?#"):
        pushes(gateway, instance="{host}").tell(ended(job="three", host=host), 5)
        assert of_job(gateway, "three", instance=host)["last_exit_status"] == 0


@pytest.mark.debian
@needs_gateway
def test_what_a_pushgateway_refuses_is_let_go(gateway: Daemon) -> None:
    """It says why, and would say so again."""
    with pytest.raises(Never, match=r"127\.0\.0\.1:\d+ answers 40"):
        pushes(gateway, pushgateway=f"http://127.0.0.1:{gateway.port}/nowhere").tell(ended(), 5)


def test_a_pushgateway_that_is_away_is_told_later(tmp_path: Path) -> None:
    """The file is written all the same, and counts once when both are told again."""
    url = f"http://user:canary@127.0.0.1:{free_port()}"
    settings = {"pushgateway": url, "allow_http": True, "allow_private": True}
    both, told = Prometheus({"textfile": str(tmp_path), **settings}), ended()
    for _ in range(2):
        with pytest.raises(NotNow) as caught:
            both.tell(told, 0.2)
        assert "canary" not in str(caught.value)
    assert succeeded(tmp_path / FILE) == 1


def test_a_folder_that_is_away_comes_before_a_refusal(tmp_path: Path) -> None:
    """What can be told later is kept, though a part of it never will be."""
    settings = {"pushgateway": "https://127.0.0.1:9", "textfile": str(tmp_path / "away")}
    with pytest.raises(NotNow, match="cannot write to"):
        Prometheus(settings).tell(ended(), 1)
    with pytest.raises(Never, match="allow_private"):
        Prometheus({**settings, "textfile": str(tmp_path)}).tell(ended(), 1)


@pytest.mark.parametrize(
    ("ill", "told"),
    [
        ("silent", NotNow),
        ("slow", NotNow),
        ("broken", NotNow),
        ("error", NotNow),
        ("redirect", Never),
        ("huge", None),
    ],
)
def test_a_gateway_that_is_ill_is_told_later_or_was_told(
    ill: str, told: type[Exception] | None, tmp_path: Path
) -> None:
    """Never for longer than there is time; the file is written whatever becomes of the push."""
    with Receiver() as receiver:
        receiver.ill = ill
        settings = {"pushgateway": receiver.url, "allow_http": True, "allow_private": True}
        both = Prometheus({"textfile": str(tmp_path), **settings})
        with pytest.raises(told) if told else nullcontext():
            both.tell(ended(), 0.4)
    assert receiver.requests[0].path == "/metrics/job/backup"
    assert succeeded(tmp_path / FILE) == 1


def test_a_push_is_what_the_gateways_documentation_asks_for() -> None:
    """POST to the group's path, in Prometheus' text, its last line ended; again after a 503."""
    with Receiver() as receiver:
        receiver.answers = [Answer(503), Answer(202, body=b"")]
        url = receiver.url.replace("http://", "http://ops:canary@") + "/sub/"
        settings = {"pushgateway": url, "allow_http": True, "allow_private": True}
        Prometheus(settings).tell(ended(namespace="team"), 5)
    first, again = receiver.requests
    assert (again.method, again.path) == ("POST", "/sub/metrics/job/backup/namespace/team")
    assert again.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert again.headers["Authorization"] == "Basic " + b64encode(b"ops:canary").decode()
    assert again.body == first.body
    assert again.body.endswith(b"\n")
    assert {f"{name}" for name, _ in read(again.body.decode())} < set(PUSHED)
