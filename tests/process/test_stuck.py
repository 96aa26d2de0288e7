"""What real runs leave behind, as `stuck` sees it, and what `clean` makes of it."""

from __future__ import annotations

import json
import os
import signal

from tests.process.lab import Lab, is_alive, until
from tests.process.witness import Guarded, holder

DAEMON = "import os,sys,time\nos.setsid()\nprint('ready',flush=True)\ntime.sleep(600)"


def job_of(lab: Lab) -> str:
    """Return a job's name that no other test has."""
    return f"job-{lab.mark}"


def guarded(lab: Lab, *options: str, **more: object) -> Guarded:
    """Return a run of that job, once its command is ready."""
    return Guarded(lab, *options, job=job_of(lab), **more).ready()  # type: ignore[arg-type]


def stuck(lab: Lab) -> list[dict[str, object]]:
    """Return what is stuck of the lab's job: others' processes are on this host as well."""
    done = lab.call("stuck", "--json")
    assert done.returncode == 0, done.stderr
    return [one for one in json.loads(done.stdout) if one["job"] == job_of(lab)]


def test_the_lock_of_a_killed_keeper_is_freed(lab: Lab) -> None:
    """L17: kill -9, and nobody waits for the lock's end: reported, cleaned, and started anew."""
    run = guarded(lab, "--ttl", "30m")
    assert stuck(lab) == []
    run_id = holder(lab, job_of(lab))
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    until("the guardian's mark", (lab.state / "dead" / run_id).exists)
    [found] = stuck(lab)
    assert (found["kind"], found["run_id"], found["provably_dead"]) == ("lock", run_id, True)
    done = lab.call("clean", "--force")
    assert (done.returncode, b"freed the lock" in done.stdout) == (0, True), done.stderr
    assert stuck(lab) == []
    assert lab.call("run", "-n", job_of(lab), "--", "true").returncode == 0
    assert [one["outcome"] for one in lab.records(job_of(lab))] == ["succeeded", "abandoned"]


def test_many_cleans_at_once_do_it_once(lab: Lab) -> None:
    """From a timer on every host: each ends with 0, one of them frees the lock."""
    run = guarded(lab, "--ttl", "30m")
    run_id = holder(lab, job_of(lab))
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    until("the guardian's mark", (lab.state / "dead" / run_id).exists)
    cleans = [lab.start("clean", "--force") for _ in range(5)]
    said = [clean.communicate(timeout=60) for clean in cleans]
    assert [clean.returncode for clean in cleans] == [0] * 5, said
    assert sum(b"freed the lock" in out for out, _ in said) == 1, said
    assert lab.records(job_of(lab))[0]["outcome"] == "abandoned"


def test_cleaning_takes_nothing_from_a_run_that_starts_meanwhile(lab: Lab) -> None:
    """L17: whoever takes a dead run's lock over while two clean runs to its end, alone."""
    text = "mkdir alone && sleep 0.2 && rmdir alone"
    for _ in range(4):
        dead = guarded(lab, "--ttl", "30m")
        os.kill(dead.process.pid, signal.SIGKILL)
        runs = [
            lab.start("run", "-n", job_of(lab), "--ttl", "30m", "--wait", "60s", "--", *command)
            for command in [("sh", "-c", text)] * 2
        ]
        cleans = [lab.start("clean", "--force") for _ in range(2)]
        said = [one.communicate(timeout=120) for one in (*cleans, *runs)]
        assert [one.returncode for one in (*cleans, *runs)] == [0] * 4, said
        dead.process.wait()
        outcomes = [one["outcome"] for one in lab.records(job_of(lab))[:3]]
        assert sorted(map(str, outcomes)) == ["abandoned", "succeeded", "succeeded"]
    assert stuck(lab) == []


def test_a_run_that_goes_on_without_its_lock_is_told_and_left(lab: Lab) -> None:
    """With --on-lease-lost continue: `clean` closes no record of what lives here."""
    text = "echo ready; while [ ! -e end ]; do sleep 0.05; done"
    options = ("--ttl", "10s", "--on-lease-lost", "continue")
    run = guarded(lab, *options, command=("sh", "-c", text))
    run_id = holder(lab, job_of(lab))
    assert lab.call("unlock", job_of(lab), "--force").returncode == 0
    [found] = stuck(lab)
    assert (found["kind"], found["run_id"], found["clean"]) == ("holder", run_id, None)
    assert lab.call("clean", "--force").returncode == 0
    assert is_alive(run.process.pid)
    (lab.folder / "end").touch()
    assert run.status() == 0, run.said
    assert stuck(lab) == []
    assert lab.records(job_of(lab))[0]["outcome"] == "succeeded"


def test_processes_that_outlived_their_run_are_told(lab: Lab) -> None:
    """P7, P8: `--stragglers leave` leaves them to the operator, who is told which they are."""
    text = f'#!/bin/sh\n{lab.interpreter} -I -c "$1" > left &\n'
    script = lab.script("job.sh", text + "until [ -s left ]; do sleep 0.01; done\n")
    options = ("--stragglers", "leave", "--isolation", "group")
    done = lab.call("run", "-n", job_of(lab), *options, "--", script, DAEMON)
    assert done.returncode == 0, done.stderr
    [found] = stuck(lab)
    assert (found["kind"], found["provably_dead"], found["clean"]) == ("process", False, None)
    assert "its record says succeeded" in str(found["why"])
    pids = found["pids"]
    assert isinstance(pids, list)
    assert len(pids) == 1
    assert lab.call("clean", "--force").returncode == 0
    assert is_alive(pids[0]), "clean kills nobody"
    os.kill(pids[0], signal.SIGKILL)
    until("its end", lambda: not is_alive(pids[0]))
    assert stuck(lab) == []


def test_an_unguarded_run_is_not_stuck(lab: Lab) -> None:
    """A run of another store is that store's business, as long as its cronguard lives."""
    other = {"CRONGUARD_STORE": f"sqlite://{lab.folder}/other/cronguard.db"}
    run = guarded(lab, "--ttl", "30m", env=other)
    assert stuck(lab) == []
    run.process.terminate()
    run.process.wait()
