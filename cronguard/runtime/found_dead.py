"""Runs that nobody could report the end of: their keepers vanished, or their hosts did.

The run that comes after them does: the store has closed their records as abandoned when it was
granted its lease. They are read by the process that tells, as the keeper knows no history, and only
after a run that failures stand right before.

Exactly one run comes after a row of abandoned ones, so exactly one tells of them.
"""

from __future__ import annotations

import json

from cronguard.core import record as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.runtime.asked import Asked

_ENOUGH_RUNS = 100


def keep_reports(asked: Asked) -> bool:
    """Keep a report of each abandoned run right before the one that asks; tell if there is any.

    They are told before its own. Raises: whatever a store may.
    """
    found = abandoned_before(asked.history(_ENOUGH_RUNS), asked.run_id)
    for number, (run, streak) in enumerate(found):
        at = asked.at - len(found) + number
        asked.keep(json.dumps(run), "end", str(run["run_id"]), at, streak=streak)
    return bool(found)


def abandoned_before(
    runs: list[dict[str, object]], run_id: str
) -> list[tuple[dict[str, object], int]]:
    """Return the abandoned runs right before a run, each with how many failures were before it.

    *runs* are records, newest first; the oldest comes first in what is returned.
    """
    ids = [run.get("run_id") for run in runs]
    if run_id not in ids:
        return []
    older = runs[ids.index(run_id) + 1 :]
    failures = 0
    while failures < len(older) and records.is_failure(str(older[failures].get("outcome"))):
        failures += 1
    found = []
    for at, run in enumerate(older):
        if run.get("outcome") != records.ABANDONED:
            break
        found.append((run, failures - at - 1))
    return found[::-1]
