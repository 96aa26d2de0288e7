"""`guard` in programs that fork, are stopped, are killed, or end with a guard open."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.process.lab import Lab, until
from tests.servers import Server

BEGIN = """
import os, signal, sys, threading, time, warnings
warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)
from cronguard import LeaseLost, Skipped, Stopped, current_lease, guard
def say(word):
    print(word, flush=True)
def heard():
    return sys.stdin.readline().strip()
"""
THAWED = """
with guard("job", ttl="10s") as lease:
    say("ready")
    heard()
    try:
        lease.check()
    except LeaseLost:
        say("lost")
    else:
        say("held")
"""


class Program:
    """A Python program that uses the library; its stdin and stdout are pipes."""

    def __init__(self, lab: Lab, text: str) -> None:
        self.process = subprocess.Popen(
            [lab.interpreter, "-c", BEGIN + text],
            env=lab.env,
            cwd=lab.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lab.started.append(self.process)  # type: ignore[arg-type]
        self.pid = self.process.pid

    def said(self) -> str:
        """Return the next line that it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, word: str) -> None:
        """Say a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def end(self) -> tuple[int, str, str]:
        """Return its status, and what else it said."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def leases(lab: Lab) -> list[object]:
    """Return the live leases of the job."""
    return lab.ask(lambda history: history.leases(["job"])["job"])  # type: ignore[return-value]


def test_a_process_that_was_stopped_for_too_long_knows_it_at_once(lab: Lab) -> None:
    """SIGSTOP until the lease is another's: the first check() after SIGCONT says lost."""
    program = Program(lab, THAWED)
    assert program.said() == "ready"
    os.kill(program.pid, signal.SIGSTOP)
    until("the lease's end", lambda: not leases(lab), patience=40)
    assert lab.call("run", "-n", "job", "--ttl", "10s", "--", "true").returncode == 0
    program.tell("go")
    os.kill(program.pid, signal.SIGCONT)
    assert program.said() == "lost"
    status, _, err = program.end()
    assert status == 1
    assert "LeaseLost" in err
    outcomes = [record["outcome"] for record in lab.records("job")]
    assert sorted(map(str, outcomes)) == ["lease_lost", "succeeded"]


def test_a_process_that_was_stopped_for_a_moment_goes_on(lab: Lab) -> None:
    """It renews as if nothing had been."""
    program = Program(lab, THAWED)
    assert program.said() == "ready"
    os.kill(program.pid, signal.SIGSTOP)
    program.tell("go")
    os.kill(program.pid, signal.SIGCONT)
    assert program.said() == "held"
    assert program.end()[0] == 0


def test_a_forked_child_neither_holds_nor_ends_it(lab: Lab) -> None:
    """It has no part in the lease: check() raises there, leaving the block changes nothing."""
    program = Program(
        lab,
        """
with guard("job") as lease:
    before = len(os.listdir("/proc/self/fd"))
    pid = os.fork()
    if pid == 0:
        try:
            lease.check()
        except LeaseLost as error:
            say(error)
        say(f"{before - len(os.listdir('/proc/self/fd'))} less")
if pid == 0:
    try:
        with guard("job"):
            say("wrong")
    except Skipped:
        say("skipped")
    sys.exit(7)
""",
    )
    said = program.said()
    assert said.startswith("job: this process was forked from the one that holds the lock")
    assert int(program.said().split()[0]) >= 3, "the pipe and the store are closed there"
    program.end()


def test_the_parent_holds_it_on_while_children_come_and_go(lab: Lab) -> None:
    """Many forks, beside many guards: nothing hangs, and the parent's lock stands."""
    program = Program(
        lab,
        """
stop = False
def others():
    while not stop:
        with guard("other"):
            pass
thread = threading.Thread(target=others, daemon=True)
thread.start()
with guard("job", ttl="10s") as lease:
    for number in range(20):
        pid = os.fork()
        if pid == 0:
            try:
                with guard("job", ttl="10s"):
                    os._exit(9)
            except Skipped:
                os._exit(7)
        assert os.waitpid(pid, 0)[1] >> 8 == 7
    lease.check()
    stop = True
    thread.join()
""",
    )
    status, _, err = program.end()
    assert (status, err) == (0, "")
    outcomes = {record["outcome"] for record in lab.records("job") + lab.records("other")}
    assert outcomes == {"succeeded"}
    if lab.store.startswith("sqlite"):
        facts: dict[str, object] = lab.ask(lambda history: history.facts())  # type: ignore[assignment]
        assert facts["integrity"] == "ok"


def test_ctrl_c_in_the_block_is_on_record_as_stopped(lab: Lab) -> None:
    """KeyboardInterrupt passes through, and the lock is given back."""
    program = Program(lab, 'with guard("job"):\n    say("ready")\n    time.sleep(60)\n')
    assert program.said() == "ready"
    os.kill(program.pid, signal.SIGINT)
    status, _, err = program.end()
    assert status == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    record = lab.records("job")[0]
    assert (record["outcome"], record["exit_status"], record["signal"]) == ("stopped", 130, 2)
    assert not leases(lab)


def test_ctrl_c_while_it_waits_leaves_the_queue(lab: Lab) -> None:
    """And no lock for nobody."""
    held = lab.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 60")
    program = Program(lab, 'with guard("job", wait="forever"):\n    say("wrong")\n')
    until("a waiter", lambda: lab.ask(lambda history: history.waiters("job")))
    os.kill(program.pid, signal.SIGINT)
    status, out, _ = program.end()
    assert (status, out) == (-signal.SIGINT, "")
    assert lab.ask(lambda history: history.waiters("job")) == []
    held.terminate()
    held.wait(20)
    assert lab.call("run", "-n", "job", "--", "true").returncode == 0


def test_no_signal_is_touched(lab: Lab) -> None:
    """Handlers, the wake-up descriptor, masks, umask and folder are the program's."""
    program = Program(
        lab,
        """
def state():
    handlers = [signal.getsignal(n) for n in signal.valid_signals()]
    umask = os.umask(0o22); os.umask(umask)
    wakeup = signal.set_wakeup_fd(-1)
    return handlers, umask, wakeup, signal.pthread_sigmask(signal.SIG_BLOCK, []), os.getcwd()
before = state()
with guard("job"):
    assert state() == before
    signal.signal(signal.SIGUSR1, lambda *_: say("handled"))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
assert state() == before
""",
    )
    status, out, err = program.end()
    assert (status, out, err) == (0, "handled\n", "")


def test_a_program_that_ends_with_a_guard_open_ends(lab: Lab) -> None:
    """It does not hang; the lock is not given back, as the block was never over, and expires."""
    program = Program(lab, 'lease = guard("job", ttl="10s").__enter__()\nsay(lease.token)\n')
    token = program.said()
    assert program.end()[0] == 0
    (lease,) = leases(lab)
    assert str(lease.token) == token  # type: ignore[attr-defined]
    until("the lease's end", lambda: not leases(lab), patience=40)
    assert lab.records("job")[0]["outcome"] == "abandoned"


def test_the_dead_man_kills_a_process_that_goes_on_without_its_lease(
    far: Lab, own_server: Server
) -> None:
    """Whatever it does: before anybody else can have the lock, the whole process is dead."""
    program = Program(
        far,
        'with guard("job", ttl="10s", dead_man=True):\n    say("ready")\n    while True: pass\n',
    )
    assert program.said() == "ready"
    assert Path(f"/proc/{program.pid}/timers").read_text()
    own_server.pause()
    assert program.process.wait(30) == -signal.SIGKILL
    own_server.resume()
    assert len(leases(far)) == 1, "it is dead before the server would give the lock to another"


def test_without_a_dead_man_the_process_lives_on(far: Lab, own_server: Server) -> None:
    """It is told, and nothing kills it: not by default."""
    program = Program(
        far,
        """
lost = threading.Event()
try:
    with guard("job", ttl="10s", on_lost=lambda error: lost.set()) as lease:
        say("ready")
        lost.wait()
        time.sleep(4)  # beyond the moment at which the kernel would have killed it
        lease.check()
except LeaseLost:
    say("lost")
""",
    )
    assert program.said() == "ready"
    own_server.pause()
    assert program.said() == "lost"
    own_server.resume()
    assert program.end()[0] == 0


def test_a_dead_man_gives_its_timer_back(lab: Lab) -> None:
    """Many guards in a row do not use up what the kernel allows."""
    program = Program(
        lab,
        """
def timers():
    with open("/proc/self/timers") as file:
        return file.read()
for _ in range(20):
    with guard("job", dead_man=True):
        assert timers().count("notify:") == 1
assert not timers()
""",
    )
    assert program.end() == (0, "", "")


@pytest.mark.parametrize("dead_man", [True, False])
def test_where_the_kernel_has_no_timer(lab: Lab, dead_man: bool) -> None:
    """What was asked for and cannot be had is refused; what was not, is not missed."""
    program = Program(
        lab,
        f"""
import resource
resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
try:
    with guard("job", dead_man={dead_man}):
        say("in")
except Exception as error:
    say(type(error).__name__ + " " + error.reason)
""",
    )
    assert program.said() == ("NotStarted dead_man_required" if dead_man else "in")
    assert program.end()[0] == 0
