"""Every store, one after the other; each test finds it empty."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clusters import Cluster, start_cluster
from tests.contract.harness import (
    PX,
    ClusterHarness,
    Harness,
    LeastRights,
    QuorumHarness,
    RedisHarness,
    Run,
    SqliteHarness,
    Steering,
    WithLocks,
    new_claim,
)
from tests.sentinels import Watch, start_watch
from tests.servers import FLAVOURS, SYNCED, Server, binary, start_server

NewRun = Callable[..., Run]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """One server of each flavour that is asked for, shared by all tests."""
    started: dict[str, Server] = {}

    def get(flavour: str) -> Server:
        if binary(flavour) is None:
            pytest.skip(f"no {flavour} server is installed")
        if flavour not in started:
            started[flavour] = start_server(tmp_path_factory.mktemp(flavour), flavour)
        return started[flavour]

    yield get
    for server in started.values():
        server.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Cluster of three masters, shared by all tests."""
    flavour = next(name for name in FLAVOURS if binary(name) is not None)
    started = start_cluster(tmp_path_factory.mktemp("cluster"), flavour, replicas=0)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """A master and a sentinel, shared by all tests."""
    flavour = next(name for name in FLAVOURS if binary(name) is not None)
    started = start_watch(tmp_path_factory.mktemp("watch"), flavour, replicas=0, sentinels=1)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Three independent servers that keep what they are told, shared by all tests."""
    flavour = next(name for name in FLAVOURS if binary(name) is not None)
    started = [start_server(tmp_path_factory.mktemp("trio"), flavour, *SYNCED) for _ in range(3)]
    yield started
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def old_trio(trio: list[Server]) -> list[Server]:
    """The same once each has run for a lease time: who may not ask how they sync must wait."""
    deadline = time.monotonic() + 60
    for server in trio:
        while int(server.client().info("server")["uptime_in_seconds"]) * 1000 <= PX:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    return trio


KINDS = ("sqlite", "redis", "valkey", "cluster", "sentinel", "quorum")
LEAST = ("redis-least", "cluster-least", "sentinel-least", "quorum-least")
"""The same with the least rights."""
DIFFERENT = ("sqlite", "redis", "cluster", "quorum")
"""The kinds that decide in different ways."""
LOCKS = ("sqlite-locks", "redis-locks", "quorum-locks")
"""The same with further locks."""


@pytest.fixture(
    params=[*KINDS, *[pytest.param(kind, marks=pytest.mark.variant) for kind in (*LEAST, *LOCKS)]]
)
def store(
    request: pytest.FixtureRequest, tmp_path: Path, servers: Callable[[str], Server]
) -> Iterator[Harness]:
    """A store, in a namespace of the test's own."""
    kind, _, rights = request.param.partition("-")
    harness: Harness
    data: list[Server] = []
    watch: Watch | None = None
    if kind == "sqlite":
        harness = SqliteHarness(tmp_path)
    elif kind == "cluster":
        cluster: Cluster = request.getfixturevalue("cluster")
        harness, url, data = ClusterHarness(cluster), cluster.url, cluster.servers
    elif kind == "quorum":
        data = request.getfixturevalue("old_trio" if rights == "least" else "trio")
        harness, url = QuorumHarness(data), " ".join([server.tcp_url for server in data])
    elif kind == "sentinel":
        watch = request.getfixturevalue("watch")
        assert watch is not None
        harness, url, data = RedisHarness(watch.servers[0], watch.url), watch.url, watch.servers
    else:
        data = [servers(kind)]
        harness, url = RedisHarness(data[0]), data[0].tcp_url
    if rights == "locks":
        harness = WithLocks(harness)
    elif rights:
        harness = LeastRights(harness, url, data, watch)
    yield harness
    harness.stop()


NO_QUEUE = "a quorum has no fair queue"
NO_SLOTS = "a quorum cannot count to more than one"
BY_ITSELF = "a quorum takes back by itself what one of its servers lost"
NOT_OF_A_QUORUM = {
    "test_a_freed_slot_is_granted_again": NO_SLOTS,
    "test_a_lease_can_be_reclaimed_though_everything_was_lost": BY_ITSELF,
    "test_a_lease_that_another_held_since_cannot_be_reclaimed": BY_ITSELF,
    "test_a_reader_does_not_close_what_runs": NO_SLOTS,
    "test_a_reclaim_does_not_mix_settings": NO_SLOTS,
    "test_a_run_with_other_settings_is_refused_in_the_queue": NO_SLOTS,
    "test_a_stop_request_in_the_queue_outlasts_the_grant": NO_QUEUE,
    "test_an_open_run_is_never_forgotten": NO_SLOTS,
    "test_an_overview_has_the_record_of_each_run_under_way": NO_SLOTS,
    "test_asked_again_the_holder_is_granted_the_same": "the token may rise: tests/stores/ has it",
    "test_at_most_so_many_runs_as_slots": NO_SLOTS,
    "test_of_several_runs_the_oldest_makes_way": NO_SLOTS,
    "test_who_waits_before_it_makes_way_too_and_who_comes_after_does_not": NO_QUEUE,
    "test_grants_of_other_slots_do_not_fence": NO_SLOTS,
    "test_many_requests_are_answered_in_their_order": "no run renews what it is giving back",
    "test_random_walks_never_leave_the_model": NO_SLOTS,
    "test_renewing_after_the_end_resurrects_nothing": "tests/stores/test_quorum.py has it",
    "test_renewing_extends": BY_ITSELF,
    "test_renewing_what_is_gone_creates_nothing": BY_ITSELF,
    "test_renewing_with_another_token_or_index_is_refused": NO_SLOTS,
    "test_runs_with_other_settings_are_refused": NO_SLOTS,
    "test_unlock_frees_the_lease_and_fences_its_holder": "tests/stores/test_quorum.py has it",
    "test_unlock_of_one_slot_leaves_the_others": NO_SLOTS,
}
"""What the contract says that several servers together do not promise, and why."""
NOT_WITH_LEAST = {"test_jobs_and_namespaces_do_not_meet": "one user has one namespace"}


def _of(item: pytest.Item, kinds: tuple[str, ...]) -> bool:
    """Tell whether a test is of one of these kinds of store."""
    words = set(item.name.partition("[")[2].rstrip("]").split("-"))
    return bool(words & set(kinds)) and not words & {"least", "locks"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what a quorum does not promise, and what the least rights are there to forbid."""
    for item in list(items):
        if isinstance(item, pytest.Function) and "[quorum" in item.name:
            queue = item.path.name == "test_queue.py"
            if queue or item.originalname in NOT_OF_A_QUORUM:
                items.remove(item)
                continue
        if item.path.name == "test_locks.py" and "-locks" in item.name:
            items.remove(item)  # it brings its own
            continue
        if item.path.name == "test_two_at_once.py" and not _of(item, DIFFERENT):
            items.remove(item)  # all orders of steps on each kind are enough
            continue
        least = isinstance(item, pytest.Function) and item.originalname in NOT_WITH_LEAST
        if least and "-least" in item.name:
            items.remove(item)


@pytest.fixture
def run(store: Harness) -> Iterator[NewRun]:
    """Make runs; they let go of the store after the test."""
    made: list[Run] = []

    def make(job: str = "backup", **more: object) -> Run:
        claim = new_claim(job, str(more.pop("namespace", store.namespace)), **more)
        made.append(Run(store.open(claim), claim))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.fixture
def history(store: Harness) -> Iterator[Steering]:
    """The history side of the store."""
    side = store.history()
    yield side
    side.close()
