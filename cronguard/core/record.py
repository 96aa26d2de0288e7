"""The record of a run: what is stored of how it started and ended. JSON, schema 1.

Stores change three things in the stored text without parsing it: at the grant they put the token in
the place of `"token":null` and the slot in that of `"slot":null`, and for a keeper that vanished
they put `abandoned` in the place of `"outcome":"running"`. All are unambiguous, as a quote inside a
JSON string is escaped.

`schedule` is what the run was told of when its job is due, so that any host can tell when a run is
missing: `{"once_ms": 300000, "cron": null, "tz": null}` with a period, `{"once_ms": null, "cron":
"30 2 * * *", "tz": "Europe/Berlin"}` with a schedule, null with neither. The zone is `local` where
that of the run's host has no name.

`stopping_at` is when the stop of what was left of the command began, if it was stopped.

`warnings` is what was odd about a run that went on: `[{"at": "2026-01-31T23:59:59.123Z", "text":
"still running after 10m"}]`, the first and the last ones of many; null without any.

`limits` is what it was limited to, of `nice`, `ionice`, `rlimit_as_bytes`, `memory_max_bytes` and
`cpu_quota_percent`, and in `unmet` the names of those of them that could not be had; null without
any.
"""

from __future__ import annotations

from _json import encode_basestring_ascii as _quote  # the C core: `json` costs 7 ms at start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1

RUNNING = "running"
SUCCEEDED = "succeeded"
FAILED = "failed"
TIMED_OUT = "timed_out"
STOPPED = "stopped"
LEASE_LOST = "lease_lost"
SKIPPED = "skipped"
NOT_STARTED = "not_started"
STORE_UNAVAILABLE = "store_unavailable"
ABANDONED = "abandoned"
OUTCOMES = {
    RUNNING: "the command runs",
    SUCCEEDED: "the command ended with status 0, or another of --success-exit-status",
    FAILED: "the command ended with another status, by a signal of its own, or counts as failed",
    TIMED_OUT: "it ran longer than --timeout and was stopped",
    STOPPED: "a signal to cronguard, or an operator, stopped it",
    LEASE_LOST: "the lock was lost while it ran, and it was stopped",
    SKIPPED: "it did not start: another run held the lock, or the wait for it ended",
    NOT_STARTED: "the command could not be started",
    STORE_UNAVAILABLE: "the store could not be reached, and it was not started",
    ABANDONED: "cronguard itself vanished while it ran (killed, or the host went down)",
}
KEPT_RUNS = 200
KEPT_FAILURES = 50
KEPT_SKIPS = 50

FIELDS = (
    "schema",
    "job",
    "run_id",
    "host",
    "user",
    "pid",
    "command",
    "slot",
    "schedule",
    "attempt",
    "attempts",
    "timeout_ms",
    "queued_at",
    "started_at",
    "stopping_at",
    "ended_at",
    "wait_ms",
    "duration_ms",
    "outcome",
    "reason",
    "exit_status",
    "signal",
    "token",
    "renewals",
    "renew_failures",
    "longest_gap_ms",
    "cpu_user_ms",
    "cpu_system_ms",
    "max_rss_bytes",
    "stragglers",
    "warnings",
    "limits",
    "output_bytes",
    "output_tail",
    "holder",
    "store",
    "version",
)
_OPEN = f'"outcome":"{RUNNING}"'
_CLOSED = f'"outcome":"{ABANDONED}"'


def encode(value: object) -> str:
    """Return *value* as compact JSON in ASCII: strings, ints, None, bools, lists and dicts."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return str(_quote(value))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{_quote(k)}:{encode(v)}" for k, v in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([encode(v) for v in value]) + "]"
    raise TypeError(f"a record cannot hold {type(value).__name__}")


def complete(facts: Mapping[str, object]) -> dict[str, object]:
    """Return the record with all its fields in order; what *facts* lacks is None."""
    record: dict[str, object] = {name: facts.get(name) for name in FIELDS}
    record["schema"] = SCHEMA
    return record


def with_token(text: str, token: int) -> str:
    """Return the encoded start record with the token that the grant gave."""
    return text.replace('"token":null', f'"token":{token}', 1)


def with_slot(text: str, slot: int) -> str:
    """Return the encoded start record with the slot that the grant used up."""
    return text.replace('"slot":null', f'"slot":"{utc(slot)}"', 1)


def as_abandoned(text: str) -> str:
    """Return the encoded record of a run whose keeper vanished, closed."""
    return text.replace(_OPEN, _CLOSED, 1)


def is_failure(outcome: str) -> bool:
    """Tell whether *outcome* is kept among the failures when newer runs push it out."""
    return outcome not in (RUNNING, SUCCEEDED, SKIPPED)


def utc(wall_ms: int) -> str:
    """Return a moment, in ms since the epoch, as `2026-01-31T23:59:59.123Z`."""
    days, rest = divmod(wall_ms, 86_400_000)
    hours, rest = divmod(rest, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    seconds, ms = divmod(rest, 1000)
    year, month, day = _civil(days)
    return f"{year:04d}-{month:02d}-{day:02d}T{hours:02d}:{minutes:02d}:{seconds:02d}.{ms:03d}Z"


def _civil(days: int) -> tuple[int, int, int]:
    """Turn days since 1970-01-01 into a date of the proleptic Gregorian calendar.

    Counts in eras of 400 years that begin on a first of March, so that the leap day comes last.
    """
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month += 3 if month < 10 else -9
    return era * 400 + year + (month <= 2), month, day + 1
