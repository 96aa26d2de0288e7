"""Runs a program for a reporter, with all that it starts, for no longer than allowed.

It has a process group of its own: when its time is over the group gets TERM, and a moment later
KILL. What it leaves behind when it has ended is killed as well: nothing would watch over it. (What
goes into a session of its own escapes; it does so on purpose.) Its input is a memory file, so that
one that does not read it breaks nothing; of its output the end is kept.

Roads not taken: `subprocess.run`, which at its timeout kills the program alone, and then waits for
what that has started to close the pipe; a guardian as runs have, which is another layer's, and
would have to be told the lease of a run that is over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from selectors import EVENT_READ, DefaultSelector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

OUTPUT_BYTES = 2_048
_GRACE_SECONDS = 1.0
_LAST_SECONDS = 0.1
"""What is left for KILL, within the time that was given."""
_LOOK_SECONDS = 0.01
"""How often it is looked whether the program has ended; pidfd_open(2) is not allowed everywhere."""
_PIECE = 65_536


class Ended:
    """How a program ended: `status` (-N for signal N), None if its time was over; `output`."""

    __slots__ = ("output", "status")

    def __init__(self, status: int | None, output: bytes) -> None:
        self.status = status
        self.output = output

    def how(self) -> str:
        """Say it, with the last line of the output."""
        if self.status is None:
            how = "was stopped, as its time was over"
        elif self.status < 0:
            how = f"was killed by signal {-self.status}"
        else:
            how = f"exited with {self.status}"
        said = " ".join(self.output.decode("utf-8", "replace").split())
        said = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in said)
        return f"{how}: {said[-300:]}" if said else how


def run(
    argv: Sequence[str], given: bytes, environ: Mapping[str, str] | None, seconds: float
) -> Ended:
    """Run *argv* with *given* on its stdin. Raises: OSError if it cannot be started."""
    until = time.monotonic() + seconds - min(_LAST_SECONDS, seconds / 10)
    with tempfile.TemporaryFile() as file:
        file.write(given)
        file.seek(0)
        child = subprocess.Popen(
            argv,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
        )
    assert child.stdout is not None
    with child.stdout as pipe:
        return _supervise(child, pipe, until, min(_GRACE_SECONDS, seconds / 4))


def _supervise(
    child: subprocess.Popen[bytes], pipe: IO[bytes], until: float, grace: float
) -> Ended:
    output = bytearray()
    os.set_blocking(pipe.fileno(), False)
    is_in_time = _follow(child.pid, pipe, output, until - grace)
    if not is_in_time:
        _signal(child.pid, signal.SIGTERM)
        _follow(child.pid, pipe, output, until)
    _signal(child.pid, signal.SIGKILL)
    _read(pipe, output)
    try:
        status = child.wait(_LAST_SECONDS)
    except subprocess.TimeoutExpired:  # it hangs in the kernel; it dies when that lets it go
        return Ended(None, bytes(output))
    return Ended(status if is_in_time else None, bytes(output))


def _follow(pid: int, pipe: IO[bytes], output: bytearray, until: float) -> bool:
    """Read what the program writes; tell whether it has ended by *until*.

    It stays a zombie, so that its number, which is that of its group, is nobody else's yet.
    """
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with DefaultSelector() as selector:
        selector.register(pipe, EVENT_READ)
        while os.waitid(os.P_PID, pid, how) is None:
            left = until - time.monotonic()
            if left <= 0:
                return False
            if selector.select(min(left, _LOOK_SECONDS)) and not _read(pipe, output):
                selector.unregister(pipe)
    return True


def _read(pipe: IO[bytes], output: bytearray) -> bool:
    """Read what is there, at most a piece, and keep the end; tell whether more may come."""
    try:
        piece = os.read(pipe.fileno(), _PIECE)
    except BlockingIOError:
        return True
    output += piece
    del output[:-OUTPUT_BYTES]
    return bool(piece)


def _signal(group: int, signum: signal.Signals) -> None:
    try:
        os.killpg(group, signum)
    except (ProcessLookupError, PermissionError):  # nobody is left, or they became another user
        pass
