"""P24: at a terminal the command has the keyboard, and the shell its job control, as without us.

Commands that are to be stopped by Ctrl-Z start no process at that moment: a shell whose vfork is
under way when the stop comes waits for a child that cannot go on, with us and without.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.lab import Lab, until
from tests.process.terminal import PROMPT, Terminal
from tests.process.witness import TAKEOVER_MS, lease_end, now_ms

NO_WAIT_S = 8.0


@pytest.fixture
def sit_at(local: Lab) -> Iterator[Callable[..., Terminal]]:
    """Open terminals, and close them in the end."""
    opened: list[Terminal] = []

    def open_one(command: list[str] | None = None) -> Terminal:
        opened.append(Terminal(local, command))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


Sit = Callable[..., Terminal]


def stat_of(pid: int) -> list[str]:
    """Return /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def group_of(pid: int) -> int:
    """Return the process group of *pid*."""
    return int(stat_of(pid)[2])


def test_p24_the_command_reads_the_keyboard_and_gives_it_back(local: Lab, sit_at: Sit) -> None:
    """P24: it is in the foreground while it runs; the shell is, afterwards."""
    terminal = sit_at()
    terminal.enter("$CG -- sh -c 'echo $$ >pid; read word; echo got $word; tty; exit 3'; echo =$?=")
    child = int(str(until("the command", lambda: local.said("pid"))))
    assert terminal.foreground() == child == group_of(child)
    terminal.type("hello\n")
    terminal.wait_for("got hello")
    terminal.wait_for("/dev/pts/")
    terminal.wait_for("=3=")
    terminal.wait_for(PROMPT)
    assert terminal.foreground() == terminal.process.pid


def test_o7_the_command_has_the_terminal_or_none(local: Lab, sit_at: Sit) -> None:
    """O7: at a terminal all three descriptors are that one, with its size; under cron, none is."""
    look = "for n in 0 1 2; do [ -t $n ] && printf $n; done; stty size <&1"
    terminal = sit_at()
    terminal.enter("stty rows 31 cols 97")
    terminal.enter(f"$CG -- sh -c '{look}; echo =done='")
    terminal.wait_for("01231 97")
    terminal.wait_for("=done=")
    piped = local.call("run", "-n", "job", "--", "sh", "-c", f"{look}; true")
    assert piped.stdout == b""


def test_p24_ctrl_c_reaches_the_command_alone(local: Lab, sit_at: Sit) -> None:
    """P24: who handles it goes on; who does not ends with 130, as without us."""
    terminal = sit_at()
    terminal.enter(
        "$CG -- sh -c 'trap \"echo caught\" INT; echo up; read a; read b; exit 4'; echo =$?="
    )
    terminal.wait_for("up\r\n")
    terminal.type("\x03")
    terminal.wait_for("caught")
    terminal.type("a\nb\n")
    terminal.wait_for("=4=")
    terminal.wait_for(PROMPT)
    terminal.enter("$CG -- sh -c 'echo up; exec sleep 600'; echo =$?=")
    terminal.wait_for("up\r\n")
    terminal.type("\x03")
    terminal.wait_for("=130=")
    assert not [pid for pid in local.marked() if pid != terminal.process.pid]
    record = local.records("job")[0]
    assert (record["exit_status"], record["signal"]) == (130, signal.SIGINT)


def test_p24_ctrl_z_and_fg(local: Lab, sit_at: Sit) -> None:
    """P24: the shell takes over, we say what stopping means for the lock, and `fg` goes on."""
    terminal = sit_at()
    terminal.enter("$CG -- sh -c 'echo up; read a; echo got $a; exit 5'")
    terminal.wait_for("up\r\n")
    for _ in range(3):
        terminal.type("\x1a")
        terminal.wait_for("the lock is not renewed while stopped")
        terminal.wait_for("Stopped")
        terminal.wait_for(PROMPT)
        assert terminal.foreground() == terminal.process.pid
        terminal.enter("fg")
        until("the keyboard", lambda: terminal.foreground() != terminal.process.pid)
        until("all to go on", lambda: all(stat_of(pid)[0] in "SR" for pid in local.marked()))
    terminal.type("word\n")
    terminal.wait_for("got word")
    terminal.wait_for(PROMPT)
    terminal.enter("echo =$?=")
    terminal.wait_for("=5=")


def test_p24_ctrl_z_and_bg(local: Lab, sit_at: Sit) -> None:
    """P24: in the background it runs on and ends, and never takes the terminal from the shell."""
    terminal = sit_at()
    terminal.enter("$CG -- sh -c 'echo up; while ! [ -e stop ]; do :; done; exit 6'")
    terminal.wait_for("up\r\n")
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.wait_for(PROMPT)
    terminal.enter("bg")
    terminal.wait_for(PROMPT)
    until("all to go on", lambda: all(stat_of(pid)[0] in "SR" for pid in local.marked()))
    terminal.enter("cat")  # the shell's own foreground job, which reads
    until("cat in front", lambda: terminal.foreground() != terminal.process.pid)
    front = terminal.foreground()
    (local.folder / "stop").touch()
    until("the run's end", lambda: local.records("job")[0]["outcome"] == "failed")
    until("no process of it", lambda: not [p for p in local.marked() if "cronguard" in name_of(p)])
    assert terminal.foreground() == front
    terminal.type("still here\n")
    terminal.wait_for("still here\r\nstill here\r\n")
    terminal.type("\x04")
    terminal.wait_for(PROMPT)


def name_of(pid: int) -> str:
    """Return the command line of *pid*."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_p24_reading_in_the_background_stops_as_ever(local: Lab, sit_at: Sit) -> None:
    """P24: TTIN stops a command that reads from behind, and the shell keeps the terminal."""
    terminal = sit_at()
    terminal.enter("$CG -- sh -c 'echo up; while ! [ -e go ]; do :; done; read a; echo got $a'")
    terminal.wait_for("up\r\n")
    terminal.type("\x1a")
    terminal.wait_for(PROMPT)
    terminal.enter("bg")
    terminal.wait_for(PROMPT)
    keeper = keeper_of(local)
    (local.folder / "go").touch()
    until("it to be stopped by its read", lambda: stat_of(keeper)[0] == "T")
    assert terminal.foreground() == terminal.process.pid
    terminal.enter("fg")
    until("the keyboard", lambda: terminal.foreground() != terminal.process.pid)
    terminal.type("word\n")
    terminal.wait_for("got word")
    terminal.wait_for(PROMPT)


def keeper_of(lab: Lab) -> int:
    """Return the keeper of the lab's only run."""
    return int(str(lab.records("job")[0]["pid"]))


def test_p24_term_to_the_keeper_ends_it_and_frees_the_terminal(local: Lab, sit_at: Sit) -> None:
    """P24, P3: from another window; the shell prompts again."""
    terminal = sit_at()
    terminal.enter("$CG -- sh -c 'echo up; exec sleep 600'; echo =$?=")
    terminal.wait_for("up\r\n")
    os.kill(keeper_of(local), signal.SIGTERM)
    terminal.wait_for("=143=")
    terminal.wait_for(PROMPT)
    assert terminal.foreground() == terminal.process.pid


def test_p24_a_killed_keeper_leaves_a_usable_terminal(local: Lab, sit_at: Sit) -> None:
    """P24, L17: the tree dies with it; the shell takes its terminal back."""
    terminal = sit_at()
    terminal.enter("$CG -- sh -c 'echo up; exec sleep 600'; echo =$?=")
    terminal.wait_for("up\r\n")
    os.kill(keeper_of(local), signal.SIGKILL)
    terminal.wait_for("=137=")
    terminal.wait_for(PROMPT)
    assert terminal.foreground() == terminal.process.pid
    until("all but the shell to be gone", lambda: local.marked() == [terminal.process.pid])


def test_p24_a_closed_window_ends_the_run(local: Lab, sit_at: Sit) -> None:
    """P24: the hangup reaches the command; the run is recorded and leaves nothing."""
    terminal = sit_at()
    terminal.enter("$CG -- sh -c 'echo up; exec sleep 600'")
    terminal.wait_for("up\r\n")
    terminal.hang_up()
    until("nothing to be left", lambda: not local.marked(), NO_WAIT_S)
    assert local.records("job")[0]["outcome"] in ("failed", "stopped")


def test_p24_without_a_shell_ctrl_z_stops_nothing(local: Lab, sit_at: Sit) -> None:
    """P24: where nobody could say `fg` (ssh -t, docker run -it) the kernel ignores it, as we do."""
    text = "echo up; read a; echo got $a; read b; exit 8"
    terminal = sit_at(local.argv("run", "-n", "job", "--", "sh", "-c", text))
    terminal.wait_for("up\r\n")
    terminal.type("\x1aword\n")
    terminal.wait_for("got word", NO_WAIT_S)
    terminal.type("\n")
    assert terminal.process.wait(20) == 8


def test_p24_output_to_a_file_makes_a_session_of_its_own(local: Lab, sit_at: Sit) -> None:
    """P24: not interactive: Ctrl-C stops the run through us, with TERM's care for the tree."""
    terminal = sit_at()
    terminal.enter("$CG -- sh -c 'echo $$ >pid; exec sleep 600' >out 2>&1; echo =$?=")
    child = int(str(until("the command", lambda: local.said("pid"))))
    until("its session", lambda: int(stat_of(child)[3]) != terminal.process.pid)
    terminal.type("\x03")
    terminal.wait_for("=130=", NO_WAIT_S)
    assert local.records("job")[0]["outcome"] == "stopped"


def test_p24_a_timeout_at_the_terminal(local: Lab, sit_at: Sit) -> None:
    """P24, P6: 124, and the keyboard is the shell's again."""
    terminal = sit_at()
    terminal.enter("$CG -t 300ms -- sleep 600; echo =$?=")
    terminal.wait_for("timed out after 300ms")
    terminal.wait_for("=124=")
    terminal.wait_for(PROMPT)
    terminal.enter("echo typed")
    terminal.wait_for("typed\r\n")


def test_p24_stopped_for_longer_than_the_lease_is_killed(local: Lab, sit_at: Sit) -> None:
    """P24, L18: as the message said: no `fg` before the lock's end, no run after it."""
    terminal = sit_at()
    terminal.enter("$CG --ttl 10s -n job -- sh -c 'echo up; exec sleep 600'")
    terminal.wait_for("up\r\n")
    terminal.type("\x1a")
    terminal.wait_for("without `fg` within")
    terminal.wait_for(PROMPT)
    ends = lease_end(local)
    until("the kill", lambda: local.marked() == [terminal.process.pid])
    assert now_ms() < ends - TAKEOVER_MS, "it outlived its lease"
    terminal.enter("$CG --ttl 10s -n job -E 9 -- true; echo =$?=")
    terminal.wait_for("=0=")
