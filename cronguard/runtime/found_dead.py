"""Runs that nobody could report the end of: their keepers vanished, or their hosts did.

The run that comes after them does: the store has closed their records as abandoned when it was
granted its lease. They are read by the process that tells, as the keeper knows no history, and only
after a run that failures stand right before.

Exactly one run comes after a row of abandoned ones, so exactly one tells of them.
"""

from __future__ import annotations

import json

from cronguard.core import record as records
from cronguard.core import report
from cronguard.runtime import spool

_ENOUGH_RUNS = 100


def keep_reports(asked: dict[str, object], state: str) -> bool:
    """Keep a report of each abandoned run right before the one that asks; tell if there is any.

    *asked* has `store`, `namespace`, `job`, `run_id`, `config`, `to` (reporters) and `at` (when it
    has ended, in ms since the epoch: theirs are told before its own). Raises: whatever a store may.
    """
    from cronguard.stores.open import open_history  # noqa: PLC0415 - loads redis-py, perhaps

    namespace, job = str(asked["namespace"]), str(asked["job"])
    history = open_history(str(asked["store"]), namespace)
    try:
        runs = history.runs(job, _ENOUGH_RUNS)
    finally:
        history.close()
    found = abandoned_before(runs, str(asked["run_id"]))
    for number, (run, streak) in enumerate(found):
        at = int(str(asked["at"])) - len(found) + number
        run_id = str(run["run_id"])
        text = report.encode(
            json.dumps(run),
            kind="end",
            run_id=run_id,
            job=job,
            namespace=namespace,
            streak=streak,
            at=at,
            to=list(asked["to"]),  # type: ignore[call-overload]
            config=None if asked["config"] is None else str(asked["config"]),
        )
        spool.put(state, job, report.file_name(at, run_id, "end"), text)
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
