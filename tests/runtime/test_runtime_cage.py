"""The control group as a net: what is put in dies at one moment, and strangers are let out."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from cronguard.runtime.cage import Cage, own_cgroup
from tests.process.lab import is_alive

HERE = own_cgroup()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or HERE is None or not os.access(HERE, os.W_OK),
        reason="needs a control group (v2) that we may write to",
    ),
]


def cages() -> list[str]:
    """Return the groups that were made here and are still there."""
    assert HERE is not None
    return [path.name for path in Path(HERE).glob(f"cronguard-{os.getpid()}*")]


def test_who_is_in_the_cage_dies_and_the_cage_goes() -> None:
    """P12: stopped, deaf and in sessions of their own; nothing stays behind."""
    command = ["setsid", "sh", "-c", "trap '' TERM; exec sleep 600"]
    sleepers = [subprocess.Popen(command) for _ in range(8)]
    os.kill(sleepers[0].pid, signal.SIGSTOP)
    cage = Cage(lambda _pid: True)
    assert cage.kill([process.pid for process in sleepers])
    assert {process.wait(20) for process in sleepers} == {-signal.SIGKILL}
    assert cage.remove()
    assert not cages()


def test_p13_a_stranger_is_let_out_of_the_cage_alive() -> None:
    """P13: a number that has another owner by now costs nobody his life."""
    stranger = subprocess.Popen(["sleep", "600"])
    ours = subprocess.Popen(["sleep", "600"])
    cage = Cage(lambda pid: pid != stranger.pid)
    assert cage.kill([stranger.pid, ours.pid])
    assert ours.wait(20) == -signal.SIGKILL
    assert cage.remove()
    assert not cages()
    assert is_alive(stranger.pid)
    stranger.kill()
    stranger.wait()


def test_without_a_group_to_write_to_it_says_so() -> None:
    """An ordinary user, or a host without cgroup v2, does without."""
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        os._exit(int(Cage(lambda _pid: True).kill([])))
    assert os.waitpid(pid, 0)[1] == 0
