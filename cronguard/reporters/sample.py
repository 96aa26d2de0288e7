"""A report of a run that never was: what `cronguard report test` sends."""

from __future__ import annotations

import os
from uuid import uuid4

from cronguard import __version__
from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters.contract import Report

JOB = "cronguard-test"
_RAN_MS = 2_000
_OUTCOMES = {
    telling.START: records.RUNNING,
    telling.SUCCESS: records.SUCCEEDED,
    telling.RECOVERY: records.SUCCEEDED,
    telling.FAILURE: records.FAILED,
    telling.STOP: records.STOPPED,
    telling.SKIP: records.SKIPPED,
    telling.WARNING: records.SUCCEEDED,
    telling.MISSED: records.SUCCEEDED,
}
_FAILURES = {telling.RECOVERY: 2, telling.FAILURE: 1}


def report(event: str, job: str, namespace: str, now: int) -> Report:
    """Return a sample of *event*; *now* in ms since the epoch."""
    outcome = _OUTCOMES[event]
    facts: dict[str, object] = {
        "job": job,
        "run_id": uuid4().hex,
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "command": ["cronguard", "report", "test"],
        "attempt": 1,
        "queued_at": records.utc(now - _RAN_MS),
        "outcome": outcome,
        "reason": "a sample, sent by `cronguard report test`",
        "version": __version__,
    }
    if outcome == records.SKIPPED:
        facts["reason"] = "held"
    else:
        facts["started_at"] = records.utc(now - _RAN_MS)
    if outcome != records.RUNNING:
        facts |= {"ended_at": records.utc(now), "wait_ms": 0}
    if outcome in (records.SUCCEEDED, records.FAILED, records.STOPPED):
        text = f"{job}: this is no real run, but a sample\n"
        facts |= {
            "duration_ms": _RAN_MS,
            "exit_status": 0 if outcome == records.SUCCEEDED else 1,
            "output_bytes": len(text),
            "output_tail": text,
        }
    return Report(
        event,
        records.complete(facts),
        namespace=namespace,
        at=now,
        failures=_FAILURES.get(event, 0),
        warning="a sample of a warning" if event in telling.WARNINGS else None,
    )
