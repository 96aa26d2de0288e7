"""The ids of a run's trace and of its spans: the same for every reporter that has traces. Pure.

The run's id is the trace's, so that a trace is found by what every message names. Ids of spans are
hashes of it. So what is told twice is the same, and another run's trace is known by that run's id.
"""

from __future__ import annotations

from hashlib import sha256

_HEX = frozenset("0123456789abcdef")


def trace_id(run_id: str) -> str:
    """Return 32 hexadecimal digits, not all 0: the run's id, or a hash of one of another form."""
    is_one = len(run_id) == 32 and _HEX.issuperset(run_id) and int(run_id, 16)
    return run_id if is_one else _hash(run_id)[:32]


def span_id(run_id: str, which: str = "") -> str:
    """Return 16 hexadecimal digits for one span of a run; without *which*, for all of the run."""
    return _hash(f"{run_id}/{which}" if which else run_id)[:16]


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()
