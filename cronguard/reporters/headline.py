"""What a report is, in a few words: for subjects, log lines, names of things. Pure."""

from __future__ import annotations

from cronguard.core import record as records
from cronguard.core import telling
from cronguard.core.words import printable, signal_name, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.reporters.contract import Report

LONGEST = 300
_FAILURES = {
    records.TIMED_OUT: "timed out",
    records.LEASE_LOST: "lost its lock, and was stopped",
    records.NOT_STARTED: "could not be started",
    records.STORE_UNAVAILABLE: "was not started: the store could not be reached",
    records.ABANDONED: "vanished: cronguard was killed, or its host went down",
}


def headline(report: Report) -> str:
    """Return what has become of the run, to be put behind the job's name: `failed (exit 3)`."""
    return printable(_headline(report), LONGEST)


def took(report: Report) -> str:
    """Return ` after 1m12s`, or nothing where that is not known."""
    ms = report.number("duration_ms")
    return f" after {span(ms)}" if ms is not None and ms >= 0 else ""


def _headline(report: Report) -> str:
    reason = report.text("reason")
    because = f": {reason}" if reason else ""
    match report.event:
        case telling.START:
            return "started"
        case telling.SUCCESS:
            return f"succeeded{took(report)}"
        case telling.RECOVERY:
            return f"succeeded again{_had_failed(report)}"
        case telling.STOP:
            return f"was stopped{took(report)}{because}"
        case telling.SKIP:
            return f"was skipped{because}"
        case telling.WARNING | telling.MISSED:
            return report.warning or "warns"
        case _:
            return f"{_failure(report)}{because}{_in_a_row(report)}"


def _failure(report: Report) -> str:
    outcome = report.text("outcome")
    if outcome in (records.TIMED_OUT, records.LEASE_LOST):
        return f"{_FAILURES[outcome]}{took(report)}"
    if outcome != records.FAILED:
        return _FAILURES.get(outcome, f"ended: {outcome}")
    signum, status = report.number("signal"), report.number("exit_status")
    if signum:
        return f"failed (killed by {signal_name(signum)})"
    return "failed" if status is None else f"failed (exit {status})"


def _in_a_row(report: Report) -> str:
    count = report.failures or 0
    return f" ({count} failures in a row)" if count > 1 else ""


def _had_failed(report: Report) -> str:
    count = report.failures or 0
    return f" (after {count} failure{'s' if count > 1 else ''})" if count else ""
