"""Successes that took unusually long or short, against the job's own history: as a warning.

Looked at by the process that tells, when the lock has been given back, and only where a reporter
wants to hear of warnings. What is usual is kept on this host for an hour, so that a job of each
minute does not have its history read each minute.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress

from cronguard.core import durations, report
from cronguard.core import record as records
from cronguard.runtime import notes, spool

FOLDER = "usual"
_KEPT_SECONDS = 3600


def keep_report(asked: dict[str, object], state: str) -> bool:
    """Keep a report of the run that asks, if it took unusually long or short; tell whether it did.

    *asked* is as for found_dead.py, with the run's `record`. Raises: whatever a store may.
    """
    record = str(asked["record"])
    run = json.loads(record)
    text = durations.unusual(_usual(asked, state), run.get("duration_ms"))
    if not text:
        return False
    job, run_id, at = str(asked["job"]), str(run["run_id"]), int(str(asked["at"])) + 1
    told = report.encode(
        record,
        kind="warning",
        run_id=run_id,
        job=job,
        namespace=str(asked["namespace"]),
        streak=0,
        at=at,
        to=list(asked["to"]),  # type: ignore[call-overload]
        config=None if asked["config"] is None else str(asked["config"]),
        warning=text,
    )
    spool.put(state, job, report.file_name(at, run_id, "warning"), told)
    return True


def _usual(asked: dict[str, object], state: str) -> tuple[int, int] | None:
    """Return what p5 and p95 of the successes are, in ms; None while there are too few."""
    path = notes.path_of(state, FOLDER, str(asked["namespace"]), str(asked["job"]))
    try:
        if 0 <= time.time() - os.stat(path).st_mtime < _KEPT_SECONDS:
            with open(path, encoding="ascii") as file:
                found = json.load(file)
            return None if found is None else (int(found[0]), int(found[1]))
    except (OSError, ValueError, TypeError, LookupError):
        pass  # it is read anew
    usual = _look(asked)
    with suppress(OSError):  # no room, or no right to: it is read anew then
        notes.keep(path, json.dumps(usual))
    return usual


def _look(asked: dict[str, object]) -> tuple[int, int] | None:
    from cronguard.stores.open import open_history  # noqa: PLC0415 - loads redis-py, perhaps

    history = open_history(str(asked["store"]), str(asked["namespace"]))
    try:
        runs = history.runs(str(asked["job"]), records.KEPT_RUNS)
    finally:
        history.close()
    return durations.usual([run for run in runs if run.get("run_id") != asked["run_id"]])
