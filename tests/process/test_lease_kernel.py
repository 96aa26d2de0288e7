"""Where the kernel will not do what the lease counts on: no timer, no death, a stepped clock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cronguard.core.moments import wall_ms
from tests import servers, skew
from tests.process.lab import Lab, is_alive, until
from tests.process.places import control_group, root
from tests.process.witness import (
    TTL,
    Deathwatch,
    Guarded,
    holder,
    other_state,
    wait_for_renewal,
)

FREEZER = Path("/sys/fs/cgroup/freezer")
NO_TIMERS = ["prlimit", "--sigpending=0"]


@pytest.fixture
def freezer() -> Iterator[Path]:
    """A control group of the old kind: what is frozen there survives SIGKILL."""
    if os.geteuid() != 0 or not (FREEZER / "cgroup.procs").exists():
        pytest.skip("needs root and a freezer of control groups v1")
    group = FREEZER / f"cronguard-{uuid.uuid4().hex}"
    group.mkdir()
    yield group
    (group / "freezer.state").write_text("THAWED")
    until("the group to be empty", lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


@pytest.mark.root
def test_p11_what_survives_kill_keeps_its_lock(lab: Lab, freezer: Path) -> None:
    """P11: state D. It is said once, the lease is renewed on, and released only after its death."""
    text = f"echo $$ > {freezer}/cgroup.procs; echo ready; exec sleep 600"
    options = ("--timeout", "500ms", "--kill-after", "100ms")
    run = Guarded(lab, *TTL, *options, command=("sh", "-c", text)).ready()
    pids = [int(word) for word in (freezer / "cgroup.procs").read_text().split()]
    watch = Deathwatch(pids)
    (freezer / "freezer.state").write_text("FROZEN")
    run.says("cannot end the run")
    for _ in range(3):
        wait_for_renewal(lab)
    other = lab.call("run", "-n", "job", *TTL, "-E", "9", "--", "true", env=other_state(lab))
    assert other.returncode == 9
    assert run.said.count("cannot end the run") == 1
    assert run.process.poll() is None
    (freezer / "freezer.state").write_text("THAWED")
    watch.last()
    assert run.status() == 124
    assert lab.records("job")[0]["outcome"] == "timed_out"


def test_h10_without_kernel_timers_a_run_is_warned_or_refused(lab: Lab) -> None:
    """H10: `auto` says so and runs, `required` starts nothing, `off` has nothing to say."""
    if shutil.which("prlimit") is None:
        pytest.skip("needs prlimit")
    touched = lab.folder / "ran"
    run = ("run", "-n", "job")
    required = lab.call_inside(
        NO_TIMERS, *run, "--dead-man", "required", "--", "touch", str(touched)
    )
    assert (required.returncode, touched.exists()) == (125, False), required.stderr
    assert b"refuse the dead man's timer" in required.stderr
    assert lab.records("job")[0]["outcome"] == "not_started"
    auto = lab.call_inside(NO_TIMERS, *run, "--", "touch", str(touched))
    assert (auto.returncode, touched.exists()) == (0, True)
    assert auto.stderr.count(b"refuse the dead man's timer") == 1
    off = lab.call_inside(NO_TIMERS, *run, "--dead-man", "off", "--", "true")
    assert (off.returncode, off.stderr) == (0, b"")


# -- the store's clock -----------------------------------------------------------------------------


class Skewed:
    """A server whose wall clock can be stepped."""

    def __init__(self, folder: Path) -> None:
        if skew.compiler() is None:
            pytest.skip("needs a C compiler")
        self._clock = skew.Skew(skew.build(folder), folder / "skew")
        (folder / "data").mkdir()
        flavour = "redis" if servers.binary("redis") else "valkey"
        self.server = servers.Server(folder / "data", flavour, ())
        self.server.env = self._clock.env
        self.server.start()

    def step(self, seconds: int) -> None:
        """Set the server's clock, at once for all its readers."""
        self._clock.step(seconds * 1000)


@pytest.fixture
def skewed(tmp_path: Path) -> Iterator[tuple[Lab, Skewed]]:
    """A lab on such a server."""
    clock = Skewed(tmp_path)
    place = Lab(tmp_path, clock.server.url)
    yield place, clock
    left = place.clear()
    clock.server.stop()
    assert not left, f"processes left behind: {left}"


def test_l19_a_lease_that_a_clock_step_expired_is_taken_again(skewed: tuple[Lab, Skewed]) -> None:
    """L19: the store's clock jumps ahead; its next heartbeat finds the lease gone, and reclaims."""
    lab, clock = skewed
    run = Guarded(lab, *TTL).ready()
    before = holder(lab)
    clock.step(31)
    assert holder(lab) == ""
    run.says("had vanished")
    assert holder(lab) == before
    run.says(f"the clock of {lab.store}/0 was set forward by ")
    wait_for_renewal(lab)
    assert run.end() == 7
    assert run.said.count("was set forward") == 1
    assert "Let NTP slew the clock of that server, and never step it." in run.said
    assert lab.records("job")[0]["outcome"] == "failed"


def test_a_job_of_hours_is_never_joined_by_another(skewed: tuple[Lab, Skewed]) -> None:
    """L19: longer than its period, than its lease and than an hour, by the store's clock.

    Each run that comes meanwhile is skipped, and the next one after its end has the slot of then.
    """
    lab, clock = skewed
    once = (*TTL, "--once", "1m")
    run = Guarded(lab, *once).ready()
    mine = holder(lab)
    for minutes in (20, 40, 60, 80):
        clock.step(minutes * 60)
        until("the lease to be taken back", lambda: holder(lab) == mine)
        other = lab.call("run", "-n", "job", *once, "-E", "9", "--", "touch", "wrong")
        assert other.returncode == 9, other.stderr
    assert run.end() == 7
    after = lab.call("run", "-n", "job", *once, "--", "true")
    assert after.returncode == 0, after.stderr
    assert not (lab.folder / "wrong").exists()
    assert {skip["reason"] for skip in lab.skips("job")} == {"held"}
    last, first = [wall_ms(record["slot"]) or 0 for record in lab.records("job")]
    assert last - first >= 80 * 60_000


def test_l20_a_clock_set_back_is_noticed_and_the_release_works(skewed: tuple[Lab, Skewed]) -> None:
    """L20: the lease would last an hour: others are told, unlock helps, a release frees it."""
    lab, clock = skewed
    run = Guarded(lab, "--ttl", "10m").ready()
    clock.step(-3600)
    other = lab.call("run", "-n", "job", "--ttl", "10m", "-E", "9", "--", "true")
    assert other.returncode == 9
    assert b"was its clock set back?" in other.stderr, other.stderr
    assert run.end() == 7
    assert holder(lab) == "", "the release does not wait for the hour to pass"
    dead = Guarded(lab, "--ttl", "10m").ready()
    clock.step(-7200)
    for pid in (lab.guardian_of(dead.pid), dead.pid):
        os.kill(pid, signal.SIGKILL)
    dead.status()
    stuck = lab.call("run", "-n", "job", "--ttl", "10m", "-E", "9", "--", "true")
    assert (stuck.returncode, b"cronguard unlock job" in stuck.stderr) == (9, True)
    assert lab.call("unlock", "job", "--force").returncode == 0
    after = lab.call("run", "-n", "job", "--ttl", "10m", "-E", "9", "--", "true")
    assert after.returncode == 0


def test_l20_a_clock_set_back_is_told_to_who_holds_a_lock(skewed: tuple[Lab, Skewed]) -> None:
    """L20: once, with how far; the lease is renewed on, and given back."""
    lab, clock = skewed
    run = Guarded(lab, *TTL).ready()
    clock.step(-3600)
    run.says(f"the clock of {lab.store}/0 was set back by ")
    for _ in range(2):
        wait_for_renewal(lab)
    assert run.end() == 7
    assert run.said.count("was set back") == 1
    assert holder(lab) == ""


@root
def test_h2_a_host_that_time_passed_by_is_fenced_and_stopped(skewed: tuple[Lab, Skewed]) -> None:
    """H2: a paused machine, as its store sees it: all of it frozen, and the store's clock goes on.

    Another run begins meanwhile, with a higher token. The first one is killed at its next heartbeat
    and gives nothing back; its own clocks had told it nothing.
    """
    lab, clock = skewed
    ttl = ("--ttl", "30s")  # its timer is not to be what ends it
    shown = 'echo "$CRONGUARD_TOKEN" > {}; echo ready; read line; exit 7'
    with control_group("freezer") as group:
        paused = lab.start_ready(
            *("run", "-n", "job", *ttl, "--", "sh", "-c", shown.format("paused")),
            preexec_fn=group.join,
            stdin=subprocess.PIPE,
        )
        tree = lab.marked()
        group.set("freezer.state", "FROZEN")
        try:
            clock.step(40)
            command = ("sh", "-c", shown.format("other"))
            other = Guarded(lab, *ttl, command=command, env=other_state(lab)).ready()
            theirs = holder(lab)
            assert all(is_alive(pid) for pid in tree), "nothing has told it yet"
        finally:
            group.set("freezer.state", "THAWED")
        assert paused.wait(20) == 121
    assert paused.stderr is not None
    assert b"lock lost" in paused.stderr.read()
    assert not [pid for pid in tree if is_alive(pid)]
    assert int(lab.said("other")) > int(lab.said("paused"))
    assert holder(lab) == theirs
    wait_for_renewal(lab)
    assert other.end() == 7
    assert [one["outcome"] for one in lab.records("job")] == ["failed", "lease_lost"]
