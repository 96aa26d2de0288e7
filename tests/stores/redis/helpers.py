"""Asks a Redis store as the loop would: sends, polls, takes events; with a deadline."""

from __future__ import annotations

import os
import select
import time

from cronguard.core.events import Closed, Event, Granted, Refused, Renewed, StopAsked
from cronguard.core.record import complete, encode
from cronguard.core.spec import Claim, Owner
from cronguard.stores.contract import Acquire, Close, LeaseStore, Met, Reclaim, Renew, Request
from cronguard.stores.redis.census import Census
from cronguard.stores.redis.history import RedisHistory
from cronguard.stores.redis.lease import RedisLease, open_lease

PATIENCE_S = 40.0
ATTEMPT_MS = 10_000
"""What an answer may take that is to come: no test is about how fast it does."""
PX = 35_000


def now_ms() -> int:
    """Return the time of the machine's clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def claim(job: str = "job", **more: object) -> Claim:
    """Return a claim of a new run."""
    px = more.pop("px", PX)
    assert isinstance(px, int)
    owner = Owner(os.urandom(16).hex(), host="web-3", pid=8121, user="app")
    return Claim(job, owner, px, **more)  # type: ignore[arg-type]


def record(of: Claim, outcome: str = "running", **more: object) -> str:
    """Return an encoded record of the claim's run."""
    facts = {"job": of.job, "run_id": of.owner.run_id, "outcome": outcome, **more}
    return encode(complete(facts))


class Memory:
    """A host's memory of servers, in a dict."""

    def __init__(self) -> None:
        self.servers: dict[str, str] = {}

    def known(self, server: str) -> str:
        """Return what was learned."""
        return self.servers.get(server, "")

    def learn(self, server: str, run_id: str) -> None:
        """Note it."""
        self.servers[server] = run_id


class Asker:
    """One run's side of the store."""

    def __init__(
        self,
        url: str,
        of: Claim | None = None,
        attempt: int = ATTEMPT_MS,
        *,
        met: Met | None = None,
        strict: bool = False,
    ) -> None:
        self.claim = of or claim()
        self.store: RedisLease = open_lease(
            url, self.claim, attempt, met, census=Census() if strict else None
        )

    def ask(self, request: Request) -> Event:
        """Send, and return the one reply."""
        self.store.send(request, now_ms())
        return self.next()

    def next(self, patience: float = PATIENCE_S) -> Event:
        """Return the next event, which is to be the only one."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            events = self.store.events(now_ms())
            if events:
                assert len(events) == 1, events
                return events[0]
            wait(self.store, 0.5)
        raise AssertionError("no event from the store in time")

    def acquire(self, *, queue_for: int = 0, evict: str | None = None) -> Event:
        """Ask for the lease."""
        return self.ask(Acquire(record(self.claim), queue_for=queue_for, evict=evict))

    def granted(self) -> Granted:
        """Ask for the lease, and get it."""
        event = self.acquire()
        assert isinstance(event, Granted), described(event)
        return event

    def renew(self, grant: Granted) -> Event:
        """Extend it."""
        return self.ask(Renew(grant.token, grant.index))

    def reclaim(self, grant: Granted) -> Event:
        """Take it again."""
        return self.ask(Reclaim(grant.token, grant.index))

    def finish(self, outcome: str = "succeeded", reason: str = "", **more: bool) -> Event:
        """End the run."""
        return self.ask(self.closing(outcome, reason, **more))

    def closing(self, outcome: str = "succeeded", reason: str = "", **more: bool) -> Close:
        """Return the request that ends the run."""
        text = record(self.claim, outcome)
        at = time.time_ns() // 1_000_000
        return Close(text, outcome=outcome, reason=reason, ended_wall=at, **more)

    def key(self, rest: str) -> str:
        """Return the name of one of the job's keys."""
        return f"{self.claim.namespace}:{{{self.claim.job}}}:{rest}"


def whole_cycle(one: Asker, side: RedisHistory) -> None:
    """Do everything that cronguard does to a store."""
    run = one.claim.owner.run_id
    grant = one.granted()
    one.store.watch_job(now_ms())
    assert isinstance(one.renew(grant), Renewed)
    assert side.jobs() == ["job"]
    [lease] = side.leases(["job"])["job"]
    assert lease.owner.run_id == run
    assert side.waiters("job") == []
    assert side.overview(["job"])["job"].records[run]["outcome"] == "running"
    assert side.runs("job", 10)[0]["outcome"] == "running"
    assert side.last(["job"])["job"]["run_id"] == run
    assert side.skips("job", 10) == []
    assert side.counters(["job"])["job"]["last_start"]
    assert side.find(run[:8])[0]["run_id"] == run
    side.ask_stop("job", run, "ops")
    assert isinstance(one.next(), StopAsked)
    event = one.renew(grant)
    assert isinstance(event, Renewed)
    assert event.stop_by == "ops"
    assert side.unlock(lease, "ops")
    side.pause("job", None, "moving house", "ops")
    event = one.acquire()
    assert isinstance(event, Refused)
    assert event.why == "until resumed by ops: moving house"
    assert side.resume("job")
    assert isinstance(one.acquire(queue_for=1_000), Granted)
    assert isinstance(one.finish(), Closed)
    side.deliver(one.claim, one.closing("lease_lost"))
    assert side.runs("job", 10)[0]["outcome"] == "lease_lost"


def wait(store: LeaseStore, longest: float) -> None:
    """Wait as the loop does, until the store wants to be looked at."""
    poll = select.poll()
    for fd, events in store.watches():
        poll.register(fd, events)
    wake_at = store.wake_at()
    left = longest * 1000 if wake_at is None else min(longest * 1000, max(wake_at - now_ms(), 0))
    poll.poll(left)


def described(event: Event) -> str:
    """Return an event as a failing test shows it."""
    facts = [f"{name}={getattr(event, name)!r}" for name in getattr(event, "__slots__", ())]
    return f"{type(event).__name__}({', '.join(facts)})"


def why(event: Event, kind: type[Event]) -> str:
    """Return the text of an Unavailable or Denied."""
    assert isinstance(event, kind), described(event)
    return str(getattr(event, "why", ""))
