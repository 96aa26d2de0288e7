"""`cronguard pause`: no run of a job starts until it is resumed, or for a while.

What runs goes on. A run that would start is skipped, `paused`, and says until when, by whom and
why.
"""

from __future__ import annotations

import click

from cronguard.admin import render
from cronguard.admin.common import Here, by, is_job, no_such_job, wall_now, with_store
from cronguard.admin.output import say, say_json
from cronguard.config import values
from cronguard.core import exits
from cronguard.core.words import printable, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import Lease

_REASON_LENGTH = 500


def standing(pause: dict[str, object] | None, now: int) -> dict[str, object] | None:
    """Return what a store has of a pause, or None if there is none or its time is over."""
    until = pause.get("until") if pause else None
    return None if isinstance(until, int) and until <= now else pause


def pause_text(pause: dict[str, object], now: int) -> str:
    """Return `paused until 2026-01-31 23:59:59 (in 1h00m) by ann@desk: moving house`."""
    until, by_whom, reason = (pause.get(key) for key in ("until", "by", "reason"))
    text = f"until {render.moment(until, now)}" if isinstance(until, int) else "until resumed"
    text += f" by {printable(by_whom)}" if by_whom else ""
    return f"paused {text}: {printable(reason, _REASON_LENGTH)}" if reason else f"paused {text}"


def pause_json(pause: dict[str, object] | None) -> dict[str, object] | None:
    """Return a pause as JSON shows it: `until_ms` since the epoch, or null for until resumed."""
    if pause is None:
        return None
    return {
        "until_ms": pause.get("until"),
        "reason": pause.get("reason") or None,
        "by": pause.get("by") or None,
    }


def _duration(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return values.positive(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _reason(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    if len(text) > _REASON_LENGTH or "\0" in text:
        raise click.BadParameter(f"it is text of up to {_REASON_LENGTH} letters, without NUL")
    return text


def _goes_on(lease: Lease) -> str:
    age = span(max(wall_now() - lease.owner.since_wall, 0))
    return f"  The run under way goes on: {render.holder(lease)}, for {age}."


@click.command()
@click.argument("job")
@click.option("--for", "lasts", callback=_duration, metavar="DUR", help="End it after so long.")
@click.option("--reason", callback=_reason, default="", metavar="TEXT", help="Why, for the others.")
@with_store
def command(*, here: Here, job: str, lasts: int | None, reason: str) -> int:
    """Let no run of JOB start until `cronguard resume JOB`; what runs goes on.

    A job that is paused already gets the new time and reason.
    """
    with here.history(job) as history:
        if not is_job(history, job):
            return no_such_job(history, job)
        now = wall_now()
        until = None if lasts is None else now + lasts
        history.pause(job, until, reason, by())
        live = [lease for lease in history.leases([job])[job] if not lease.released]
    pause: dict[str, object] = {"until": until, "reason": reason, "by": by()}
    if here.as_json:
        running = [render.lease_json(lease) for lease in live]
        say_json({"job": job, "paused": pause_json(pause), "running": running})
    else:
        hint = f"  `cronguard resume {job}` lets it run again."
        lines = [f"{job}: {pause_text(pause, now)}.", *map(_goes_on, live), hint]
        say("\n".join(lines))
    return exits.DONE
