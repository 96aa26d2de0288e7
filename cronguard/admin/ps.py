"""`cronguard ps`: the runs under way, in the whole fleet.

What a run uses is known where it runs: on other hosts there is no telling.
"""

from __future__ import annotations

import click

from cronguard.admin import render
from cronguard.admin.common import Here, say_damaged, wall_now, with_store
from cronguard.admin.figures import usual
from cronguard.admin.output import say_json, say_table
from cronguard.core.record import RUNNING, complete, utc
from cronguard.core.words import span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.admin.usage import Usage
    from cronguard.stores.contract import History, Lease, Overview

COLUMNS = [
    *("RUN", "JOB", "HOST", "PID", "AGE", "USUALLY", "CPU", "MEMORY", "HEARTBEAT", "LOCK LEFT"),
    *("WAITING", "COMMAND"),
]
_LOOKED_AT = 20
"""So many of its newest runs tell how long a job usually takes."""


class Live:
    """A run under way: its lease, its start record, how many wait for it, what it takes.

    `usual` how long its job usually takes, in ms; `usage` of its processes. Both None if not known.
    """

    def __init__(
        self,
        lease: Lease,
        record: render.Record,
        waiting: int,
        usual_ms: int | None = None,
        usage: Usage | None = None,
    ) -> None:
        self.lease = lease
        self.record = record
        self.waiting = waiting
        self.usual = usual_ms
        self.usage = usage

    def row(self, now: int, cpu: str = "") -> list[str]:
        """Return the run's line of the table; *cpu* in the place of its processor time so far."""
        lease, owner, usage = self.lease, self.lease.owner, self.usage
        age = now - owner.since_wall
        return [
            render.short(owner.run_id),
            render.word(lease.job),
            render.word(owner.host),
            str(owner.pid),
            span(age) if owner.since_wall and age >= 0 else "-",
            "-" if self.usual is None else span(self.usual),
            cpu or ("-" if usage is None else span(usage.cpu_ms)),
            "-" if usage is None else render.size(usage.rss_bytes),
            f"{span(lease.quiet)} ago",
            span(lease.left),
            str(self.waiting or "-"),
            render.word(self.record.get("command"))[:80],
        ]

    def as_json(self) -> dict[str, object]:
        """Return the record as it is stored, with the lease beside it."""
        return {
            **self.record,
            "lease": render.lease_json(self.lease),
            "queued": self.waiting,
            "usual_ms": self.usual,
            "usage": self.usage.as_json() if self.usage else None,
        }


class Scene:
    """What goes on: the runs, the oldest first; who waits, by job; why jobs cannot be read."""

    def __init__(self, runs: list[Live], waiting: dict[str, list[str]], damage: list[str]) -> None:
        self.runs = runs
        self.waiting = waiting
        self.damage = damage


def look(history: History) -> Scene:
    """Return what goes on now."""
    from cronguard.admin.usage import Processes  # noqa: PLC0415 - psutil, for this alone

    every = history.overview(history.jobs(), live=True)
    held = [job for job, seen in every.items() if any(not one.released for one in seen.leases)]
    usually = {job: usual(recent) for job, recent in history.recent(held, _LOOKED_AT).items()}
    processes = Processes()
    found = [
        Live(
            lease,
            start_record(seen, lease),
            len(seen.waiting),
            usually.get(job),
            processes.of(lease.owner),
        )
        for job, seen in every.items()
        for lease in seen.leases
        if not lease.released
    ]
    return Scene(
        sorted(found, key=lambda run: run.lease.owner.since_wall),
        {job: seen.waiting for job, seen in every.items() if seen.waiting},
        [seen.damage for seen in every.values() if seen.damage],
    )


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
    """Show the runs that are under way, on every host.

    USUALLY is the median of the job's recent successes. CPU (time so far) and MEMORY are those of
    the run's processes, and known on the host where they run.
    """
    with here.history() as history:
        scene = look(history)
    now = wall_now()
    if here.as_json:
        say_json([run.as_json() for run in scene.runs])
    else:
        say_table(COLUMNS, [run.row(now) for run in scene.runs], "Nothing runs.")
    return say_damaged(scene.damage)
