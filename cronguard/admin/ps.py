"""`cronguard ps`: the runs under way, in the whole fleet."""

from __future__ import annotations

import click

from cronguard.admin import render
from cronguard.admin.common import Here, say_damaged, wall_now, with_store
from cronguard.admin.output import say_json, say_table
from cronguard.core.messages import span
from cronguard.core.record import RUNNING, complete, utc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import History, Lease, Overview

_COLUMNS = ["RUN", "JOB", "HOST", "PID", "AGE", "HEARTBEAT", "LOCK LEFT", "WAITING", "COMMAND"]


class Live:
    """A run under way: its lease, its start record, and how many wait for it."""

    def __init__(self, lease: Lease, record: render.Record, waiting: int) -> None:
        self.lease = lease
        self.record = record
        self.waiting = waiting

    def row(self, now: int) -> list[str]:
        """Return the run's line of the table."""
        lease, owner = self.lease, self.lease.owner
        age = now - owner.since_wall
        return [
            render.short(owner.run_id),
            render.word(lease.job),
            render.word(owner.host),
            str(owner.pid),
            span(age) if owner.since_wall and age >= 0 else "-",
            f"{span(lease.quiet)} ago",
            span(lease.left),
            str(self.waiting or "-"),
            render.word(self.record.get("command"))[:80],
        ]

    def as_json(self) -> dict[str, object]:
        """Return the record as it is stored, with the lease beside it."""
        return {**self.record, "lease": render.lease_json(self.lease), "queued": self.waiting}


def live_runs(history: History) -> tuple[list[Live], list[str]]:
    """Return every run that holds a lease, the oldest first, and why jobs cannot be read."""
    every = history.overview(history.jobs(), live=True).values()
    found = [
        Live(lease, start_record(seen, lease), len(seen.waiting))
        for seen in every
        for lease in seen.leases
        if not lease.released
    ]
    damage = [seen.damage for seen in every if seen.damage]
    return sorted(found, key=lambda run: run.lease.owner.since_wall), damage


def start_record(seen: Overview, lease: Lease) -> render.Record:
    """Return the record of a lease's run; if the store lost it, what the lease itself tells."""
    owner = lease.owner
    if owner.run_id in seen.records:
        return seen.records[owner.run_id]
    facts = {"host": owner.host, "user": owner.user, "pid": owner.pid, "outcome": RUNNING}
    since = utc(owner.since_wall) if owner.since_wall else None
    return complete(
        {
            **facts,
            "job": lease.job,
            "run_id": owner.run_id,
            "token": lease.token,
            "started_at": since,
        }
    )


@click.command()
@with_store
def command(*, here: Here) -> int:
    """Show the runs that are under way, on every host."""
    with here.history() as history:
        found, damage = live_runs(history)
    now = wall_now()
    if here.as_json:
        say_json([run.as_json() for run in found])
    else:
        say_table(_COLUMNS, [run.row(now) for run in found], "Nothing runs.")
    return say_damaged(damage)
