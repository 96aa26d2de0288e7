"""The guardian: a small process between keeper and command that owns the command's process tree.

    keeper ──── control socket ────► guardian ──► child ──► ...
      └─ writer of `keeper lifeline`    └─ writer of `guardian lifeline`

It is forked before anything heavy is loaded (launch.py). It starts the command, reaps it and
whatever it leaves behind, signals and kills. It outlives the keeper on purpose:

* The keeper dies: the kernel SIGKILLs the child's process group through the keeper's lifeline, and
  wakes the guardian (PDEATHSIG is SIGCONT, should somebody have stopped it), which kills what had
  left the group. Then it leaves a mark that the tree is dead, so that the next run on this host
  need not wait for the lease to expire. Only a guardian that has seen ECHILD can leave that mark:
  a killed one cannot fake it.
* The guardian dies: the kernel SIGKILLs the child (PDEATHSIG) and its group (the guardian's
  lifeline, whose reader the keeper holds), and its orphans become the keeper's, which kills them.
* Both die at the same moment: the group is dead; a process that had left it is not. This takes a
  PID namespace to close (`--isolation pidns`, pidns.py), and is said in the README.

Messages are datagrams (SEQPACKET). From the keeper: `spawn` with `again` or `once` (whether another
may follow), `front` or `behind` (at the terminal) and the additions to the environment, `signal N`,
`forward N`, `kill`, `leave`, `bye`. To the keeper: `spawned PID`, `failed ERRNO`, `oom WHOSE`,
`exited STATUS LEFT USED`, `stopped N`, `stuck TEXT`, `dead USED`, where USED is what the run has
used so far: user and system time in us, and the largest resident size in kB.

With `--retries` the command is started several times, each in a tree of its own, and never before
the kernel has said that the one before is dead. All that is told of a tree is told before the next
`spawn` is read, so the keeper cannot take the end of the one for that of the other.
"""

from __future__ import annotations

import _socket
import os
from select import POLLHUP, POLLIN, poll

from cronguard.runtime import child, kernel
from cronguard.runtime.fork import fork_patiently
from cronguard.runtime.tree import Tree, describe, is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from cronguard.runtime.cage import Cage
    from cronguard.runtime.launch import Hold
else:
    import _signal as signal

MESSAGE_BYTES = 1 << 16
KILL_EVERY_MS = 10
KILL_EVERY_LATER_MS = 250
STUCK_AFTER_PASSES = 60
SETTLE_MS = 100
"""What the child leaves behind may end by itself for so long before it is called a straggler."""


class Guardian:
    """The guardian's own state, in its own process."""

    def __init__(
        self,
        command: list[bytes],
        env: dict[bytes, bytes],
        stdio: child.Stdio,
        control: _socket.socket,
        lifelines: tuple[int, int],
        mark: Callable[[], None],
        hold: Hold,
    ) -> None:
        self.command = command
        self.env = env
        self.stdio = stdio
        self.control = control
        self.lifelines = lifelines
        self.mark = mark
        self.hold = hold
        self.tree = Tree()
        self.used_before = (0, 0, 0)
        self.poller = poll()
        self.report = -1
        self.wake = -1
        self.keeper_gone = False
        self.killing = 0
        self.told_exit = False
        self.told_dead = False
        self.cage: Cage | None = None
        self.settled = False
        self.let_go = False

    def settle(self) -> None:
        """Become what the head of this file says: own session or group, subreaper, deaf."""
        if self.stdio.tty is None:
            os.setsid()
        else:
            os.setpgid(0, 0)
        kernel.become_subreaper()
        kernel.die_with_parent(signal.SIGCONT)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(reader, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT):
                signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, _no_op)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        self.wake = reader
        self.poller.register(self.control.fileno(), POLLIN)
        self.poller.register(self.lifelines[0], 0)  # POLLHUP is always reported
        self.poller.register(reader, POLLIN)

    def serve(self) -> int:
        """Serve the keeper until it says bye, or until it is dead and the tree as well."""
        # wait4 wants `resource`: load it, and what killing may need, while the keeper is busy
        import resource  # noqa: F401, PLC0415

        from cronguard.runtime import cage  # noqa: PLC0415

        me, mine = os.getpid(), self.control.fileno()
        if self.hold.isolation != "group" or self.hold.cage:
            self.cage = cage.Cage(lambda pid: is_below(pid, me), self.hold.cage, self.hold.group)

        while True:
            ready = self.poller.poll(self._pause())
            self.settled = not ready
            for number, event in ready:
                if number == self.lifelines[0]:
                    self._keeper_died()
                elif number == self.report:
                    self._read_report()
                elif number == self.wake:
                    self._drain_wake()
                elif number == mine and event & (POLLIN | POLLHUP) and self._obey():
                    return 0
            if self.let_go and self.keeper_gone:
                return 0
            if self._look() and self.keeper_gone:
                self.mark()
                if self.hold.group is not None:
                    self.hold.group.leave()  # as the keeper would have
                return 0
            if self.killing:
                self._kill_again()

    def _pause(self) -> int | None:
        if self.told_dead:
            return None
        if self.tree.leader_status is not None and not self.told_exit:
            return SETTLE_MS
        if not self.killing:
            return None
        return KILL_EVERY_MS if self.killing < STUCK_AFTER_PASSES else KILL_EVERY_LATER_MS

    def _drain_wake(self) -> None:
        try:
            os.read(self.wake, 512)
        except BlockingIOError:
            pass

    def _keeper_died(self) -> None:
        self.poller.unregister(self.lifelines[0])
        self.poller.unregister(self.control.fileno())
        self.keeper_gone = True
        if not self.let_go:
            self.told_dead = False
            self.killing = self.killing or 1

    def _obey(self) -> bool:
        """Carry out one message; return True to leave."""
        try:
            message = self.control.recv(MESSAGE_BYTES)
        except OSError:
            message = b""
        if not message:  # the keeper is dying: the lifeline says so next
            return False
        words = message.split(b"\0")
        match words[0]:
            case b"spawn":
                self._spawn(words[1:])
            case b"signal":
                self.tree.signal(int(words[1]))
            case b"forward":
                self.tree.signal_group(int(words[1]))
            case b"kill":
                self.told_dead = False
                self.killing = self.killing or 1
            case b"leave":
                self._leave()
            case b"bye":
                return True
        return False

    def _tell(self, text: str) -> None:
        try:
            self.control.send(text.encode("utf-8", "replace"))
        except OSError:
            pass  # the keeper is gone: the lifeline says so

    # -- starting ---------------------------------------------------------------------------------

    def _spawn(self, words: list[bytes]) -> None:
        may_follow, in_front, *additions = words
        for addition in additions:
            name, _, value = addition.partition(b"=")
            self.env[name] = value
        self.stdio.in_front = in_front == b"front"
        if self.tree.leader:
            self._begin_afresh()
        try:
            reader, writer = os.pipe()
        except OSError as error:
            self._tell(f"failed {error.errno}")
            return
        try:
            begin = self._begin_apart if self.hold.isolation == "pidns" else self._begin
            begin(writer)
        except OSError as error:
            os.close(reader)
            os.close(writer)
            self._tell(f"failed {error.errno}")
            return
        os.close(writer)
        if may_follow == b"once":  # so that the output ends with the last who writes to it
            for number in {self.stdio.out, self.stdio.err} - {None}:
                os.close(number)  # type: ignore[arg-type]
        self.report = reader
        self.poller.register(reader, POLLIN)

    def _begin_afresh(self) -> None:
        """Forget the tree of the attempt before.

        Should anything of it be left against all reason, this ends us, and so all of it.
        """
        is_dead = self.tree.reap()
        assert is_dead, "an attempt would begin beside another"
        self.used_before = self._used()
        self.tree = Tree()
        self.killing = 0
        self.told_exit = self.told_dead = self.settled = False

    def _begin(self, report: int) -> None:
        """Start the command below us. Raises: OSError."""
        join = None
        if self.hold.cage and self.cage is not None:
            self.cage.make()
            join = self.cage.join
            self.tree.cage_after = 0
        self.tree.cage = self.cage
        me = os.getpid()
        pid = fork_patiently()
        if pid == 0:
            child.become(self.command, self.env, self.stdio, me, self.lifelines, report, join)
        try:
            os.setpgid(pid, pid)  # both do it: whoever comes first
        except OSError:
            pass
        self.tree.lead(pid)

    def _begin_apart(self, report: int) -> None:
        """Start the command in a PID namespace of its own. Raises: OSError."""
        from cronguard.runtime.pidns import Space  # noqa: PLC0415  (only where it was asked for)

        space = Space(self.poller)
        join = None
        if self.hold.cage and self.cage is not None:
            self.cage.make()
            join = self.cage.join
            space.cage = self.cage
        space.start(self.command, self.env, self.stdio, self.lifelines, report, join)
        self.tree = space

    def _read_report(self) -> None:
        """The pipe that exec closes: empty means that the command runs."""
        text = os.read(self.report, 32)
        self.poller.unregister(self.report)
        os.close(self.report)
        self.report = -1
        if not text:
            self._tell(f"spawned {self.tree.begun()}")
            return
        self.tree.drop()
        self.tree = Tree()
        self._tell(f"failed {text.decode()}")

    # -- ending -----------------------------------------------------------------------------------

    def _look(self) -> bool:
        """See what has changed below us and tell it; return True when nothing is left there."""
        if self.report >= 0:
            return False
        dead = self.tree.reap()
        tree = self.tree
        if tree.leader_stopped and self.stdio.tty is not None:
            self._tell(f"stopped {tree.leader_stopped}")
        tree.leader_stopped = 0
        ended = tree.leader_status is not None and not self.told_exit
        if ended and (dead or self.settled or self.killing):
            self.told_exit = True
            self._tell_oom()
            left = 0 if dead else max(len(tree.survivors()), 1)
            self._tell(f"exited {tree.leader_status} {left} {self._used_text()}")
        started = tree.leader != 0 or self.killing
        if dead and started and not self.told_dead:
            self.told_dead = True
            self._tell(f"dead {self._used_text()}")
        return dead

    def _tell_oom(self) -> None:
        """Say that the kernel has killed for want of memory, where the group tells."""
        if self.hold.cage and self.cage is not None and self.tree.leader_status:
            whose = self.cage.oom()
            if whose:
                self._tell(f"oom {whose}")

    def _used(self) -> tuple[int, int, int]:
        """Return what all trees of this run have used."""
        user_us, system_us, rss_kb = self.used_before
        tree = self.tree
        return user_us + tree.user_us, system_us + tree.system_us, max(rss_kb, tree.max_rss_kb)

    def _used_text(self) -> str:
        return " ".join([str(number) for number in self._used()])

    def _kill_again(self) -> None:
        if self.told_dead:
            return
        self.tree.kill()
        self.killing += 1
        if self.killing == STUCK_AFTER_PASSES:
            stuck = self.tree.survivors()
            if stuck:
                self._tell("stuck " + ", ".join([describe(pid) for pid in stuck[:5]]))

    def _leave(self) -> None:
        """Let go of what is left: it lives on as if cronguard had never been there."""
        for lifeline in self.lifelines:
            kernel.spare_group(lifeline)
        self.tree.leave()
        self.told_dead = self.let_go = True
        self._tell(f"dead {self._used_text()}")


def _no_op(_signum: int, _frame: object) -> None:
    """Have the signal written to the wake-up pipe, and nothing else."""
