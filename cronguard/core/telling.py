"""What is told of a run, and whether one reporter wants to hear it. Pure; see reporters/.

A run is told of at most twice: when its command has started, and when it has ended; and each time
that it warns. What its end is to a reporter depends on the runs before it: `streak` is how many of
them in a row had failed when it was granted its lease, None where nobody could know.
"""

from __future__ import annotations

from cronguard.core import record as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

START = "start"
SUCCESS = "success"
RECOVERY = "recovery"
FAILURE = "failure"
STOP = "stop"
SKIP = "skip"
WARNING = "warning"
MISSED = "missed"
WARNINGS = (WARNING, MISSED)
"""What has a text of its own, and is not about how the run ended."""
EVENTS = {
    START: "the command has started",
    SUCCESS: "it succeeded",
    RECOVERY: "it succeeded, and had failed before (as often as `after` says)",
    FAILURE: "it failed, timed out, lost its lock, or could not start",
    STOP: "a signal or an operator stopped it",
    SKIP: "it was skipped",
    WARNING: "it warns, and runs on or has ended",
    MISSED: "runs that were due before it never came",
}
FAILURES = (
    records.FAILED,
    records.TIMED_OUT,
    records.LEASE_LOST,
    records.NOT_STARTED,
    records.STORE_UNAVAILABLE,
    records.ABANDONED,
)
"""Outcomes that are told as a failure. Each of them is also a word of its own in `on`."""
SKIPS = ("held", "slot_done", "paused", "wait_expired", "replaced", "conflict")
"""Reasons of a skip; each is also a word of its own in `on`."""
ALL = frozenset(EVENTS)
WORDS = (*EVENTS, *FAILURES, *SKIPS)


class Rule:
    """What one reporter wants to hear: `on` a set of WORDS.

    `after` a failure is told when so many in a row have failed, itself among them · `changes` not
    again until the job has succeeded in between.
    """

    __slots__ = ("after", "changes", "on")

    def __init__(self, on: Collection[str], after: int = 1, *, changes: bool = False) -> None:
        self.on = frozenset(on)
        self.after = after
        self.changes = changes


def event_of(rule: Rule, outcome: str, reason: str, streak: int | None, *, warns: str = "") -> str:
    """Return which of EVENTS a run with that outcome is for the reporter; "" for nothing to say.

    *warns* is which of WARNINGS it is, if any. A recovery that is not asked for by that name is a
    success, to who asked for those.
    """
    if warns:
        return warns if warns in rule.on else ""
    if outcome == records.RUNNING:
        return START if START in rule.on else ""
    if outcome == records.SUCCEEDED:
        if RECOVERY in rule.on and streak is not None and streak >= rule.after:
            return RECOVERY
        return SUCCESS if SUCCESS in rule.on else ""
    if outcome == records.SKIPPED:
        return SKIP if SKIP in rule.on or reason in rule.on else ""
    if outcome == records.STOPPED:
        return STOP if STOP in rule.on else ""
    return FAILURE if _is_due(rule, outcome, streak) else ""


def _is_due(rule: Rule, outcome: str, streak: int | None) -> bool:
    """Tell whether a failure is told; where nobody knows how many there were, it is."""
    if FAILURE not in rule.on and outcome not in rule.on:
        return False
    if streak is None:
        return True
    return streak + 1 == rule.after if rule.changes else streak + 1 >= rule.after
