"""What a run is promised on one server it is promised on several, which are one store together."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clusters import start_cluster
from tests.process.conftest import finish
from tests.process.lab import Lab, until
from tests.process.witness import TTL, Guarded, Postman, holder, other_state, wait_for_renewal
from tests.sentinels import start_watch
from tests.servers import SYNCED, Server, binary, start_server

pytestmark = pytest.mark.variant

FLAVOUR = "redis" if binary("redis") else "valkey"
LEASE, CHANNEL = "cg:{job}:l:0", "cg:{job}:e"


class Group:
    """Servers that are one store: `data` those that keep the leases."""

    def __init__(self, url: str, data: list[Server], stop: Callable[[], None]) -> None:
        self.url = url
        self.data = data
        self.stop = stop

    def having(self, key: str) -> list[Server]:
        """Return the servers that have *key*."""
        return [server for server in self.data if _there(server, key)]

    def listeners(self) -> int:
        """Return how many connections listen to the job."""
        return sum(server.do("PUBSUB", "NUMSUB", CHANNEL)[1] for server in self.data)  # type: ignore[index]


def _there(server: Server, key: str) -> bool:
    return bool(server.do("KEYS", key.replace("{", "[{]")))  # as EXISTS would be sent elsewhere


def stop_all(servers: list[Server]) -> None:
    """End them."""
    for server in servers:
        server.stop()


@pytest.fixture(scope="module", params=["sentinel", "cluster", "quorum"])
def group(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Group]:
    """A store of each kind, shared by all tests."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sentinel":
        watch = start_watch(folder, FLAVOUR, replicas=0, sentinels=3)
        made = Group(watch.url, watch.servers, watch.stop)
    elif request.param == "cluster":
        cluster = start_cluster(folder, FLAVOUR, replicas=0)
        made = Group(cluster.url, cluster.servers, cluster.stop)
    else:
        trio = []
        for number in range(3):
            (folder / str(number)).mkdir()
            trio.append(start_server(folder / str(number), FLAVOUR, *SYNCED))
        url = " ".join([server.tcp_url for server in trio])
        made = Group(url, trio, lambda: stop_all(trio))
    yield made
    made.stop()


@pytest.fixture
def wide(group: Group, tmp_path: Path) -> Iterator[Lab]:
    """A lab on such a store."""
    for server in group.data:
        server.do("FLUSHALL")
    place = Lab(tmp_path, group.url)
    yield place
    finish(place)


def test_a_run_from_start_to_end(wide: Lab, group: Group) -> None:
    """Held for others, renewed, given back everywhere, recorded; nothing is said."""
    run = Guarded(wide, *TTL).ready()
    other = wide.call("run", "-n", "job", *TTL, "-E", "9", "--", "true", env=other_state(wide))
    assert other.returncode == 9
    wait_for_renewal(wide)
    assert run.end() == 7
    assert run.said == ""
    until("the lock to be free everywhere", lambda: not group.having(LEASE))
    assert wide.records("job")[0]["exit_status"] == 7
    assert wide.call("run", "-n", "job", *TTL, "--", "true").returncode == 0
    rows = wide.call("status", "job")
    assert rows.returncode == 0
    assert b"succeeded" in rows.stdout


def test_a_stop_reaches_the_holder_at_once(wide: Lab, group: Group) -> None:
    """Pushed, long before its first heartbeat: from another connection, by another host."""
    run = Guarded(wide, "--ttl", "30m").ready()
    until("the holder to listen", group.listeners)
    assert wide.call("stop", "job", env=other_state(wide)).returncode == 0
    assert run.status() == 128 + signal.SIGTERM, run.said
    [record] = wide.records("job")
    assert (record["outcome"], record["renewals"]) == ("stopped", 0)
    until("the lock to be free everywhere", lambda: not group.having(LEASE))


def test_a_pause_between_attempts_is_a_part_of_the_run(wide: Lab, group: Group) -> None:
    """The lock stays with it, and a stop reaches it."""
    text = "test $CRONGUARD_ATTEMPT = 3"
    again = ("run", "-n", "job", "--retries", "2")
    done = wide.call(*again, "--retry-delay", "1ms", "--", "sh", "-c", text)
    assert done.returncode == 0, done.stderr
    run = wide.start(*again, "--retry-delay", "1h", "--", "false")
    assert run.stderr is not None
    assert b"trying again in 1h00m" in run.stderr.readline()
    other = wide.call("run", "-n", "job", "-E", "9", "--", "true", env=other_state(wide))
    assert other.returncode == 9
    until("the holder to listen", group.listeners)
    assert wide.call("stop", "job", env=other_state(wide)).returncode == 0
    assert run.wait(20) == 128 + signal.SIGTERM
    until("the lock to be free everywhere", lambda: not group.having(LEASE))
    stopped, succeeded = wide.records("job")
    assert (stopped["outcome"], succeeded["attempt"]) == ("stopped", 3)


def test_a_timeout_is_found_out_of_the_records(wide: Lab) -> None:
    """`--timeout auto` reads them wherever they are."""
    for known in (0, 1):
        done = wide.call("run", "-n", "job", "-t", "auto", "--", "true")
        assert done.returncode == 0
        assert f"so far on record: {known}.".encode() in done.stderr


def test_a_released_lock_goes_to_who_waits(wide: Lab) -> None:
    """Though the lease that it waits for would last for half an hour."""
    first = Guarded(wide, "--ttl", "30m").ready()
    waiter = Guarded(wide, "--ttl", "30m", "--wait", "forever")
    waiter.says("waiting for the lock")
    assert first.end() == 7
    assert waiter.ready().end() == 7
    assert [record["outcome"] for record in wide.records("job")] == ["failed", "failed"]


def test_l6_a_lease_that_vanished_everywhere_is_taken_again(wide: Lab, group: Group) -> None:
    """L6: evicted, flushed, lost in a failover: nobody else had it, so the run goes on."""
    run = Guarded(wide, *TTL).ready()
    wait_for_renewal(wide)
    before = holder(wide)
    for server in group.having(LEASE):
        server.do("DEL", LEASE)
    until("the lease to be there again", lambda: holder(wide) == before)
    wait_for_renewal(wide)
    assert run.end() == 7
    assert wide.records("job")[0]["outcome"] == "failed"


def test_l7_a_lease_that_another_got_ends_the_run_at_once(wide: Lab) -> None:
    """L7: unlocked by force and taken: the first one is killed, and gives nothing back."""
    run = Guarded(wide, *TTL).ready()
    wait_for_renewal(wide)
    assert wide.call("unlock", "job", "--force").returncode == 0
    other = Guarded(wide, *TTL, env=other_state(wide)).ready()
    theirs = holder(wide)
    assert run.status() == 121, run.said
    assert holder(wide) == theirs
    wait_for_renewal(wide)
    assert other.end() == 7
    outcomes = [record["outcome"] for record in wide.records("job")]
    assert outcomes == ["failed", "lease_lost"]


# -- one server, and what it may lack -------------------------------------------------------------


@pytest.mark.parametrize("patience", ["700ms", "2500ms", "5s"])
def test_too_few_replicas_start_nothing(remote: Lab, own_server: Server, patience: str) -> None:
    """R15: 122, the lock given back whenever we leave, and the record kept for later."""
    touched = remote.folder / "ran"
    options = ("run", "-n", "job", *TTL, "--store-timeout", patience, "--min-replicas", "1")
    done = remote.call(*options, "--", "touch", str(touched))
    assert (done.returncode, touched.exists()) == (122, False)
    assert b"only 0 of its replicas took it over, and 1 must" in done.stderr
    until("the lock to be given back", lambda: own_server.do("EXISTS", LEASE) == 0, patience=2)
    done = remote.call("run", "-n", "job", *TTL, "-E", "9", "--", "true")
    assert (done.returncode, done.stderr) == (0, b"")
    outcomes = sorted(str(record["outcome"]) for record in remote.records("job"))
    assert outcomes == ["store_unavailable", "succeeded"]


@pytest.mark.parametrize(
    "refusal",
    [
        b"-NOPROTO unsupported protocol version\r\n",
        b"-ERR unknown command 'HELLO', with args beginning with: '3'\r\n",
    ],
)
def test_without_resp3_word_comes_with_the_heartbeat(
    remote: Lab, own_server: Server, refusal: bytes
) -> None:
    """A proxy that refuses HELLO 3: nothing can be pushed; a stop and a free lock are asked for."""
    with Postman(("127.0.0.1", own_server.port)) as proxy:
        proxy.refuse_hello = refusal
        through = ("--store", proxy.url)
        run = Guarded(remote, *TTL, *through).ready()
        waiter = Guarded(remote, *TTL, *through, "--wait", "forever")
        waiter.says("waiting for the lock")
        wait_for_renewal(remote)
        assert own_server.do("PUBSUB", "NUMSUB", CHANNEL) == [CHANNEL.encode(), 0]
        remote.ask(lambda history: history.ask_stop("job", holder(remote), "tester"))
        assert run.status() == 128 + signal.SIGTERM, run.said
        assert waiter.ready().end() == 7
        assert own_server.do("PUBSUB", "NUMSUB", CHANNEL) == [CHANNEL.encode(), 0]
    records = remote.records("job")
    assert [record["outcome"] for record in records] == ["failed", "stopped"]
    assert records[1]["reason"] == "by tester"
