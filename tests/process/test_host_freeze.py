"""A host that freezes, or has no time for us: the lock never outlives the run, nor is it lost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import children
from tests.process.lab import Lab, is_alive, until
from tests.process.places import control_group, root
from tests.process.witness import TAKEOVER_MS, lease_end, now_ms

TTL_S = 10


@root
def test_h3_a_frozen_run_is_killed_while_it_is_frozen(local: Lab) -> None:
    """H3: under version 2 (docker pause, systemctl freeze) SIGKILL does not wait for the thaw."""
    with control_group("unified") as group:
        run = local.start_ready(
            *("run", "-n", "job", "--ttl", f"{TTL_S}s", "--"),
            *("sh", "-c", "sleep 600 & echo ready; sleep 600"),
            preexec_fn=group.join,
        )
        guardian = local.guardian_of(run.pid)
        group.set("cgroup.freeze", 1)
        ends = lease_end(local)
        try:
            until(
                "all but the guardian to be dead, frozen",
                lambda: not set(local.marked()) - {guardian},
            )
            assert now_ms() < ends - TAKEOVER_MS, "it outlived its lease"
        finally:
            group.set("cgroup.freeze", 0)
        assert run.wait(30) == -9
        until("nothing to be left", lambda: not local.marked())


@root
def test_h3_what_thaws_late_does_not_run_on(local: Lab) -> None:
    """H3, H1: under version 1 the SIGKILL waits, and comes before the command does anything much.

    So it is after a sleep: no process ran, and the clock that the timer is set by went on.
    """
    with control_group("freezer") as group:
        beat = local.folder / "beat"
        run = local.start_ready(
            *("run", "-n", "job", "--ttl", f"{TTL_S}s", "--"),
            *children.command("beat", beat),
            preexec_fn=group.join,
        )
        group.set("freezer.state", "FROZEN")
        until("the dead man's SIGKILL to be pending", lambda: kill_is_pending(run.pid))
        thawed = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        group.set("freezer.state", "THAWED")
        assert run.wait(30) == -9
        until("nothing to be left", lambda: not local.marked())
        assert int(beat.read_text()) - thawed < 1_000_000_000


def kill_is_pending(pid: int) -> bool:
    """Tell whether SIGKILL waits for *pid*."""
    text = Path(f"/proc/{pid}/status").read_text()
    masks = [
        int(line.split()[1], 16) for line in text.splitlines() if line[:6] in ("SigPnd", "ShdPnd")
    ]
    return any(mask >> 8 & 1 for mask in masks)


@pytest.fixture
def busy() -> Iterator[None]:
    """Four loops that want the CPUs for themselves."""
    loops = [subprocess.Popen([sys.executable, "-Ic", "while True: pass"]) for _ in range(4)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.usefixtures("busy")
def test_h4_a_busy_host_delays_little_and_loses_nothing(lab: Lab) -> None:
    """H4: heartbeats and the timeout are kept under a load that leaves us little time."""
    done = lab.call(
        *("run", "-n", "job", "--ttl", f"{TTL_S}s", "-t", "6s", "--", "sleep", "600"),
    )
    assert done.returncode == 124
    record = lab.records("job")[0]
    assert record["outcome"] == "timed_out"
    assert record["renewals"] >= 2  # type: ignore[operator]
    assert record["duration_ms"] >= 6000  # type: ignore[operator]
    assert not [pid for pid in lab.marked() if is_alive(pid)]
