"""A PID namespace for the command, where it was asked for: out of it no process can get.

    guardian ──orders──► init (PID 1 in there) ──► command ──► ...

The kernel kills everybody in a PID namespace with its first process, however they hide, and starts
nobody new in it. So killing is one signal to `init`, our own child; and having reaped it is the
proof that nothing is left. What leads to its death:

* The guardian kills it: SIGKILL from an ancestor's namespace reaches even PID 1.
* The guardian dies: PDEATHSIG, also when the keeper dies at the same moment.
* The keeper dies: the guardian kills it, and it ends by itself, should the guardian be stopped.
  A lifeline's SIGKILL (F_SETSIG) does not reach PID 1, as it counts as sent from inside
  (measured); it reaches the command's process group, as everywhere.

The command is not PID 1: that one is deaf to every signal that it has no handler for, TERM first.
`init` starts it, hands polite signals on (`kill(-1)` is everybody in there, and nobody else),
reaps, and tells how the command ended. It is a fork of the guardian, and executes nothing.

An ordinary user needs a user namespace around it, where the kernel allows one. There the user and
group are mapped to themselves: files are as before, but nobody can become anybody else (sudo, su),
and further groups still count though they look like `nobody`.

A mount namespace lets the command see itself in /proc; the host's mounts go on to appear in it, its
own do not appear on the host. Where /proc may not be mounted, it keeps the host's.

Roads not taken: clone(2) without fork (Python would not know that it forked); the command as PID 1
(deaf, see above); signals from the guardian by number (it would have to look for them in /proc).
"""

from __future__ import annotations

import _socket
import os
import sys
from select import POLLIN, poll

from cronguard.runtime import child
from cronguard.runtime.pidns_init import MESSAGE_BYTES, Init, begin
from cronguard.runtime.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal

_SCM_CREDENTIALS = 2
_ANSWER_MS = 1_000


class Space(Tree):
    """The tree of a run in a PID namespace of its own, as the guardian sees it.

    `leader` is the command's number out here, once it is known. What `init` has to say wakes
    *poller*.
    """

    def __init__(self, poller: poll) -> None:
        super().__init__()
        self._poller = poller
        self._init = 0
        self._orders: _socket.socket | None = None
        self._used: tuple[int, int, int] | None = None
        self._has_let_go = False
        self._was_made = False

    def start(
        self,
        command: list[bytes],
        env: dict[bytes, bytes],
        stdio: child.Stdio,
        lifelines: tuple[int, int],
        report: int,
        join: Callable[[], None] | None = None,
    ) -> None:
        """Make the namespace, and start the command in it. Raises: OSError.

        *join* is called by its first process, before anything else is in there.
        """
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        ours.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        try:
            init = Init(theirs, lifelines)
            self._init = begin(lambda: init.be(command, env, stdio, report, join))
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._orders = ours
        self._was_made = True
        self._poller.register(ours.fileno(), POLLIN)
        self._order(b"start")

    # -- what is heard ----------------------------------------------------------------------------

    def begun(self) -> int:
        """Return the command's number."""
        self._hear()
        return self.leader

    def reap(self) -> bool:
        """Collect what has ended; return True when the kernel says that nothing is left."""
        self._hear()
        dead = super().reap()
        if dead and self._was_made:
            self._hear()  # its last words
            if self.leader_status is None:  # the kernel killed it with its namespace
                self.leader_status = int(signal.SIGKILL)
            if self._used is not None:
                self.user_us, self.system_us, self.max_rss_kb = self._used
        return dead

    def _collect(self, pid: int) -> bool:
        reaped = super()._collect(pid)
        if reaped and pid == self._init:
            self._init = 0
        return reaped

    def _hear(self) -> None:
        """Take in what `init` and the command have to say."""
        while self._orders is not None:
            try:
                data, extra, _, _ = self._orders.recvmsg(MESSAGE_BYTES, MESSAGE_BYTES)
            except OSError:
                return
            if not data:  # it has ended: SIGCHLD says so
                self._hang_up()
                return
            self._understand(data.split(), extra)

    def _understand(self, words: list[bytes], extra: list[tuple[int, int, bytes]]) -> None:
        match words:
            case [b"here"]:  # from the command itself: the kernel says which number it has out here
                facts = [data for _, kind, data in extra if kind == _SCM_CREDENTIALS]
                self.leader = int.from_bytes(facts[0][:4], sys.byteorder) if facts else 0
            case [b"exited", status]:
                self.leader_status = int(status)
            case [b"stopped", signum]:
                self.leader_stopped = int(signum)
            case [b"used", user_us, system_us, rss_kb]:
                self._used = (int(user_us), int(system_us), int(rss_kb))
            case [b"left"]:
                self._has_let_go = True

    def survivors(self) -> list[int]:
        """Return all living processes of the tree, parents before their children."""
        return [pid for pid in super().survivors() if pid != self._init]

    # -- what is done -----------------------------------------------------------------------------

    def signal_group(self, signum: int) -> None:
        """Send *signum* to the command's process group."""
        self._order(b"group", b"%d" % signum)

    def signal(self, signum: int) -> None:
        """Ask everybody, and wake up who is stopped."""
        self._order(b"signal", b"%d" % signum)

    def kill(self) -> None:
        """Kill everybody as one."""
        if self._init:
            os.kill(self._init, signal.SIGKILL)  # unreaped, and only we reap it

    def leave(self) -> None:
        """Let `init` and all the others live on; it ends with the last of them."""
        self._order(b"leave")
        poller = poll()
        if self._orders is not None:
            poller.register(self._orders.fileno(), POLLIN)
        while self._orders is not None and not self._has_let_go and poller.poll(_ANSWER_MS):
            self._hear()

    def drop(self) -> None:
        """End what could not become the command."""
        self.kill()
        if self._init:
            os.waitpid(self._init, 0)
        self._hang_up()

    def _order(self, *words: bytes) -> None:
        """Tell `init` something; wake it, should somebody have stopped it."""
        if self._orders is None or not self._init:
            return
        try:
            self._orders.send(b" ".join(words))
            os.kill(self._init, signal.SIGCONT)
        except OSError:
            pass  # it is gone: SIGCHLD says so

    def _hang_up(self) -> None:
        if self._orders is not None:
            self._poller.unregister(self._orders.fileno())
            self._orders.close()
            self._orders = None
