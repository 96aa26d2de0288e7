"""R19, R20: several independent servers, of which most must agree."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cronguard.core.events import (
    Closed,
    Denied,
    Event,
    Flawed,
    Gone,
    Granted,
    Held,
    Queued,
    Refused,
    Renewed,
    StopAsked,
    Taken,
    Unavailable,
)
from cronguard.core.spec import Claim, Owner
from cronguard.stores.contract import Acquire, Close, Reclaim, Renew, Request, StoreDown
from cronguard.stores.quorum import QuorumLease, open_lease
from cronguard.stores.quorum_history import open_history
from tests.proxy import Proxy
from tests.servers import FLAVOURS, SYNCED, Server, binary, start_server
from tests.stores.redis.helpers import Asker, claim, described, now_ms, record

PATIENCE_S = 60
ATTEMPT_MS = 4_000
"""Each write is synced, which takes its time on a busy disk."""
KEY = "cg:{job}:l:0"
Claims = Callable[..., "Run"]


@pytest.fixture(scope="module", params=FLAVOURS)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    """Three servers that keep what they are told."""
    if binary(request.param) is None:
        pytest.skip(f"no {request.param} server is installed")
    folder = tmp_path_factory.mktemp("trio")
    started: list[Server] = []
    for number in range(3):
        own = folder / str(number)
        own.mkdir()
        started.append(start_server(own, request.param, *SYNCED))
    yield started
    for server in started:
        server.stop()


@pytest.fixture
def trio(shared: list[Server]) -> Iterator[list[Server]]:
    """The shared servers, empty and there."""
    yield shared
    for server in shared:
        if server.running:
            server.resume()
        else:
            server.start()
        server.do("FLUSHALL")


class Run:
    """One run's side of the store."""

    def __init__(self, url: str, attempt: int = ATTEMPT_MS) -> None:
        self.claim = Claim("job", Owner(os.urandom(16).hex(), host="web-3"), 35_000)
        self.store: QuorumLease = open_lease(url, self.claim, attempt)
        self.token = 0
        self.come: list[Event] = []

    def send(self, request: Request) -> None:
        self.store.send(request, now_ms())

    def ask(self, request: Request) -> Event:
        """Send, and return the reply."""
        self.send(request)
        return self.next()

    def next(self) -> Event:
        """Return the next event."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self.come += self.store.events(now_ms())
            if self.come:
                return self.come.pop(0)
            wait([self])
        raise AssertionError("no event from the store in time")

    def acquire(self, queue_for: int = 0) -> Event:
        event = self.ask(Acquire(record(self.claim), queue_for=queue_for))
        if isinstance(event, Granted):
            self.token = event.token
        return event

    def granted(self) -> Run:
        """Take the lock, and hear what all servers say of it."""
        event = self.acquire()
        assert isinstance(event, Granted), described(event)
        self.heard()
        return self

    def heard(self) -> None:
        """Hear what all servers have to say yet."""
        deadline = time.monotonic() + PATIENCE_S
        while any(server.waiting for server in self.store._servers):
            self.come += self.store.events(now_ms())
            assert time.monotonic() < deadline
            wait([self])

    def renew(self) -> Event:
        return self.ask(Renew(self.token, 0))

    def ending(self) -> Close:
        at = time.time_ns() // 1_000_000
        return Close(record(self.claim, "succeeded"), outcome="succeeded", ended_wall=at)

    def finish(self) -> Event:
        return self.ask(self.ending())


def wait(runs: list[Run]) -> None:
    """Sleep until one of the stores wants to be looked at."""
    poll = select.poll()
    moments = [run.store.wake_at() for run in runs]
    for run in runs:
        for number, events in run.store.watches():
            poll.register(number, events)
    due = min([moment for moment in moments if moment is not None], default=now_ms() + 200)
    poll.poll(min(max(due - now_ms(), 0), 200))


def url_of(servers: list[Server]) -> str:
    return " ".join([server.url for server in servers])


@pytest.fixture
def run(trio: list[Server]) -> Iterator[Claims]:
    """Make runs of one job; they let go of the store after the test."""
    made: list[Run] = []

    def make(attempt: int = ATTEMPT_MS) -> Run:
        made.append(Run(url_of(trio), attempt))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def test_one_run_at_a_time_and_all_servers_know_it(trio: list[Server], run: Claims) -> None:
    """R19: granted by all, held for others, renewed, given back everywhere."""
    one = run().granted()
    assert isinstance(run().acquire(), Held)
    assert isinstance(run().acquire(queue_for=5_000), Queued)
    assert isinstance(one.renew(), Renewed)
    assert isinstance(one.finish(), Closed)
    assert [server.do("EXISTS", KEY) for server in trio] == [0, 0, 0]
    assert run().granted().token > one.token


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_a_minority_may_be_away(trio: list[Server], run: Claims, how: str) -> None:
    """R19: before, during and after the run."""
    getattr(trio[0], how)()
    one = run().granted()
    assert isinstance(run().acquire(), Held)
    assert isinstance(one.renew(), Renewed)
    assert isinstance(one.finish(), Closed)


def test_a_run_outlives_the_servers_it_began_with(trio: list[Server], run: Claims) -> None:
    """R19: one after the other goes and comes back; what was lost is taken again meanwhile."""
    one = run().granted()
    for server in trio:
        server.kill()
        assert isinstance(one.renew(), Renewed)
        server.start()
        deadline = time.monotonic() + PATIENCE_S
        while not all(each.do("PTTL", KEY) > 30_000 for each in trio):  # type: ignore[operator]
            event = one.renew()
            assert isinstance(event, Renewed), described(event)
            assert time.monotonic() < deadline
    assert isinstance(run().acquire(), Held)


def test_without_a_majority_nothing_is_granted_or_renewed(trio: list[Server], run: Claims) -> None:
    """R19: which servers do not answer is said; what one granted is given back."""
    one = run().granted()
    for server in trio[:2]:
        server.kill()
    event = one.renew()
    assert isinstance(event, Unavailable)
    assert trio[0].url in event.why
    trio[2].do("DEL", KEY)
    other = run()
    event = other.acquire()
    assert isinstance(event, Unavailable)
    assert "only 1 of 3 servers" in event.why
    deadline = time.monotonic() + PATIENCE_S
    while trio[2].do("EXISTS", KEY):
        other.store.events(now_ms())
        assert time.monotonic() < deadline


def test_of_many_that_ask_at_once_exactly_one_starts(trio: list[Server], run: Claims) -> None:
    """R19: split votes are given back and asked for again, until one run has most of them."""
    for _ in range(5):
        runs = [run() for _ in range(12)]
        answers: dict[Run, Event] = {}
        for one in runs:
            one.send(Acquire(record(one.claim)))
        deadline = time.monotonic() + PATIENCE_S
        while len(answers) < len(runs):
            assert time.monotonic() < deadline
            wait([one for one in runs if one not in answers])
            for one in runs:
                for event in one.store.events(now_ms()):
                    if isinstance(event, Unavailable):  # as the machine does
                        one.send(Acquire(record(one.claim)))
                    else:
                        answers[one] = event
        winners = [one for one, event in answers.items() if isinstance(event, Granted)]
        assert len(winners) == 1
        assert isinstance(winners[0].finish(), Closed)
        for one in runs:
            one.store.close()


def test_after_an_undone_grant_a_minority_is_given_back_too(
    trio: list[Server], run: Claims
) -> None:
    """As for a further lock: what was undone was not the run's end, and all holds as before."""
    one = run().granted()
    assert isinstance(one.ask(Close(None, outcome="", ended_wall=0)), Closed)
    one.heard()
    run().granted()
    trio[2].do("DEL", KEY)
    assert isinstance(one.acquire(), Held)
    one.heard()
    assert trio[2].do("EXISTS", KEY) == 0


def test_a_higher_token_of_one_server_becomes_that_of_all(trio: list[Server], run: Claims) -> None:
    """R19: clocks differ by an hour, and tokens rise whichever servers make up the majority."""
    ahead = int(time.time() * 1000) + 3_600_000
    trio[0].do("HSET", "cg:{job}:f", "n", ahead)
    trio[2].kill()  # so the one ahead is among most
    one = run().granted()
    before = one.token
    assert before > ahead
    assert isinstance(one.finish(), Closed)
    trio[2].start()
    trio[0].kill()
    assert run().granted().token > before


def test_one_server_that_granted_another_token_misleads_nobody(
    trio: list[Server], run: Claims
) -> None:
    """R19: readers see the token that most have; asked again, all come to have the highest."""
    trio[2].kill()
    one = run().granted()
    trio[2].start()
    trio[2].do("HSET", "cg:{job}:f", "n", one.token + 600_000)
    deadline = time.monotonic() + PATIENCE_S
    while not trio[2].do("EXISTS", KEY):
        assert isinstance(one.renew(), Renewed)
        assert time.monotonic() < deadline
    side = open_history(url_of(trio), "cg")
    [lease] = side.leases(["job"])["job"]
    side.close()
    assert lease.token == one.token
    event = one.acquire()
    assert isinstance(event, Granted)
    assert event.token >= lease.token


def test_the_token_of_who_told_no_end_is_what_most_have(trio: list[Server], run: Claims) -> None:
    """R19: no token is on record that the run may never have had."""
    one = run().granted()
    side = open_history(url_of(trio), "cg")
    run_id = one.claim.owner.run_id
    for server, token in ((trio[0], one.token), (trio[1], one.token + 1)):
        changed = record(one.claim, "abandoned", token=token)
        server.do("HSET", "cg:{job}:r", run_id, changed)
    trio[2].do("HDEL", "cg:{job}:r", run_id)
    assert [found["token"] for found in side.runs("job", 5)] == [None]
    assert isinstance(one.finish(), Closed)
    assert [found["outcome"] for found in side.runs("job", 5)] == ["succeeded"]
    side.close()


def test_a_server_that_came_back_empty_has_no_vote(tmp_path: Path) -> None:
    """R20: two of three that lost everything cannot give the lock to a second run."""
    servers: list[Server] = []
    for number in range(3):
        own = tmp_path / str(number)
        own.mkdir()
        servers.append(start_server(own, FLAVOURS[0], *(SYNCED if number == 0 else ())))
    try:
        event = (late := Run(url_of(servers))).acquire()
        assert isinstance(event, Unavailable)
        assert "without an append-only file" in event.why
        late.store.close()
    finally:
        for server in servers:
            server.stop()


def test_after_the_end_nothing_is_taken_again(trio: list[Server], run: Claims) -> None:
    """L11: a renewal that comes after the release resurrects no lease on any server."""
    one = run().granted()
    assert isinstance(one.finish(), Closed)
    assert isinstance(one.renew(), Unavailable | Gone | Taken)
    assert isinstance(one.ask(Reclaim(one.token, 0)), Unavailable | Gone | Taken)
    assert [server.do("EXISTS", KEY) for server in trio] == [0, 0, 0]


def test_an_end_before_the_answer_leaves_nothing(trio: list[Server], run: Claims) -> None:
    """R19: a signal while asking: the Close that follows at once frees what is granted yet."""
    for _ in range(10):
        one, two = run(), run()
        for each in (one, two):
            each.send(Acquire(record(each.claim)))
            each.send(each.ending())
        for each in (one, two):
            while not isinstance(each.next(), Closed):
                pass
        deadline = time.monotonic() + PATIENCE_S
        while any(server.do("EXISTS", KEY) for server in trio):
            for each in (one, two):
                each.store.events(now_ms())
            assert time.monotonic() < deadline


def test_a_renewal_on_its_way_at_the_end_takes_nothing_again(
    trio: list[Server], run: Claims
) -> None:
    """L11: what a server lost a moment before the release is not reclaimed after it."""
    one = run().granted()
    for server in trio:
        server.do("DEL", KEY)
    one.send(Renew(one.token, 0))
    one.send(one.ending())
    while not isinstance(one.next(), Closed):
        pass
    one.heard()
    assert [server.do("EXISTS", KEY) for server in trio] == [0, 0, 0]


def test_an_end_before_the_answer_keeps_its_record(trio: list[Server], run: Claims) -> None:
    """R19: giving back what was got does not take the record of the end with it."""
    others = [Asker(server.url, claim("job")) for server in trio[:2]]
    for other in others:
        other.granted()
    one = run()
    one.send(Acquire(record(one.claim)))
    one.send(one.ending())
    while not isinstance(one.next(), Closed):
        pass
    one.heard()
    for server in trio:
        assert server.do("HEXISTS", "cg:{job}:r", one.claim.owner.run_id), server.url
    for other in others:
        other.store.close()


def test_a_grant_is_not_given_back_for_an_earlier_one(trio: list[Server], run: Claims) -> None:
    """R19: what a slow server granted too late is given back before it is asked for again."""
    trio[2].pause()
    other = run(attempt=2_000)
    assert isinstance(other.acquire(), Granted)
    one = run(attempt=20_000)
    assert isinstance(one.acquire(), Held)
    assert isinstance(other.finish(), Closed)
    trio[1].kill()
    one.send(Acquire(record(one.claim)))
    trio[2].resume()
    event = one.next()
    assert isinstance(event, Granted), described(event)
    one.heard()
    assert [server.do("EXISTS", KEY) for server in (trio[0], trio[2])] == [1, 1]


def test_reading_and_steering(trio: list[Server], run: Claims) -> None:
    """R19: what most have counts; a server that is away hides nothing; unlock ends the holder."""
    side = open_history(url_of(trio), "cg")
    one = run().granted()
    one.store.watch_job(now_ms())
    [lease] = side.leases(["job"])["job"]
    assert lease.owner.run_id == one.claim.owner.run_id
    side.ask_stop("job", lease.owner.run_id, "ann")
    assert isinstance(one.next(), StopAsked)
    trio[1].kill()
    assert isinstance(one.finish(), Closed)
    trio[1].start()
    [found] = side.runs("job", 5)
    assert found["outcome"] == "succeeded"
    assert side.leases(["job"]) == {"job": []}
    two = run().granted()
    [lease] = side.leases(["job"])["job"]
    assert side.unlock(lease, "ann")
    event = two.renew()
    assert isinstance(event, Taken), described(event)
    side.close()
    for server in trio[:2]:
        server.kill()
    side = open_history(url_of(trio), "cg")
    with pytest.raises(StoreDown, match="only 1 of 3 servers answer"):
        side.jobs()
    side.close()


def test_a_semaphore_is_refused() -> None:
    """R19: majorities of counting semaphores let too many in."""
    claim = Claim("job", Owner("a" * 32), 35_000, slots=2)
    with pytest.raises(ValueError, match="cannot count to more than one"):
        open_lease("redis://a redis://b redis://c", claim, 1_000)


# -- two addresses of one server ------------------------------------------------------------------


def under_another_name(server: Server) -> str:
    """Return an address of *server* that nobody can tell from that of another one by its text."""
    return f"redis://localhost:{server.port}"


def test_one_server_under_two_names_is_refused(trio: list[Server]) -> None:
    """R19: it would be most of three alone: nothing is granted, whoever else answers."""
    for last in (trio[1].tcp_url, "redis://127.0.0.1:1"):
        one = Run(f"{trio[0].tcp_url} {under_another_name(trio[0])} {last}")
        event = one.acquire()
        assert isinstance(event, Denied), described(event)
        assert f"localhost:{trio[0].port}" in event.why
        assert "one server" in event.why
        one.store.close()
        assert [server.do("EXISTS", KEY) for server in trio] == [0, 0, 0]


def test_one_server_behind_a_socket_with_two_paths_is_refused(
    trio: list[Server], tmp_path: Path
) -> None:
    """R19: a link is another name, too."""
    (tmp_path / "other").symlink_to(trio[0].socket)
    one = Run(f"{trio[0].url} unix://{tmp_path}/other {trio[1].url}")
    event = one.acquire()
    assert isinstance(event, Denied), described(event)
    one.store.close()


def test_a_server_that_turns_out_to_be_another_has_no_second_vote(trio: list[Server]) -> None:
    """R19: a name that led nowhere at first, and then to another server: told once, not counted."""
    with Proxy((trio[0].host, trio[0].port)) as proxy:
        proxy.blackhole = True
        url = f"{trio[0].tcp_url} {trio[1].tcp_url} {proxy.url}"
        one = Run(url).granted()
        proxy.blackhole = False
        proxy.cut()
        said: list[Flawed] = []
        deadline = time.monotonic() + PATIENCE_S
        while not said:
            event = one.renew()
            said += [event] if isinstance(event, Flawed) else []
            assert isinstance(event, Renewed | Flawed), described(event)
            assert time.monotonic() < deadline
        assert "one server" in said[0].why
        trio[1].kill()
        events = [one.renew() for _ in range(3)]
        assert not [event for event in events if isinstance(event, Flawed)]
        assert isinstance(events[-1], Unavailable), described(events[-1])
        trio[1].start()
        one.send(one.ending())
        while not isinstance(one.next(), Closed):
            pass
        one.store.close()
    assert [server.do("EXISTS", KEY) for server in trio] == [0, 0, 0]


def test_a_restarted_server_is_not_taken_for_another(trio: list[Server], run: Claims) -> None:
    """R19: its process is new, its address is not: it votes again."""
    one = run().granted()
    for server in trio:
        server.restart()
        deadline = time.monotonic() + PATIENCE_S
        while not all(each.do("PTTL", KEY) > 30_000 for each in trio):  # type: ignore[operator]
            assert isinstance(one.renew(), Renewed)
            assert time.monotonic() < deadline
    assert isinstance(one.finish(), Closed)


def test_readers_count_a_server_under_two_names_once(trio: list[Server], run: Claims) -> None:
    """R19: one of three has no majority by being asked twice."""
    one = Asker(trio[0].tcp_url, claim("job"))
    one.granted()
    side = open_history(f"{trio[0].tcp_url} {under_another_name(trio[0])} {trio[1].tcp_url}", "cg")
    assert side.leases(["job"]) == {"job": []}
    assert "one server" in str(side.facts()["quorum_flaw"])
    side.close()
    one.store.close()


# -- slots ----------------------------------------------------------------------------------------


def at_a_border(one: Run, slots: tuple[int, ...]) -> Run:
    """Let each server take another moment for now: the run is for another slot with each."""
    one.claim.rule, one.claim.slot_px = "0", 60_000
    for server, slot in zip(one.store._servers, slots, strict=True):
        own = Claim("job", one.claim.owner, one.claim.px, rule=str(slot), slot_px=60_000)
        server.store._claim = own
    return one


def test_servers_that_choose_another_slot_come_to_have_one(trio: list[Server], run: Claims) -> None:
    """L13, R19: their clocks are on both sides of a border; the first answer counts."""
    one = at_a_border(run(), (1_000, 2_000, 3_000))
    event = one.acquire()
    assert isinstance(event, Granted), described(event)
    assert event.slot in (1_000, 2_000, 3_000)
    one.heard()
    for server in trio:
        used = server.client().keys("cg:{job}:s:*")
        assert [str(key).rstrip("'").rpartition(":")[2] for key in used] == [str(event.slot)]
    one.ask(Close(record(one.claim), outcome="succeeded", ended_wall=1))
    late = at_a_border(run(), (event.slot,) * 3).acquire()
    assert isinstance(late, Refused), described(late)
    other = at_a_border(run(), (event.slot + 500,) * 3).acquire()
    assert isinstance(other, Granted), described(other)


def test_a_slot_that_is_used_on_one_side_of_a_border_keeps_no_lease(
    trio: list[Server], run: Claims
) -> None:
    """L13, R19: what servers granted for the other slot is given back, or all agree on that."""
    first = at_a_border(run(), (1_000,) * 3)
    assert isinstance(first.acquire(), Granted)
    first.heard()
    first.ask(Close(record(first.claim), outcome="succeeded", ended_wall=1))
    second = at_a_border(run(), (1_000, 2_000, 2_000))
    event = second.acquire()
    if isinstance(event, Granted):
        assert event.slot == 2_000
        return
    assert isinstance(event, Refused), described(event)
    second.heard()  # what is given back is on its way until then
    third = at_a_border(run(), (2_000,) * 3)
    assert isinstance(third.acquire(), Granted)
