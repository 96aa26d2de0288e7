"""`--retries`: the command again after a failure, under the same lease, one attempt at a time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.process.isolated import MODES, USERS, Held, ended, held
from tests.process.lab import Lab, until
from tests.process.terminal import PROMPT, Terminal

SOON = ("--retry-delay", "1ms")
LATER = ("--retry-delay", "10m")
AT_SECOND = "test $CRONGUARD_ATTEMPT = 2 || exit 3; echo ready; "
EACH = [(mode, who) for mode in MODES for who in USERS]
ALONE = """
import fcntl, os, signal, sys, time
lock = open(sys.argv[1], "a")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
if os.environ["CRONGUARD_ATTEMPT"] == "1":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()
    sys.exit(3)
"""
"""The first attempt leaves a daemon that holds a lock, and is deaf; the second needs that lock."""


@pytest.fixture(params=EACH, ids=[f"{mode}-{who}" for mode, who in EACH])
def place(request: pytest.FixtureRequest) -> Iterator[Held]:
    """Each isolation, for each kind of user."""
    with held(*request.param) as found:
        yield found


def resting(lab: Lab, *args: str) -> subprocess.Popen[bytes]:
    """Start a run whose first attempt has failed, and which is in its pause now."""
    run = lab.start("run", "-n", "job", "--retries", "1", *LATER, *args, "--", "sh", "-c", "exit 3")
    assert run.stderr is not None
    line = run.stderr.readline()
    assert (
        line
        == b"cronguard: job: attempt 1 of 2 exited with 3; trying again in 10m00s (--retries).\n"
    )
    return run


def statuses(record: dict[str, object]) -> list[tuple[object, object]]:
    """Return how each attempt ended."""
    attempts = record["attempts"]
    assert isinstance(attempts, list)
    assert [one["attempt"] for one in attempts] == list(range(1, len(attempts) + 1))
    return [(one["exit_status"], one["signal"]) for one in attempts]


def is_free(lab: Lab) -> bool:
    """Tell whether the job's lock can be had at once."""
    return lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0


# -- attempts --------------------------------------------------------------------------------------


def test_a_run_that_fails_twice_and_then_succeeds(lab: Lab) -> None:
    """One lock, one run, three attempts, each with its number; all output, all on record."""
    text = "echo $CRONGUARD_ATTEMPT $CRONGUARD_RUN_ID $CRONGUARD_TOKEN; test $CRONGUARD_ATTEMPT = 3"
    done = lab.call("run", "-n", "job", "--retries", "5", *SOON, "--", "sh", "-c", text)
    assert done.returncode == 0
    [record] = lab.records("job")
    same = f"{record['run_id']} {record['token']}"
    assert done.stdout.decode().splitlines() == [f"1 {same}", f"2 {same}", f"3 {same}"]
    assert done.stderr.decode().splitlines() == [
        "cronguard: job: attempt 1 of 6 exited with 1; trying again in 1ms (--retries).",
        "cronguard: job: attempt 2 of 6 exited with 1; trying again in 2ms (--retries).",
    ]
    assert (record["outcome"], record["exit_status"], record["attempt"]) == ("succeeded", 0, 3)
    assert statuses(record) == [(1, None), (1, None), (0, None)]
    times = [(one["started_at"], one["ended_at"]) for one in record["attempts"]]  # type: ignore[attr-defined]
    flat = [moment for pair in times for moment in pair]
    assert flat == sorted(flat)
    assert (flat[0], flat[-1]) == (record["started_at"], record["ended_at"])
    assert record["output_tail"] == done.stdout.decode()


def test_a_run_that_always_fails_ends_as_its_last_attempt(lab: Lab) -> None:
    """The exit status is exactly the command's, of the last time."""
    text = "test $CRONGUARD_ATTEMPT = 3 && kill -9 $$; exit $((CRONGUARD_ATTEMPT + 2))"
    done = lab.call("run", "-n", "job", "--retries", "2", *SOON, "--", "sh", "-c", text)
    assert done.returncode == 137
    assert done.stderr.endswith(b"attempt 3 of 3 was ended by KILL; that was the last.\n")
    [record] = lab.records("job")
    assert (record["outcome"], record["exit_status"], record["signal"]) == ("failed", 137, 9)
    assert statuses(record) == [(3, None), (4, None), (137, 9)]
    assert is_free(lab)


def test_without_retries_there_is_one_attempt(local: Lab) -> None:
    """And nothing is said of it."""
    done = local.call("run", "-n", "job", "--", "sh", "-c", "exit 3")
    assert (done.returncode, done.stderr) == (3, b"")
    [record] = local.records("job")
    assert (record["attempt"], record["attempts"]) == (1, None)


def test_p1_what_cannot_be_started_is_not_tried_again(local: Lab) -> None:
    """P1: at once, or by the second attempt, which then ends the run."""
    done = local.call("run", "-n", "job", "--retries", "3", *SOON, "--", "/no/such/command")
    assert (done.returncode, local.records("job")[0]["attempts"]) == (127, [])
    fleeting = local.script("fleeting", '#!/bin/sh\nrm "$0"\nexit 3\n')
    done = local.call("run", "-n", "job", "--retries", "3", *SOON, "--", fleeting)
    assert done.returncode == 127
    assert b"attempt 2 of 4 could not be started" in done.stderr
    record = local.records("job")[0]
    assert (record["outcome"], record["attempt"]) == ("failed", 2)
    assert statuses(record) == [(3, None), (127, None)]
    assert record["attempts"][1]["started_at"] is None  # type: ignore[index]
    assert is_free(local)


def test_p6_the_timeout_is_for_all_attempts(lab: Lab) -> None:
    """P6: one deadline, of which each attempt knows, and which ends the run."""
    text = f"echo $CRONGUARD_DEADLINE >>deadlines; {AT_SECOND} exec sleep 600"
    args = ("run", "-n", "job", "-t", "2s", "--retries", "9", *SOON)
    done = lab.call(*args, "--", "sh", "-c", text)
    assert done.returncode == 124
    first, second = lab.said("deadlines").split()
    assert first == second
    [record] = lab.records("job")
    assert record["outcome"] == "timed_out"
    assert statuses(record) == [(3, None), (143, 15)]


def test_an_attempt_that_could_not_begin_before_the_timeout_is_not_waited_for(local: Lab) -> None:
    """The run ends as the command did, and says why."""
    done = local.call(
        *("run", "-n", "job", "-t", "1m", "--retries", "1", *LATER, "--", "sh", "-c", "exit 3")
    )
    assert done.returncode == 3
    assert b"--timeout leaves no time for another attempt" in done.stderr
    assert local.records("job")[0]["outcome"] == "failed"


def test_what_all_attempts_used_is_on_record(local: Lab) -> None:
    """Processor time of the run, not of its last attempt."""
    burn = "import os, time\nif os.environ['CRONGUARD_ATTEMPT'] == '1':\n"
    burn += "    while time.process_time() < 0.3: pass\n    raise SystemExit(3)\n"
    args = ("run", "-n", "job", "--retries", "1", *SOON, "--", *local.python(burn))
    assert local.call(*args).returncode == 0
    [record] = local.records("job")
    assert int(str(record["cpu_user_ms"])) + int(str(record["cpu_system_ms"])) >= 300


@pytest.mark.parametrize("status", [0, 1])
def test_quiet_shows_all_attempts_or_none(local: Lab, status: int) -> None:
    """Nothing if it succeeds in the end, else the output of each, and what was said of them."""
    text = f"echo out $CRONGUARD_ATTEMPT; test $CRONGUARD_ATTEMPT = 2 && exit {status}; exit 3"
    done = local.call("run", "-q", "-n", "job", "--retries", "1", *SOON, "--", "sh", "-c", text)
    assert done.returncode == status
    assert done.stdout == (b"out 1\nout 2\n" if status else b"")
    assert len(done.stderr.splitlines()) == (2 if status else 0)


def test_the_lock_is_renewed_in_the_pause(lab: Lab) -> None:
    """No overlap: a pause may be longer than the lock lasts by itself."""
    args = ("--ttl", "10s", "--retries", "1", "--retry-delay", "4s")
    done = lab.call("run", "-n", "job", *args, "--", "sh", "-c", "test $CRONGUARD_ATTEMPT = 2")
    assert done.returncode == 0
    assert int(str(lab.records("job")[0]["renewals"])) >= 1


# -- one at a time ---------------------------------------------------------------------------------


def test_p8_what_an_attempt_left_behind_is_dead_before_the_next(place: Held) -> None:
    """P8: a daemon in a session of its own, deaf to TERM, in each isolation."""
    lock = str(place.lab.folder / "lock")
    command = [*place.lab.python(ALONE), lock]
    done = place.call("-n", "job", "--retries", "1", *SOON, "-k", "100ms", "--", *command)
    assert done.returncode == 0, done.stderr
    [record] = place.lab.records("job")
    assert (record["outcome"], record["stragglers"]) == ("succeeded", 1)
    assert statuses(record) == [(3, None), (0, None)]


def test_p7_or_has_ended_by_itself(local: Lab) -> None:
    """P7: with --stragglers wait the next attempt begins when the last of them has ended."""
    text = (
        "test $CRONGUARD_ATTEMPT = 2 && { cat left; exit; }; "
        "(until [ -e go ]; do sleep 0.01; done; echo done >left) & echo ready; exit 3"
    )
    args = ("run", "-n", "job", "--stragglers", "wait", "--retries", "1", *SOON)
    run = local.start_ready(*args, "--", "sh", "-c", text)
    (local.folder / "go").touch()
    out, _ = run.communicate(timeout=20)
    assert (run.returncode, out) == (0, b"done\n")


@pytest.mark.parametrize("mode", ["group", "pidns"])  # nobody would remove a control group
def test_l17_the_second_attempt_dies_with_keeper_and_guardian(mode: str) -> None:
    """L17, P14: the kernel kills the group of the attempt that runs, not of the one before."""
    text = f"{AT_SECOND} sleep 600 & sleep 600"
    with held(mode, "root") as place:
        run = place.ready("-n", "job", "--retries", "1", *SOON, "--", "sh", "-c", text)
        guardian = place.lab.guardian_of(run.pid)
        for signum in (signal.SIGSTOP, signal.SIGKILL):
            os.kill(guardian, signum)
            os.kill(run.pid, signum)
        run.wait(20)
        ended(place)


def test_p14_a_guardian_killed_in_the_second_attempt(place: Held) -> None:
    """P14: the keeper kills what the second attempt started."""
    text = f"{AT_SECOND} setsid sleep 600 & wait"
    run = place.ready("-n", "job", "--retries", "5", *SOON, "--", "sh", "-c", text)
    os.kill(place.lab.guardian_of(run.pid), signal.SIGKILL)
    assert run.wait(20) == 125
    ended(place)
    [record] = place.lab.records("job")
    assert (record["outcome"], record["reason"]) == ("failed", "guardian_killed")


# -- the pause -------------------------------------------------------------------------------------


def test_l1_the_lock_is_held_in_the_pause(lab: Lab) -> None:
    """L1: another run is skipped, and told by whom; `status` shows that it runs."""
    run = resting(lab)
    other = lab.call("run", "-n", "job", "-E", "9", "--", "true")
    assert (other.returncode, f"pid {run.pid}".encode() in other.stderr) == (9, True)
    assert b"running" in lab.call("status", "job").stdout
    run.terminate()
    assert run.wait(20) == 143


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_p3_a_signal_in_the_pause_ends_the_run_at_once(lab: Lab, signum: int) -> None:
    """P3: 128 + N, on record, and the lock is free."""
    run = resting(lab)
    run.send_signal(signum)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 128 + signum
    assert b"in the pause after attempt 1 of 2; not trying again" in err
    [record] = lab.records("job")
    assert (record["outcome"], record["reason"], record["signal"]) == ("stopped", "signal", signum)
    assert statuses(record) == [(3, None)]
    assert is_free(lab)


def test_an_operator_stops_a_run_in_its_pause(lab: Lab) -> None:
    """From anywhere, at once."""
    run = resting(lab)
    assert lab.call("stop", "job", "--wait").returncode == 0
    assert run.wait(20) == 143
    [record] = lab.records("job")
    assert record["outcome"] == "stopped"
    assert str(record["reason"]).startswith("by ")
    assert is_free(lab)


def test_a_newer_run_replaces_one_in_its_pause(lab: Lab) -> None:
    """At once, as there is nothing to wait for."""
    run = resting(lab)
    assert lab.call("run", "-n", "job", "--replace", "--", "true").returncode == 0
    assert run.wait(20) == 143
    reasons = {record["outcome"]: record["reason"] for record in lab.records("job")}
    assert reasons == {"stopped": "replaced", "succeeded": None}


def test_l7_a_lock_that_is_taken_in_the_pause_ends_the_run(lab: Lab) -> None:
    """L7: 121, and the new holder keeps it."""
    run = resting(lab, "--ttl", "10s")
    assert lab.call("unlock", "job", "--force").returncode == 0
    other = lab.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 600")
    assert run.wait(20) == 121
    assert not is_free(lab)
    other.terminate()
    other.wait(20)
    outcomes = {record["outcome"] for record in lab.records("job")}
    assert "lease_lost" in outcomes


def test_p3_a_signal_in_the_second_attempt_stops_that(lab: Lab) -> None:
    """P3: passed on, waited for, and nothing is tried again."""
    args = ("run", "-n", "job", "--retries", "5", *SOON)
    run = lab.start_ready(*args, "--", "sh", "-c", f"{AT_SECOND} exec sleep 600")
    run.terminate()
    assert run.wait(20) == 143
    [record] = lab.records("job")
    assert (record["outcome"], record["attempt"]) == ("stopped", 2)
    assert statuses(record) == [(3, None), (143, 15)]


def test_p3_a_signal_while_the_first_attempts_rest_is_stopped(local: Lab) -> None:
    """P3, P4: the run ends with it, though there was an attempt left."""
    text = "(trap 'echo asked; sleep 600' TERM; echo ready; while :; do sleep 0.01; done) & exit 3"
    args = ("run", "-n", "job", "--retries", "5", "-k", "1s", *SOON)
    run = local.start_ready(*args, "--", "sh", "-c", text)
    assert run.stdout is not None
    assert run.stdout.readline() == b"asked\n"
    run.terminate()
    assert run.wait(20) == 143
    [record] = local.records("job")
    assert (record["outcome"], record["attempt"]) == ("stopped", 1)


def test_l17_a_keeper_killed_in_the_pause_is_taken_over_at_once(lab: Lab) -> None:
    """L17: nothing was left, the guardian says so, and the next run need not wait."""
    run = resting(lab)
    run.kill()
    run.wait(20)
    until("nothing to be left", lambda: not lab.marked())
    assert is_free(lab)
    outcomes = [record["outcome"] for record in lab.records("job")]
    assert outcomes == ["succeeded", "abandoned"]


def test_l18_a_keeper_stopped_in_the_pause_is_killed_before_its_lock_ends(local: Lab) -> None:
    """L18: the kernel's timer stays set, or the next attempt could begin beside another run."""
    run = resting(local, "--ttl", "10s")
    run.send_signal(signal.SIGSTOP)
    assert run.wait(20) == -signal.SIGKILL
    until("nothing to be left", lambda: not local.marked())
    assert is_free(local)


def test_p14_a_guardian_killed_in_the_pause_ends_the_run(lab: Lab) -> None:
    """P14: there is nobody to start the next attempt; 125, said, and the lock is free."""
    run = resting(lab)
    os.kill(lab.guardian_of(run.pid), signal.SIGKILL)
    _, err = run.communicate(timeout=20)
    assert (run.returncode, b"guardian process was killed in the pause" in err) == (125, True), err
    [record] = lab.records("job")
    assert (record["outcome"], record["reason"]) == ("failed", "guardian_killed")
    assert is_free(lab)


# -- at a terminal ---------------------------------------------------------------------------------


def test_p24_each_attempt_has_the_keyboard(local: Lab) -> None:
    """P24: as the first; the shell has it, afterwards."""
    terminal = Terminal(local)
    try:
        terminal.enter(
            "$CG --retries 2 --retry-delay 1ms -- sh -c 'read w; test $w = b'; echo =$?="
        )
        terminal.type("a\n")
        terminal.wait_for("attempt 1 of 3 exited with 1")
        terminal.type("b\n")
        terminal.wait_for("=0=")
        terminal.wait_for(PROMPT)
        assert terminal.foreground() == terminal.process.pid
    finally:
        terminal.close()


def test_p24_ctrl_c_in_the_pause_ends_the_run(local: Lab) -> None:
    """P24: the keys are for cronguard when there is no command."""
    terminal = Terminal(local)
    try:
        terminal.enter("$CG --retries 1 --retry-delay 10m -- sh -c 'exit 3'; echo =$?=")
        terminal.wait_for("trying again")
        terminal.type("\x03")
        terminal.wait_for("=130=")
        terminal.wait_for(PROMPT)
    finally:
        terminal.close()


def test_p24_an_attempt_in_the_background_leaves_the_shell_alone(local: Lab) -> None:
    """P24: after `bg` the next attempt does not take the terminal from the shell."""
    text = "echo up; while ! [ -e stop$CRONGUARD_ATTEMPT ]; do :; done; exit 3"
    terminal = Terminal(local)
    try:
        terminal.enter(f"$CG --retries 1 --retry-delay 1ms -- sh -c '{text}'")
        terminal.wait_for("up\r\n")
        terminal.type("\x1a")
        terminal.wait_for("Stopped")
        terminal.wait_for(PROMPT)
        terminal.enter("bg")
        terminal.wait_for(PROMPT)
        (local.folder / "stop1").touch()
        terminal.wait_for("up\r\n")
        assert terminal.foreground() == terminal.process.pid
        (local.folder / "stop2").touch()
        terminal.wait_for("that was the last")
        terminal.enter("echo still=here")
        terminal.wait_for("still=here")
    finally:
        terminal.close()
