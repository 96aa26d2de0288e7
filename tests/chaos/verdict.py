"""What the checker says: violations as sentences, and the numbers for the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tests.chaos.history import MS, Event, History, Run

KINDS = ("overlap", "token", "survivor", "record", "outcome", "stalled")
"""What can be violated: one invariant each, and `outcome` beside `record`."""
AROUND_NS = 20_000 * MS
AROUND = 14


@dataclass(frozen=True)
class Violation:
    """One thing that must never be. `at` when, `runs` the driver's numbers of those involved."""

    kind: str
    job: str
    at: int
    sentence: str
    runs: tuple[int, ...] = ()


Invariant = Callable[[History], Iterator[Violation]]


@dataclass(frozen=True)
class Verdict:
    """What was counted, and what was violated."""

    store: str
    seed: str
    violations: tuple[Violation, ...]
    asked: int = 0
    runs: int = 0
    skips: int = 0
    forgotten: int = 0
    longest_gap_ms: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        """Tell whether nothing was violated."""
        return not self.violations

    def count(self, kind: str) -> int:
        """Return how many violations of *kind* there are."""
        return sum(violation.kind == kind for violation in self.violations)


def moment(history: History, at: int) -> str:
    """Return a moment as seconds since the plan, to the ns."""
    sign, past = ("-", history.plan.at - at) if at < history.plan.at else ("", at - history.plan.at)
    return f"{sign}{past // 10**9}.{past % 10**9:09d} s"


def span(ns: int) -> str:
    """Return a duration in words: exact where it is short."""
    return f"{ns} ns" if ns < 10_000 else f"{ns / MS:.3f} ms"


def numbers(*runs: Run) -> tuple[int, ...]:
    """Return the driver's numbers of *runs*, where known."""
    return tuple(run.asked.number for run in runs if run.asked is not None)


def around(history: History, violation: Violation) -> list[str]:
    """Return the events nearest to *violation* that have to do with it, a line each."""
    near = [
        event
        for event in history.events
        if abs(event.at - violation.at) <= AROUND_NS and _concerns(history, event, violation)
    ]
    near.sort(key=lambda event: abs(event.at - violation.at))
    nearest = sorted(near[:AROUND], key=lambda event: event.at)
    return [f"{moment(history, event.at):>18}  {_line(event)}" for event in nearest]


def _concerns(history: History, event: Event, violation: Violation) -> bool:
    if event.run is None:
        return event.what in ("fault", "healed", "healthy", "settled")
    asked = history.asked.get(event.run)
    return event.run in violation.runs or (asked is not None and asked.job == violation.job)


def _line(event: Event) -> str:
    facts = [f"{name}={_shown(value)}" for name, value in event.facts.items() if value is not None]
    return " ".join([event.what, *facts])


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value) or "-"
    return str(value)


def rows(verdicts: Iterable[Verdict]) -> list[list[str]]:
    """Return the table: its heading, then one line a history."""
    heading = ["store", "seed", "asked", "runs", "skips", "faults", "overlaps", "tokens"]
    heading += ["survivors", "records missing", "wrong outcomes", "stalled", "longest gap"]
    found = [heading]
    for one in verdicts:
        counts = [one.asked, one.runs, one.skips, sum(one.faults.values())]
        counts += [one.count(kind) for kind in KINDS]
        gap = f"{one.longest_gap_ms / 1000:.1f} s"
        found.append([one.store, one.seed, *[str(count) for count in counts], gap])
    return found


def table(verdicts: Iterable[Verdict]) -> str:
    """Return the table and, below it, the faults by kind, as text."""
    every = list(verdicts)
    lines = rows(every)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    for one in every:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(one.faults.items()))
        text.append(f"faults, {one.store}: {kinds or 'none'}")
        if one.forgotten:
            text.append(f"  {one.forgotten} records went with the store's own data, as they may")
    return "\n".join(text)
