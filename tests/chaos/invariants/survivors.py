"""Nothing of a run lives on: past its keeper's end, its guardian's, or the lease's.

Each bound is a moment at which the whole tree must be dead, with the reason:

    the keeper ended by itself     then nothing was left, to the ns: that is when the lock is free
    keeper or guardian was killed  DEATH_NS later: it takes ms, and the machine is overloaded
    a cut, or a stopped keeper     one TTL after its beginning, as nothing was renewed since
    a renewal that a proxy saw     one TTL less CLOCK_ERROR after it, if it was the last: a lease
                                   counts from its sending, and is trusted so long and no longer
    the end of all                 nothing lives at all
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import GUARDIAN, KEEPER, MS, Asked, Event, History, Run
from tests.chaos.verdict import Violation, moment, numbers, span

DEATH_NS = 2_000 * MS
CLOCK_ERROR_PERCENT = 5
CONTAINED = ("cgroup", "pidns")
Bound = tuple[int, str]


def survivors(history: History) -> Iterator[Violation]:
    """Find runs with a sign of life past one of their bounds; the earliest of them is told."""
    for run in history.runs:
        for life in run.lives:
            passed = [
                bound for bound in _bounds(history, run, life.role) if life.last_ns > bound[0]
            ]
            if passed:
                until, why = min(passed)
                yield Violation(
                    "survivor",
                    run.job,
                    life.last_ns,
                    f"job {run.job}: the {life.role} (pid {life.pid}) of {run} lived until "
                    f"{moment(history, life.last_ns)}, {span(life.last_ns - until)} past "
                    f"{moment(history, until)}, {why}",
                    numbers(run),
                )
    yield from _left(history)


def _left(history: History) -> Iterator[Violation]:
    """Find what the driver found alive in the end."""
    for event in history.of("survivor"):
        asked = history.asked.get(event.run) if event.run is not None else None
        job = asked.job if asked else "?"
        sentence = (
            f"job {job}: pid {event.word('pid')} of run {event.word('run') or '?'} was there at "
            f"{moment(history, event.at)}, when all had ended"
        )
        yield Violation("survivor", job, event.at, sentence, (event.run,) if event.run else ())


def _bounds(history: History, run: Run, role: str) -> Iterator[Bound]:
    """Yield each moment at which a process of *run* with that role must be dead, and why."""
    if history.settled_at is not None:
        yield history.settled_at, "when everything had been settled"
    yield from _bounds_by_renewal(history, run)
    if run.asked is None:
        return
    yield from _bounds_by_exit(run.asked)
    yield from _bounds_by_kill(run.asked, role)
    yield from _bounds_by_cut(history, run, run.asked)


def _bounds_by_exit(asked: Asked) -> Iterator[Bound]:
    if asked.exit_at is None or asked.exit_status is None or _leaves(asked):
        return
    if asked.exit_status >= 0:
        yield asked.exit_at, f"when its keeper had ended, with status {asked.exit_status}"
    elif not asked.of("killed"):
        yield asked.exit_at + DEATH_NS, "2 s after its keeper had been killed by the kernel's timer"


def _bounds_by_kill(asked: Asked, role: str) -> Iterator[Bound]:
    """Whoever of the two is left kills the tree; what is in the group needs neither of them."""
    contained = asked.option("--isolation") in CONTAINED
    for event in asked.of("killed"):
        whom = event.word("whom")
        if role != "daemon" or contained:
            yield event.at + DEATH_NS, f"2 s after the kill of {_named(whom)}"
        elif whom != "both":
            other = GUARDIAN if whom == "keeper" else KEEPER
            acts_at = _acts_at(asked, other, event.at)
            if acts_at is not None:
                yield acts_at + DEATH_NS, f"2 s after the kill of {_named(whom)}"


def _named(whom: str) -> str:
    return "both its keeper and its guardian" if whom == "both" else f"its {whom}"


def _acts_at(asked: Asked, whom: tuple[str, ...], at: int) -> int | None:
    """Return when *whom*, not stopped any more, can act on what happened *at*; None if never."""
    stopped = False
    dead = False
    for event in asked.done:
        if event.word("whom") not in whom:
            continue
        if event.what in ("stopped", "continued") and event.at <= at:
            stopped = event.what == "stopped"
        elif event.what == "continued" and stopped:
            return None if dead else event.at
        elif event.what == "killed":
            dead = True
    return None if stopped or dead else at


def _bounds_by_cut(history: History, run: Run, asked: Asked) -> Iterator[Bound]:
    """A run that began before a cut, and ends in it or after it, has had nothing but one TTL."""
    for began, ended, why in _cuts(history, run, asked):
        until = began + history.ttl_ns
        if run.first_ns < began and ended > until:
            yield until, f"one TTL after {why} at {moment(history, began)}"


def _cuts(history: History, run: Run, asked: Asked) -> Iterator[tuple[int, int, str]]:
    """Yield the times in which it cannot have renewed, as far as it may have lived too long."""
    for fault in history.long_cuts(run.first_ns, run.last_ns - history.ttl_ns):
        if fault.cuts_off(asked.host):
            yield fault.at, fault.back_at, f"{fault.kind} cut it off"
    since: Event | None = None
    for event in asked.done:
        if event.word("whom") not in KEEPER:
            continue
        if event.what == "stopped" and since is None:
            since = event
        elif event.what == "continued" and since is not None:
            yield since.at, event.at, "its keeper was stopped"
            since = None
    if since is not None:
        yield since.at, history.end_ns, "its keeper was stopped"


def _bounds_by_renewal(history: History, run: Run) -> Iterator[Bound]:
    seen = history.renewals_of.get(run.run_id)
    if seen:
        trusted = history.ttl_ns * (100 - CLOCK_ERROR_PERCENT) // 100
        yield (
            max(seen) + trusted,
            f"the end of the lease by its last renewal, sent at {moment(history, max(seen))}",
        )


def _leaves(asked: Asked) -> bool:
    return asked.option("--stragglers") == "leave"
