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

from tests import servers
from tests.process.lab import Lab, until
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
SKEW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
/* Adds the number in the file $SKEW_FILE, in seconds, to the wall clock and to nothing else. */
static long skew(void) {
  char text[32] = {0};
  FILE *file = fopen(getenv("SKEW_FILE"), "r");
  if (!file) return 0;
  size_t n = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  return n ? atol(text) : 0;
}
int gettimeofday(struct timeval *tv, void *tz) {
  int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
  int result = real(tv, tz);
  tv->tv_sec += skew();
  return result;
}
int clock_gettime(clockid_t id, struct timespec *ts) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(id, ts);
  if (id == CLOCK_REALTIME) ts->tv_sec += skew();
  return result;
}
time_t time(time_t *out) {
  time_t (*real)(time_t *) = dlsym(RTLD_NEXT, "time");
  time_t now = real(NULL) + skew();
  if (out) *out = now;
  return now;
}
"""


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

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("needs a C compiler")
        source, shim = folder / "skew.c", folder / "skew.so"
        source.write_text(SKEW)
        command = [compiler, "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self._file = folder / "skew"
        self._file.write_text("0")
        (folder / "data").mkdir()
        flavour = "redis" if servers.binary("redis") else "valkey"
        self.server = servers.Server(folder / "data", flavour, ())
        with monkeypatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(shim))
            patch.setenv("SKEW_FILE", str(self._file))
            self.server.start()

    def step(self, seconds: int) -> None:
        """Set the server's clock, at once for all its readers."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self._file)


@pytest.fixture
def skewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Lab, Skewed]]:
    """A lab on such a server."""
    clock = Skewed(tmp_path, monkeypatch)
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
    wait_for_renewal(lab)
    assert run.end() == 7
    assert lab.records("job")[0]["outcome"] == "failed"


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
