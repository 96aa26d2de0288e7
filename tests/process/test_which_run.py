"""Which run may start: several at a time, a lock that is kept for a while, a moment of chance."""

from __future__ import annotations

import os
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
    assert b"the run that had the lock is over (" in again.stderr
    assert b"but the lock is kept for 59m" in again.stderr
    assert b"clock" not in again.stderr
    assert lab.records("job")[0]["outcome"] == "succeeded"
    assert lab.skips("job")[0]["reason"] == "held"


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


def test_commands_that_take_turns_under_one_name_are_told_so(lab: Lab) -> None:
    """C5: each of them, from its second turn on; a new version and a run by hand are none."""
    told = []
    for word in "aabaabbabcdef":
        done = lab.call("run", "-n", "job", "--", "echo", word)
        assert done.returncode == 0, done.stderr
        told.append(b"take turns" in done.stderr)
    turns = [word for word, said in zip("aabaabbabcdef", told, strict=True) if said]
    assert turns == ["b", "a", "b"]
    assert lab.call("run", "-n", "other", "--", "echo", "a").stderr == b""


# -- slots ----------------------------------------------------------------------------------------

ONCE = ("--once", "4d")
"""No test sees its border, unless it runs in that very moment, once in four days."""
SLOT = 'echo "$CRONGUARD_SLOT" >> slots'


def test_of_many_runs_for_one_slot_one_starts(lab: Lab) -> None:
    """L13: though each takes a moment and the lock is free again; the others are told by whom."""
    args = ("run", "-n", "job", *ONCE, "-E", "9", "--", "sh", "-c", SLOT)
    crowd = [lab.start(*args) for _ in range(20)]
    said = [process.communicate(timeout=120)[1] for process in crowd]
    assert sorted(process.returncode for process in crowd) == [0] + [9] * 19
    [record] = lab.records("job")
    assert lab.said("slots") == f"{record['slot']}\n"
    skips = lab.skips("job")
    assert {skip["reason"] for skip in skips} <= {"slot_done", "held"}
    done = [skip for skip in skips if skip["reason"] == "slot_done"]
    assert all(skip["slot"] == record["slot"] for skip in done)
    assert all(skip["holder"]["run_id"] == record["run_id"] for skip in done)  # type: ignore[index]
    assert sum(b"was the one for" in err for err in said) == len(done)


def test_a_job_of_a_moment_is_not_run_again_for_its_slot(lab: Lab) -> None:
    """L13: a host whose clock is behind comes when the command is over; `why` says who ran it."""
    args = ("run", "-n", "job", *ONCE, "-E", "9", "--", "true")
    assert lab.call(*args).returncode == 0
    late = lab.call(*args)
    assert late.returncode == 9
    run_id = str(lab.records("job")[0]["run_id"])[:12]
    assert f"run {run_id}".encode() in late.stderr
    why = lab.call("why", "job")
    assert f"run {run_id}".encode() in why.stdout
    assert b"--force-slot" in why.stdout


def test_a_manual_run_leaves_the_slot_alone(lab: Lab) -> None:
    """--force-slot neither looks at the slot nor uses it up, and has none."""
    args = ("run", "-n", "job", *ONCE, "-E", "9")
    scheduled, manual = (*args, "--", "true"), (*args, "--force-slot", "--", "sh", "-c", SLOT)
    for argv, status in ((manual, 0), (scheduled, 0), (manual, 0), (scheduled, 9)):
        done = lab.call(*argv)
        assert done.returncode == status, done.stderr
    assert lab.said("slots") == "\n\n"
    assert [record["slot"] is None for record in lab.records("job")] == [True, False, True]


def test_manual_and_scheduled_runs_do_not_overlap(lab: Lab) -> None:
    """Whichever comes first; and the schedule's own run still has its slot afterwards."""
    args = ("run", "-n", "job", *ONCE, "-E", "9")
    hold, scheduled, manual = ("--", "sh", "-c", HOLD), (), ("--force-slot",)
    for first, second in ((manual, scheduled), (scheduled, manual)):
        one = lab.start_ready(*args, *first, *hold)
        assert lab.call(*args, *second, "--", "touch", "wrong").returncode == 9
        (lab.folder / "go").touch()
        one.communicate(timeout=60)
        (lab.folder / "go").unlink()
    assert not (lab.folder / "wrong").exists()
    assert [record["slot"] is None for record in lab.records("job")] == [False, True]
    assert [skip["reason"] for skip in lab.skips("job")] == ["held", "held"]


def test_different_jobs_run_side_by_side(lab: Lab) -> None:
    """One lock has nothing to do with another."""
    both = [lab.start_ready("run", "-n", job, "--", "sh", "-c", HOLD) for job in ("one", "two")]
    (lab.folder / "go").touch()
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]


def test_a_run_that_never_started_leaves_its_slot(lab: Lab) -> None:
    """L13: 127 is no run; the next one is for the slot."""
    args = ("run", "-n", "job", *ONCE, "--")
    assert lab.call(*args, "/no/such/command").returncode == 127
    assert lab.call(*args, "true").returncode == 0


def test_a_run_that_was_killed_leaves_its_slot(lab: Lab) -> None:
    """H1, L13: keeper and guardian are killed at once; when its lease has ended another may run."""
    args = ("run", "-n", "job", *ONCE, "--ttl", "10s", "-E", "9", "--")
    run = lab.start_ready(*args, "sh", "-c", HOLD)
    guardian = lab.guardian_of(run.pid)
    other = {"CRONGUARD_STATE_DIR": lab.env["CRONGUARD_STATE_DIR"]}
    os.kill(run.pid, signal.SIGSTOP)  # or it may still close its record, as failed
    for pid in (guardian, run.pid):
        os.kill(pid, signal.SIGKILL)
    run.communicate(timeout=60)
    until("the slot to be free", lambda: lab.call(*args, "true", env=other).returncode == 0, 90)
    outcomes = [record["outcome"] for record in lab.records("job")]
    assert outcomes == ["succeeded", "abandoned"]


def test_a_schedule_is_a_rule_for_slots(lab: Lab) -> None:
    """L13: its nearest time is the slot, in the zone that is named, also with a plain --once."""
    rule = ("--schedule", "0 0 1 1 *", "--tz", "Asia/Tokyo")
    assert lab.call("run", "-n", "job", *rule, "--", "sh", "-c", SLOT).returncode == 0
    again = lab.call("run", "-n", "job", *rule, "--once", "-E", "9", "--", "true")
    assert again.returncode == 9, again.stderr
    assert lab.said("slots").endswith("-12-31T15:00:00.000Z\n")


def test_a_rule_that_is_hardly_meant_is_said(local: Lab) -> None:
    """--once 7m slides over the day; the run goes on."""
    done = local.call("run", "-n", "job", "--once", "7m", "--jitter", "4m", "--dry-run", "--", "x")
    assert b"7m" in done.stdout
    odd = local.call("run", "-n", "job", "--once", "7m", "--", "true")
    assert odd.returncode == 0
    assert b"does not divide a day evenly" in odd.stderr


def test_a_run_announces_when_its_job_is_due(lab: Lab) -> None:
    """In its record, from the start on; a bare --once, or no rule at all, says nothing of it."""
    cron = {"once_ms": None, "cron": "*/5 * * * *", "tz": "Asia/Tokyo"}
    cases: tuple[tuple[tuple[str, ...], object], ...] = (
        (("--once", "4d"), {"once_ms": 345_600_000, "cron": None, "tz": None}),
        (("--schedule", "*/5  * * * *", "--tz", "Asia/Tokyo", "--once"), cron),
        (("--schedule", "*/5 * * * *", "--tz", "Asia/Tokyo", "--force-slot"), cron),
        (("--once",), None),
        ((), None),
    )
    for number, (options, expected) in enumerate(cases):
        name = f"job{number}"
        done = lab.call("run", "-n", name, *options, "--", "true")
        assert done.returncode == 0, done.stderr
        [record] = lab.records(name)
        assert record["schedule"] == expected, options
    args = ("run", "-n", "job", "--schedule", "0 0 1 1 *", "--", "sh", "-c", HOLD)
    run = lab.start_ready(*args, env={"TZ": "Asia/Tokyo"})
    [record] = lab.records("job")
    assert record["outcome"] == "running"
    assert record["schedule"] == {"once_ms": None, "cron": "0 0 1 1 *", "tz": "Asia/Tokyo"}
    (lab.folder / "go").touch()
    run.communicate(timeout=60)


def test_rules_that_contradict_each_other_are_refused(local: Lab) -> None:
    """C1: before anything starts, with what to do."""
    cases = (
        (("--once", "5m", "--schedule", "*/5 * * * *"), b"leave the period out"),
        (("--tz", "UTC"), b"without a schedule"),
        (("--schedule", "0 0 30 2 *"), b"no schedule"),
        (("--schedule", "61 * * * *"), b"minute"),
        (("--schedule", "* * * * *", "--tz", "Mars/Base"), b"no time zone"),
        (("--slots", "0"), b"from 1 to 999"),
        (("--once", "soon"), b"not a duration"),
    )
    for options, words in cases:
        done = local.call("run", "-n", "job", *options, "--", "true")
        assert done.returncode == 125, options
        assert words in done.stderr, (options, done.stderr)
