"""R15 to R17: the master that sentinels name, and what happens when it is replaced."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from cronguard.core.events import Closed, Denied, Event, Gone, Granted, Held, Renewed, Unavailable
from cronguard.stores.contract import StoreDown
from cronguard.stores.redis import sentinel
from cronguard.stores.redis.history import open_history
from tests.sentinels import NAME, Watch, start_watch
from tests.servers import FLAVOURS, binary
from tests.stores.redis.helpers import Asker, claim, described, why

Asking = Callable[..., Asker]
PATIENCE_S = 60
JOB = "job"
KEY = f"cg:{{{JOB}}}:l:0"


@pytest.fixture(scope="module", params=FLAVOURS)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watch]:
    """A master with two replicas and three sentinels."""
    if binary(request.param) is None:
        pytest.skip(f"no {request.param} server is installed")
    started = start_watch(tmp_path_factory.mktemp("watch"), request.param)
    yield started
    started.stop()


@pytest.fixture
def watch(shared: Watch) -> Iterator[Watch]:
    """The shared servers, empty and well."""
    yield shared
    for one in (*shared.servers, *shared.sentinels):
        if one.running:
            with suppress(OSError):
                one.resume()
        else:
            one.start()
    shared.until_well()
    shared.master().do("FLUSHALL")


@pytest.fixture
def asker(watch: Watch) -> Iterator[Asking]:
    """Make askers of JOB, which are closed after the test."""
    made: list[Asker] = []

    def make(url: str = "", *, replicas: int = 1, attempt: int = 2_000) -> Asker:
        made.append(Asker(url or watch.url, claim(JOB, replicas=replicas), attempt))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def until(ask: Callable[[], Event], kind: type[Event]) -> Event:
    """Ask until the answer is of this kind; what may pass in between is only Unavailable."""
    deadline = time.monotonic() + PATIENCE_S
    while not isinstance(event := ask(), kind):
        assert isinstance(event, Unavailable), described(event)
        assert time.monotonic() < deadline, described(event)
        time.sleep(0.1)
    return event


def taken(asker: Asker) -> Granted:
    """Take the lock, with the word of a replica."""
    event = until(asker.acquire, Granted)
    assert isinstance(event, Granted)
    return event


def test_the_master_is_found_and_used(watch: Watch, asker: Asking) -> None:
    """R15: a whole run, by way of the sentinels."""
    one = asker()
    grant = taken(one)
    assert watch.master().do("EXISTS", KEY) == 1
    assert isinstance(one.renew(grant), Renewed)
    assert isinstance(one.finish(), Closed)


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_one_sentinel_that_answers_is_enough(watch: Watch, asker: Asking, how: str) -> None:
    """R17: the others are frozen or gone; frozen ones cost a part of the attempt."""
    for one in watch.sentinels[:2]:
        getattr(one, how)()
    grant = taken(asker())
    assert grant.token


def test_without_sentinels_the_connection_that_stands_is_kept(
    watch: Watch, asker: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R17: the lock is renewed on; only a new run cannot find the master."""
    monkeypatch.setattr(sentinel, "AGAIN_MS", 0)
    one, frozen = asker(), asker()
    grant = taken(one)
    for number, each in enumerate(watch.sentinels):
        if number:
            each.kill()
        else:
            each.pause()
    for _ in range(3):
        assert isinstance(one.renew(grant), Renewed)
    assert "no answer from its sentinels" in why(frozen.acquire(), Unavailable)
    watch.sentinels[0].kill()
    refused = why(asker().acquire(), Unavailable)
    assert "none of its sentinels says who the master is" in refused
    assert "refused" in refused
    assert isinstance(one.finish(), Closed)


def test_a_failover_on_request_keeps_the_lock(watch: Watch, asker: Asking) -> None:
    """R15, R9: the run goes on with the new master, and nobody else is let in."""
    one = asker()
    grant = taken(one)
    watch.fail_over()
    until(lambda: one.renew(grant), Renewed)
    assert watch.master().do("EXISTS", KEY) == 1
    assert isinstance(until(asker().acquire, Held), Held)
    until(one.finish, Closed)


def test_a_lock_outlives_its_master(watch: Watch, asker: Asking) -> None:
    """R15: killed as by a power cut; what one replica has is there afterwards."""
    one = asker()
    grant = taken(one)
    old = watch.master()
    old.kill()
    watch.until_replaced(old)
    assert isinstance(until(asker().acquire, Held), Held)
    until(lambda: one.renew(grant), Renewed)
    until(one.finish, Closed)


def test_a_frozen_master_that_wakes_up_has_no_say(watch: Watch, asker: Asking) -> None:
    """R16: it was replaced meanwhile; the renewal reaches the new master, not it."""
    one = asker()
    grant = taken(one)
    old = watch.master()
    old.pause()
    assert isinstance(one.renew(grant), Unavailable)
    watch.until_replaced(old)
    new = watch.master()
    before = new.do("PTTL", KEY)
    old.resume()
    until(lambda: one.renew(grant), Renewed)
    assert isinstance(before, int)
    assert new.do("PTTL", KEY) > before  # type: ignore[operator]
    until(one.finish, Closed)


def test_a_living_master_that_was_replaced_is_left(
    watch: Watch, asker: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R16: it answers as ever, and its replicas follow it, but the sentinels name another."""
    monkeypatch.setattr(sentinel, "AGAIN_MS", 0)
    one = asker(replicas=0)
    grant = taken(one)
    old, [other, *_] = watch.master(), watch.replicas()
    other.do("REPLICAOF", "NO", "ONE")
    other.do("DEL", KEY)
    for each in watch.sentinels:
        each.do("SENTINEL REMOVE", NAME)
        each.do("SENTINEL MONITOR", NAME, "127.0.0.1", other.port, 2)
    deadline = time.monotonic() + PATIENCE_S
    while isinstance(event := one.renew(grant), Renewed | Unavailable):
        assert time.monotonic() < deadline
    assert isinstance(event, Gone), described(event)
    assert old.do("EXISTS", KEY) == 1
    for server in watch.servers:
        if server is not other:
            server.do("REPLICAOF", "127.0.0.1", other.port)
    for each in watch.sentinels:
        each.do("SENTINEL SET", NAME, "down-after-milliseconds", 1000)
        each.do("SENTINEL SET", NAME, "failover-timeout", 6000)


def test_a_replica_is_not_taken_for_the_master(watch: Watch, asker: Asking) -> None:
    """R15: the sentinels may be late; the server itself says what it is."""
    [replica, *_] = watch.replicas()
    for each in watch.sentinels:
        each.do("SENTINEL MONITOR", "late", "127.0.0.1", replica.port, 2)
    late = watch.url.replace(f"/{NAME}/", "/late/")
    assert "a failover is under way" in why(asker(late).acquire(), Unavailable)
    for each in watch.sentinels:
        each.do("SENTINEL REMOVE", "late")


def test_a_master_that_nobody_knows_is_refused(watch: Watch, asker: Asking) -> None:
    """R15: the name is wrong: said at once, with what to write."""
    url = watch.url.replace(f"/{NAME}/", "/other/")
    refused = why(asker(url).acquire(), Denied)
    assert "know no master 'other'" in refused
    assert "sentinel.conf" in refused
    side = open_history(url, "cg")
    with pytest.raises(StoreDown, match="know no master 'other'"):
        side.jobs()
    side.close()


def test_servers_and_sentinels_are_told_apart(watch: Watch, asker: Asking) -> None:
    """R15: a server in a sentinel's place, and the other way round, are refused with words."""
    server, watcher = watch.servers[0], watch.sentinels[0]
    refused = why(asker(f"redis+sentinel://127.0.0.1:{server.port}/{NAME}").acquire(), Denied)
    assert "it is no Sentinel" in refused
    refused = why(asker(f"redis://127.0.0.1:{watcher.port}").acquire(), Denied)
    assert "write redis+sentinel://" in refused


def test_readers_follow_the_failover(watch: Watch, asker: Asking) -> None:
    """R15: `status` and its like ask the sentinels, too."""
    one = asker()
    taken(one)
    side = open_history(watch.url, "cg")
    assert side.jobs() == [JOB]
    watch.fail_over()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            assert side.leases([JOB])[JOB][0].owner.run_id == one.claim.owner.run_id
            side.ask_stop(JOB, one.claim.owner.run_id, "ann")
            break
        except StoreDown:
            assert time.monotonic() < deadline
    views: Any = side.facts()["sentinels"]
    assert set(views.values()) == {f"127.0.0.1:{watch.master().port}"}
    side.close()
    until(one.finish, Closed)


def test_passwords_of_both_levels(tmp_path_factory: pytest.TempPathFactory, shared: Watch) -> None:
    """R12: the servers' and the sentinels' are two, and each is wanted where it belongs."""
    folder = tmp_path_factory.mktemp("locked")
    own = start_watch(folder, shared.servers[0].flavour, replicas=0, sentinels=1)
    try:
        own.servers[0].do("ACL", "SETUSER", "app", "on", ">data-pass", "~*", "&*", "+@all")
        least = "+hello +auth +sentinel|get-master-addr-by-name +sentinel|masters"
        own.sentinels[0].do("ACL", "SETUSER", "spy", "on", ">spy-pass", "-@all", *least.split())
        own.sentinels[0].do("ACL", "SETUSER", "default", "resetpass", ">other")
        login = own.url.replace("://", "://app:data-pass@")
        refused = why(Asker(login, claim(JOB)).acquire(), Denied)
        assert "sentinel_password" in refused
        asker = Asker(f"{login}?sentinel_user=spy&sentinel_password=spy-pass", claim(JOB))
        asker.granted()
        assert isinstance(asker.finish(), Closed)
        asker.store.close()
        wrong = Asker(f"{login}?sentinel_user=spy&sentinel_password=nope", claim(JOB))
        assert "nope" not in why(wrong.acquire(), Denied)
        side = open_history(f"{login}?sentinel_user=spy&sentinel_password=spy-pass", "cg")
        assert side.jobs() == [JOB]
        side.close()
    finally:
        own.stop()
