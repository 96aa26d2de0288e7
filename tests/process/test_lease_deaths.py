"""No process of a run is alive at its lease's end, and nobody starts before: seen from outside.

Each case guards a family: a child, a grandchild and a daemon that forked twice into a session of
its own, all deaf to TERM. Then the keeper is killed or stopped, or the store is frozen, and another
"host" (its own PID namespace, its own state folder) waits for the lock all the while.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.process.lab import Lab, until
from tests.process.witness import (
    OUTLIVES_S,
    TAKEOVER_MS,
    TTL,
    VICTIMS,
    Deathwatch,
    Guarded,
    assert_no_overlap,
    family_of,
    lease_end,
    lives,
)

OTHER_HOST = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--")


class Case:
    """A family under guard on one host, and a second host that waits."""

    def __init__(self, place: Path, store: str, user: int | None, interpreter: str) -> None:
        self.tell = place / "tell"
        self.labs = []
        for name in ("one", "two"):
            folder = place / name
            folder.mkdir(parents=True)
            lab = Lab(folder, store, user=user)
            lab.interpreter = interpreter
            self.labs.append(lab)
        self.tell.mkdir()
        if user is not None:
            os.chown(self.tell, user, user)
            place.chmod(0o755)
        self.one, self.two = self.labs
        self.first = Guarded(self.one, *TTL, command=self._family("family", "first"))
        self.first.ready()
        prefix: tuple[str, ...] = ()
        if os.geteuid() == 0:
            prefix = OTHER_HOST
            if user is not None:
                become = (f"--reuid={user}", f"--regid={user}", "--clear-groups")
                prefix += ("setpriv", *become)
        command = self._family("group", "second", "200")
        options = (*TTL, "--wait", "forever", "--store-timeout", "1m")
        self.second = Guarded(self.two, *options, command=command, prefix=prefix)
        self.second.says("waiting for the lock")

    def _family(self, kind: str, tag: str, *limit: str) -> list[str]:
        return [self.one.interpreter, "-I", VICTIMS, kind, str(self.tell), tag, *limit]

    def tree(self) -> list[int]:
        """Return the family that the first run guards."""
        return family_of(self.tell, "first")

    def everybody(self) -> list[int]:
        """Return the keeper, its guardian, and the family."""
        keeper = self.first.pid
        return [keeper, self.one.guardian_of(keeper), *self.tree()]

    def judge(self, lease_ended: int, last_death: int) -> None:
        """All were dead before the lease's end; the other began after they were, and alone."""
        assert self.second.status() == 0, self.second.said
        assert last_death < lease_ended, f"{last_death - lease_ended} ms too late"
        found = lives(self.tell)
        assert found["first"][1] // 1_000_000 <= lease_ended
        assert_no_overlap(self.tell, 2)


@pytest.fixture
def cases(roomy: Path) -> Iterator[list[Case]]:
    """What was begun here is ended here, even if a test fails half-way."""
    begun: list[Case] = []
    yield begun
    left = [lab.clear() for case in begun for lab in case.labs]
    assert not any(left), f"processes left behind: {left}"


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_l17_l18_the_tree_is_dead_before_the_lease_ends(
    roomy: Path,
    any_user: int | None,
    interpreter: str,
    store: str,
    cases: list[Case],
    shared_server: servers.Server,
) -> None:
    """L17, L18: the keeper is killed, stopped, or stopped with its command."""
    if store == "redis":
        shared_server.client().flushall()

    def begin(name: str) -> Case:
        place = roomy / name
        place.mkdir()
        url = f"sqlite://{place}/one/state/cronguard.db"
        if store == "redis":
            url = shared_server.tcp_url + f"/{len(cases)}"
        cases.append(Case(place, url, any_user, interpreter))
        return cases[-1]

    def stop_all(case: Case) -> None:
        for pid in (case.first.pid, *case.tree()):
            os.kill(pid, signal.SIGSTOP)

    faults: dict[str, Callable[[Case], None]] = {
        "killed": lambda case: os.kill(case.first.pid, signal.SIGKILL),
        "stopped": lambda case: os.kill(case.first.pid, signal.SIGSTOP),
        "all-stopped": stop_all,
    }
    watches = []
    for name, fault in faults.items():
        case = begin(name)
        watch = Deathwatch(case.everybody())
        fault(case)
        watches.append((case, watch, lease_end(case.one)))
    seen = [(case, ends, watch.last()) for case, watch, ends in watches]
    for case, ends, last_death in seen:
        case.judge(ends - TAKEOVER_MS, last_death)
        records = case.one.records("job")
        assert [record["outcome"] for record in records] == ["succeeded", "abandoned"]


def test_l4_the_tree_is_dead_before_the_lease_ends_when_the_store_freezes(
    roomy: Path,
    any_user: int | None,
    interpreter: str,
    cases: list[Case],
    own_server: servers.Server,
) -> None:
    """L4: the run is stopped politely, then killed, and ends with 121; the other starts after."""
    place = roomy / "frozen"
    place.mkdir()
    case = Case(place, own_server.tcp_url, any_user, interpreter)
    cases.append(case)
    watch = Deathwatch(case.tree())
    ends = lease_end(case.one)
    own_server.pause()
    try:
        last_death = watch.last()
    finally:
        own_server.resume()
    assert case.first.status() == 121, case.first.said
    assert "lock lost" in case.first.said
    case.judge(ends - TAKEOVER_MS, last_death)
    outcomes = {str(record["outcome"]) for record in case.one.records("job")}
    assert outcomes <= {"succeeded", "abandoned", "lease_lost"}


def test_p22_a_killed_run_is_recorded_before_it_starts(lab: Lab) -> None:
    """P22, L17: its record stands as running, and as abandoned once its lease is gone."""
    run = Guarded(lab, *TTL).ready()
    [record] = lab.records("job")
    assert (record["outcome"], record["pid"]) == ("running", run.pid)
    run.process.kill()
    closed = lambda: lab.records("job")[0]["outcome"] == "abandoned"  # noqa: E731
    until("the record to be closed by a reader", closed, OUTLIVES_S)
    until("the tree to be gone", lambda: not lab.marked())
