"""`cronguard status`: each job on a line."""

from __future__ import annotations

import os

import click

from cronguard.admin import render
from cronguard.admin.common import Here, is_job, no_such_job, say_damaged, wall_now, with_store
from cronguard.admin.due import Due, Dues
from cronguard.admin.output import say, say_json, say_table
from cronguard.admin.pause import pause_json, pause_text, standing
from cronguard.admin.progress import parts
from cronguard.config.options import ConfigError
from cronguard.config.resolve import Settings
from cronguard.core.record import utc
from cronguard.core.words import printable, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import History, Overview

_COLUMNS = [
    *("JOB", "STATE", "HOLDER", "SINCE", "LOCK LEFT", "LAST", "WHEN", "SKIPS", "LAST SUCCESS"),
    "NEXT DUE",
]
_AT_A_TIME = 1000


class JobState:
    """What the store knows of one job now, and when it is next due, if anybody said."""

    def __init__(self, job: str, found: Overview, now: int, due: Due | None) -> None:
        self.job = job
        self.leases = found.leases
        self.waiting = found.waiting
        self.last = found.last
        self.counters = found.counters
        self.damage = found.damage
        self.paused = standing(found.paused, now)
        self.due_from = due.source if due else None
        self.next_due = due.after(now) if due else None

    @property
    def skips(self) -> int:
        """How many runs were skipped since the last one started."""
        return self.counters.get("skips_since_run", 0)

    @property
    def state(self) -> str:
        """`running`, `held` (over, but --min-hold keeps the lock), `paused` or `idle`; who waits.

        `damaged` where the store cannot read what it has of the job.
        """
        if self.damage:
            return "damaged"
        live = any(not lease.released for lease in self.leases)
        none = "paused" if self.paused else "idle"
        word = "running" if live else "held" if self.leases else none
        words = [word, "paused"] if self.paused and word != none else [word]
        return ", ".join([*words, *([f"queued {len(self.waiting)}"] if self.waiting else [])])

    def row(self, now: int) -> list[str]:
        """Return the job's line of the table."""
        first = self.leases[0] if self.leases else None
        last = self.last or {}
        return [
            render.word(self.job),
            self.state,
            "; ".join(render.holder(lease) for lease in self.leases) or "-",
            render.ago(first.owner.since_wall, now) if first else "-",
            span(first.left) if first else "-",
            render.result(last) if last else "-",
            render.ago(render.when_of(last), now),
            str(self.skips or "-"),
            render.ago(self.counters.get("last_success"), now),
            render.ago(self.next_due, now),
        ]

    def as_json(self) -> dict[str, object]:
        """Return the same for programs."""
        first = self.leases[0] if self.leases else None
        succeeded = self.counters.get("last_success", 0)
        return {
            "job": self.job,
            "state": self.state.partition(",")[0],
            "queued": len(self.waiting),
            "waiting": self.waiting,
            "leases": [render.lease_json(lease) for lease in self.leases],
            "lock_left_ms": first.left if first else None,
            "paused": pause_json(self.paused),
            "last": self.last,
            "last_success": utc(succeeded) if succeeded > 0 else None,
            "skips_since_run": self.skips,
            "next_due": utc(self.next_due) if self.next_due else None,
            "due_from": self.due_from,
            "counters": self.counters,
            "damage": self.damage or None,
        }


def states(here: Here, seen: dict[str, Overview], now: int) -> list[JobState]:
    """Return the state of each job. A section that is wrong tells nothing of when it is due."""
    dues = Dues(Settings(here.flags, os.environ))
    found = []
    for job, overview in seen.items():
        try:
            due = dues.of(job, overview.last)
        except ConfigError:
            due = None
        found.append(JobState(job, overview, now, due))
    return found


def overviews(history: History, jobs: list[str]) -> dict[str, Overview]:
    """Return what the store knows of *jobs*, and show how far it is if they are that many."""
    found: dict[str, Overview] = {}
    for some in parts(jobs, _AT_A_TIME, "reading jobs"):
        found |= history.overview(some)
    return found


@click.command()
@click.argument("job", required=False, default="")
@with_store
def command(*, here: Here, job: str) -> int:
    """Show each job (or JOB): running or not, by whom, how the last run ended, when it is due.

    When it is due is known from the schedule (or the period of `once`) in its section of the
    configuration, or else from the one that its newest run was started with.
    """
    with here.history(job) as history:
        if job and not is_job(history, job):
            return no_such_job(history, job)
        seen = overviews(history, [job] if job else history.jobs())
        label = history.label
    now = wall_now()
    found = states(here, seen, now)
    if here.as_json:
        say_json([state.as_json() for state in found])
    else:
        empty = f"No job ever ran with {label}."
        say_table(_COLUMNS, [state.row(now) for state in found], empty)
        for state in found:
            if state.paused:
                say(f"{printable(state.job)}: {pause_text(state.paused, now)}.")
    return say_damaged([state.damage for state in found if state.damage])
