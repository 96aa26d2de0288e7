"""`cronguard reset`: forget all about a job, or about all jobs of the namespace.

What keeps runs apart is not forgotten: the last token, or a fenced resource would refuse the next
run; the slots that are used up, or a job would run twice in one; the lock that min_hold keeps.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from cronguard.admin import render
from cronguard.admin.common import Here, by, is_job, no_such_job, say_damaged, wall_now, with_store
from cronguard.admin.output import say, say_error, say_json
from cronguard.admin.pause import standing
from cronguard.admin.progress import each, parts
from cronguard.admin.stop import limit, wait_for_end
from cronguard.config.resolve import place
from cronguard.core import exits
from cronguard.core.record import OUTCOMES
from cronguard.core.words import printable, span
from cronguard.stores.contract import Damaged

if TYPE_CHECKING:
    from cronguard.stores.contract import History, Lease, Overview

_AT_A_TIME = 1000


class Loss:
    """What a reset takes away, added up over jobs."""

    def __init__(self) -> None:
        self.jobs = 0
        self.counted = 0
        self.waiting = 0
        self.paused = 0
        self.live: list[Lease] = []

    def add(self, seen: Overview, now: int) -> None:
        """Add one job."""
        self.jobs += 1
        self.counted += sum(n for name, n in seen.counters.items() if name in OUTCOMES)
        self.waiting += len(seen.waiting)
        self.paused += standing(seen.paused, now) is not None
        self.live += [lease for lease in seen.leases if not lease.released]

    def text(self) -> str:
        """Return what will be lost, as a sentence."""
        lost = [f"the records and counters of {_many(self.counted, 'run')}, skips among them"]
        lost += [f"the queue of {self.waiting}"] if self.waiting else []
        lost += [_many(self.paused, "pause")] if self.paused else []
        return f"{_many(self.jobs, 'job')}: {'; '.join(lost)}"


def losses(history: History, jobs: list[str], now: int) -> Loss:
    """Return what there is to lose."""
    loss = Loss()
    for some in parts(jobs, _AT_A_TIME, "reading jobs"):
        for seen in history.overview(some).values():
            loss.add(seen, now)
    return loss


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _stopped(history: History, live: list[Lease], limit_ms: int | None) -> list[Lease]:
    """Ask these runs to stop; return those that have not within the limit."""
    for lease in live:
        history.ask_stop(lease.job, lease.owner.run_id, by())
        who = f"run {render.short(lease.owner.run_id)} ({render.holder(lease)})"
        say_error(f"{printable(lease.job)}: asked {who} to stop.", exits.DONE)
    return wait_for_end(history, live, limit_ms)


def _agreed(loss: Loss, namespace: str, label: str, *, is_all: bool) -> bool | None:
    """Ask, and return the answer; None if there is nobody to ask."""
    if not sys.stdin.isatty():
        return None
    click.echo(f"This forgets, in {label}, {loss.text()}.", err=True)
    if not is_all:
        return click.confirm("Go on?", err=True)
    typed = click.prompt(f"Type the namespace ({namespace}) to go on", default="", err=True,
                         show_default=False)  # fmt: skip
    return str(typed) == namespace


def _refuse(live: list[Lease], why: str) -> int:
    first = live[0]
    others = f" and {len(live) - 1} more" if len(live) > 1 else ""
    return say_error(
        f"{printable(first.job)}: not reset: {why} ({render.holder(first)}{others}).\n"
        "  With --stop it is asked to stop first; or look at it with `cronguard ps`.",
        exits.NO,
    )


@click.command()
@click.argument("job", required=False, default="")
@click.option("--all", "is_all", is_flag=True, help="Forget all jobs of the namespace.")
@click.option("--force", is_flag=True, help="Do it without a question: for scripts.")
@click.option("--stop", "stops", is_flag=True, help="Ask what runs to stop first, and wait for it.")
@click.option(
    "--timeout", callback=limit, metavar="DUR", help="With --stop: wait no longer than this."
)
@with_store
def command(
    *, here: Here, job: str, is_all: bool, force: bool, stops: bool, timeout: int | None
) -> int:
    """Forget all about JOB: its records, counters, queue and pause.

    A job that runs is not reset. Tokens go on rising, and slots that are used up stay so.
    """
    if bool(job) == is_all:
        raise click.UsageError("name one job, or give --all")
    namespace = place(here.flags, os.environ, job).namespace
    with here.history(job) as history:
        if job and not is_job(history, job):
            return no_such_job(history, job)
        jobs = [job] if job else history.jobs()
        loss = losses(history, jobs, wall_now())
        if loss.live and not stops:
            return _refuse(loss.live, "a run holds its lock")
        if not force:
            agreed = _agreed(loss, namespace, history.label, is_all=is_all)
            if agreed is None:
                text = f"not reset: there is nobody to ask. It would forget {loss.text()}."
                return say_error(f"{text}\n  Use --force.", exits.USAGE)
            if not agreed:
                return say_error("nothing was reset.", exits.NO)
        if left := _stopped(history, loss.live, timeout):
            return _refuse(left, f"it runs on after {span(timeout or 0)}")
        done, damage = _reset(history, jobs)
    if here.as_json:
        say_json([{"job": name, "reset": was_done} for name, was_done in done.items()])
    else:
        forgotten = sum(done.values())
        of_all = f"{forgotten} of {_many(loss.jobs, 'job')}"
        say(f"Forgot {loss.text() if forgotten == loss.jobs else of_all}.")
    busy = [name for name, was_done in done.items() if not was_done]
    for name in busy:
        say_error(f"{printable(name)}: not reset: a run began meanwhile; try again.", exits.NO)
    return say_damaged(damage) or (exits.NO if busy else exits.DONE)


def _reset(history: History, jobs: list[str]) -> tuple[dict[str, bool], list[str]]:
    """Reset *jobs*; return for each whether it was, and why some cannot be."""
    done: dict[str, bool] = {}
    damage: list[str] = []
    for job in each(jobs, "resetting jobs"):
        try:
            done[job] = history.reset(job)
        except Damaged as error:
            damage.append(str(error))
    return done, damage
