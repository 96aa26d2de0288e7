"""The keeper's signals: written by Python's C handler into a pipe that the loop reads.

`set_wakeup_fd` writes the signal's number the moment it arrives, also while Python code runs, so
none is missed and none interrupts anything. A signal that was ignored when we were started (nohup,
`&` in a plain shell) stays ignored.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

_STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
_FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


def listen() -> int:
    """Send this process's signals to a pipe; returns its reading end."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in _STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _no_op)
    for number in (*_FORWARDED, signal.SIGCHLD):
        signal.signal(number, _no_op)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return reader


def ignore_terminal() -> None:
    """Let us move the terminal to the child and back from the background (tcsetpgrp, TTOU)."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)


def received(reader: int) -> bytes:
    """Return the numbers of the signals that have come, in order, one byte each."""
    try:
        return os.read(reader, 512)
    except BlockingIOError:
        return b""


def _no_op(_signum: int, _frame: object) -> None:
    """Exist: only a signal with a Python handler is written to the pipe."""
