"""PID 1 of a container: a process that does nothing but hand on signals and collect the dead.

The kernel spares the first process of a PID namespace from SIGKILL that comes from inside, and the
dead man's timer counts as inside (measured: it does not fire). So the keeper may not be PID 1, or a
keeper that is stopped beyond its lease would live on. Where we are started as PID 1, we fork at
once: the child becomes the keeper, and PID 1 stays behind as this. When it ends, the kernel ends
everybody else in the namespace.
"""

from __future__ import annotations

import os

from cronguard.core import exits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal


def step_aside() -> None:
    """Return in a child that is not PID 1; PID 1 itself waits for it and never returns."""
    everything = signal.valid_signals()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, everything)
    keeper = os.fork()
    if keeper == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_serve(keeper, everything))


def _serve(keeper: int, everything: set[signal.Signals]) -> int:
    """Hand signals on and collect the dead until the keeper is among them; return its status."""
    while True:
        number = signal.sigwait(everything)
        if number != signal.SIGCHLD:
            os.kill(keeper, number)
            continue
        status = _collect(keeper)
        if status is not None:
            return exits.of_wait_status(status)[0]


def _collect(keeper: int) -> int | None:
    """Reap whatever has ended; return the keeper's wait status if it was among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == keeper:
            return status
