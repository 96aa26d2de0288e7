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

from cronguard.core import durations
from cronguard.core import record as records
from cronguard.runtime import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.runtime.asked import Asked

FOLDER = "usual"
_KEPT_SECONDS = 3600


def keep_report(asked: Asked) -> bool:
    """Keep a report of the run that asks, if it took unusually long or short; tell whether it did.

    Raises: whatever a store may.
    """
    text = durations.unusual(_usual(asked), json.loads(asked.record).get("duration_ms"))
    if text:
        asked.keep(asked.record, "warning", asked.run_id, asked.at + 1, warning=text)
    return bool(text)


def _usual(asked: Asked) -> tuple[int, int] | None:
    """Return what p5 and p95 of the successes are, in ms; None while there are too few."""
    path = notes.path_of(asked.state, FOLDER, asked.namespace, asked.job)
    try:
        if 0 <= time.time() - os.stat(path).st_mtime < _KEPT_SECONDS:
            with open(path, encoding="ascii") as file:
                found = json.load(file)
            return None if found is None else (int(found[0]), int(found[1]))
    except (OSError, ValueError, TypeError, LookupError):
        pass  # it is read anew
    runs = asked.history(records.KEPT_RUNS)
    usual = durations.usual([run for run in runs if run.get("run_id") != asked.run_id])
    with suppress(OSError):  # no room, or no right to: it is read anew then
        notes.keep(path, json.dumps(usual))
    return usual
