"""What a chaos run left behind, as values: what the driver did, what the jobs said, the records.

    history/testimony/     see testimony.py
    history/events.jsonl   one JSON object a line: what the driver did and saw
    history/records.json   {job: [record, ...]}, as `cronguard history --json --skips` told them

Every event has `at` (ns on CLOCK_BOOTTIME) and `what`. It was read before acting for what the
driver does, and after seeing for what it sees, so that an interval between two of them is never
longer than what really was:

    plan       store, seed, ttl_ms, takeover_ms, hosts, jobs, and progress_ms if a job may need
               longer than ttl_ms + takeover_ms to run again
    start      run, host, job, options, keeper           exit   run, status (-9: killed by KILL)
    killed     run, whom: keeper, guardian or both       termed run, signal (15 if not given);
                                                         whom: operator, if by `cronguard stop`
    stopped    run, whom                                 continued run, whom
    fault      kind, target, run or null, for_ms         healed kind, target
               cuts: the hosts that cannot renew while it lasts, or "all"
    back       kind, target: from here on it cuts nobody off any more, though it is not healed
               loses: true if the store may forget what it knew
    renewal    run_id: a grant or renewal that the store agreed to, seen by a proxy on its way to
               the store; `at` is thus not before the keeper sent it
    healthy    from here to the next fault, kill, stop or TERM all should work
    survivor   run, pid: still there when all had ended  settled
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path

from tests.chaos import lives
from tests.chaos.lives import Life, Testimony

MS = 1_000_000
KEEPER = ("keeper", "both")
GUARDIAN = ("guardian", "both")
INJECTED = ("fault", "killed", "stopped", "termed")
Record = Mapping[str, object]


@dataclass(frozen=True)
class Event:
    """One line of events.jsonl."""

    at: int
    what: str
    facts: Mapping[str, object] = field(default_factory=dict)

    def word(self, name: str) -> str:
        """Return the fact *name* as text; nothing if it is not there."""
        value = self.facts.get(name)
        return "" if value is None else str(value)

    def number(self, name: str, default: int = 0) -> int:
        """Return the fact *name* as a number."""
        value = self.facts.get(name)
        return value if isinstance(value, int) else default

    @property
    def run(self) -> int | None:
        """Return the driver's number of the run that this is about, if it is about one."""
        value = self.facts.get("run")
        return value if isinstance(value, int) else None


@dataclass(frozen=True)
class Asked:
    """One `cronguard run` that the driver started, and all that it did to it.

    `exit_status` as waitpid(2) has it, -9 for KILL; None if no exit was seen.
    """

    number: int
    job: str
    host: str
    keeper: int
    options: tuple[str, ...]
    at: int
    exit_at: int | None = None
    exit_status: int | None = None
    done: tuple[Event, ...] = ()

    def of(self, what: str, *whom: str) -> list[Event]:
        """Return what was done to it of one sort, to one of *whom* if given."""
        return [e for e in self.done if e.what == what and (not whom or e.word("whom") in whom)]

    @property
    def keeper_was_killed(self) -> bool:
        """Tell whether its keeper died by KILL: the driver's, or the kernel's timer."""
        return self.exit_status == -9 or bool(self.of("killed", *KEEPER))

    def option(self, *names: str) -> str | None:
        """Return the value of the first option of these names, or None."""
        for name, value in zip(self.options, self.options[1:], strict=False):
            if name in names:
                return value
        return None


@dataclass(frozen=True)
class Run:
    """One run that began: its processes' lives, and the status its command left if it ended."""

    job: str
    run_id: str
    lives: tuple[Life, ...]
    over: int | None
    asked: Asked | None

    @property
    def first_ns(self) -> int:
        """Return the first sign of life of any of its processes."""
        return min(life.first_ns for life in self.lives)

    @property
    def last_ns(self) -> int:
        """Return the last sign of life of any of its processes."""
        return max(life.last_ns for life in self.lives)

    @property
    def token(self) -> int | None:
        """Return its fencing token."""
        return self.lives[0].token

    @property
    def host(self) -> str:
        """Return where it ran."""
        return self.asked.host if self.asked else self.lives[0].host

    def __str__(self) -> str:
        number = "?" if self.asked is None else self.asked.number
        return f"run {number} ({self.run_id[:8]}, token {self.token}, on {self.host})"


@dataclass(frozen=True)
class Fault:
    """One fault of the store or the network, from its beginning until it was healed.

    `cuts` who cannot renew meanwhile, until `back_at`.
    """

    kind: str
    target: str
    at: int
    healed_at: int
    back_at: int
    cuts: tuple[str, ...] | str = ()
    loses: bool = False

    def cuts_off(self, host: str) -> bool:
        """Tell whether *host* cannot renew while it lasts."""
        return self.cuts == "all" or host in self.cuts


@dataclass(frozen=True)
class History:
    """All of it. `events` in order of time."""

    events: tuple[Event, ...]
    testimony: Testimony
    records: tuple[Record, ...]

    @cached_property
    def plan(self) -> Event:
        """Return what was planned."""
        return next(self.of("plan"))

    @property
    def ttl_ns(self) -> int:
        """Return how long a lease lasts."""
        return self.plan.number("ttl_ms") * MS

    @property
    def progress_ns(self) -> int:
        """Return how long a job may need to run again once all is healthy."""
        lease_ms = self.plan.number("ttl_ms") + self.plan.number("takeover_ms")
        return self.plan.number("progress_ms", lease_ms) * MS

    @property
    def end_ns(self) -> int:
        """Return the moment of the last event."""
        return self.events[-1].at

    def of(self, what: str) -> Iterator[Event]:
        """Yield the events of one sort."""
        return (event for event in self.events if event.what == what)

    @cached_property
    def asked(self) -> dict[int, Asked]:
        """Return every `cronguard run`, by number."""
        exits = {event.run: event for event in self.of("exit")}
        done: dict[int | None, list[Event]] = {}
        for event in self.events:
            if event.what in ("killed", "stopped", "continued", "termed"):
                done.setdefault(event.run, []).append(event)
        return {
            one.number: one
            for event in self.of("start")
            for one in [_asked(event, exits.get(event.run), done.get(event.run, []))]
        }

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Return every run that began, in order of beginning."""
        ordered = sorted(self.testimony.lives, key=lambda life: (life.job, life.run_id))
        found = [
            Run(job, run_id, lived, self.testimony.over.get(run_id), self._asked_for(lived[0]))
            for (job, run_id), group in groupby(ordered, lambda life: (life.job, life.run_id))
            for lived in [tuple(group)]
        ]
        return tuple(sorted(found, key=lambda run: run.first_ns))

    @cached_property
    def by_job(self) -> dict[str, list[Run]]:
        """Return the runs of each job, in order of beginning."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.job, []).append(run)
        return found

    @cached_property
    def by_lock(self) -> dict[str, list[Run]]:
        """Return the runs that had each of the locks that jobs share, in order of beginning."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            lock = run.asked.option("--lock") if run.asked is not None else None
            if lock is not None:
                found.setdefault(lock, []).append(run)
        return found

    def rivals(self, asked: Asked) -> list[Run]:
        """Return the runs that may be in the way of what is asked for."""
        lock = asked.option("--lock")
        return self.by_job.get(asked.job, []) + self.by_lock.get(lock or "", [])

    @cached_property
    def records_of(self) -> dict[str, list[Record]]:
        """Return the records by run id: one each, if all is well."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(str(record.get("run_id")), []).append(record)
        return found

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """Return the faults; one that nobody healed lasts until the end."""
        found = []
        for event in self.of("fault"):
            which = (event.word("kind"), event.word("target"))
            until = self._first("healed", which, event.at)
            back = min(self._first("back", which, event.at), until)
            said = event.facts.get("cuts") or ()
            cuts = tuple(str(host) for host in said) if isinstance(said, list) else str(said)
            loses = bool(event.facts.get("loses"))
            found.append(Fault(*which, event.at, until, back, cuts if said else (), loses))
        return tuple(found)

    def _first(self, what: str, which: tuple[str, str], since: int) -> int:
        """Return when that first happened to this kind and target; the end, if it never did."""
        moments = [
            event.at
            for event in self.of(what)
            if event.at >= since and (event.word("kind"), event.word("target")) == which
        ]
        return min(moments, default=self.end_ns)

    @cached_property
    def renewals_of(self) -> dict[str, list[int]]:
        """Return, by run id, when the grant and the renewals were seen on their way."""
        found: dict[str, list[int]] = {}
        for event in self.of("renewal"):
            found.setdefault(event.word("run_id"), []).append(event.at)
        return found

    @cached_property
    def operators_of(self) -> dict[str, list[Event]]:
        """Return, by job, when an operator had its run stopped, whichever that was."""
        found: dict[str, list[Event]] = {}
        for event in self.of("termed"):
            asked = self.asked.get(event.run) if event.run is not None else None
            if asked is not None and event.word("whom") == "operator":
                found.setdefault(asked.job, []).append(event)
        return found

    @cached_property
    def _long_cuts(self) -> list[Fault]:
        return [f for f in self.faults if f.cuts and f.back_at - f.at > self.ttl_ns]

    def long_cuts(self, since: int, until: int) -> list[Fault]:
        """Return the cuts of hosts, longer than a lease lasts, that began between these moments."""
        first = bisect_left(self._long_cuts, since, key=lambda fault: fault.at)
        return self._long_cuts[first : bisect_right(self._long_cuts, until, key=lambda f: f.at)]

    @cached_property
    def settled_at(self) -> int | None:
        """Return when the driver saw that all was over, or None."""
        return next((event.at for event in self.of("settled")), None)

    def _asked_for(self, life: Life) -> Asked | None:
        """Return whose run this is: by the number it was given, else by the keeper's pid."""
        if life.run is not None:
            return self.asked.get(life.run)
        for record in self.records_of.get(life.run_id, []):
            who = (life.job, record.get("host"), record.get("pid"))
            fits = [a for a in self.asked.values() if (a.job, a.host, a.keeper) == who]
            fits = [asked for asked in fits if asked.at <= life.first_ns]
            return max(fits, key=lambda asked: asked.at, default=None)
        return None


def _asked(start: Event, exit_: Event | None, done: list[Event]) -> Asked:
    options = start.facts.get("options") or []
    assert isinstance(options, list)
    assert start.run is not None, start
    return Asked(
        number=start.number("run"),
        job=start.word("job"),
        host=start.word("host"),
        keeper=start.number("keeper"),
        options=tuple(str(word) for word in options),
        at=start.at,
        exit_at=exit_.at if exit_ else None,
        exit_status=exit_.number("status") if exit_ else None,
        done=tuple(done),
    )


def read(folder: Path) -> History:
    """Return the history in *folder*."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    events = [event_of(json.loads(line)) for line in lines if line]
    events.sort(key=lambda event: event.at)
    records = json.loads((folder / "records.json").read_text())
    every = tuple(record for job in sorted(records) for record in records[job])
    return History(tuple(events), lives.read(folder / "testimony"), every)


def event_of(said: dict[str, object]) -> Event:
    """Return the event that one line says."""
    at, what = said.pop("at"), said.pop("what")
    assert isinstance(at, int)
    return Event(at, str(what), said)
