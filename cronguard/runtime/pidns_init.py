"""Making a PID namespace, and being its first process; pidns.py says what for.

The first process starts the command, hands polite signals on, reaps, and tells the guardian how the
command ended. Orders come and news go as datagrams (SEQPACKET): `start`, `signal N`, `group N`,
`leave`; `here` (from the command itself), `exited STATUS`, `stopped N`, `used USED`, `left`.
"""

from __future__ import annotations

import _socket
import os
from errno import EAGAIN, EIO, EMFILE, ENOENT, ENOMEM, EPERM
from select import POLLIN, poll

from cronguard.core import exits
from cronguard.runtime import child, kernel
from cronguard.runtime.fork import fork_patiently

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal

REMEDY = (
    "Run it as root (with CAP_SYS_ADMIN), or let ordinary users make user namespaces "
    "(user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns, the container's "
    "seccomp profile); or leave it to --isolation auto"
)
MESSAGE_BYTES = 200
_NEWNS, _NEWUSER, _NEWPID = 0x00020000, 0x10000000, 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_SLAVE = 2, 4, 8, 0x4000, 0x80000
_FIRST = 1
"""The number of the first process in its namespace."""


# -- making it ------------------------------------------------------------------------------------


def examine() -> tuple[str, bool]:
    """Return why there can be no such namespace here, or nothing, and whether it has its own /proc.

    By making one, in which nothing is started. Raises: OSError, where our own limits forbid that.
    """
    kernel.become_subreaper()  # `init` becomes our child when the process between us has ended
    try:
        init = begin(lambda: os._exit(0 if mount_proc() else 1))
    except OSError as error:
        if error.errno in (EAGAIN, ENOMEM, EMFILE):
            raise
        return f"the kernel refuses it ({os.strerror(error.errno or 0).lower()})", False
    return "", os.waitpid(init, 0)[1] == 0


def begin(be_first: Callable[[], None]) -> int:
    """Do *be_first* as the first process of a namespace; return its number. Raises: OSError.

    A process between us makes the namespace: its own children are born there, and ours are not.
    It ends at once, and the first process becomes our child, as we are a subreaper.
    """
    reader, writer = os.pipe()
    try:
        middle = fork_patiently()
        if middle == 0:
            _be_between(writer, be_first)
        os.close(writer)
        writer = -1
        said = os.read(reader, 20)
        os.waitpid(middle, 0)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    number = int(said or -EIO)
    if number < 0:
        raise OSError(-number, os.strerror(-number))
    return number


def _be_between(writer: int, be_first: Callable[[], None]) -> None:
    """Make the namespace and its first process, tell its number or the negative errno; end."""
    errno = EIO
    try:
        kernel.die_with_parent(signal.SIGKILL)
        _unshare()
        init = os.fork()
        if init == 0:
            try:
                be_first()
            finally:
                os._exit(exits.OWN_FAILURE)
        os.write(writer, b"%d" % init)
        os._exit(0)
    except OSError as error:
        errno = error.errno or EIO
    finally:
        os.write(writer, b"-%d" % errno)
        os._exit(exits.OWN_FAILURE)


def _unshare() -> None:
    """Have our children born in a new PID namespace, as ourselves. Raises: OSError."""
    unshare = kernel.function("unshare")
    try:
        kernel.call(unshare, _NEWPID | _NEWNS)
        return
    except OSError as error:
        if error.errno != EPERM:
            raise
    user, group = os.geteuid(), os.getegid()
    kernel.call(unshare, _NEWUSER | _NEWPID | _NEWNS)
    try:
        _write("/proc/self/setgroups", "deny")  # or an ordinary user may map no group
    except OSError as error:
        if error.errno != ENOENT:
            raise
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def _write(path: str, text: str) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(text.encode())


def mount_proc() -> bool:
    """Show this namespace's processes in /proc; False where that is not allowed."""
    mount = kernel.function("mount")
    try:
        # WARNING: first, or the host would get our /proc.
        kernel.call(mount, b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
        kernel.call(mount, b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, None)
    except OSError:
        return False
    return True


# -- being it -------------------------------------------------------------------------------------


class Init:
    """The first process of the namespace. Whenever it ends, for whatever reason, all others die."""

    def __init__(self, orders: _socket.socket, lifelines: tuple[int, int]) -> None:
        self.orders = orders
        self.lifelines = lifelines
        self.leader = 0
        self.used = [0, 0, 0]
        self.poller = poll()
        self.wake = -1

    def be(
        self,
        command: list[bytes],
        env: dict[bytes, bytes],
        stdio: child.Stdio,
        report: int,
        join: Callable[[], None] | None = None,
    ) -> None:
        """Start the command and stay until the last has ended. *report*, *join* as in child.py."""
        errno = 0
        try:
            if join is not None:
                join()
            self._settle({number for number in (report, stdio.out, stdio.err) if number})
            if not self._may_start():
                return
            if stdio.tty is None:
                os.setsid()  # the guardian's, in there, would have no number
            mount_proc()
            self._start(command, env, stdio, report)
        except OSError as error:
            errno = error.errno or EIO
        if errno:
            os.write(report, b"%d" % errno)
            return
        self._forget_where_we_are({number for number in (report, stdio.out, stdio.err) if number})
        self._serve()

    def _settle(self, needed: set[int]) -> None:
        """Be nobody's but the guardian's: no descriptor and no wake-up pipe of others."""
        self.wake, writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        ours = {self.orders.fileno(), *self.lifelines, self.wake, writer}
        child.close_the_rest(ours | needed)
        self.poller.register(self.orders.fileno(), POLLIN)
        self.poller.register(self.lifelines[0], 0)  # POLLHUP is always reported
        self.poller.register(self.wake, POLLIN)

    def _may_start(self) -> bool:
        """Wait until we are the guardian's child, and bind our life to both others'."""
        if not self.orders.recv(MESSAGE_BYTES):
            return False
        kernel.die_with_parent(signal.SIGKILL)
        # WARNING: after die_with_parent, or a guardian that died before it goes unnoticed.
        return not any(kernel.is_closed(lifeline) for lifeline in self.lifelines)

    def _start(
        self, command: list[bytes], env: dict[bytes, bytes], stdio: child.Stdio, report: int
    ) -> None:
        self.leader = fork_patiently()
        if self.leader == 0:
            self.orders.send(b"here")
            child.become(command, env, stdio, _FIRST, self.lifelines, report)
        try:
            os.setpgid(self.leader, self.leader)  # both do it: whoever comes first
        except OSError:
            pass

    def _forget_where_we_are(self, numbers: set[int]) -> None:
        """Hold nothing that somebody may wait for: output, terminal, folder."""
        for number in numbers:
            os.close(number)
        null = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.close(null)
        os.chdir("/")

    def _serve(self) -> None:
        while self._reap():
            for number, _ in self.poller.poll():
                if number == self.wake:
                    self._drain_wake()
                elif number == self.lifelines[0] or not self._obey():
                    return

    def _drain_wake(self) -> None:
        try:
            os.read(self.wake, 512)
        except BlockingIOError:
            pass

    def _obey(self) -> bool:
        """Carry out one order; False when the guardian is gone."""
        try:
            words = self.orders.recv(MESSAGE_BYTES).split()
        except OSError:
            return False
        match words:
            case [b"signal", number]:
                _signal(-1, int(number))
                _signal(-1, signal.SIGCONT)
            case [b"group", number]:
                _signal(-self.leader, int(number))
            case [b"leave"]:
                self._leave()
        return bool(words)

    def _leave(self) -> None:
        """From now on only stay for the others: nobody's death is ours."""
        kernel.live_without_parent()
        self.poller.unregister(self.orders.fileno())
        self.poller.unregister(self.lifelines[0])
        self._tell("left")

    def _reap(self) -> bool:
        """Collect what has ended, and tell of the command; False when nobody is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                self._tell("used " + " ".join([str(number) for number in self.used]))
                return False
            if pid == 0:
                return True
            if os.WIFSTOPPED(status):
                if pid == self.leader:
                    self._tell(f"stopped {os.WSTOPSIG(status)}", _socket.MSG_DONTWAIT)
                continue
            self.used[0] += int(usage.ru_utime * 1_000_000)
            self.used[1] += int(usage.ru_stime * 1_000_000)
            self.used[2] = max(self.used[2], usage.ru_maxrss)
            if pid == self.leader:
                self._tell(f"exited {status}")

    def _tell(self, text: str, flags: int = 0) -> None:
        try:
            self.orders.send(text.encode(), flags)
        except OSError:
            pass  # nobody listens


def _signal(whom: int, signum: int) -> None:
    """Signal a group by its negative number, or with -1 everybody in here but us."""
    try:
        os.kill(whom, signum)
    except OSError:
        pass  # nobody is there
