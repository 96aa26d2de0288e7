"""A store that is broken on purpose is found out; the real one, in the same scene, is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.chaos.stage import BrokenLab, Stage
from tests.chaos.verdict import Verdict
from tests.chaos.watch import Watch
from tests.process.lab import until
from tests.proxy import Proxy

pytestmark = pytest.mark.variant

Scene = Callable[[BrokenLab, servers.Server], Verdict]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.Server]:
    """A server that a scene may do anything to."""
    (tmp_path / "server").mkdir()
    flavour = "redis" if servers.binary("redis") else "valkey"
    server = servers.start_server(tmp_path / "server", flavour)
    yield server
    server.stop()


@pytest.fixture
def lab_with(tmp_path: Path, server: servers.Server) -> Iterator[Callable[[str | None], BrokenLab]]:
    """Make a lab whose cronguard has the bug; nothing of it is left in the end."""
    labs: list[BrokenLab] = []

    def make(bug: str | None) -> BrokenLab:
        labs.append(BrokenLab(tmp_path, server.tcp_url, bug))
        return labs[-1]

    yield make
    for lab in labs:
        left = lab.clear()
        assert not left, f"processes left behind: {left}"


def a_lease_vanishes(lab: BrokenLab, server: servers.Server) -> Verdict:
    """The store loses the lease; its holder has time to notice, before anybody else asks."""
    stage = Stage(lab, "10s")
    with Watch(("127.0.0.1", server.port), stage.saw_renewal) as watch:
        holder = stage.start("job", 30_000, store=watch.url)
        stage.begun(holder)
        stage.event("fault", kind="evict", target="job", loses=True)
        assert server.do("DEL", "cg:{job}:l:0") == 1
        stage.event("healed", kind="evict", target="job")
        asked = watch.asked
        until("heartbeats", lambda: watch.asked >= asked + REQUESTS)
        other = stage.start("job", 300)
        stage.ended(other)
        stage.signal(holder, "termed", 15)
        stage.ended(holder)
    return stage.verdict()


def the_reply_to_a_release_is_lost(lab: BrokenLab, server: servers.Server) -> Verdict:
    """A release is sent twice, as its first reply was lost; meanwhile the lease is another's."""
    stage = Stage(lab, "30s")
    stage.ended(stage.start("warm", 10))  # the server knows the scripts from now on
    with Proxy(("127.0.0.1", server.port)) as proxy:
        first = stage.start("job", 60_000, store=proxy.url)
        stage.begun(first)
        waiters = [stage.start("job", 3_500, "--wait", "30s") for _ in range(2)]
        until("two in the queue", lambda: server.do("ZCARD", "cg:{job}:w") == 2)
        stage.event("fault", kind="lose reply", target="job")
        proxy.lose_replies = b'"outcome":"stopped"'
        stage.signal(first, "termed", 15)
        stage.ended(first)
        stage.event("healed", kind="lose reply", target="job")
        for waiter in waiters:
            stage.ended(waiter)
    return stage.verdict()


def a_renewal_is_read_late(lab: BrokenLab, server: servers.Server) -> Verdict:
    """A keeper is stopped while the reply to a renewal is under way, and cut off after it."""
    stage = Stage(lab, "10s")
    with Watch(("127.0.0.1", server.port), stage.saw_renewal) as watch:
        run = stage.start("job", 60_000, kind="deaf", store=watch.url)
        stage.begun(run, 2)
        watch.hold_next = True
        assert watch.held.wait(20)
        stage.stop(run)
        stage.event("fault", kind="cut", target="job")
        watch.deliver.set()
        time.sleep(STOPPED_S)  # this is the fault itself
        stage.resume(run)
        stage.ended(run)
        watch.blackhole = False
        stage.event("healed", kind="cut", target="job")
        stage.ended(stage.start("other", 10, store=watch.url))  # delivers what the cut kept back
    return stage.verdict()


REQUESTS = 5
"""A heartbeat that finds nothing and a reclaim, each also by its script's text; and one more."""
STOPPED_S = 3.5
"""Shorter than what is left of the lease before, which the kernel's timer guards meanwhile."""


@pytest.mark.parametrize(
    ("bug", "scene", "wanted"),
    [
        ("deaf", a_lease_vanishes, "overlap"),
        ("careless", the_reply_to_a_release_is_lost, "overlap"),
        ("late", a_renewal_is_read_late, "survivor"),
    ],
)
def test_a_broken_store_is_found_out(
    lab_with: Callable[[str | None], BrokenLab],
    server: servers.Server,
    bug: str,
    scene: Scene,
    wanted: str,
) -> None:
    """One bug, one fault that makes it matter, and the checker says what came of it."""
    verdict = scene(lab_with(bug), server)
    assert verdict.count(wanted) >= 1, verdict.violations


@pytest.mark.parametrize(
    "scene", [a_lease_vanishes, the_reply_to_a_release_is_lost, a_renewal_is_read_late]
)
def test_the_real_store_passes_where_a_broken_one_does_not(
    lab_with: Callable[[str | None], BrokenLab], server: servers.Server, scene: Scene
) -> None:
    """The same scene with the product as it is: nothing is violated."""
    verdict = scene(lab_with(None), server)
    assert verdict.holds, verdict.violations
