"""--lock: different jobs exclude each other."""

from __future__ import annotations

import os
import signal
import subprocess

from tests.process.lab import Lab, until
from tests.process.test_contention import UPDATE
from tests.process.witness import TTL, Guarded, holder

LONG = ("--ttl", "2m")


def test_another_job_with_the_lock_is_in_the_way(lab: Lab) -> None:
    """The skip says which lock and which job, in message and record; afterwards it runs."""
    one = Guarded(lab, *LONG, "--lock", "db", job="backup").ready()
    args = ("run", "-n", "report", *LONG, "--lock", "net,db", "-E", "9", "--", "true")
    done = lab.call(*args)
    assert done.returncode == 9
    assert b"report: not started: another run holds the lock db (job backup, " in done.stderr
    assert b"cronguard status backup" in done.stderr
    [skip] = lab.skips("report")
    assert (skip["reason"], skip["holder"]["lock"], skip["holder"]["job"]) == (  # type: ignore[index]
        "held",
        "db",
        "backup",
    )
    why = lab.call("why", "report").stdout
    assert b"the lock db" in why
    assert b"job backup" in why
    assert one.end() == 7
    assert lab.call(*args).returncode == 0


def test_a_waiting_job_has_its_turn_at_once(lab: Lab) -> None:
    """It is woken when the other job gives the lock back; it waits for no expiry."""
    one = Guarded(lab, *LONG, "--lock", "db", job="backup").ready()
    two = Guarded(lab, *LONG, "--lock", "db", "--wait", "forever", job="report")
    two.says("waiting for the lock db, held by job backup")
    assert one.end() == 7
    two.ready()
    assert two.end() == 7


def test_a_killed_run_frees_all_of_its_locks(lab: Lab) -> None:
    """Its tree is proven dead on this host: another job need not wait for the expiry."""
    one = Guarded(lab, *LONG, "--lock", "db", "--lock", "net", job="backup").ready()
    os.kill(one.pid, signal.SIGKILL)
    one.status()
    two = lab.call(
        "run", "-n", "report", *LONG, "--lock", "db", "--lock", "net", "--wait", "20s", "--", "true"
    )
    assert two.returncode == 0, two.stderr


def test_unlocking_a_job_says_which_locks_are_free(lab: Lab) -> None:
    """Another job that shares them starts at once."""
    one = Guarded(lab, *LONG, "--lock", "db", "--lock", "net", job="backup").ready()
    done = lab.call("unlock", "backup", "--force")
    assert b"Its further locks are free as well: db, net." in done.stdout, done.stderr
    other = lab.call("run", "-n", "report", *LONG, "--lock", "net", "-E", "9", "--", "true")
    assert other.returncode == 0, other.stderr
    one.end()


def test_locks_are_renewed_and_given_back(lab: Lab) -> None:
    """A run longer than its lease has them to its end, and not a moment longer."""
    command = ("sh", "-c", "echo ready; sleep 17")
    one = Guarded(lab, *TTL, "--lock", "db", job="backup", command=command).ready()
    two = lab.call(
        "run", "-n", "report", *TTL, "--lock", "db", "--wait", "30s", "--", "echo", "after"
    )
    assert one.status() == 0, one.said
    assert two.returncode == 0, two.stderr
    [report], [backup] = lab.records("report"), lab.records("backup")
    assert str(report["started_at"]) >= str(backup["ended_at"])
    assert holder(lab, "backup") == ""


def test_no_update_is_lost_between_jobs(lab: Lab) -> None:
    """Ten jobs of many runs each, which share one lock, and each pair another one."""
    (lab.folder / "count").write_text("0\n")
    command = UPDATE.replace('echo "$CRONGUARD_TOKEN" >> tokens', "true")
    crowd: list[subprocess.Popen[bytes]] = [
        lab.start(
            *("run", "-n", f"job-{number % 10}", *LONG, "--wait", "forever"),
            *("--lock", "count", "--lock", f"pair-{number % 10 // 2}", "--", "sh", "-c", command),
        )
        for number in range(40)
    ]
    for process in crowd:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert lab.said("count") == "40\n"


def test_rules_of_the_configuration(lab: Lab) -> None:
    """An array, a text, and a name that cannot be one."""
    path = lab.folder / "rules.toml"
    path.write_text('[jobs.a]\nlock = ["db", "net"]\n[jobs.b]\nlock = "net db"\n')
    for job in "ab":
        shown = lab.call("run", "-c", str(path), "-n", job, "--dry-run", "--", "true").stdout
        assert b"db net" in shown
    wrong = lab.call("run", "-n", "a", "--lock", "@db", "--", "true")
    assert wrong.returncode == 125
    assert b"--lock: '@db' is not a lock's name" in wrong.stderr


def test_the_proof_of_death_is_kept_for_the_other_leases(lab: Lab) -> None:
    """A job that takes over one lock of a dead run leaves the rest of it to whoever needs that."""
    locks = ("--lock", "db", "--lock", "net")
    one = Guarded(lab, *LONG, *locks, job="backup").ready()
    os.kill(one.pid, signal.SIGKILL)
    one.status()
    until("its tree to be dead", lambda: [*(lab.state / "dead").glob("*")])
    for job, *more in (("report", "--lock", "db"), ("sync", "--lock", "net"), ("backup", *locks)):
        done = lab.call("run", "-n", job, *LONG, *more, "-E", "9", "--", "true")
        assert done.returncode == 0, (job, done.stderr)
