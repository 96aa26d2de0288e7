"""`cronguard show`: everything about one run."""

from __future__ import annotations

import click

from cronguard.admin import render
from cronguard.admin.common import Here, find_run, lease_of, wall_now, with_store
from cronguard.admin.output import say, say_json
from cronguard.core.moments import wall_ms
from cronguard.core.record import FIELDS
from cronguard.core.words import signal_name, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import Lease


def text(record: render.Record, lease: Lease | None, now: int) -> str:
    """Return the record's fields on a line each, without those that say nothing."""
    lines = []
    for name in FIELDS:
        value = record.get(name)
        if value is None or value == "" or name == "output_tail":
            continue
        lines.append(f"{name:<14}  {_field(name, value, now)}")
    if lease is not None:
        held = f"held for {span(lease.left)} more, last heartbeat {span(lease.quiet)} ago"
        lines.append(f"{'lock':<14}  {held}")
    if record.get("output_tail"):
        lines.append(f"{'output':<14}  see `cronguard logs {render.short(record.get('run_id'))}`")
    return "\n".join(lines)


def _field(name: str, value: object, now: int) -> str:
    if name == "attempts" and isinstance(value, list):
        return "; ".join([_attempt(one) for one in value]) or "-"
    if name.endswith("_at"):
        return render.moment(wall_ms(value), now)
    if name.endswith("_ms") and isinstance(value, int):
        return span(value)
    return render.word(value)


def _attempt(one: object) -> str:
    """Return `2: exited with 1 after 3.5s`, as far as it is known."""
    if not isinstance(one, dict):
        return render.word(one)
    begun, ended = (wall_ms(one.get(key)) for key in ("started_at", "ended_at"))
    signum = render.number(one.get("signal"))
    status = one.get("exit_status")
    how = f"exited with {render.word(status)}" if status is not None else "did not end by itself"
    if signum:
        how = f"was ended by {signal_name(signum)}"
    if begun is None:
        how = f"could not be started ({render.word(status)})"
    lasted = f" after {span(ended - begun)}" if ended and begun and ended >= begun else ""
    return f"{render.word(one.get('attempt'))}: {how}{lasted}"


@click.command()
@click.argument("run")
@with_store
def command(*, here: Here, run: str) -> int:
    """Show everything about RUN: the first digits of its id, or a job for its newest run."""
    with here.history() as history:
        record = find_run(history, run)
        if isinstance(record, int):
            return record
        lease = lease_of(history, record)
    if here.as_json:
        say_json({**record, "lease": render.lease_json(lease) if lease else None})
    else:
        say(text(record, lease, wall_now()))
    return 0
