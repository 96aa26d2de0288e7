"""What we rely on the kernel for, each on its own, in processes of its own."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cronguard.runtime import kernel
from cronguard.runtime.clock import now_ms
from tests.process.lab import is_alive, until

# The runner's own threads hold no lock that these children want: they exec or end at once.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def in_child(act: Callable[[], None]) -> int:
    """Run *act* in a forked process, which ends with 0, or 1 if it raises; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return pid


def end_of(pid: int) -> int:
    """Return how *pid* ended: its status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("stopped", [False, True])
def test_l18_the_dead_mans_timer_kills_in_whatever_state(stopped: bool) -> None:
    """L18: at its moment, also who is stopped."""

    def wait() -> None:
        kernel.DeadMan().arm(now_ms() + 1_000)
        time.sleep(60)

    begun = time.monotonic()
    pid = in_child(wait)
    if stopped:
        until("its timer", Path(f"/proc/{pid}/timers").read_text)
        os.kill(pid, signal.SIGSTOP)
    assert end_of(pid) == -signal.SIGKILL
    assert time.monotonic() - begun > 0.99, "not before its moment"


def test_a_moment_that_is_past_kills_at_once_and_disarm_calls_it_off() -> None:
    """C: a keeper that comes too late to set its timer dies then."""

    def late() -> None:
        kernel.DeadMan().arm(now_ms() - 1000)
        time.sleep(60)

    def called_off() -> None:
        timer = kernel.DeadMan()
        timer.arm(now_ms() + 1_000)
        timer.disarm()
        time.sleep(1.2)  # what must not happen has no event to wait for

    assert end_of(in_child(late)) == -signal.SIGKILL
    assert end_of(in_child(called_off)) == 0


def test_h10_a_refused_timer_is_an_error_with_its_reason() -> None:
    """H10: RLIMIT_SIGPENDING 0: EAGAIN, as an OSError."""

    def refused() -> None:
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
        with pytest.raises(BlockingIOError):
            kernel.DeadMan()

    assert end_of(in_child(refused)) == 0


def test_p16_pdeathsig_and_subreaper_do_what_they_say() -> None:
    """P16, P8: a process hears of its parent's death; an orphan becomes the subreaper's child."""
    reader, writer = os.pipe()

    def reaper() -> None:
        kernel.become_subreaper()

        def parent() -> None:
            def orphan() -> None:
                kernel.die_with_parent(signal.SIGUSR1)
                os.write(writer, b"%d\n" % os.getpid())
                time.sleep(60)

            in_child(orphan)
            os.read(go_r, 1)

        go_r, go_w = os.pipe()
        first = in_child(parent)
        second = int(os.read(reader, 100))
        os.write(go_w, b"x")
        assert end_of(first) == 0
        assert os.waitpid(second, 0)[1] == signal.SIGUSR1

    assert end_of(in_child(reaper)) == 0
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("spared", [False, True])
def test_l17_the_last_writers_end_kills_the_group(spared: bool) -> None:
    """L17: each member, also a stopped one; `spare_group` takes it back."""
    lifeline, writer = os.pipe()

    def member() -> None:
        os.close(writer)
        os.setpgid(0, 0)
        if not kernel.kill_group_when_closed(lifeline, os.getpid()):
            return
        second = in_child(lambda: time.sleep(60))
        os.kill(second, signal.SIGSTOP)
        time.sleep(60)

    leader = in_child(member)
    until("two in the group", lambda: len(group(leader)) == 2)
    if spared:
        kernel.spare_group(lifeline)
    os.close(writer)
    if spared:
        assert kernel.is_closed(lifeline)
        assert all(is_alive(pid) for pid in group(leader))
        os.killpg(leader, signal.SIGKILL)
    assert end_of(leader) == -signal.SIGKILL
    until("the group's end", lambda: not group(leader))
    os.close(lifeline)


def group(leader: int) -> list[int]:
    """Return the living members of a process group."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and is_alive(int(name)):
            try:
                if os.getpgid(int(name)) == leader:
                    found.append(int(name))
            except ProcessLookupError:
                pass
    return found


def test_a_lifeline_that_is_cut_already_is_noticed() -> None:
    """P17: no signal will come for what happened before, so it is told."""
    lifeline, writer = os.pipe()
    os.close(writer)
    assert kernel.is_closed(lifeline)
    assert end_of(in_child(lambda: check_cut(lifeline))) == 0
    os.close(lifeline)


def check_cut(lifeline: int) -> None:
    """Fail unless the cut lifeline is noticed, in a group of our own."""
    os.setpgid(0, 0)
    assert not kernel.kill_group_when_closed(lifeline, os.getpid())
