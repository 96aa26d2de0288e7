"""The keeper's end of the guardian: how it is forked and spoken to."""

from __future__ import annotations

import _socket
import os

from cronguard.core import exits
from cronguard.runtime import kernel
from cronguard.runtime.fork import fork_patiently, go_before_the_child
from cronguard.runtime.guardian import MESSAGE_BYTES, Guardian

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from cronguard.runtime.child import Stdio
    from cronguard.runtime.limit_group import LimitGroup
    from cronguard.runtime.limits import Limits
else:
    import _signal as signal


class Hold:
    """What holds the tree besides its group: `isolation` as in the spec.

    `cage` is the name of the control group that the command is started in, with `cgroup`, or where
    limits take one, which is made in that `group`.
    """

    __slots__ = ("cage", "group", "isolation")

    def __init__(self, isolation: str = "auto", group: LimitGroup | None = None) -> None:
        self.isolation = isolation
        self.group = group if group is not None and group.home else None
        is_caged = isolation == "cgroup" or self.group is not None
        self.cage = f"cronguard-{os.getpid()}-{os.urandom(4).hex()}" if is_caged else ""


class Link:
    """The keeper's end: how to speak to the guardian, and what its death looks like.

    `lifeline` is written by nobody; closing it, or dying, kills the run. `watch` is the pipe end
    through which the kernel kills the group when the guardian dies. `hold` is what holds the tree.
    """

    __slots__ = ("control", "hold", "lifeline", "pid", "watch")

    def __init__(
        self, pid: int, control: _socket.socket, lifeline: int, watch: int, hold: Hold
    ) -> None:
        self.pid = pid
        self.control = control
        self.lifeline = lifeline
        self.watch = watch
        self.hold = hold

    def send(self, *words: bytes) -> None:
        """Send a message; a guardian that is gone is noticed by `receive`."""
        try:
            self.control.send(b"\0".join(words))
        except OSError:
            pass

    def receive(self) -> list[bytes] | None:
        """Return the next message, [] if there is none now, None if the guardian is gone."""
        try:
            message = self.control.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return message.split(b"\0") if message else None


def start(
    command: list[bytes],
    env: dict[bytes, bytes],
    stdio: Stdio,
    mark: Callable[[], None],
    unneeded: list[int],
    isolation: str = "auto",
    limits: Limits | None = None,
) -> Link:
    """Fork the guardian. *mark* leaves the proof that the tree is dead; *unneeded* are closed."""
    hold = Hold(isolation, limits.group if limits is not None else None)
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    keeper_r, keeper_w = os.pipe()
    guardian_r, guardian_w = os.pipe()
    kernel.become_subreaper()
    stdio.nice = go_before_the_child()
    # WARNING: a signal between fork and reset would be written to the keeper's wake-up pipe.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = fork_patiently()
    if pid == 0:
        status = exits.OWN_FAILURE
        try:
            os.close(keeper_w)
            ours.close()
            for number in unneeded:
                os.close(number)
            guardian = Guardian(command, env, stdio, theirs, (keeper_r, guardian_r), mark, hold)
            guardian.settle()
            status = guardian.serve()
        finally:
            os._exit(status)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    os.close(keeper_r)
    os.close(guardian_w)
    ours.setblocking(False)
    return Link(pid, ours, keeper_w, guardian_r, hold)
