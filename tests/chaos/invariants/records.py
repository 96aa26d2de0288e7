"""Every start has one record, and it says how the run ended.

What a record may say follows from what happened, whichever came first of several causes:

    succeeded, failed    the command wrote that status before its end
    failed with 125      the guardian was killed
    timed_out with 124   there was a timeout
    stopped with 128+N   the driver sent N to the keeper, or had an operator stop the job
    lease_lost with 121  something stood between the keeper and its lease
    abandoned            the keeper died by KILL
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import GUARDIAN, MS, Asked, Event, History, Record, Run
from tests.chaos.verdict import Violation, moment, numbers

LEASE_LOST, UNAVAILABLE, TIMED_OUT, OWN_FAILURE = 121, 122, 124, 125
TERM = 15
LOADING_NS, DEATH_NS = 5_000 * MS, 2_000 * MS
"""An interpreter loads for so long at the most, and dies of a signal in so long: under overload."""
OPERATOR_NS = 60_000 * MS
"""An operator's command takes so long at the most until it stops whoever runs then."""


def records(history: History) -> Iterator[Violation]:
    """Find runs and keepers without a record or with several, and records of what never was."""
    for run in history.runs:
        found = history.records_of.get(run.run_id, [])
        if run.asked is None:
            yield _of(run, "record", f"job {run.job}: {run} began, and nobody had asked for it")
        elif run.asked.exit_at is None:
            yield _of(run, "record", f"job {run.job}: nobody saw the keeper of {run} end")
        if not found and not is_forgotten(history, run.first_ns, run.asked):
            began = moment(history, run.first_ns)
            sentence = f"job {run.job}: {run} began at {began} and has no record"
            yield _of(run, "record", sentence)
        elif len(found) > 1:
            said = " and ".join(str(record.get("outcome")) for record in found)
            sentence = f"job {run.job}: {run} has {len(found)} records, {said}"
            yield _of(run, "record", sentence)
    yield from _keepers(history)


def _of(run: Run, kind: str, sentence: str) -> Violation:
    return Violation(kind, run.job, run.first_ns, sentence, numbers(run))


def is_forgotten(history: History, began: int, asked: Asked | None) -> bool:
    """Tell whether the record of what *began* then may have gone with the store's own data.

    Not if the keeper ended by itself before the fault: what was told by then is read from what was
    laid aside. Nor if it did so after the fault: then it told of the end once more.
    """
    told_at = None if asked is None or asked.keeper_was_killed else asked.exit_at
    return any(
        fault.loses
        and fault.healed_at >= began
        and (told_at is None or told_at <= fault.healed_at)
        and (told_at is None or fault.at <= told_at)
        for fault in history.faults
    )


def _keepers(history: History) -> Iterator[Violation]:
    """Find keepers that ended by themselves, started nothing, and told nobody why."""
    started = {run.asked.number for run in history.runs if run.asked is not None}
    told = {
        (r.get("job"), r.get("host"), r.get("pid"), r.get("exit_status")) for r in history.records
    }
    for asked in history.asked.values():
        status = asked.exit_status
        if asked.number in started or asked.keeper_was_killed or status is None or is_skip(asked):
            continue
        if _was_deaf(asked) or (status == UNAVAILABLE and _had_no_room(history, asked)):
            continue
        who = (asked.job, asked.host, asked.keeper, status)
        if who not in told and not is_forgotten(history, asked.at, asked):
            yield Violation(
                "record",
                asked.job,
                asked.exit_at or asked.at,
                f"job {asked.job}: run {asked.number} on {asked.host} (keeper {asked.keeper}) "
                f"ended with status {status} at {moment(history, asked.exit_at or asked.at)} "
                "without having started anything, and no record says so",
                (asked.number,),
            )


def _was_deaf(asked: Asked) -> bool:
    """Tell whether a signal ended it before the interpreter had even loaded cronguard."""
    assert asked.exit_at is not None
    return any(
        asked.exit_status == -event.number("signal", TERM)
        and event.at <= asked.at + LOADING_NS
        and event.at <= asked.exit_at <= event.at + DEATH_NS
        for event in asked.of("termed", "keeper", "")
    )


def is_skip(asked: Asked) -> bool:
    """Tell whether it ended as a skip does. Only if nothing was started is it one."""
    return asked.exit_status == int(asked.option("-E", "--skip-exit-code") or 0)


def outcomes(history: History) -> Iterator[Violation]:
    """Find records that tell of another end than the one that was, or of another token."""
    for run in history.runs:
        for record in history.records_of.get(run.run_id, []):
            why = _wrong(history, run, record)
            if why:
                yield _of(run, "outcome", f"job {run.job}: {run} {_told(record)}, and {why}")
    began = {run.run_id for run in history.runs}
    for record in history.records:
        job, run_id = str(record.get("job")), str(record.get("run_id"))
        if record.get("outcome") == "succeeded" and run_id not in began:
            sentence = f"job {job}: run {run_id[:8]} {_told(record)}, and it never lived"
            yield Violation("outcome", job, history.end_ns, sentence)


def _told(record: Record) -> str:
    return f"is {record.get('outcome')} with status {record.get('exit_status')} on record"


def _wrong(history: History, run: Run, record: Record) -> str:
    """Say what is wrong with *record*; nothing if nothing is."""
    outcome, status = record.get("outcome"), record.get("exit_status")
    unsure = record.get("token") is None and outcome == "abandoned" and _is_quorum(history)
    if record.get("token") != run.token and not unsure:
        return f"its token there is {record.get('token')}"
    asked = run.asked
    if asked is None:
        return ""
    if outcome == "abandoned":
        if asked.keeper_was_killed or _had_no_room(history, asked, loses=True):
            return ""
        return f"its keeper ended with {asked.exit_status}"
    if not asked.keeper_was_killed and asked.exit_status not in (None, status):
        return f"its keeper exited with {asked.exit_status}"
    if (outcome, status) in _possible(history, run, asked):
        return ""
    left = "was ended" if run.over is None else f"said {run.over}"
    return f"its command {left}; {_happened(asked)}"


def _is_quorum(history: History) -> bool:
    """Tell whether only a run knows its token for sure, until it has told its end."""
    return history.plan.word("store") == "quorum"


def _had_no_room(history: History, asked: Asked, *, loses: bool = False) -> bool:
    """Tell whether its host's disk, the store's if it *loses* by that, was full when it ended."""
    ended = asked.exit_at
    return ended is not None and any(
        (fault.kind, fault.target) == ("full disk", asked.host)
        and fault.loses >= loses
        and fault.at <= ended <= fault.healed_at
        for fault in history.faults
    )


def _possible(history: History, run: Run, asked: Asked) -> set[tuple[object, object]]:
    """Return each outcome, with its status, that has a cause."""
    found: set[tuple[object, object]] = set()
    if run.over is not None:
        found.add(("succeeded" if run.over == 0 else "failed", run.over))
    if asked.of("killed", *GUARDIAN):
        found.add(("failed", OWN_FAILURE))
    if asked.option("-t", "--timeout") is not None:
        found.add(("timed_out", TIMED_OUT))
    for event in [*asked.of("termed"), *_operators(history, asked)]:
        found.add(("stopped", 128 + event.number("signal", TERM)))
    if _was_troubled(history, asked):
        found.add(("lease_lost", LEASE_LOST))
    return found


def _operators(history: History, asked: Asked) -> list[Event]:
    """Return the stops by an operator that may have reached it: whichever run of the job it was."""
    until = history.end_ns if asked.exit_at is None else asked.exit_at
    return [
        event
        for event in history.operators_of.get(asked.job, [])
        if asked.at - OPERATOR_NS <= event.at <= until
    ]


def _was_troubled(history: History, asked: Asked) -> bool:
    """Tell whether anything stood between the keeper and its lease."""
    until = history.end_ns if asked.exit_at is None else asked.exit_at
    return bool(asked.of("stopped")) or any(
        fault.at <= until and fault.healed_at >= asked.at for fault in history.faults
    )


def _happened(asked: Asked) -> str:
    done = [f"{e.word('whom') or 'it'} {e.what}" for e in asked.done]
    return "it had " + (", ".join(done) if done else "nothing done to it")
