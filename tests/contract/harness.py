"""What the contract suite needs of a store, and a run that asks it as the loop would."""

from __future__ import annotations

import os
import select
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import redis

from cronguard.admin.check_rights import least
from cronguard.core.events import Event, Granted
from cronguard.core.record import complete, encode
from cronguard.core.spec import Claim, Owner
from cronguard.stores.contract import (
    Acquire,
    Close,
    History,
    LeaseStore,
    Reclaim,
    Renew,
    Request,
)
from cronguard.stores.redis.acl import sentinel_acl_line
from tests.clusters import Cluster
from tests.sentinels import Watch
from tests.servers import Server

PATIENCE_S = 40.0
ATTEMPT_MS = 10_000
"""What an answer may take that is to come: no test is about how fast it does."""
PX = 35_000
JOB = "backup"
PASSWORD = "s3cret"


if TYPE_CHECKING:

    class Steering(History, Protocol):
        """The history side, with what steers a job as a whole."""

        def pause(self, job: str, until: int | None, reason: str, by: str) -> None: ...

        def resume(self, job: str) -> bool: ...

else:
    Steering = History


class Harness(Protocol):
    """One store, empty, in a namespace of the test's own."""

    namespace: str
    has_queue: bool

    def open(self, claim: Claim) -> LeaseStore: ...

    def history(self, namespace: str | None = None) -> Steering: ...

    def vanish(self, job: str, index: int) -> None:
        """Drop a lease as if its time were up."""

    def overlong(self, job: str, index: int) -> None:
        """Have a lease end in hours, as after a step of the store's clock."""

    def plant(self, word: str, key: str, *more: object) -> bool:
        """Do what somebody else does to a key, where there are keys of others; tell whether so."""

    def lose_everything(self) -> None:
        """Lose all data, as FLUSHALL or a new file does."""

    def stop(self) -> None: ...


class SqliteHarness:
    """A database in a folder of the test's own."""

    has_queue = True

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "state" / "cronguard.db")
        self.namespace = "cg"

    def open(self, claim: Claim) -> LeaseStore:
        from cronguard.stores.sqlite.lease import open_lease

        return open_lease(self.path, claim)

    def history(self, namespace: str | None = None) -> Steering:
        from cronguard.stores.sqlite.history import open_history

        return open_history(self.path, namespace or self.namespace)

    def vanish(self, job: str, index: int) -> None:
        self._execute(
            "UPDATE leases SET deadline = 1 WHERE idx = ? AND job = "
            "(SELECT id FROM jobs WHERE name = ? AND namespace = ?)",
            (index, job, self.namespace),
        )

    def overlong(self, job: str, index: int) -> None:
        self._execute(
            "UPDATE leases SET deadline = deadline + 10000000 WHERE idx = ? AND job = "
            "(SELECT id FROM jobs WHERE name = ? AND namespace = ?)",
            (index, job, self.namespace),
        )

    def plant(self, word: str, key: str, *more: object) -> bool:
        return False

    def lose_everything(self) -> None:
        tables = "jobs", "leases", "waiters", "slots", "stops", "records", "counters"
        for table in tables:
            self._execute(f"DELETE FROM {table}", ())

    def stop(self) -> None:
        pass

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        db = sqlite3.connect(self.path)
        with db:
            db.execute(statement, values)
        db.close()


class RedisHarness:
    """A namespace on a server that tests share; by another way to it, if *url* says so."""

    has_queue = True

    def __init__(self, server: Server, url: str = "") -> None:
        self.namespace = "t" + os.urandom(6).hex()
        self._server = server
        self._url = url or server.url

    def open(self, claim: Claim) -> LeaseStore:
        from cronguard.stores.redis.lease import open_lease

        return open_lease(self._url, claim)

    def history(self, namespace: str | None = None) -> Steering:
        from cronguard.stores.redis.history import open_history

        return open_history(self._url, namespace or self.namespace)

    def vanish(self, job: str, index: int) -> None:
        self._server.do("DEL", f"{self.namespace}:{{{job}}}:l:{index}")

    def overlong(self, job: str, index: int) -> None:
        self.plant("PEXPIRE", f"{self.namespace}:{{{job}}}:l:{index}", 10_000_000)

    def plant(self, word: str, key: str, *more: object) -> bool:
        self._server.do(word, key, *more)
        return True

    def lose_everything(self) -> None:
        self._server.do("FLUSHALL")

    def stop(self) -> None:
        self._server.do("FLUSHALL")


class ClusterHarness:
    """A namespace in a Redis Cluster that tests share."""

    has_queue = True

    def __init__(self, cluster: Cluster) -> None:
        self.namespace = "t" + os.urandom(6).hex()
        self._cluster = cluster

    def open(self, claim: Claim) -> LeaseStore:
        from cronguard.stores.redis.lease import open_lease

        return open_lease(self._cluster.url, claim)

    def history(self, namespace: str | None = None) -> Steering:
        from cronguard.stores.redis.history import open_history

        return open_history(self._cluster.url, namespace or self.namespace)

    def vanish(self, job: str, index: int) -> None:
        owner = self._cluster.owner(job, self.namespace)
        owner.do("DEL", f"{self.namespace}:{{{job}}}:l:{index}")

    def overlong(self, job: str, index: int) -> None:
        self.plant("PEXPIRE", f"{self.namespace}:{{{job}}}:l:{index}", 10_000_000)

    def plant(self, word: str, key: str, *more: object) -> bool:
        for server in self._cluster.current_masters():
            try:
                server.do(word, key, *more)
            except redis.exceptions.MovedError:
                continue
            return True
        raise AssertionError(f"no master has {key}")

    def lose_everything(self) -> None:
        self._cluster.flush()

    def stop(self) -> None:
        self._cluster.flush()


class QuorumHarness:
    """A namespace on three servers that tests share."""

    has_queue = False

    def __init__(self, servers: list[Server]) -> None:
        self.namespace = "t" + os.urandom(6).hex()
        self._servers = servers
        self._url = " ".join([server.url for server in servers])

    def open(self, claim: Claim) -> LeaseStore:
        from cronguard.stores.open import open_lease

        return open_lease(self._url, claim, ATTEMPT_MS)

    def history(self, namespace: str | None = None) -> Steering:
        from cronguard.stores.quorum_history import open_history

        return open_history(self._url, namespace or self.namespace)

    def vanish(self, job: str, index: int) -> None:
        for server in self._servers:
            server.do("DEL", f"{self.namespace}:{{{job}}}:l:{index}")

    def overlong(self, job: str, index: int) -> None:
        self.plant("PEXPIRE", f"{self.namespace}:{{{job}}}:l:{index}", 10_000_000)

    def plant(self, word: str, key: str, *more: object) -> bool:
        for server in self._servers:
            server.do(word, key, *more)
        return True

    def lose_everything(self) -> None:
        for server in self._servers:
            server.do("FLUSHALL")

    def stop(self) -> None:
        self.lose_everything()


class WithLocks:
    """Another store's harness, whose runs need further locks each, which nobody else wants.

    Nobody is to see a difference: all that the contract says of a lease holds of several as well.
    """

    def __init__(self, under: Harness) -> None:
        self.namespace = under.namespace
        self.has_queue = under.has_queue
        self._under = under

    def open(self, claim: Claim) -> LeaseStore:
        from cronguard.stores.together import open_together

        run_id = claim.owner.run_id
        return open_together(claim, f"a{run_id} b{run_id}", self._under.open)

    def history(self, namespace: str | None = None) -> Steering:
        return self._under.history(namespace)

    def vanish(self, job: str, index: int) -> None:
        self._under.vanish(job, index)

    def overlong(self, job: str, index: int) -> None:
        self._under.overlong(job, index)

    def plant(self, word: str, key: str, *more: object) -> bool:
        return self._under.plant(word, key, *more)

    def lose_everything(self) -> None:
        self._under.lose_everything()

    def stop(self) -> None:
        self._under.stop()


class LeastRights:
    """Another store's harness, whose runs and readers are the user that `doctor` prints.

    What is denied to that user is in the servers' ACL LOG, and there is to be nothing there but
    what is asked for and not needed: a permission that is missing must not hide behind what is
    borne in silence.
    """

    NOT_NEEDED = frozenset(("client|setinfo", "config|get"))
    """The latter of one of a quorum, which is not trusted for a lease time then when it is new."""

    def __init__(self, under: Harness, url: str, data: list[Server], watch: Watch | None) -> None:
        self.namespace = under.namespace
        self.has_queue = under.has_queue
        self._under = under
        self._data = data
        self._user = "u" + self.namespace
        scheme, _, place = url.partition("://")
        words = [
            f"{scheme}://{self._user}:{PASSWORD}@{word}" for word in place.split(f" {scheme}://")
        ]
        self._url = " ".join(words)
        line = least(self._url, self.namespace).replace(">PASSWORD", f">{PASSWORD}")
        for server in data:
            server.do("ACL", "LOG", "RESET")
            server.do(*line.split())
        self._sentinels = watch.sentinels if watch is not None else []
        for sentinel in self._sentinels:
            sentinel.do(*sentinel_acl_line(self._user).replace("PASSWORD", PASSWORD).split())
        if watch is not None:
            self._url += f"?sentinel_user={self._user}&sentinel_password={PASSWORD}"

    def open(self, claim: Claim) -> LeaseStore:
        from cronguard.stores.open import open_lease

        return open_lease(self._url, claim, ATTEMPT_MS)

    def history(self, namespace: str | None = None) -> Steering:
        from cronguard.stores.open import open_history

        return open_history(self._url, namespace or self.namespace)

    def vanish(self, job: str, index: int) -> None:
        self._under.vanish(job, index)

    def overlong(self, job: str, index: int) -> None:
        self._under.overlong(job, index)

    def plant(self, word: str, key: str, *more: object) -> bool:
        return self._under.plant(word, key, *more)

    def lose_everything(self) -> None:
        self._under.lose_everything()

    def stop(self) -> None:
        denied = []
        for server in self._data:
            with server.client() as client:
                denied += [entry["object"] for entry in client.acl_log()]
                client.acl_deluser(self._user)
        for sentinel in self._sentinels:
            sentinel.do("ACL", "DELUSER", self._user)
        self._under.stop()
        assert {*map(_text, denied)} <= self.NOT_NEEDED, denied


def _text(word: str | bytes) -> str:
    return word.decode() if isinstance(word, bytes) else word


class Run:
    """One run's side of the store."""

    def __init__(self, store: LeaseStore, claim: Claim) -> None:
        self.store = store
        self.claim = claim
        self.id = claim.owner.run_id

    def ask(self, request: Request) -> Event:
        """Send, and return the one reply; what is pushed meanwhile is dropped."""
        self.store.send(request, now_ms())
        return self.next(lambda event: type(event).__name__ not in ("Woken", "StopAsked"))

    def next(self, wanted: Callable[[Event], bool] = lambda _: True) -> Event:
        """Return the next event that is wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = [event for event in self.store.events(now_ms()) if wanted(event)]
            if found:
                assert len(found) == 1, [shown(event) for event in found]
                return found[0]
            wait(self.store, 0.2)
        raise AssertionError("no event from the store in time")

    def acquire(
        self,
        *,
        queue_for: int = 0,
        evict: str | None = None,
        replace: str = "",
        **facts: object,
    ) -> Event:
        """Ask for the lease."""
        record = self.record(**facts)
        asked = Acquire(record, queue_for=queue_for, evict=evict, replace=replace)
        return self.ask(asked)

    def granted(self, **more: object) -> Granted:
        """Ask for the lease, and get it."""
        event = self.acquire(**more)  # type: ignore[arg-type]
        assert isinstance(event, Granted), shown(event)
        return event

    def renew(self, grant: Granted) -> Event:
        return self.ask(Renew(grant.token, grant.index))

    def reclaim(self, grant: Granted) -> Event:
        return self.ask(Reclaim(grant.token, grant.index))

    def close(self, outcome: str = "succeeded", reason: str = "", **more: bool) -> Event:
        """End the run."""
        return self.ask(self.closing(outcome, reason, **more))

    def closing(self, outcome: str = "succeeded", reason: str = "", **more: bool) -> Close:
        """Return the request that ends the run."""
        text = self.record(outcome=outcome, reason=reason)
        return Close(text, outcome=outcome, reason=reason, ended_wall=wall_ms(), **more)

    def record(self, **facts: object) -> str:
        """Return the run's record, encoded."""
        usual = {"job": self.claim.job, "run_id": self.id, "outcome": "running"}
        return encode(complete(usual | facts))


def now_ms() -> int:
    """Return the time of the machine's clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def wall_ms() -> int:
    """Return ms since the epoch."""
    return time.time_ns() // 1_000_000


def new_claim(job: str = JOB, namespace: str = "cg", **more: object) -> Claim:
    """Return the claim of a new run."""
    owner = Owner(
        os.urandom(16).hex(),
        host="web-3",
        user="app",
        pid=8121,
        pid_start=77,
        boot_id="b0",
        pid_ns="pid:[1]",
        since_wall=1_790_000_000_000,
        command_hash="c0ffee",
    )
    px = more.pop("px", PX)
    assert isinstance(px, int)
    return Claim(job, owner, px, namespace=namespace, **more)  # type: ignore[arg-type]


def wait(store: LeaseStore, longest: float) -> None:
    """Wait as the loop does, until the store wants to be looked at."""
    poll = select.poll()
    for fd, events in store.watches():
        poll.register(fd, events)
    wake_at = store.wake_at()
    left = longest * 1000 if wake_at is None else max(min(longest * 1000, wake_at - now_ms()), 0)
    poll.poll(left)


def until(done: Callable[[], bool], what: str) -> None:
    """Look again and again until it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def shown(event: Event) -> str:
    """Return an event as a failing test shows it."""
    facts = [f"{name}={getattr(event, name)!r}" for name in getattr(event, "__slots__", ())]
    return f"{type(event).__name__}({', '.join(facts)})"
