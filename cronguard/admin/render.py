"""Facts to words. Pure: takes records, leases and the time, returns text.

Everything that a stranger may have written (job names, hosts, commands, reasons, output) comes
through `printable`, so that no terminal obeys it. Times are local, with their age; a time zone can
be given for tests.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, tzinfo

from cronguard.core.moments import wall_ms
from cronguard.core.words import printable, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.stores.contract import Lease

Record = dict[str, object]
RUN_ID_SHOWN = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def aligned(columns: list[str], rows: list[list[str]]) -> str:
    """Return a table as plain text: columns two spaces apart, nothing after the last."""
    table = [columns, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    lines = [
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def lines_of(text: str) -> str:
    """Return kept output for a terminal: its lines and tabs, and nothing a terminal obeys."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(
        "\t".join(printable(part, 1 << 30) for part in line.split("\t")) for line in lines
    )


def ago(then: int | None, now: int) -> str:
    """Return `4m10s ago`, or `-` when *then* is not known."""
    if not then:
        return "-"
    gone = now - then
    return f"{span(gone)} ago" if gone >= 0 else f"in {span(-gone)}"


def moment(then: int | None, now: int, zone: tzinfo | None = None) -> str:
    """Return a local time with its age: `2026-01-31 23:59:59 (4m10s ago)`; `-` for none."""
    if not then:
        return "-"
    try:
        local = datetime.fromtimestamp(then / 1000, UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return "-"  # before the year 1, or after 9999
    return f"{local:%Y-%m-%d %H:%M:%S} ({ago(then, now)})"


def when_of(record: Mapping[str, object]) -> int | None:
    """Return the latest moment that the record knows of."""
    known = (wall_ms(record.get(key)) for key in ("ended_at", "started_at", "queued_at"))
    return next((ms for ms in known if ms), None)


def short(run_id: object) -> str:
    """Return the first digits of a run id, as people type it."""
    return printable(run_id, 200)[:RUN_ID_SHOWN] if run_id else "-"


def word(value: object) -> str:
    """Return any value of a record in one printable line; `-` for nothing."""
    if value is None or value == "":
        return "-"
    if isinstance(value, list):
        return printable(shlex.join(str(item) for item in value), 2000)
    if isinstance(value, dict):
        return printable(", ".join(f"{k} {v}" for k, v in value.items() if v not in (None, "")))
    return printable(value)


def number(value: object) -> int:
    """Return a number of a record, or 0."""
    return value if isinstance(value, int) else 0


def size(count: int) -> str:
    """Return a number of bytes as people say it: `340 kB`, `12.3 MB`."""
    return f"{count / 1_048_576:.1f} MB" if count >= 1_048_576 else f"{count / 1024:.0f} kB"


def result(record: Mapping[str, object]) -> str:
    """Return how a run ended in a few words: `failed 3`, `skipped held`, `timed_out`."""
    outcome = word(record.get("outcome"))
    if outcome == "failed":
        signum = number(record.get("signal"))
        return (
            f"failed by signal {signum}" if signum else f"failed {word(record.get('exit_status'))}"
        )
    if outcome in ("skipped", "not_started"):
        return f"{outcome}: {word(record.get('reason'))}"[:60]
    return outcome


def holder(lease: Lease) -> str:
    """Return `web-3, pid 8121`."""
    return f"{word(lease.owner.host)}, pid {lease.owner.pid}"


def lease_json(lease: Lease) -> dict[str, object]:
    """Return a lease as JSON shows it."""
    owner = lease.owner
    return {
        "run_id": owner.run_id,
        "index": lease.index,
        "token": lease.token,
        "host": owner.host,
        "user": owner.user,
        "pid": owner.pid,
        "since_ms": owner.since_wall,
        "left_ms": lease.left,
        "quiet_ms": lease.quiet,
        "released": lease.released,
    }
