# ruff: noqa: SLF001  (the C core of ctypes has no public names)
"""What we ask of the Linux kernel that Python does not offer: through ctypes, nothing compiled.

* `PR_SET_PDEATHSIG`: the kernel signals a process when its parent dies. Only that one process, and
  not after a setuid exec; it fires on the death of the creating *thread*, so all our forks happen
  in processes that have only one.
* `PR_SET_CHILD_SUBREAPER`: orphans below us become our children instead of init's. That makes
  "no child left" (ECHILD) mean "the whole tree is dead".
* `O_ASYNC` with `F_SETSIG` on a pipe: when the last writer is gone, the kernel signals a whole
  process group, also one that is stopped, without anybody having to run.
* `timer_create(CLOCK_BOOTTIME)` with SIGKILL: fires also while we are stopped, and counts suspend.
  A SIGTERM or SIGALRM timer would wait until we are continued.

Roads not taken: signalfd and eventfd (the wake-up pipe of `signal.set_wakeup_fd` does it), a
thread as watchdog (it stops with us), PID namespaces for every run (they change what the command
sees: pidns.py has them for those who ask).
"""

from __future__ import annotations

import _ctypes  # its C core: `ctypes` itself costs 3 ms more
import os
import sys
from fcntl import F_GETFL, F_SETFL, F_SETOWN, fcntl
from select import POLLHUP, POLLIN, poll

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_F_SETSIG = 10
_CLOCK_BOOTTIME = 7
_TIMER_ABSTIME = 1
_SIGKILL = 9


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Function(_ctypes.CFuncPtr):
    """A C function that returns int and sets errno."""

    _flags_ = 1 | 8  # FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Int


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


def function(name: str, *libraries: str | None) -> _Function:
    """Find a C function in the first of *libraries* that has it; None is what is loaded already.

    Raises: OSError, if none of them has it.
    """
    missing: OSError | None = None
    for library in libraries or (None,):
        try:
            return _Function(_ctypes.dlsym(_ctypes.dlopen(library, 0), name))  # type: ignore[arg-type]
        except OSError as error:
            missing = error
    raise OSError(38, f"the C library has no {name}") from missing


def call(of_c: _Function, *args: object) -> None:
    """Call a C function. Raises: OSError, if it does not return 0."""
    if of_c(*args) != 0:
        errno = _ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def die_with_parent(signum: int) -> None:
    """Let the kernel send us *signum* when our parent dies. Raises: OSError."""
    call(function("prctl"), _PR_SET_PDEATHSIG, signum, 0, 0, 0)


def live_without_parent() -> None:
    """Take back `die_with_parent`. Raises: OSError."""
    call(function("prctl"), _PR_SET_PDEATHSIG, 0, 0, 0, 0)


def become_subreaper() -> None:
    """Let orphans below us become our children. Raises: OSError."""
    call(function("prctl"), _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_group_when_closed(reader: int, group: int) -> bool:
    """Let the kernel SIGKILL the process group *group* when the pipe's writers are gone.

    The setting belongs to the open file description: any process that shares *reader* may make it
    for all. Returns False if the writers are gone already: then no signal will come.
    """
    fcntl(reader, F_SETOWN, -group)
    fcntl(reader, _F_SETSIG, _SIGKILL)
    fcntl(reader, F_SETFL, fcntl(reader, F_GETFL) | os.O_ASYNC)
    return not is_closed(reader)


def spare_group(reader: int) -> None:
    """Take back `kill_group_when_closed`."""
    fcntl(reader, F_SETFL, fcntl(reader, F_GETFL) & ~os.O_ASYNC)


def is_closed(reader: int) -> bool:
    """Tell whether the pipe that ends in *reader* has no writer left."""
    poller = poll()
    poller.register(reader, POLLIN)
    return any(event & POLLHUP for _, event in poller.poll(0))


class DeadMan:
    """A kernel timer that SIGKILLs this process at a moment, whatever state it is in.

    It belongs to the process: exec and fork do not carry it on. Raises OSError when the kernel
    refuses one (EAGAIN with RLIMIT_SIGPENDING 0, EPERM or ENOSYS under a seccomp filter).
    """

    def __init__(self) -> None:
        # glibc has these in libc from 2.34 on and in librt before; musl always in libc
        create = function("timer_create", None, "librt.so.1")
        self._settime = function("timer_settime", None, "librt.so.1")
        self._delete = function("timer_delete", None, "librt.so.1")
        self._timer = _Pointer()
        # struct sigevent, 64 bytes: value (a pointer's size), signo, notify SIGEV_SIGNAL (0), zeros
        value = bytes(_ctypes.sizeof(self._timer))
        event = (value + _number(_SIGKILL, 4)).ljust(64, b"\0")
        call(create, _CLOCK_BOOTTIME, event, _ctypes.byref(self._timer))

    def arm(self, at: int) -> None:
        """Die at *at*, in ms on CLOCK_BOOTTIME; at once if that is past. 0 calls it off."""
        # struct itimerspec: an interval of zero, then the moment, each in seconds and nanoseconds
        size = _ctypes.sizeof(_Long)
        moment = _number(at // 1000, size) + _number(at % 1000 * 1_000_000, size)
        call(self._settime, self._timer, _TIMER_ABSTIME, bytes(2 * size) + moment, None)

    def disarm(self) -> None:
        """Call it off."""
        self.arm(0)

    def close(self) -> None:
        """Give the timer back to the kernel, for a process that goes on without a lease."""
        call(self._delete, self._timer)


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, sys.byteorder)
