"""The last moments before the command is itself: from fork to exec, in the child.

The order matters and is explained line by line. Whatever fails is told to the guardian through a
pipe that exec closes, so that an empty answer means "it runs".
"""

from __future__ import annotations

import os
from errno import EACCES, EISDIR, ENOENT, ENOEXEC, ENOTDIR

from cronguard.core import exits
from cronguard.runtime import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from cronguard.runtime.limits import Limits
else:
    import _signal as signal

DEFAULT_PATH = b"/usr/bin:/bin"
_LAST_SIGNAL = 64


class Stdio:
    """Where the child's output goes: descriptors for 1 and 2, or None to inherit ours.

    `tty` the terminal to hand over, if a person sits there · `in_front` whether to hand it over
    now · `nice` the priority to go back to · `limits` what it may take, or None.
    """

    __slots__ = ("err", "in_front", "limits", "nice", "out", "tty")

    def __init__(self, out: int | None, err: int | None, tty: int | None = None) -> None:
        self.out = out
        self.err = err
        self.tty = tty
        self.in_front = True
        self.nice: int | None = None
        self.limits: Limits | None = None


def become(
    command: list[bytes],
    env: dict[bytes, bytes],
    stdio: Stdio,
    guardian: int,
    lifelines: tuple[int, ...],
    report: int,
    join: Callable[[], None] | None = None,
) -> None:
    """Turn this process into the command; never returns.

    *lifelines* are pipes whose closing kills our process group. *report* gets `ERRNO` if it fails.
    *join* is called before anything of the command can run. Raises: OSError, which is reported.
    """
    errno = 0
    try:
        os.setpgid(0, 0)
        kernel.die_with_parent(signal.SIGKILL)
        # WARNING: after die_with_parent, or a guardian that died before it goes unnoticed.
        if os.getppid() != guardian:
            os._exit(exits.OWN_FAILURE)
        me = os.getpid()
        for lifeline in lifelines:
            if not kernel.kill_group_when_closed(lifeline, me):
                os._exit(exits.OWN_FAILURE)
        if join is not None:
            join()
        if stdio.nice is not None:
            os.setpriority(os.PRIO_PROCESS, 0, stdio.nice)
        if stdio.tty is not None and stdio.in_front:
            os.tcsetpgrp(stdio.tty, me)
        if stdio.out is not None:
            os.dup2(stdio.out, 1)
        if stdio.err is not None:
            os.dup2(stdio.err, 2)
        close_the_rest({report})
        _reset_signals()
        if stdio.limits is not None:  # last: we might have no room for ourselves in them
            stdio.limits.apply()
        execute(command, env)
    except OSError as error:
        errno = error.errno or 0
    finally:  # for whatever reason: it does not run
        os.write(report, b"%d" % errno)
        os._exit(exits.OWN_FAILURE)


def close_the_rest(keep: set[int]) -> None:
    """Leave descriptors 0, 1, 2, and *keep*."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        numbers = list(range(1024))
    for number in numbers:
        if number > 2 and number not in keep:
            try:
                os.close(number)
            except OSError:
                pass  # the listing's own descriptor, or none at all


def _reset_signals() -> None:
    """Default dispositions and an empty mask: whoever started us may have left others."""
    for number in range(1, _LAST_SIGNAL + 1):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # KILL, STOP, and those that libc keeps to itself
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def original_environment() -> dict[bytes, bytes]:
    """Return the environment as we were given it.

    Python adds LC_CTYPE when the locale is C (PEP 538), which is the usual one under cron. What has
    no name is left out, as os.execve would refuse it.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            pairs = [word.partition(b"=") for word in file.read().split(b"\0") if b"=" in word]
    except OSError:
        return dict(os.environb)
    return {name: value for name, _, value in pairs if name}


def execute(command: list[bytes], env: dict[bytes, bytes]) -> None:
    """Exec as execvp(3) does: search PATH, and hand a script without `#!` to the shell.

    Raises: OSError; see `explain`.
    """
    name = command[0]
    if b"/" in name:
        _exec_file(name, command, env)
    refused: OSError | None = None
    for folder in env.get(b"PATH", DEFAULT_PATH).split(b":"):
        try:
            _exec_file(os.path.join(folder or b".", name), command, env)
        except OSError as error:
            if error.errno == EACCES:
                refused = error
            elif error.errno not in (ENOENT, ENOTDIR, EISDIR):
                raise
    raise refused or OSError(ENOENT, "not found in PATH")


def _exec_file(path: bytes, command: list[bytes], env: dict[bytes, bytes]) -> None:
    try:
        os.execve(path, command, env)
    except OSError as error:
        if error.errno != ENOEXEC:
            raise
        os.execve(b"/bin/sh", [b"/bin/sh", path, *command[1:]], env)


def explain(errno: int, name: str) -> tuple[int, str]:
    """Return the exit status for a failed exec of *name*, and why it failed."""
    if errno == ENOENT and "/" in name and os.path.lexists(name):
        return exits.NOT_FOUND, f"{name} exists, but the interpreter in its first line does not"
    if errno in (ENOENT, ENOTDIR):
        where = "" if "/" in name else " in PATH"
        return exits.NOT_FOUND, f"{name} was not found{where}"
    if errno in (EACCES, ENOEXEC, EISDIR):
        return exits.NOT_EXECUTABLE, f"{name} cannot be executed: {os.strerror(errno).lower()}"
    if errno == 0:
        return exits.OWN_FAILURE, f"{name} ended before it began"
    return exits.OWN_FAILURE, f"{name} could not be started: {os.strerror(errno).lower()}"
