"""Signals to cronguard reach the command as they would without it (cases of tini and dumb-init)."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.process import children
from tests.process.lab import Lab, lines_of, until

FORWARDED = (signal.SIGUSR1, signal.SIGWINCH)


def test_usr1_usr2_and_winch_are_forwarded_and_end_nothing(lab: Lab) -> None:
    """P3: in order; the run goes on, and its status is the command's."""
    run = lab.start_ready("run", "-n", "job", "--", *children.command("tell_signals", 10, 28))
    lines = lines_of(run)
    for signum in FORWARDED * 3:
        run.send_signal(signum)
        assert next(lines) == f"got {int(signum)}"
    run.send_signal(signal.SIGUSR2)
    assert run.wait(20) == 0
    assert lab.records("job")[0]["outcome"] == "succeeded"


def test_a_signal_reaches_the_whole_group(local: Lab) -> None:
    """P3 (tini -g): also what the command started in the foreground hears it."""
    inner = "trap 'echo inner; exit' USR1; echo up; while :; do sleep 0.01; done"
    text = f"trap 'echo shell' USR1; ({inner}); :"
    run = local.start("run", "-n", "job", "--", "sh", "-c", text)
    lines = lines_of(run)
    assert next(lines) == "up"
    run.send_signal(signal.SIGUSR1)
    assert sorted([next(lines), next(lines)]) == ["inner", "shell"]
    assert run.wait(20) == 0


def test_signals_before_the_command_runs_are_not_lost(local: Lab) -> None:
    """P3: TERM at any moment from the first instruction on ends the run with 143, or before."""
    for _ in range(20):
        run = local.start("run", "-n", "job", "--", "sleep", "600")
        until("our handlers", partial(catches, run.pid, signal.SIGTERM))
        run.terminate()
        assert run.wait(20) == 143
        run.communicate()
        until("nothing to be left", lambda: not local.marked())


def catches(pid: int, signum: int) -> bool:
    """Tell whether *pid* has a handler for *signum*."""
    text = Path(f"/proc/{pid}/status").read_text()
    mask = next(line.split()[1] for line in text.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (signum - 1) & 1)


def test_what_nohup_ignores_stays_ignored(local: Lab) -> None:
    """P3: a hangup does not end a run that was started with nohup; TERM does."""
    command = ["nohup", *local.argv("run", "-n", "job", "--", *children.command("tell_signals"))]
    run = subprocess.Popen(
        command,
        env=local.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=local.folder,
    )
    local.started.append(run)
    lines = lines_of(run)
    assert next(lines) == "ready"
    for _ in range(3):
        run.send_signal(signal.SIGHUP)
    run.send_signal(signal.SIGUSR2)
    assert run.wait(20) == 0
    assert local.records("job")[0]["outcome"] == "succeeded"


def test_the_command_leads_a_group_of_its_own_in_a_session_of_its_own(local: Lab) -> None:
    """A run without a terminal cannot be reached by signals to our group (Ctrl-C in a pipe)."""
    text = "import os; print(os.getpgrp() == os.getpid(), os.getsid(0) == os.getppid())"
    done = local.call("run", "--", *local.python(text))
    assert done.stdout == b"True True\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_pdeathsignal_also_for_a_child_that_is_stopped(local: Lab, signum: int) -> None:
    """L17 (tini pdeathsignal): keeper gone, and a stopped command dies with it."""
    run = local.start_ready("run", "-n", "job", "-k", "200ms", "--", *children.command("stop_self"))
    os.kill(run.pid, signum)
    run.communicate(timeout=20)
    until("nothing to be left", lambda: not local.marked())


def test_a_shell_with_background_jobs_ends_when_told(local: Lab) -> None:
    """P3 (dumb-init shell_background): each of them hears the TERM."""
    text = (
        'for i in 1 2 3; do (trap "echo $i >> heard; exit" TERM; touch up$i; '
        "while :; do sleep 0.02; done) & done; "
        "while ! [ -e up1 -a -e up2 -a -e up3 ]; do sleep 0.01; done; echo ready; wait"
    )
    run = local.start_ready("run", "-n", "job", "--", "sh", "-c", text)
    run.terminate()
    assert run.wait(20) == 143
    assert sorted(local.said("heard").split()) == ["1", "2", "3"]


def test_zombies_of_the_tree_are_reaped_while_it_runs(local: Lab) -> None:
    """P20 (tini reaping): orphans that end during a long run do not pile up below the guardian."""
    text = "i=0; while [ $i -lt 40 ]; do (sleep 0 &); i=$((i+1)); done; echo ready; exec sleep 600"
    run = local.start_ready("run", "-n", "job", "--", "sh", "-c", text)
    guardian = local.guardian_of(run.pid)
    below = Path(f"/proc/{guardian}/task/{guardian}/children")
    until("only the command to be left", lambda: len(below.read_text().split()) == 1)
    run.terminate()
    run.wait(20)
