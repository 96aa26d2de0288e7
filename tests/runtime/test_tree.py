"""The tree below a process: found, signalled and proven dead, while it changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cronguard.runtime import tree
from tests.process import children
from tests.process.lab import is_alive

# The runner's own threads hold no lock that these children want: they exec or end at once.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

KILLER = """
import os, sys, time
from cronguard.runtime import kernel
from cronguard.runtime.tree import Tree
kernel.become_subreaper()
own = Tree()
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.execv(sys.argv[1], sys.argv[1:])
own.lead(pid)
sys.stdin.readline()
begun = time.monotonic()
passes = 0
while not own.reap():
    own.kill()
    passes += 1
    time.sleep(0.005)
print("dead", own.leader_status, passes, own.survivors(), time.monotonic() - begun < 5)
"""


def killed(*command: str) -> list[str]:
    """Start *command* below a process of its own, have it killed, and return what that says."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLER, *command],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"ready\n"
    out, _ = process.communicate(b"now\n", timeout=30)
    assert process.returncode == 0
    return out.decode().split()


@pytest.mark.parametrize("count", [0, 1, 15])
def test_p8_kill_and_reap_until_the_kernel_says_that_nothing_is_left(count: int) -> None:
    """P8: children, daemons, deaf ones; ECHILD is the proof."""
    words = killed(*children.command("family", count))
    assert words[:2] == ["dead", str(int(signal.SIGKILL))]
    assert words[3:] == ["[]", "True"]


def test_p10_a_stopped_tree_is_killed_as_well() -> None:
    """P10: SIGKILL needs no CONT."""
    assert killed(*children.command("stop_self"))[-1] == "True"


def test_what_is_gone_has_no_facts() -> None:
    """A number that names nobody: no children, no start, no state, no error."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert tree.start_of(pid) == 0  # a zombie has ended
    assert not is_alive(pid)
    os.waitpid(pid, 0)
    assert tree.stat_fields(pid) is None
    assert tree.children_of(pid) == []
    assert tree.start_of(pid) == 0
    assert not tree.is_below(pid, os.getpid())
    assert tree.describe(pid) == f"pid {pid} (state ?, uid ?)"


def test_ancestors() -> None:
    """P13: what is checked before a signal is sent through a pidfd."""
    assert tree.is_below(os.getpid(), os.getppid())
    assert not tree.is_below(os.getppid(), os.getpid())
    assert not tree.is_below(1, os.getpid())


def test_a_name_with_parentheses_and_spaces_confuses_nothing(tmp_path: Path) -> None:
    """The fields of /proc/PID/stat come after the *last* parenthesis."""
    odd = tmp_path / ") S 1 1 ("
    odd.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(odd), "600"])
    try:
        fields = tree.stat_fields(process.pid)
        assert fields is not None
        assert int(fields[1]) == os.getpid()
        assert process.pid in tree.children_of(os.getpid())
        assert tree.start_of(process.pid) > 0
    finally:
        process.kill()
        process.wait()
