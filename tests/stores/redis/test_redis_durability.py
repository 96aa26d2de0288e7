"""What a server may lose: by a restart without its data, or by a failover to a late replica."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cronguard.core.events import (
    Closed,
    Event,
    Gone,
    Granted,
    Held,
    Queued,
    Renewed,
    Unavailable,
    Woken,
)
from cronguard.core.spec import Claim
from cronguard.stores.contract import Acquire
from tests.proxy import Proxy
from tests.servers import SYNCED, Server
from tests.stores.redis.helpers import Asker, Memory, claim, described, now_ms, record, wait, why

Starting = Callable[..., Server]
Hosts = Callable[..., Asker]
PX = 35_000


@pytest.fixture
def host() -> Iterator[Hosts]:
    """Make askers, of hosts with a memory of their own or a given one."""
    made: list[Asker] = []

    def make(
        server: Server,
        met: Memory | None = None,
        px: int = PX,
        *,
        strict: bool = False,
        of: Claim | None = None,
    ) -> Asker:
        of = of or claim("job", px=px)
        made.append(Asker(server.tcp_url, of, met=met or Memory(), strict=strict))
        return made[-1]

    yield make
    for asker in made:
        asker.store.close()


def test_a_server_that_came_back_empty_gives_no_lock(own_server: Starting, host: Hosts) -> None:
    """R14: who met the server before is refused until a lease time has passed since its start."""
    server, met = own_server(), Memory()
    host(server, met).granted()
    before = dict(met.servers)
    server.restart()
    refused = why(host(server, met).acquire(), Unavailable)
    assert "without an append-only file" in refused
    assert "gives none for another 3" in refused  # 35 s less what has passed
    assert met.servers == before
    met.servers.clear()
    host(server, met).granted()


def test_the_holder_takes_its_lock_again_meanwhile(own_server: Starting, host: Hosts) -> None:
    """R14, L6: the quarantine is for grants; what was lost is reclaimed by its owner."""
    server, met = own_server(), Memory()
    holder = host(server, met)
    grant = holder.granted()
    server.restart()
    assert isinstance(holder.renew(grant), Gone)
    assert isinstance(holder.reclaim(grant), Renewed)
    assert isinstance(holder.renew(grant), Renewed)
    assert "may have lost locks" in why(holder.acquire(), Unavailable)
    other = host(server, met)
    assert isinstance(other.acquire(), Held)
    assert isinstance(other.acquire(queue_for=9_000), Queued)
    assert isinstance(holder.finish(), Closed)
    assert isinstance(other.acquire(queue_for=9_000), Unavailable)


def test_an_append_only_file_keeps_what_was_granted(own_server: Starting, host: Hosts) -> None:
    """R14: with one, a restart costs no run its start, and the lock is still held."""
    server, met = own_server("--appendonly", "yes", "--appendfsync", "always"), Memory()
    holder = host(server, met)
    grant = holder.granted()
    before = dict(met.servers)
    server.restart()
    assert isinstance(host(server, met, strict=True).acquire(), Held)
    assert met.servers != before
    assert isinstance(holder.renew(grant), Renewed)


def test_a_new_server_is_trusted_but_has_no_vote_yet(own_server: Starting, host: Hosts) -> None:
    """R20: for one of a quorum it is not enough that nobody knows of anything lost."""
    server = own_server()
    assert "append-only" in why(host(server, strict=True).acquire(), Unavailable)
    host(server).granted()


def test_the_quarantine_ends(own_server: Starting, host: Hosts) -> None:
    """R14, R20: when a lease time has passed since the start, on the connection that stands."""
    asker = host(own_server(), px=6_000, strict=True)
    deadline = time.monotonic() + 30
    assert isinstance(asker.acquire(), Unavailable)
    while not isinstance(asker.acquire(), Granted):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_a_snapshot_brought_back_is_no_grant(own_server: Starting, host: Hosts) -> None:
    """R20: a lease that we gave back was another's since; the old one being there says nothing."""
    server = own_server()
    asker = host(server)
    grant = asker.granted()
    again = host(server, strict=True, of=asker.claim)
    assert "may have lost locks" in why(again.acquire(), Unavailable)
    assert isinstance(again.renew(grant), Renewed)


@pytest.mark.parametrize(
    ("policy", "has_vote"),
    [
        (("--appendonly", "no"), False),
        (("--appendonly", "yes", "--appendfsync", "everysec"), False),
        ((*SYNCED, "--no-appendfsync-on-rewrite", "yes"), False),
        (SYNCED, True),
    ],
)
def test_only_writes_that_are_always_synced_outlive_a_power_cut(
    own_server: Starting, host: Hosts, policy: tuple[str, ...], has_vote: bool
) -> None:
    """R20: with `everysec`, a host that lost its power has lost the last second, and a vote."""
    event = host(own_server(*policy), strict=True).acquire()
    assert isinstance(event, Granted if has_vote else Unavailable), described(event)


def test_a_server_that_may_not_be_asked_its_age_has_no_vote(
    own_server: Starting, host: Hosts
) -> None:
    """R20: it may have lost everything a moment ago; what is missing is said."""
    server = own_server(*SYNCED)
    server.do("ACL", "SETUSER", "default", "-info")
    assert "+info" in why(host(server, strict=True).acquire(), Unavailable)
    server.do("ACL", "SETUSER", "default", "+info", "-config")
    assert "always synced" in why(host(server, strict=True).acquire(), Unavailable)
    host(server).granted()


@pytest.fixture
def pair(own_server: Starting) -> tuple[Server, Server]:
    """A master and its replica, in step."""
    master = own_server("--repl-diskless-sync-delay", "0")
    replica = own_server("--replicaof", "127.0.0.1", str(master.port))
    in_step(master, 1)
    return master, replica


def in_step(master: Server, replicas: int) -> None:
    """Wait until so many replicas follow, by what the waiting connection wrote itself."""
    deadline = time.monotonic() + 30
    with master.client() as client:
        while True:
            client.set("probe", "1")
            if client.wait(replicas, 1_000) >= replicas:
                return
            assert time.monotonic() < deadline


def wary(url: str, replicas: int, attempt: int = 1_500) -> Asker:
    """Return an asker that wants the word of so many replicas."""
    return Asker(url, claim("job", px=PX, replicas=replicas), attempt)


def until(ask: Callable[[], Event], kind: type[Event]) -> Event:
    """Ask until the answer is of this kind: the replica may be late for an attempt, not for all."""
    deadline = time.monotonic() + 30
    while not isinstance(event := ask(), kind):
        assert isinstance(event, Unavailable), described(event)
        assert time.monotonic() < deadline, described(event)
    return event


def taken(asker: Asker) -> Granted:
    """Take the lease, with the word of the replica."""
    event = until(asker.acquire, Granted)
    assert isinstance(event, Granted)
    return event


def test_a_grant_that_the_replica_has_counts(pair: tuple[Server, Server]) -> None:
    """min_replicas: acquire and renew come back with the word of the replica."""
    master, replica = pair
    asker = wary(master.tcp_url, 1, 20_000)
    grant = asker.granted()
    assert replica.do("EXISTS", "cg:{job}:l:0") == 1
    assert isinstance(asker.renew(grant), Renewed)
    assert isinstance(asker.finish(), Closed)
    asker.store.close()


def test_a_grant_that_too_few_replicas_have_is_given_back(pair: tuple[Server, Server]) -> None:
    """min_replicas: the lease is free again, and no trace of a run is left."""
    master, replica = pair
    replica.pause()
    asker = wary(master.tcp_url, 1)
    event = asker.acquire()
    assert "only 0 of its replicas took it over, and 1 must" in why(event, Unavailable)
    deadline = time.monotonic() + 30
    while master.do("EXISTS", "cg:{job}:l:0", "cg:{job}:o", "cg:{job}:h", "cg:{job}:r"):
        asker.store.events(now_ms())
        assert time.monotonic() < deadline
    other = Asker(master.tcp_url, claim("job", px=PX))
    assert isinstance(other.acquire(), Granted)
    other.store.close()
    asker.store.close()
    replica.resume()


def test_a_renewal_that_too_few_replicas_have_does_not_count(pair: tuple[Server, Server]) -> None:
    """min_replicas, R16: a master whose replicas follow another one extends nobody's lease."""
    master, replica = pair
    asker = wary(master.tcp_url, 1)
    grant = taken(asker)
    replica.do("REPLICAOF", "NO", "ONE")
    assert isinstance(asker.renew(grant), Unavailable)
    replica.do("REPLICAOF", "127.0.0.1", master.port)
    in_step(master, 1)
    until(lambda: asker.renew(grant), Renewed)
    asker.store.close()


def test_what_undoes_a_grant_leaves_the_end_that_was_told(pair: tuple[Server, Server]) -> None:
    """min_replicas, P14: who gives up while it is granted the lease is on record all the same."""
    master, replica = pair
    replica.pause()
    asker = wary(master.tcp_url, 1, 2_000)
    asker.store.send(Acquire(record(asker.claim)), now_ms())
    asker.store.send(asker.closing("stopped", release=True), now_ms())
    events: list[Event] = []
    while asker.store.wake_at() is not None:  # also until what undoes the grant is answered
        events += asker.store.events(now_ms())
        wait(asker.store, 0.05)
    assert [one.request for one in events if isinstance(one, Unavailable)] == ["acquire", "release"]
    kept = master.do("HGET", "cg:{job}:r", asker.claim.owner.run_id)
    assert isinstance(kept, bytes)
    assert b'"outcome":"stopped"' in kept
    assert master.do("EXISTS", "cg:{job}:l:0") == 0
    asker.store.close()
    replica.resume()


def test_an_end_that_too_few_replicas_have_is_told_again(pair: tuple[Server, Server]) -> None:
    """min_replicas, R15: the lock is free at once, and the record is not taken for safe."""
    master, replica = pair
    asker = wary(master.tcp_url, 1)
    taken(asker)
    replica.pause()
    assert "only 0 of its replicas" in why(asker.finish(), Unavailable)
    assert master.do("EXISTS", "cg:{job}:l:0") == 0
    replica.resume()
    in_step(master, 1)
    until(asker.finish, Closed)
    assert replica.do("HGET", "cg:{job}:n", "succeeded") == b"1"
    asker.store.close()


def test_replicas_that_are_slow_are_waited_for(pair: tuple[Server, Server]) -> None:
    """min_replicas: within the attempt, not beyond it."""
    master, replica = pair
    replica.pause()
    slow = threading.Timer(0.3, replica.resume)
    slow.start()
    asker = wary(master.tcp_url, 1, 20_000)
    asker.granted()
    asker.store.close()
    slow.join()


def test_replicas_that_are_too_few_are_waited_for_until_the_attempt_ends(
    pair: tuple[Server, Server],
) -> None:
    """min_replicas: who has one replica, and wants two, has an answer all the same."""
    asker = wary(pair[0].tcp_url, 2)
    assert "of its replicas took it over, and 2 must" in why(asker.acquire(), Unavailable)
    asker.store.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy in front of the shared server."""
    with Proxy(("127.0.0.1", server.port)) as made:
        yield made


def test_a_holder_whose_connection_breaks_is_woken(server: Server, proxy: Proxy) -> None:
    """R14, R21: once it watches its job; the run then asks for its lease at once."""
    asker = Asker(proxy.url, claim("job", px=PX))
    grant = asker.granted()
    asker.store.watch_job(now_ms())
    asker.store.events(now_ms())
    proxy.cut()
    assert isinstance(asker.next(), Woken)
    assert isinstance(asker.renew(grant), Renewed)
    asker.store.close()


def test_a_grant_whose_replicas_stay_silent_is_given_back(server: Server, proxy: Proxy) -> None:
    """min_replicas: also when the answer to WAIT does not come, and the attempt is over."""
    proxy.lose_replies = b"WAIT"
    asker = Asker(proxy.url, claim("job", replicas=1), 1_500)
    assert "no answer" in why(asker.acquire(), Unavailable)
    deadline = time.monotonic() + 30
    while server.do("EXISTS", "cg:{job}:l:0"):
        assert time.monotonic() < deadline
        assert asker.store.events(now_ms()) == []
        wait(asker.store, 0.05)
    asker.store.close()


def test_an_attempt_ends_when_nobody_waits_any_more(server: Server, proxy: Proxy) -> None:
    """An Acquire says how long it is wanted: it is answered by then, be it in vain."""
    asker = Asker(proxy.url, claim("job"), 20_000)
    proxy.blackhole = True
    asked_at = now_ms()
    asker.store.send(Acquire(record(asker.claim), until=asked_at + 300), asked_at)
    assert "within 0.3s" in why(asker.next(), Unavailable)
    assert server.do("EXISTS", "cg:{job}:l:0") == 0
    asker.store.close()
