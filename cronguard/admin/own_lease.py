"""A lease for a command of our own, so that only one host at a time does its work.

It is a run of a job like any other, with a name of its own and a record. What is done under it must
be safe without it: the command is not stopped when the lease is lost, it stops by itself.
"""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from cronguard import __version__
from cronguard.core.events import Denied, Granted, Held, Refused, Renewed, Unavailable
from cronguard.core.lease import FULL_TTL_MS, LeaseTimes
from cronguard.core.record import RUNNING, complete, encode, utc
from cronguard.core.spec import Claim
from cronguard.runtime import identity
from cronguard.stores.contract import Acquire, Close, Renew, StoreDown, StoreRefused
from cronguard.stores.open import open_lease

if TYPE_CHECKING:
    from cronguard.config.resolve import Place
    from cronguard.core.events import Event
    from cronguard.stores.contract import Request

PATIENCE_MS = 5_000
_REPLIES = ("Woken", "StopAsked", "Flawed")
"""What may come besides replies."""


class Busy(Exception):
    """Another run has the lease, or the job may not run now. The text says which."""


class OwnLease:
    """The lease of *job*, from `take` to `end`."""

    def __init__(self, job: str, place: Place, command: list[str]) -> None:
        owner = identity.this_run(_wall(), command, os.environ)
        self._times = LeaseTimes(FULL_TTL_MS)
        self._claim = Claim(job, owner, self._times.px, namespace=place.namespace)
        self._store = open_lease(place.url, self._claim, self._times.attempt)
        self._grant: Granted | None = None
        self._asked_at = 0
        self._facts: dict[str, object] = {
            "job": job,
            "run_id": owner.run_id,
            "host": owner.host,
            "user": owner.user,
            "pid": owner.pid,
            "command": command,
            "attempt": 1,
            "queued_at": utc(owner.since_wall),
            "started_at": utc(owner.since_wall),
            "outcome": RUNNING,
            "store": self._store.label,
            "version": __version__,
        }

    def take(self) -> None:
        """Ask for the lease. Raises: Busy; StoreDown or StoreRefused. Then all is over."""
        try:
            self._take(_now() + PATIENCE_MS)
        except (Busy, StoreDown):
            self._store.close()
            raise

    def _take(self, until: int) -> None:
        while True:
            reply = self._ask(Acquire(encode(complete(self._facts)), until=until))
            if isinstance(reply, Unavailable) and _now() < until:
                time.sleep(self._times.backoff / 1000)
                continue
            break
        if isinstance(reply, Granted):
            self._grant = reply
            return
        if isinstance(reply, Held):
            raise Busy(f"run on {reply.holder.host or '-'}, pid {reply.holder.pid}, does it now")
        if isinstance(reply, Refused):
            raise Busy(f"{reply.reason}, {reply.why}")
        kind = StoreRefused if isinstance(reply, Denied) else StoreDown
        raise kind(str(getattr(reply, "why", "it gives no lock")))

    def keep(self) -> bool:
        """Renew the lease when it is time; tell whether it is ours still."""
        assert self._grant is not None
        now = _now()
        if now < self._asked_at + self._times.every:
            return True
        renewed_at = self._asked_at
        reply = self._ask(Renew(self._grant.token, self._grant.index))
        if isinstance(reply, Unavailable):
            self._asked_at = renewed_at
            return _now() < self._times.ends_at(renewed_at)
        return isinstance(reply, Renewed)

    def end(self, outcome: str, output: str) -> None:
        """Give it back, and leave the record, as well as the store can take it."""
        if self._grant is not None:
            now = _wall()
            self._facts |= {
                "outcome": outcome,
                "ended_at": utc(now),
                "duration_ms": max(now - self._claim.owner.since_wall, 0),
                "token": self._grant.token,
                "output_bytes": len(output.encode("utf-8", "replace")),
                "output_tail": output,
            }
            record = encode(complete(self._facts))
            self._ask(Close(record, outcome=outcome, ended_wall=now))
        self._store.close()

    def _ask(self, request: Request) -> Event:
        """Return the reply; the store gives one to each request, in time."""
        self._asked_at = _now()
        self._store.send(request, self._asked_at)
        while True:
            for event in self._store.events(_now()):
                if type(event).__name__ not in _REPLIES:
                    return event
            self._wait()

    def _wait(self) -> None:
        poll = select.poll()
        for fd, events in self._store.watches():
            poll.register(fd, events)
        wake_at = self._store.wake_at()
        poll.poll(1000 if wake_at is None else min(max(wake_at - _now(), 0), 1000))


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def _wall() -> int:
    return time.time_ns() // 1_000_000
