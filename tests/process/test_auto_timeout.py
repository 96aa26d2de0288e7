"""`--timeout auto`: p95 of the job's successes and half of it more, or none, and it says so."""

from __future__ import annotations

import signal
from functools import partial

from cronguard.core.durations import ENOUGH_RUNS
from tests.process.lab import Lab, until
from tests.process.test_tree_signals import catches
from tests.servers import Server

AUTO = ("run", "-n", "job", "-t", "auto")
TELL = ("sh", "-c", "echo deadline=$CRONGUARD_DEADLINE")


def test_none_until_there_are_enough_runs_and_then_it_counts(lab: Lab) -> None:
    """Said each time until then; then it ends a run that hangs, and is on record."""
    done = lab.call(*AUTO, "--", *TELL)
    assert (done.returncode, done.stdout) == (0, b"deadline=\n")
    assert done.stderr == (
        b"cronguard: job: no timeout yet: --timeout auto takes 20 runs that succeeded; "
        b"so far on record: 0.\n"
    )
    assert lab.records("job")[0]["timeout_ms"] is None
    for _ in range(ENOUGH_RUNS - 2):
        assert lab.call("run", "-q", "-n", "job", "--", "true").returncode == 0
    assert b"none yet (19 of 20 successes)" in lab.call(*AUTO, "--dry-run", "--", "true").stdout
    quiet = lab.call(*AUTO, "-q", "--", "true")
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    stats = lab.call("stats", "job").stdout.decode()
    suggested = stats.partition("--timeout ")[2].split()[0]
    dry = lab.call(*AUTO, "--dry-run", "--", "true").stdout.decode()
    assert f"auto, which is {suggested} now" in dry
    done = lab.call(*AUTO, "--", "sh", "-c", "echo $CRONGUARD_DEADLINE; exec sleep 600")
    assert done.returncode == 124
    assert done.stdout.startswith(b"20")
    assert f"timed out after {suggested}".encode() in done.stderr
    record = lab.records("job")[0]
    assert f"{int(str(record['timeout_ms'])) // 1000}s" == suggested


def test_a_dry_run_makes_no_store(local: Lab) -> None:
    """It does nothing."""
    assert b"none yet (0 of 20" in local.call(*AUTO, "--dry-run", "--", "true").stdout
    assert not local.state.exists()


def test_r1_a_store_that_is_down_gives_no_timeout(local: Lab) -> None:
    """R1: it is said, and the run goes on as --on-store-error has it."""
    down = ("--store", "redis://127.0.0.1:1", "--on-store-error", "run", "--store-timeout", "1s")
    done = local.call(*AUTO, *down, "--", *TELL)
    assert (done.returncode, done.stdout) == (0, b"deadline=\n")
    assert b"this run has no timeout" in done.stderr
    assert b"connection refused" in done.stderr
    shown = local.call(*AUTO, *down, "--dry-run", "--", "true").stdout
    assert b"auto, which is none now (cannot reach" in shown


def test_r2_a_store_that_does_not_answer_is_not_waited_for(remote: Lab, own_server: Server) -> None:
    """R2: no longer than for the store itself."""
    own_server.pause()
    slow = ("--on-store-error", "run", "--store-timeout", "300ms")
    done = remote.call(*AUTO, *slow, "--", *TELL)
    assert (done.returncode, done.stdout) == (0, b"deadline=\n")
    assert b"could not be read: no answer in time" in done.stderr


def test_p3_a_signal_does_not_wait_for_the_answer(remote: Lab, own_server: Server) -> None:
    """P3: 143, though the store would be waited for an hour."""
    own_server.pause()
    run = remote.start(*AUTO, "--store-timeout", "1h", "--", "true")
    until("our handlers", partial(catches, run.pid, signal.SIGTERM))
    run.terminate()
    assert run.wait(20) == 143
    until("nothing to be left", lambda: not remote.marked())


def test_l17_nothing_is_left_of_a_keeper_killed_meanwhile(remote: Lab, own_server: Server) -> None:
    """L17: who reads for it dies with it."""
    own_server.pause()
    run = remote.start(*AUTO, "--store-timeout", "1h", "--", "true")
    until("our handlers", partial(catches, run.pid, signal.SIGTERM))
    run.kill()
    run.wait(20)
    until("nothing to be left", lambda: not remote.marked())
