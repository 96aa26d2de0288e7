"""Which run may start: several at a time, a lock that is kept for a while, a moment of chance."""

from __future__ import annotations

import signal

from tests.process.lab import Lab, until

HOLD = "echo ready; until [ -e go ]; do sleep 0.05; done"


def test_as_many_runs_as_slots_go_side_by_side(lab: Lab) -> None:
    """The third is told that the lock is held; their indexes tell the others apart."""
    args = ("run", "-n", "job", "--slots", "2", "-E", "9", "--", "sh", "-c", HOLD)
    two = [lab.start_ready(*args) for _ in range(2)]
    third = lab.call(*args)
    assert third.returncode == 9, third.stderr
    assert b"another run holds the lock" in third.stderr
    (lab.folder / "go").touch()
    for process in two:
        process.communicate(timeout=60)
    assert [process.returncode for process in two] == [0, 0]


def test_hosts_that_disagree_about_slots_are_told_in_what(lab: Lab) -> None:
    """L22: the message names the run in the way, its slots, and ours."""
    one = lab.start_ready("run", "-n", "job", "--slots", "2", "--", "sh", "-c", HOLD)
    other = lab.call("run", "-n", "job", "--slots", "3", "--", "true")
    assert other.returncode == 125
    words = other.stderr.decode()
    assert "holds the lock with --slots 2, and this one has --slots 3" in words
    assert f"pid {one.pid}" in words
    (lab.folder / "go").touch()
    one.communicate(timeout=60)
    record = lab.records("job")[0]
    assert (record["outcome"], record["reason"]) == ("not_started", "conflict")
    why = lab.call("why", "job")
    assert b"another --slots or --ttl" in why.stdout


def test_a_lock_is_kept_for_its_time_though_the_command_is_over(lab: Lab) -> None:
    """--min-hold: a run that takes a millisecond keeps the lock, and says nothing odd about it."""
    args = ("run", "-n", "job", "--min-hold", "1h", "-E", "9", "--", "true")
    assert lab.call(*args).returncode == 0
    again = lab.call(*args)
    assert again.returncode == 9
    assert b"another run holds the lock" in again.stderr
    assert b"clock" not in again.stderr
    assert lab.records("job")[0]["outcome"] == "succeeded"


def test_a_signal_ends_the_wait_before_the_lock(local: Lab) -> None:
    """--jitter: nothing was asked for yet, and the end is on record."""
    process = local.start("run", "-n", "job", "--jitter", "9d", "--", "true")
    caught = f"/proc/{process.pid}/status"
    until("the signal to be heeded", lambda: _catches(caught, signal.SIGTERM))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"before the lock" in err
    assert local.records("job")[0]["outcome"] == "stopped"


def _catches(path: str, signum: int) -> bool:
    with open(path, encoding="ascii") as status:
        mask = next(line for line in status if line.startswith("SigCgt:")).split()[1]
    return bool(int(mask, 16) >> (signum - 1) & 1)
