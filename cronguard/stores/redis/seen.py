"""What the server keeps of a job, in bytes, as the values that readers get."""

from __future__ import annotations

from typing import Any

from cronguard.core.decode import readable
from cronguard.stores.contract import Lease, Overview
from cronguard.stores.redis.answers import Held

_DIGITS = 19


def lease(job: str, index: int, value: bytes, left: int, is_open: int) -> Lease:
    """Return a lease from a row of the script `overview`."""
    held = Held(value)
    return Lease(
        job=job,
        index=index,
        owner=held.owner,
        token=held.token,
        px=held.px,
        left=left,
        released=not is_open,
    )


def overview(
    job: str,
    rows: list[Any],
    waiting: list[bytes],
    newest: bytes | None,
    counters: list[bytes],
    others: list[bytes],
    pause: bytes | None = None,
) -> Overview:
    """Return what the script `overview` found of a job."""
    last = readable(newest) or None
    found = [readable(text) for text in others]
    records = [one for one in found if one] + ([last] if last else [])
    by_run = {str(record.get("run_id")): record for record in records}
    leases = [lease(job, *row) for row in rows]
    held = {one.owner.run_id for one in leases}
    return Overview(
        leases,
        [run_id.decode("utf-8", "replace") for run_id in waiting],
        last,
        counts(counters),
        {run_id: record for run_id, record in by_run.items() if run_id in held},
        paused=readable(pause) or None,
    )


def counts(fields: list[bytes] | dict[bytes, bytes]) -> dict[str, int]:
    """Return a job's counters; 0 for what is no number."""
    if isinstance(fields, list):
        fields = dict(zip(fields[::2], fields[1::2], strict=True))
    return {name.decode("utf-8", "replace"): _count(value) for name, value in fields.items()}


def _count(value: bytes) -> int:
    return int(value) if value.removeprefix(b"-").isdigit() and len(value) < _DIGITS else 0
