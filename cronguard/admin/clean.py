"""`cronguard clean`: clear what `stuck` proves dead, and say each thing that was done.

Each step looks again and acts at one moment in the store: a lock is freed only if it is still that
of the dead run, a record closed only if its run still has no lock, a foreign key removed only if it
is as it was. So whatever happens between report and step, nothing of a living run is touched.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from cronguard.admin.common import Here, by, wall_now, with_store
from cronguard.admin.leftovers import BIND, CLOSE, FOREIGN, FREE, REMOVE, Leftover
from cronguard.admin.output import say, say_error, say_json
from cronguard.admin.own_lease import Busy, OwnLease
from cronguard.admin.stuck import older_than_option, say_trouble, search, told
from cronguard.config.resolve import place
from cronguard.core import exits
from cronguard.core.record import FAILED, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cronguard.stores.contract import History

JOB = "cronguard.clean"
"""Its own lock: so only one host cleans at a time."""
_DONE = {
    FREE: "freed the lock, and closed the record as abandoned",
    BIND: "gave the lock its expiry back",
    CLOSE: "closed the record as abandoned",
    REMOVE: "removed it",
}
_LEFT = {
    FREE: "left alone: the lock was given back, or changed hands",
    BIND: "left alone: the lock was given back, changed hands, or ends in time now",
    CLOSE: "left alone: the record was closed, or the run has its lock again",
    REMOVE: "left alone: it is gone, changed, or expires now",
}
_AT_A_TIME = 500
"""Keys that are removed in one round trip."""
Done = tuple[Leftover, bool]


def clear(history: History, todo: list[Leftover]) -> Iterator[Done]:
    """Clear each of *todo*; yield it, and whether there was something to clear still."""
    closed: set[tuple[str, str]] = set()
    strays = [one for one in todo if one.todo == REMOVE]
    for one in todo:
        if one.lease is not None and one.todo == FREE:
            freed = history.unlock(one.lease, by())
            if freed:
                closed |= _closed(history, one.job)
            yield one, freed
        elif one.lease is not None and one.todo == BIND:
            yield one, history.bound(one.lease)
        elif one.todo == CLOSE:
            closed |= _closed(history, one.job)
            yield one, (one.job, one.run_id) in closed
    for begin in range(0, len(strays), _AT_A_TIME):
        some = strays[begin : begin + _AT_A_TIME]
        gone = history.uproot([one.stray for one in some if one.stray is not None])
        yield from [(one, one.stray in gone) for one in some]


def _closed(history: History, job: str) -> set[tuple[str, str]]:
    """Close what vanished keepers of *job* left open; return the runs."""
    return {(job, run_id) for run_id in history.close_left_behind(job)}


class Cleaning:
    """What is to be cleared, with what comes of it: `done`, by what it was about."""

    def __init__(self, todo: list[Leftover], tell: Callable[[str], None]) -> None:
        self.todo = todo
        self.done: dict[int, bool] = {}
        self._tell = tell
        self._lines: list[str] = []

    def under(self, lease: OwnLease, history: History) -> bool:
        """Clear all, for as long as *lease* is ours; tell whether it was to the end."""
        outcome = FAILED
        try:
            for one, was_done in clear(history, self.todo):
                self._note(one, was_done)
                if not lease.keep():
                    return False
            outcome = SUCCEEDED
        finally:
            lease.end(outcome, "\n".join(self._lines[:_LINES_KEPT]))
        return True

    def _note(self, one: Leftover, was_done: bool) -> None:
        self.done[id(one)] = was_done
        line = f"{one.name(wall_now())}: {(_DONE if was_done else _LEFT)[one.todo]}."
        self._lines.append(line)
        self._tell(line)


_LINES_KEPT = 200
"""Of what was done, in the record."""


def _wanted(found: list[Leftover], force: bool) -> list[Leftover]:
    """Return what may be cleared, by the answers to up to two questions."""
    dead = [one for one in found if one.todo and one.kind != FOREIGN]
    foreign = [one for one in found if one.kind == FOREIGN]
    if force:
        return dead + foreign
    wanted = []
    if dead and click.confirm(f"Clear {_count(dead, 'thing')} of cronguard's own?", err=True):
        wanted += dead
    if foreign:
        question = f"Remove {_count(foreign, 'lock')} of other systems for good?"
        wanted += foreign if click.confirm(question, err=True) else []
    return wanted


def _count(some: list[Leftover], what: str) -> str:
    return f"{len(some)} {what}{'' if len(some) == 1 else 's'}"


def _say_json(found: list[Leftover], done: dict[int, bool]) -> None:
    say_json([{**one.as_json(), "done": done.get(id(one))} for one in found])


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--force", is_flag=True, help="Do it without a question: for timers and scripts.")
@older_than_option
@click.option(
    "--foreign",
    metavar="PATTERN",
    default="",
    help="Also remove locks of other systems in this Redis database: keys of text that match this "
    "glob and never expire, like '*laravel-queue-overlap*'.",
)
@with_store
def command(*, here: Here, dry_run: bool, force: bool, older_than: int, foreign: str) -> int:
    """Clear what `stuck` proves dead: locks, and records of runs that are gone. Never what lives.

    Safe on all hosts at once: one of them does it, and the others say so.
    """
    if not (dry_run or force or sys.stdin.isatty()):
        text = (
            "not cleaned: there is nobody to ask.\n  Use --force, or --dry-run to see what it is."
        )
        return say_error(text, exits.USAGE)
    with here.history() as history:
        search_for = search(history, older_than)
        if foreign:
            search_for.foreign(foreign)
        found, now = search_for.found, wall_now()
        todo = [one for one in found if one.todo]
        if not here.as_json:
            for one in found:
                if not (force and one.todo) or dry_run:  # else what was done is told
                    say(told(one, now))
        if dry_run or not todo:
            _say_nothing_done(here, found, todo)
            return say_trouble(search_for)
        wanted = _wanted(found, force)
        if not wanted:
            return exits.NO
        cleaning = Cleaning(wanted, (lambda _: None) if here.as_json else say)
        lease = OwnLease(JOB, place(here.flags, os.environ), ["cronguard", "clean"])
        try:
            lease.take()
        except Busy as busy:
            return say_error(f"{JOB}: nothing to do here: {busy}.", exits.DONE)
        is_whole = cleaning.under(lease, history)
    if here.as_json:
        _say_json(found, cleaning.done)
    if not is_whole:
        text = f"{JOB}: stopped before the end, as its own lock was lost.\n  Run it again."
        return say_error(text, exits.NO)
    return say_trouble(search_for)


def _say_nothing_done(here: Here, found: list[Leftover], todo: list[Leftover]) -> None:
    if here.as_json:
        _say_json(found, {})
    elif not todo:
        say("Nothing to clean." if not found else "Nothing of it is proven dead: nothing to clean.")
    else:
        say(f"Would clear {_count(todo, 'thing')}.")
