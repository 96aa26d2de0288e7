"""Many runs in one process, as a store sees them: cronguard's own lease sides in one epoll loop.

    python -m tests.bench.swarm hold URL FIRST COUNT
    python -m tests.bench.swarm contend URL COUNT

`hold` takes the locks of COUNT jobs and renews each at its heartbeat, evenly spread. It says
`holding` when it has them all, and for each line that it reads what renewing took since the last.
`contend` says `ready`, reads a moment (ms on CLOCK_BOOTTIME), and then COUNT runs connect and ask
for the lock of one job; those that are skipped leave their record. Both answer in JSON, and end
with their standard input; the locks stay.
"""

from __future__ import annotations

import json
import os
import resource
import select
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable
from functools import cache

from cronguard.core import record
from cronguard.core.events import Closed, Event, Granted, Held, Renewed
from cronguard.core.lease import FULL_TTL_MS, LeaseTimes
from cronguard.core.spec import Claim, Owner
from cronguard.runtime import identity
from cronguard.stores.contract import Acquire, Close, LeaseStore, Renew, Request
from cronguard.stores.open import open_lease

TIMES = LeaseTimes(FULL_TTL_MS)
JOB = "nightly-report-{:05d}"
COMMAND = ["/opt/reports/nightly", "--tenant", "0001", "--format", "pdf"]
CONNECTING_AT_A_TIME = 64
PATIENCE_MS = 30_000


class Member:
    """One run: its lease side, what it waits for, and since when (ns)."""

    def __init__(self, url: str, job: str, px: int = TIMES.px) -> None:
        self.claim = Claim(job, _another(), px)
        self.store: LeaseStore = open_lease(url, self.claim, TIMES.attempt)
        self.watched: list[tuple[int, int]] = []
        self.asked: Request | None = None
        self.asked_ns = 0
        self.grant: Granted | None = None

    def start(self) -> Acquire:
        """Return the request for its lock."""
        return Acquire(self.record())

    def end(self, outcome: str, **more: object) -> Close:
        """Return the request that ends it so."""
        ended = time.time_ns() // 1_000_000
        text = self.record(outcome, ended_at=record.utc(ended), **more)
        return Close(text, outcome=outcome, reason=str(more.get("reason", "")), ended_wall=ended)

    def record(self, outcome: str = record.RUNNING, **more: object) -> str:
        """Return the encoded record as the keeper writes it."""
        owner = self.claim.owner
        facts = {name: getattr(owner, name) for name in ("run_id", "host", "user", "pid")}
        facts |= {"job": self.claim.job, "command": COMMAND, "attempt": 1, "outcome": outcome}
        facts |= {name: record.utc(owner.since_wall) for name in ("queued_at", "started_at")}
        return record.encode(record.complete(facts | more))


class Swarm:
    """The members, and the one loop that serves them all."""

    def __init__(self, url: str, jobs: list[str]) -> None:
        self.members = [Member(url, job) for job in jobs]
        self._epoll = select.epoll()
        self._by_fd: dict[int, Member] = {}

    def ask(self, member: Member, request: Request) -> None:
        """Send one request of a member."""
        member.asked, member.asked_ns = request, time.perf_counter_ns()
        member.store.send(request, now_ms())
        self._watch(member)

    def listen(self, member: Member) -> None:
        """Have a member hear of what happens to its job, as a run that lasts does."""
        member.store.watch_job(now_ms())
        self._watch(member)

    def replies(self, wait_ms: int) -> list[tuple[Member, Event, float]]:
        """Wait so long for replies; return them with what each took, in ms."""
        ready = {self._by_fd[fd] for fd, _ in self._epoll.poll(max(wait_ms, 0) / 1000)}
        return [reply for member in ready for reply in self.look_at(member)]

    def look_at(self, member: Member) -> list[tuple[Member, Event, float]]:
        """Return what a member's lease side has to say now."""
        events = member.store.events(now_ms())
        taken = (time.perf_counter_ns() - member.asked_ns) / 1e6
        self._watch(member)
        if not events or member.asked is None:
            return []
        member.asked = None
        return [(member, event, taken) for event in events]

    def look_at_all(self, members: Iterable[Member]) -> list[tuple[Member, Event, float]]:
        """Return what they have to say though nothing came: that an attempt timed out."""
        return [reply for member in list(members) for reply in self.look_at(member)]

    def _watch(self, member: Member) -> None:
        """Wait for what the member's lease side wants to be waited for."""
        wanted = member.store.watches()
        if wanted == member.watched:
            return
        before = dict(member.watched)
        for fd, events in wanted:
            # What was closed has left the epoll already, and its number may be another's by now.
            (self._epoll.modify if fd in before else self._epoll.register)(fd, events)
            self._by_fd[fd] = member
        member.watched = wanted


@cache
def _me() -> Owner:
    return identity.this_run(time.time_ns() // 1_000_000, COMMAND, os.environ)


def _another() -> Owner:
    """Return another run on this host."""
    return Owner(os.urandom(16).hex(), **_me().facts())  # type: ignore[arg-type]


def now_ms() -> int:
    """Return monotonic ms, as the keeper counts them."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def take_all(swarm: Swarm) -> None:
    """Take every lock, so many at a time."""
    waiting = deque(swarm.members)
    asking: set[Member] = set()
    while waiting or asking:
        while waiting and len(asking) < CONNECTING_AT_A_TIME:
            asking.add(member := waiting.popleft())
            swarm.ask(member, member.start())
        for member, event, _ in swarm.replies(TIMES.attempt) or swarm.look_at_all(asking):
            assert isinstance(event, Granted), getattr(event, "why", event)
            member.grant = event
            asking.remove(member)
            swarm.listen(member)


class Holding:
    """Renews the locks of a swarm, and counts how that went."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._taken: list[float] = []
        self._failed: Counter[str] = Counter()
        begun, number = now_ms(), len(swarm.members)
        self._due = deque(
            (begun + TIMES.every * i // number, member) for i, member in enumerate(swarm.members)
        )

    def turn(self, wait_ms: int) -> None:
        """Send what is due, and take what came, within so long."""
        while self._due[0][0] <= (now := now_ms()):
            at, member = self._due.popleft()
            self._due.append((at + TIMES.every, member))
            self._note(self._swarm.look_at(member))  # an attempt that timed out says so now
            assert member.grant is not None
            if member.asked is None:
                self._swarm.ask(member, Renew(member.grant.token, member.grant.index))
        self._note(self._swarm.replies(min(self._due[0][0] - now, wait_ms)))

    def report(self) -> dict[str, object]:
        """Return how long renewals took since the last report, in ms, and how many failed."""
        taken, self._taken = self._taken, []
        failed, self._failed = self._failed, Counter()
        return {"taken": [round(ms, 3) for ms in taken], "failed": failed}

    def _note(self, replies: list[tuple[Member, Event, float]]) -> None:
        for _, event, taken in replies:
            if isinstance(event, Renewed):
                self._taken.append(taken)
            else:
                self._failed[str(getattr(event, "why", type(event).__name__))] += 1


def hold(url: str, first: int, count: int) -> None:
    """Take the locks of so many jobs, and renew them until standard input ends."""
    swarm = Swarm(url, [JOB.format(first + i) for i in range(count)])
    take_all(swarm)
    print("holding", flush=True)
    holding = Holding(swarm)
    told = select.poll()
    told.register(0, select.POLLIN)
    while True:
        holding.turn(50)
        if told.poll(0):
            if not os.read(0, 1):
                return
            print(json.dumps(holding.report()), flush=True)


def contend(url: str, count: int) -> None:
    """Ask for one lock so often at one moment, from connecting to the record of each skip."""
    swarm = Swarm(url, ["contended"] * count)
    print("ready", flush=True)
    at = int(sys.stdin.readline())
    while now_ms() < at:
        time.sleep(max(at - now_ms(), 0) / 1000)
    for member in swarm.members:
        swarm.ask(member, member.start())
    answered: list[int] = []
    recorded: list[int] = []
    words: Counter[str] = Counter()
    asking = set(swarm.members)
    while asking and now_ms() < at + PATIENCE_MS:
        for member, event, _ in swarm.replies(100) or swarm.look_at_all(asking):
            if isinstance(event, Closed):
                recorded.append(now_ms() - at)
            else:
                answered.append(now_ms() - at)
                words[type(event).__name__] += 1
                if isinstance(event, Held):
                    swarm.ask(member, member.end(record.SKIPPED, reason="held"))
                    continue
            asking.discard(member)
    print(json.dumps({"words": words, "answered": answered, "recorded": recorded}), flush=True)
    sys.stdin.read()  # the connections stand until all have asked


def main(argv: list[str]) -> None:
    """Do what the arguments say, with as many descriptors as we may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    what, url, *numbers = argv
    if what == "hold":
        hold(url, int(numbers[0]), int(numbers[1]))
    else:
        contend(url, int(numbers[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
