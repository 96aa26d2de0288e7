"""A report: what is told of a run, as it waits on this host for its reporters. JSON, schema 1.

    {"schema": 1, "run_id": "…", "job": "…", "namespace": "cg", "kind": "end", "streak": 0,
     "at": 1767225600000, "to": ["slack"], "config": null, "warning": null, "released_at": null,
     "record": {…}}

`kind` is one of KINDS · `at` when it was written, in ms since the epoch · `to` which
reporters have not been told yet · `config` the --config of the run · `released_at` when the lock
had been given back, which the record, that goes with it, cannot tell · `record` as in
core/record.py.

A file each, in a folder for the job; the names sort in the order in which they are to be told.
"""

from __future__ import annotations

from cronguard.core import record as records

SCHEMA = 1
FOLDER = "spool"
ENDING = ".json"
KINDS = ("start", "warning", "end", "missed")
MOST_BYTES = 1 << 20
"""More than any report of ours takes."""


def encode(
    record: str,
    *,
    kind: str,
    run_id: str,
    job: str,
    namespace: str,
    streak: int | None,
    at: int,
    to: list[str],
    config: str | None,
    warning: str | None = None,
    released_at: int | None = None,
) -> str:
    """Return a report with this encoded *record*."""
    head = records.encode(
        {
            "schema": SCHEMA,
            "run_id": run_id,
            "job": job,
            "namespace": namespace,
            "kind": kind,
            "streak": streak,
            "at": at,
            "to": to,
            "config": config,
            "warning": warning,
            "released_at": released_at,
        }
    )
    return f'{head[:-1]},"record":{record}}}'


def file_name(at: int, run_id: str, kind: str) -> str:
    """Return the name of a report's file: in the order of time, and of one run's reports."""
    return f"{at:014d}-{KINDS.index(kind)}-{run_id}{ENDING}"
