"""No survivors: what the command starts, however it hides, is dead when the lock is free."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.process import children
from tests.process.lab import Lab, is_alive, until
from tests.process.places import control_group, root


def pid_in(lab: Lab, name: str) -> int:
    """Wait for a child to write its pid into the file *name*."""
    return int(str(until("a pid", lambda: lab.said(name))))


@pytest.mark.parametrize("how", ["sleep 600 &", "sleep 600 & sleep 600 & trap '' TERM;"])
def test_p7_a_background_process_is_stopped_with_its_command(lab: Lab, how: str) -> None:
    """P7, P9: also when it holds the pipe; the status stays the command's, the record counts it."""
    done = lab.call("run", "-n", "job", "--", "sh", "-c", f"{how} echo started; exit 3")
    assert (done.returncode, done.stdout) == (3, b"started\n")
    assert b"left" in done.stderr
    assert b"background process" in done.stderr
    assert not lab.marked()
    record = lab.records("job")[0]
    assert (record["outcome"], record["stragglers"]) == ("failed", how.count("&"))


def test_p7_wait_keeps_the_lock_until_the_last_process_has_ended(lab: Lab) -> None:
    """P7: `--stragglers wait`: the run lasts as long as its tree."""
    text = "(while ! [ -e stop ]; do sleep 0.01; done; echo late > late) & echo ready; exit 4"
    first = lab.start_ready("run", "-n", "job", "--stragglers", "wait", "--", "sh", "-c", text)
    until("the command to end", lambda: len(lab.marked()) <= 4)
    assert lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 9
    assert first.poll() is None
    (lab.folder / "stop").touch()
    assert first.wait(20) == 4
    assert lab.said("late") == "late\n"
    assert lab.records("job")[0]["exit_status"] == 4


def test_p7_wait_is_ended_by_the_timeout_all_the_same(local: Lab) -> None:
    """P7, P6: what lingers is stopped at the timeout."""
    done = local.call(
        *("run", "-n", "job", "-t", "500ms", "--stragglers", "wait"),
        *("--", "sh", "-c", "sleep 600 & exit 0"),
    )
    assert done.returncode == 124
    assert not local.marked()


@pytest.mark.parametrize("who", ["group", "daemon"])
def test_p7_leave_lets_it_live_when_we_are_gone(lab: Lab, who: str) -> None:
    """P7: `--stragglers leave`: neither we nor our lifelines kill it, and the lock is free."""
    if who == "daemon":
        command = children.command("daemon", lab.folder / "pid", "end")
    else:
        command = ["sh", "-c", "sleep 600 & echo $! > pid; echo ready"]
    done = lab.call("run", "-n", "job", "--stragglers", "leave", "--", *command)
    assert (done.returncode, done.stdout) == (0, b"ready\n")
    pid = pid_in(lab, "pid")
    assert lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0
    until("only the straggler to be left", lambda: lab.marked() == [pid])
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    until("its end", lambda: not is_alive(pid))


def test_p8_a_daemon_is_found_and_killed(lab: Lab) -> None:
    """P8: forked twice, own session, deaf to TERM, an orphan: it does not survive the run."""
    done = lab.call(
        *("run", "-n", "job", "-k", "200ms", "--"),
        *children.command("daemon", lab.folder / "pid", "end", "deaf"),
    )
    assert done.returncode == 0
    assert not is_alive(pid_in(lab, "pid"))
    assert lab.records("job")[0]["stragglers"] == 1


def test_p8_a_daemon_gets_the_polite_signal_too(local: Lab) -> None:
    """P8: what left the group is asked first, also as its parent dies that moment: 10 times."""
    local.script(
        "deaf", "#!/bin/sh\ntrap 'echo asked >asked; exit' TERM\nsleep 9 &\necho ready\nwait\n"
    )
    for _ in range(10):
        run = local.start_ready("run", "-n", "job", "--", "sh", "-c", "setsid ./deaf & sleep 600")
        run.terminate()
        assert run.wait(20) == 143
        assert local.said("asked") == "asked\n"
        (local.folder / "asked").unlink()
        run.communicate()


def test_p8_a_whole_family_dies_at_the_timeout(lab: Lab) -> None:
    """P8, P6: children and daemons, all deaf: gone, and the lock with them."""
    run = lab.start_ready(
        *("run", "-n", "job", "-t", "500ms", "-k", "200ms", "--"), *children.command("family", 12)
    )
    assert run.wait(30) == 124
    assert not lab.marked()


def test_p9_we_never_wait_for_the_end_of_the_pipe(local: Lab) -> None:
    """P9: a process that was let go holds our child's stdout, and we end nevertheless."""
    done = local.call(
        *("run", "-n", "job", "--stragglers", "leave", "--"),
        *("sh", "-c", "sleep 600 & echo $! > pid; printf 'no newline'"),
    )
    assert (done.returncode, done.stdout) == (0, b"no newline")
    os.kill(pid_in(local, "pid"), signal.SIGKILL)


def test_p10_a_stopped_command_is_woken_to_hear_its_timeout(lab: Lab) -> None:
    """P10: TERM comes with CONT; a stopped process needs no KILL to end."""
    run = lab.start_ready("run", "-n", "job", "-t", "500ms", "--", *children.command("stop_self"))
    assert run.wait(8) == 124
    assert lab.records("job")[0]["signal"] == signal.SIGTERM


def test_p10_a_stopped_command_does_not_stop_the_run(local: Lab) -> None:
    """P10: without a terminal nobody takes over, and the lock is kept on."""
    run = local.start_ready("run", "-n", "job", "--", *children.command("stop_self"))
    stopped: list[int] = []
    until("it to be stopped", lambda: stopped.extend(stopped_in(local)) or stopped)  # type: ignore[func-returns-value]
    assert state_of(run.pid) in "SR"
    os.kill(stopped[0], signal.SIGCONT)
    assert run.stdout is not None
    assert run.stdout.readline() == b"continued\n"
    run.terminate()
    assert run.wait(20) == 143


def stopped_in(lab: Lab) -> list[int]:
    """Return the stopped processes of the lab."""
    return [pid for pid in lab.marked() if state_of(pid) == "T"]


def state_of(pid: int) -> str:
    """Return the letter of the process's state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@root
@pytest.mark.parametrize("kind", ["group", "setsid"])
def test_p12_a_fork_bomb_is_ended(local: Lab, kind: str) -> None:
    """P12: under a limit of processes, also when each leaves the session."""
    with control_group("pids") as group:
        group.set("pids.max", 100)
        run = local.start_ready(
            *("run", "-n", "job", "-t", "500ms", "-k", "200ms", "--"),
            *children.command("bomb", kind),
            preexec_fn=group.join,
        )
        assert run.wait(40) == 124
        assert not local.marked()
        assert not group.processes()


@root
def test_p12_a_fork_bomb_dies_with_its_keeper(local: Lab) -> None:
    """P12, L17: nobody is left to ask for it, and the guardian ends it."""
    with control_group("pids") as group:
        group.set("pids.max", 100)
        run = local.start_ready(
            *("run", "-n", "job", "--"), *children.command("bomb", "setsid"), preexec_fn=group.join
        )
        run.kill()
        run.wait()
        until("the bomb's end", lambda: not group.processes())


def test_p13_only_our_own_are_signalled(local: Lab) -> None:
    """P13: a process that is not of the tree, in a group of its own, hears nothing of a kill."""
    stranger = local.start("run", "-n", "other", "--", "sh", "-c", "echo ready; exec sleep 600")
    assert stranger.stdout is not None
    stranger.stdout.readline()
    done = local.call("run", "-n", "job", "-t", "300ms", "-k", "0", "--", "sleep", "600")
    assert (done.returncode, stranger.poll()) == (124, None)
    stranger.terminate()
    assert stranger.wait(20) == 143


@root
@pytest.mark.skipif(
    tuple(int(word) for word in os.uname().release.split(".")[:2]) < (6, 14),
    reason="before Linux 6.14 pid_max is the whole host's",
)
def test_p13_a_reused_number_is_not_killed(local: Lab) -> None:
    """P13: with 350 numbers for a crowd that comes and goes, the strangers among it live."""
    crowd = "i=0; while [ $i -lt 150 ]; do (setsid sleep 0.03 &) ; i=$((i+1)); done; exit 0"
    text = (
        "echo 350 > /proc/sys/kernel/pid_max 2>/dev/null\n"
        "sleep 600 & stranger=$!\n"
        '"$@"; status=$?\n'
        "kill -0 $stranger && echo alive $status\nkill $stranger\n"
    )
    done = local.call_inside(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", text, "sh"],
        *("run", "-n", "job", "-k", "100ms", "--", "sh", "-c", crowd),
    )
    assert done.stdout == b"alive 0\n", done.stderr
