"""As PID 1 of a container the keeper steps aside, so that its dead man's timer can reach it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.process.lab import Lab, is_alive, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a PID namespace here"),
]


def start_as_pid_one(lab: Lab, *args: str) -> subprocess.Popen[bytes]:
    """Start `cronguard ARGS` as the first process of a PID namespace."""
    space = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    process = subprocess.Popen(
        [*space, *lab.argv(*args)],
        env=lab.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    lab.started.append(process)
    return process


def below(pid: int) -> list[int]:
    """Return the direct children of *pid*."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_l18_a_stopped_keeper_dies_before_its_lease_also_in_a_container(local: Lab) -> None:
    """L18: PID 1 is spared from the timer's SIGKILL, so the keeper must not be PID 1."""
    outer = start_as_pid_one(
        local, "run", "-n", "job", "--ttl", "10s", "--", "sh", "-c", "echo ready; exec sleep 60"
    )
    assert outer.stdout is not None
    assert outer.stdout.readline() == b"ready\n"
    [init] = below(outer.pid)
    [keeper] = below(init)
    os.kill(keeper, signal.SIGSTOP)
    until("the kernel to kill the stopped keeper", lambda: not is_alive(keeper))
    assert outer.wait(20) == 128 + signal.SIGKILL
    until("the whole tree to be gone", lambda: not local.marked())


def test_p20_signals_and_the_exit_status_pass_through_pid_one(local: Lab) -> None:
    """P20: TERM to PID 1 stops the run; its status is the container's."""
    outer = start_as_pid_one(
        local, "run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 60"
    )
    assert outer.stdout is not None
    outer.stdout.readline()
    [init] = below(outer.pid)
    os.kill(init, signal.SIGTERM)
    assert outer.wait(20) == 128 + signal.SIGTERM
    assert local.records("job")[0]["outcome"] == "stopped"
    done = start_as_pid_one(local, "run", "-n", "job", "--", "sh", "-c", "exit 42")
    assert done.wait(20) == 42


def test_p20_pid_one_collects_orphans_that_are_not_ours(local: Lab) -> None:
    """P20: what others start in the container, and leave behind, does not stay as zombies."""
    outer = start_as_pid_one(
        local, "run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 60"
    )
    assert outer.stdout is not None
    outer.stdout.readline()
    [init] = below(outer.pid)
    stranger = ["nsenter", "-t", str(init), "-p", "-m", "sh", "-c", "(sleep 0.01 &) ; exit 0"]
    subprocess.run(stranger, check=True, timeout=20)
    until("no zombie below PID 1", lambda: all(is_alive(pid) for pid in below(init)))
    os.kill(init, signal.SIGTERM)
    outer.wait(20)
