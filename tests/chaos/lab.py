"""What faults act on: hosts, servers, and the runs that are under way."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.events import Events
from tests.chaos.kinds import Kind
from tests.chaos.namespaces import Host
from tests.chaos.plan import Start
from tests.chaos.testimony import boot_ns

Steps = Generator[int, None, None]
"""A fault under way: each number is for how many ms it wants to be left alone; closing it heals."""
FRAGILE_MS = 4_500
"""How long a lease that was taken away needs to be taken again, at a heartbeat of 1.5 s."""


def now_ms() -> int:
    """Return ms on a clock that only goes forwards."""
    return time.monotonic_ns() // 1_000_000


@dataclass
class Running:
    """One `cronguard run` that has not ended. `hit`: some fault has it to itself."""

    start: Start
    pid: int
    host: Host
    began: int
    hit: bool = False
    over: bool = False

    def guardian(self) -> int | None:
        """Return the pid of its guardian, once it has one.

        Before the keeper listens for TERM, a child of it is another one: it tries a PID namespace.
        """
        try:
            status = Path(f"/proc/{self.pid}/status").read_text("latin-1")
            words = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return None
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        listens = caught >> (signal.SIGTERM - 1) & 1
        return int(words[0]) if words and listens else None

    @property
    def has_daemon(self) -> bool:
        """Tell whether something of its tree leaves the process group, and nothing else holds it.

        Only a PID namespace does when keeper and guardian are dead or stopped at the same moment.
        """
        return "daemon" in self.start.kind and "pidns" not in self.start.options

    @property
    def waits(self) -> bool:
        """Tell whether it waits for its turn, if need be."""
        return "--wait" in self.start.options


@dataclass
class Lab:
    """The whole of it."""

    kind: Kind
    hosts: list[Host]
    events: Events
    folder: Path
    run_tool: Callable[[Host, list[str]], None]
    """Starts another `cronguard` command on a host; nobody waits for it."""
    running: dict[int, Running] = field(default_factory=dict)
    fragile_jobs: dict[str, int] = field(default_factory=dict)
    """Jobs whose lease was taken away, and until when nobody must ask for them."""
    awaited: set[str] = field(default_factory=set)
    """Jobs whose run is to be hit by its hunt, before anybody else asks for them."""
    archives: list[Path] = field(default_factory=list)
    active: Counter[str] = field(default_factory=Counter)
    """The kinds of fault that are under way."""
    killed_at: int = 0
    """When a keeper was last seen to have died by KILL."""
    stepped: set[int] = field(default_factory=set)
    """Servers (ports) whose clock is not right."""
    stepped_at: int = 0
    """When a server's clock was last set."""
    lossy_until: dict[int, int] = field(default_factory=dict)
    """Servers of a quorum (ports) that forgot something, and until when no other one may."""

    @property
    def fragile_until(self) -> int:
        """Return until when no holder may be kept from its heartbeat."""
        return max(self.fragile_jobs.values(), default=0)

    def live(self, fits: Callable[[Running], bool]) -> list[Running]:
        """Return the runs that may be hit and fit, in order of starting."""
        free = [one for one in self.running.values() if not one.hit and not one.start.hunt]
        return [one for one in free if not one.over and fits(one)]

    def prey(self, number: int) -> Running | None:
        """Return the run that a hunt is for, once it is under supervision; None if it is not."""
        one = self.running.get(number)
        if one is None or one.hit or one.over or one.guardian() is None:
            return None
        return one

    def signal(self, pid: int, number: int) -> bool:
        """Send a signal; tell whether there was anybody to get it."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    @contextmanager
    def frozen(self, pids: list[int]) -> Iterator[None]:
        """Stop servers; they go on when nobody wants them stopped any more."""
        for pid in pids:
            self.kind.frozen[pid] += 1
            self.signal(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                self.kind.frozen[pid] -= 1
                if not self.kind.frozen[pid]:
                    del self.kind.frozen[pid]
                    self.signal(pid, signal.SIGCONT)

    def is_calm(self, but: set[str]) -> bool:
        """Tell whether no fault is under way but those kinds."""
        return not any(count for kind, count in self.active.items() if kind not in but)

    def kill(self, one: Running, whom: str, pids: list[int]) -> None:
        """Kill, and say so."""
        self.events.tell("killed", boot_ns(), run=one.start.run, whom=whom)
        for pid in pids:
            self.signal(pid, signal.SIGKILL)

    def fault(self, kind: str, target: str, **facts: object) -> None:
        """Say that a fault begins now: call it just before doing it."""
        self.events.tell("fault", None, kind=kind, target=target, **({"run": None} | facts))

    def back(self, kind: str, target: str) -> None:
        """Say that it cuts nobody off any more, though it is not over."""
        self.events.tell("back", kind=kind, target=target)

    def healed(self, kind: str, target: str) -> None:
        """Say that it is over."""
        self.events.tell("healed", kind=kind, target=target)


def chosen(these: list[Running], pick: int) -> Running | None:
    """Return the one that *pick* says; None if there are none."""
    return these[pick % len(these)] if these else None
