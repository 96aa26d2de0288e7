"""The guardian, attacked: stopped, killed, refused a fork, or unable to kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.process import children
from tests.process.lab import Lab, is_alive, until
from tests.process.places import ControlGroup, control_group, root, user_lab
from tests.process.test_tree_survivors import pid_in


def test_p14_a_killed_guardian_takes_the_whole_run_with_it(lab: Lab) -> None:
    """P14: the keeper kills everything, a daemon too; 125, and the lock is given back."""
    run = lab.start_ready(
        *("run", "-n", "job", "--"), *children.command("daemon", lab.folder / "pid", "stay", "deaf")
    )
    daemon = pid_in(lab, "pid")
    os.kill(lab.guardian_of(run.pid), signal.SIGKILL)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 125
    assert b"guardian" in err
    assert not is_alive(daemon)
    assert not lab.marked()
    record = lab.records("job")[0]
    assert (record["outcome"], record["reason"]) == ("failed", "guardian_killed")
    assert lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0


def test_p14_a_guardian_killed_while_the_run_waits_ends_it(lab: Lab) -> None:
    """P14: before there is a command: 125 at once, on record, and the lock is not taken."""
    holder = lab.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 600")
    run = lab.start("run", "-n", "job", "--wait", "forever", "--", "true")
    assert run.stderr is not None
    assert b"waiting for" in run.stderr.readline()
    os.kill(lab.guardian_of(run.pid), signal.SIGKILL)
    _, err = run.communicate(timeout=20)
    assert (run.returncode, b"guardian process was killed" in err) == (125, True), err
    assert holder.poll() is None
    holder.terminate()
    holder.wait(20)
    outcomes = {str(record["outcome"]): record["reason"] for record in lab.records("job")}
    assert outcomes["not_started"] == "guardian_killed"
    assert lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0


def test_p14_a_killed_guardian_of_a_family(local: Lab) -> None:
    """P14: many processes in many sessions become the keeper's, and none of them lives on."""
    run = local.start_ready("run", "-n", "job", "--", *children.command("family", 10))
    os.kill(local.guardian_of(run.pid), signal.SIGKILL)
    assert run.wait(20) == 125
    assert not local.marked()


def test_a_stopped_guardian_does_not_keep_a_run_from_its_end(lab: Lab) -> None:
    """P14: nobody answers the keeper, so it wakes the guardian, and the timeout is kept."""
    run = lab.start_ready(
        *("run", "-n", "job", "-t", "400ms", "-k", "200ms", "--"),
        *children.command("daemon", lab.folder / "pid", "stay", "deaf"),
    )
    os.kill(lab.guardian_of(run.pid), signal.SIGSTOP)
    assert run.wait(15) == 124
    assert not lab.marked()


def test_a_guardian_that_stays_stopped_is_killed(local: Lab) -> None:
    """P14: whoever stops it again and again only delays the end by seconds."""
    run = local.start_ready(
        *("run", "-n", "job", "-t", "300ms", "-k", "100ms", "--"), *children.command("family", 3)
    )
    guardian = local.guardian_of(run.pid)
    done = threading.Event()

    def keep_stopping() -> None:
        while not done.wait(0.0005):
            try:
                os.kill(guardian, signal.SIGSTOP)
            except ProcessLookupError:
                return

    thread = threading.Thread(target=keep_stopping)
    thread.start()
    try:
        assert run.wait(15) == 124
    finally:
        done.set()
        thread.join()
    assert not local.marked()


def test_l17_keeper_and_guardian_killed_together_leave_no_group(local: Lab) -> None:
    """L17, P14: the kernel itself kills the child and its process group."""
    run = local.start_ready(
        "run", "-n", "job", "--", "sh", "-c", "sleep 600 & echo ready; sleep 600"
    )
    guardian = local.guardian_of(run.pid)
    os.kill(guardian, signal.SIGSTOP)
    os.kill(run.pid, signal.SIGSTOP)
    os.kill(guardian, signal.SIGKILL)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    until("the group to be gone", lambda: not local.marked())


def test_p16_the_guardian_has_one_thread(local: Lab) -> None:
    """P16: PDEATHSIG fires at the end of the *thread* that forked, so there is only one."""
    run = local.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 600")
    guardian = local.guardian_of(run.pid)
    assert [task.name for task in Path(f"/proc/{guardian}/task").iterdir()] == [str(guardian)]
    run.terminate()
    run.wait(20)


@root
def test_p2_a_refused_fork_is_told_and_gives_the_lock_back(local: Lab) -> None:
    """P2: no room for the command in the pids limit: 125, not started, and the lock is free."""
    with control_group("pids") as group:
        seen = set()
        for room in range(1, 9):
            until("an empty group", lambda: group.get("pids.current").strip() == "0")
            group.set("pids.max", room)
            done = local.call("run", "-n", "job", "--", "true", preexec_fn=group.join)
            assert done.returncode in (0, 125), (room, done)
            assert b"Traceback" not in done.stderr
            assert b"internal error" not in done.stderr, done.stderr
            if done.returncode == 125:
                assert b"not started" in done.stderr
                assert done.stderr.count(b"\n") <= 2
            seen.add(done.returncode)
            assert local.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0
        assert seen == {0, 125}
        assert "not_started" in [record["outcome"] for record in local.records("job")]


@root
def test_p2_the_fork_is_tried_once_more(local: Lab) -> None:
    """P2: room that is there a moment later is enough; seen as the limit refused one fork."""
    with control_group("pids") as group:
        for _ in range(10):  # the moment is 100 ms long, and a busy host may miss it
            until("an empty group", lambda: group.get("pids.current").strip() == "0")
            group.set("pids.max", 4)
            before = refusals(group.get("pids.events"))
            run = local.start("run", "-n", "job", "--", "true", preexec_fn=group.join)
            until(
                "a refused fork",
                partial(refused_or_ended, group, before, run),
            )
            group.set("pids.max", "max")
            _, err = run.communicate(timeout=20)
            if run.returncode == 0 and refusals(group.get("pids.events")) > before:
                return
            assert run.returncode == 125, err
        raise AssertionError("the second try never came")


def refused_or_ended(group: ControlGroup, before: int, run: subprocess.Popen[bytes]) -> bool:
    """Tell whether the limit refused another fork, or nobody is left to ask for one."""
    return refusals(group.get("pids.events")) > before or run.poll() is not None


def refusals(text: str) -> int:
    """Read `max N` of pids.events."""
    return int(text.split()[1])


@root
def test_p2_an_ordinary_user_out_of_processes_is_told(tmp_path: Path) -> None:
    """P2, H11: RLIMIT_NPROC, which counts threads too: whatever it stops, it is said cleanly."""
    user = 61_000 + os.getpid() % 4000  # the limit counts all of this user's, so it has no other
    with user_lab(user) as lab:
        seen = set()
        for limit in range(1, 8):
            done = lab.call_inside(
                ["prlimit", f"--nproc={limit}"], "run", "-n", "job", "--", "true"
            )
            assert done.returncode in (0, 125), (limit, done)
            assert b"Traceback" not in done.stderr
            assert b"internal error" not in done.stderr, done.stderr
            seen.add(done.returncode)
        assert seen == {0, 125}
        assert lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0


@root
def test_p15_what_became_root_is_told_once_and_keeps_the_lock(tmp_path: Path) -> None:
    """P15: an ordinary user cannot kill it: one warning, no end before its end, no spinning."""
    with user_lab(65_534) as lab:
        program = shutil.copy("/usr/bin/setpriv", lab.folder / "become")
        os.chown(program, 0, 0)
        Path(program).chmod(0o4755)
        run = lab.start_ready(
            *("run", "-n", "job", "-t", "300ms", "-k", "100ms", "--"),
            *children.command("become_root", program, interpreter=lab.interpreter),
        )
        assert run.stderr is not None
        said = run.stderr.readline() + run.stderr.readline()
        assert b"timed out" in said
        assert b"cannot end the run: pid " in said
        assert b"uid 0" in said
        before = cpu_of(run.pid) + cpu_of(lab.guardian_of(run.pid))
        assert lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 9
        until("3 s of waiting", lambda: age_of(run.pid) > 4)
        used = cpu_of(run.pid) + cpu_of(lab.guardian_of(run.pid)) - before
        assert used < 0.5, f"{used} s of CPU while waiting"
        [root_child] = [pid for pid in lab.marked() if Path(f"/proc/{pid}").stat().st_uid == 0]
        os.kill(root_child, signal.SIGKILL)
        assert run.wait(10) == 124
        assert run.stderr.read() == b""
        assert lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that *pid* has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def age_of(pid: int) -> float:
    """Return for how many seconds *pid* has been there."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    up = float(Path("/proc/uptime").read_text().split()[0])
    return up - int(fields[19]) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("who", ["keeper", "guardian"])
def test_p17_a_parent_that_dies_early_leaves_nothing(local: Lab, who: str) -> None:
    """P17: killed at any moment of the start, nothing of the run is left; 30 moments each."""
    for step in range(30):
        run = local.start("run", "-n", f"job-{step}", "--", "sleep", "600")
        if who == "keeper":
            victim, moment = run.pid, 8_000 + 1000 * step
        else:
            victim, moment = local.guardian_of(run.pid), 100 * step
        until("the moment", partial(has_run, local, victim, moment))
        os.kill(victim, signal.SIGKILL)
        run.communicate(timeout=20)
        until("nothing to be left", lambda: not local.marked())


def has_run(lab: Lab, pid: int, us: int) -> bool:
    """Tell whether *pid* has had so much CPU time, or the command runs already."""
    used = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) // 1000
    return used >= us or len(lab.marked()) > 2
