"""Reports for tests: of runs that start, end, skip and warn."""

from __future__ import annotations

import uuid

from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters.contract import Report

AT = 1_767_225_600_000
"""2026-01-01 00:00 UTC, in ms."""
HOSTILE = 'a"b\\c\nd} 1|c|#x:y,z\r\n\x00\x1b[31m\udc80\u202e{}'


def run_id() -> str:
    """Return the id of another run."""
    return uuid.uuid4().hex


def report(
    event: str,
    outcome: str,
    *,
    at: int = AT,
    failures: int | None = 0,
    namespace: str = "cg",
    warning: str | None = None,
    **facts: object,
) -> Report:
    """Return a report of that event, with *facts* in its record."""
    known: dict[str, object] = {
        "job": "backup",
        "run_id": run_id(),
        "host": "web-3",
        "user": "alice",
        "outcome": outcome,
        "version": "1",
    }
    record = records.complete(known | facts)
    return Report(event, record, namespace=namespace, at=at, failures=failures, warning=warning)


def started(run: str, *, at: int = AT, **facts: object) -> Report:
    """Return what is told at the start of a run."""
    facts = {"started_at": records.utc(at), "pid": 0, "run_id": run} | facts
    return report(telling.START, records.RUNNING, at=at, **facts)  # type: ignore[arg-type]


def ended(
    outcome: str = records.SUCCEEDED,
    *,
    event: str = "",
    at: int = AT,
    took: int = 1500,
    failures: int | None = None,
    **facts: object,
) -> Report:
    """Return what is told at the end of a run that took so many ms and ended at *at*."""
    is_failed = outcome in telling.FAILURES
    plain = telling.FAILURE if is_failed else telling.SUCCESS
    event = event or {records.STOPPED: telling.STOP}.get(outcome, plain)
    usual: dict[str, object] = {
        "started_at": records.utc(at - took),
        "ended_at": records.utc(at),
        "exit_status": int(is_failed),
        "duration_ms": took,
        "wait_ms": 40,
        "longest_gap_ms": 5200,
        "cpu_user_ms": 1200,
        "cpu_system_ms": 300,
        "max_rss_bytes": 7_000_000,
    }
    failures = int(is_failed) if failures is None else failures
    return report(event, outcome, at=at, failures=failures, **(usual | facts))  # type: ignore[arg-type]


def skipped(reason: str = "held", **facts: object) -> Report:
    """Return what is told of a run that was skipped."""
    return report(telling.SKIP, records.SKIPPED, reason=reason, failures=None, **facts)  # type: ignore[arg-type]


def warned(run: str, **facts: object) -> Report:
    """Return a warning of a run that is under way."""
    facts = {"run_id": run, "warning": "still running"} | facts
    return report(telling.WARNING, records.RUNNING, **facts)  # type: ignore[arg-type]
