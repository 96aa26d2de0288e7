"""A job whose store is healthy again runs: at the latest when a dead run's lease has expired."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import INJECTED, MS, Asked, History
from tests.chaos.invariants.records import TIMED_OUT, is_skip
from tests.chaos.verdict import Violation, moment

SLACK_NS = 5_000 * MS
"""Starting, asking and ending may take so long on an overloaded machine."""


def stalled(history: History) -> Iterator[Violation]:
    """Find who asked when all had been healthy long enough, and neither ran nor found it running.

    A skip is right only where a run of the job lived while, or shortly before, it was asked for.
    """
    started = {run.asked.number for run in history.runs if run.asked is not None}
    granted = {
        (record.get("job"), record.get("host"), record.get("pid"))
        for record in history.records
        if record.get("token") is not None and record.get("exit_status") == TIMED_OUT
    }
    for healthy, since, until in windows(history):
        for asked in history.asked.values():
            if not since <= asked.at <= until - SLACK_NS or asked.number in started:
                continue
            who = (asked.job, asked.host, asked.keeper)
            if asked.exit_status == TIMED_OUT and who in granted:
                continue  # its command was stopped before its first word, by a short --timeout
            if asked.exit_at is not None and asked.exit_at > until:
                continue  # what came then may have had a part in it
            held = was_held(history, asked) or any(
                lived_beside(other, asked)
                for other in history.asked.values()
                if other.exit_status == TIMED_OUT
                and (other.job, other.host, other.keeper) in granted
            )
            if not (asked.exit_at is not None and is_skip(asked) and held):
                yield Violation(
                    "stalled",
                    asked.job,
                    asked.at,
                    f"job {asked.job}: run {asked.number} on {asked.host} was asked for at "
                    f"{moment(history, asked.at)}, when all had been healthy since "
                    f"{moment(history, healthy)}; no run of the job lived then, and it "
                    f"{_ended(asked)}",
                    (asked.number,),
                )


def windows(history: History) -> Iterator[tuple[int, int, int]]:
    """Yield (healthy from, everybody must run from, the next trouble) of each healthy time."""
    bounds = sorted(
        [event.at for event in history.events if event.what in INJECTED]
        + [event.at for event in history.of("healthy")]
        + [history.end_ns]
    )
    for event in history.of("healthy"):
        until = next((at for at in bounds if at > event.at), event.at)
        since = event.at + history.progress_ns
        if until > since:
            yield event.at, since, until


def was_held(history: History, asked: Asked) -> bool:
    """Tell whether a rival lived while it was asked for, give or take the slack."""
    until = history.end_ns if asked.exit_at is None else asked.exit_at
    return any(
        run.first_ns <= until + SLACK_NS and run.last_ns >= asked.at - SLACK_NS
        for run in history.rivals(asked)
    )


def lived_beside(other: Asked, asked: Asked) -> bool:
    """Tell whether *other*, whose command was stopped before its first word, was there for it."""
    lock = asked.option("--lock")
    is_rival = other.job == asked.job or (lock is not None and lock == other.option("--lock"))
    if not is_rival or asked.exit_at is None or other.exit_at is None:
        return False
    return other.at <= asked.exit_at and other.exit_at >= asked.at - SLACK_NS


def _ended(asked: Asked) -> str:
    if asked.exit_at is None:
        return "never ended"
    return f"ended with status {asked.exit_status} without having started anything"
