"""`cronguard stop`: leave word for a run to stop, wherever it is; with --wait until it has."""

from __future__ import annotations

import time

import click

from cronguard.admin import render
from cronguard.admin.common import Here, by, find_run, is_job, lease_of, with_store
from cronguard.admin.output import say, say_error, say_json
from cronguard.config import values
from cronguard.core import exits
from cronguard.core.words import printable, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import History, Lease

_POLL_S = 0.2


def targets(history: History, text: str) -> list[Lease] | int:
    """Return the leases of the runs that *text* means (a job or a run id), or the status."""
    if is_job(history, text):
        live = [lease for lease in history.leases([text])[text] if not lease.released]
        if live:
            return live
        waiting = history.waiters(text)
        hint = (
            f"  {len(waiting)} wait in its queue: end them where they were started."
            if waiting
            else f"  `cronguard history {text}` lists its runs."
        )
        return say_error(f"{text}: it does not run, so there is nothing to stop.\n{hint}", exits.NO)
    record = find_run(history, text)
    if isinstance(record, int):
        return record
    lease = lease_of(history, record)
    if lease is None:
        ended = f"{render.result(record)}, {render.word(record.get('ended_at'))}"
        who = f"{render.word(record.get('job'))}: run {render.short(record.get('run_id'))}"
        return say_error(f"{who} does not run any more ({ended}).", exits.NO)
    return [lease]


def still_live(history: History, leases: list[Lease]) -> list[Lease]:
    """Return those of *leases* whose runs hold them still."""
    jobs = sorted({lease.job for lease in leases})
    live = {
        lease.owner.run_id
        for found in history.leases(jobs).values()
        for lease in found
        if not lease.released
    }
    return [lease for lease in leases if lease.owner.run_id in live]


def wait_for_end(history: History, leases: list[Lease], limit_ms: int | None) -> list[Lease]:
    """Poll until the runs are over; return those that are not after *limit_ms*."""
    until = None if limit_ms is None else time.monotonic() + limit_ms / 1000
    left = still_live(history, leases)
    while left and (until is None or time.monotonic() < until):
        time.sleep(_POLL_S)
        left = still_live(history, left)
    return left


def limit(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    """Return what `--timeout` says in ms, or None without it."""
    if text is None:
        return None
    try:
        return values.limit(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _asked(lease: Lease) -> str:
    return (
        f"{printable(lease.job)}: asked run {render.short(lease.owner.run_id)} to stop "
        f"({render.holder(lease)}, last heartbeat {span(lease.quiet)} ago)."
    )


@click.command()
@click.argument("what", metavar="JOB|RUN")
@click.option("--wait", is_flag=True, help="Return only when it has ended.")
@click.option("--timeout", callback=limit, metavar="DUR", help="With --wait: no longer than this.")
@with_store
def command(*, here: Here, what: str, wait: bool, timeout: int | None) -> int:
    """Ask all runs of JOB, or the run whose id begins with RUN, to stop: TERM, then KILL."""
    with here.history() as history:
        found = targets(history, what)
        if isinstance(found, int):
            return found
        for lease in found:
            history.ask_stop(lease.job, lease.owner.run_id, by())
            if not here.as_json:
                say(_asked(lease))
        left = wait_for_end(history, found, timeout) if wait else []
    gone = {lease.owner.run_id for lease in left}
    if here.as_json:
        asked = [{**render.lease_json(lease), "job": lease.job} for lease in found]
        for one in asked:
            one["ended"] = wait and one["run_id"] not in gone
        say_json(asked)
    elif wait and not left:
        say("Stopped.")
    if left:
        waited = span(timeout or 0)
        who = ", ".join(render.holder(lease) for lease in left)
        return say_error(
            f"still running after {waited}: {who}.\n  It gets KILL after its --kill-after; "
            "`cronguard ps` shows it.",
            exits.NO,
        )
    return exits.DONE
