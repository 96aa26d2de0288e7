"""P20: as a container's entrypoint, beyond what test_pid_one.py shows: terminal, tree, limits."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.process import children
from tests.process.lab import Lab, is_alive, lines_of, until
from tests.process.terminal import Terminal
from tests.process.test_pid_one import below, start_as_pid_one

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a PID namespace here"),
]
SPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def test_p20_signals_are_forwarded_through_pid_one(local: Lab) -> None:
    """P20: USR1 and WINCH reach the command and end nothing; USR2 ends this one with 0."""
    outer = start_as_pid_one(
        local, "run", "-n", "job", "--", *children.command("tell_signals", 10, 28)
    )
    lines = lines_of(outer)
    assert next(lines) == "ready"
    [init] = below(outer.pid)
    for signum in (signal.SIGUSR1, signal.SIGWINCH, signal.SIGUSR1):
        os.kill(init, signum)
        assert next(lines) == f"got {int(signum)}"
    os.kill(init, signal.SIGUSR2)
    assert outer.wait(20) == 0


@pytest.mark.parametrize("status", [0, 1, 42, 126, 255])
def test_p20_every_exit_status_is_the_containers(local: Lab, status: int) -> None:
    """P20: the command's own."""
    done = local.call_inside(SPACE, "run", "-n", "job", "--", "sh", "-c", f"exit {status}")
    assert done.returncode == status


def test_p20_a_signals_death_is_the_containers_status(local: Lab) -> None:
    """P20: 128+N, though PID 1 itself cannot die by it."""
    done = local.call_inside(SPACE, "run", "-n", "job", "--", "sh", "-c", "kill -9 $$")
    assert done.returncode == 137


def test_p20_daemons_of_the_command_are_ended_before_the_lock_is_free(local: Lab) -> None:
    """P20, P8: by the guardian, not only by the namespace's end."""
    done = local.call_inside(
        SPACE,
        *("run", "-n", "job", "-k", "100ms", "--"),
        *children.command("daemon", local.folder / "pid", "end", "deaf"),
    )
    assert done.returncode == 0
    record = local.records("job")[0]
    assert (record["stragglers"], record["signal"]) == (1, None)


def test_p20_a_killed_keeper_ends_the_container(local: Lab) -> None:
    """P20, L17: PID 1 says 137, and the kernel ends everybody."""
    outer = start_as_pid_one(local, "run", "-n", "job", "--", *children.command("family", 4))
    assert outer.stdout is not None
    outer.stdout.readline()
    [init] = below(outer.pid)
    [keeper] = below(init)
    os.kill(keeper, signal.SIGKILL)
    assert outer.wait(20) == 137
    until("nothing to be left", lambda: not local.marked())


def test_p20_zombies_of_strangers_do_not_pile_up(local: Lab) -> None:
    """P20 (tini reaping): a hundred of `docker exec` come and go."""
    outer = start_as_pid_one(
        local, "run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 600"
    )
    assert outer.stdout is not None
    outer.stdout.readline()
    [init] = below(outer.pid)
    text = "i=0; while [ $i -lt 100 ]; do (sleep 0 &); i=$((i+1)); done"
    enter = ["nsenter", "-t", str(init), "-p", "-m", "sh", "-c", text]
    subprocess.run(enter, check=True, timeout=30)
    until("no zombie below PID 1", lambda: all(is_alive(pid) for pid in below(init)))
    os.kill(init, signal.SIGTERM)
    assert outer.wait(20) == 143


def test_p20_a_second_run_in_the_container_is_no_pid_one(local: Lab) -> None:
    """P20: `docker exec ... cronguard run` beside the entrypoint: held is held."""
    outer = start_as_pid_one(
        local, "run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 600"
    )
    assert outer.stdout is not None
    outer.stdout.readline()
    [init] = below(outer.pid)
    enter = ["nsenter", "-t", str(init), "-p", "-m"]
    assert local.call_inside(enter, "run", "-n", "job", "-E", "9", "--", "true").returncode == 9
    assert local.call_inside(enter, "run", "-n", "else", "--", "sh", "-c", "exit 3").returncode == 3
    os.kill(init, signal.SIGTERM)
    assert outer.wait(20) == 143


def test_p20_a_terminal_in_a_container(local: Lab) -> None:
    """P20, P24: `docker run -it`: keys reach the command; Ctrl-Z stops nothing."""
    text = "echo up; read a; echo got $a; exec sleep 600"
    terminal = Terminal(local, [*SPACE, *local.argv("run", "-n", "job", "--", "sh", "-c", text)])
    try:
        terminal.wait_for("up\r\n")
        terminal.type("\x1aword\n")
        terminal.wait_for("got word", 8)
        terminal.type("\x03")
        assert terminal.process.wait(20) == 130
    finally:
        terminal.close()
