"""`--timeout auto`: how long the job's runs take, and the timeout that follows. Imported on use.

It is read once, before the lease is asked for, by a process of its own: that one loads what the
commands that read need (redis-py: 200 ms, and 20 MB), and
reads while the guardian is forked and the rest is loaded. What it does not find out in time is not
waited for: the run has no timeout then, and says so.

Roads not taken: reading in the keeper (its memory, for as long as the run lasts), in a thread of it
(the same), through the lease side (a script and a reply more in each store, for few who use it).
"""

from __future__ import annotations

import os
from select import POLLIN, poll

from cronguard.core import exits
from cronguard.core.durations import fitting_timeout, of_successes
from cronguard.core.record import KEPT_RUNS
from cronguard.runtime import kernel
from cronguard.runtime.clock import now_ms
from cronguard.runtime.fork import fork_patiently

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from cronguard.core.spec import JobSpec
else:
    import _signal as signal

_ANSWER_BYTES = 2_000


class Found:
    """What is known of a job's runs.

    `timeout` in ms, or None · `successes` how many it is from · `trouble` why nothing is known.
    """

    __slots__ = ("successes", "timeout", "trouble")

    def __init__(self, timeout: int | None, successes: int, trouble: str = "") -> None:
        self.timeout = timeout
        self.successes = successes
        self.trouble = trouble


def look(spec: JobSpec) -> Found:
    """Read the job's records, which blocks, and loads much; makes no store where there is none."""
    from cronguard.stores.contract import StoreDown  # noqa: PLC0415
    from cronguard.stores.open import open_history  # noqa: PLC0415

    scheme, _, path = spec.store.partition("://")
    if scheme == "sqlite" and not os.path.exists(path):
        return Found(None, 0)
    try:
        history = open_history(spec.store, spec.namespace)
        try:
            runs = history.runs(spec.name, KEPT_RUNS)
        finally:
            history.close()
    except (StoreDown, ValueError) as error:
        return Found(None, 0, str(error) or type(error).__name__)
    lengths = of_successes(runs)
    return Found(fitting_timeout(lengths), len(lengths))


class Asked:
    """A process that looks, from its start to its answer. Make it before there are threads."""

    __slots__ = ("_pid", "_reader")

    def __init__(self, spec: JobSpec) -> None:
        """Raises: OSError."""
        self._reader, writer = os.pipe()
        keeper = os.getpid()
        self._pid = fork_patiently()
        if self._pid == 0:
            try:
                kernel.die_with_parent(signal.SIGKILL)
                # WARNING: after die_with_parent, or a keeper that died before it goes unnoticed.
                if os.getppid() == keeper:
                    _tell(writer, look(spec))
            finally:
                os._exit(exits.OWN_FAILURE)
        os.close(writer)

    def answer(self, patience_ms: int, wake: int) -> Found:
        """Return what it found, at the latest after so long, or when a signal came (*wake*)."""
        found = self._hear(now_ms() + patience_ms, wake)
        os.kill(self._pid, signal.SIGKILL)  # unreaped, and only we reap it
        os.waitpid(self._pid, 0)
        os.close(self._reader)
        return found

    def _hear(self, until: int, wake: int) -> Found:
        poller = poll()
        poller.register(self._reader, POLLIN)
        poller.register(wake, POLLIN)
        ready = {number for number, _ in poller.poll(max(until - now_ms(), 0))}
        if self._reader in ready or self._has_ended():
            return _understood(os.read(self._reader, _ANSWER_BYTES))
        return Found(None, 0, "a signal came first" if ready else "no answer in time")

    def _has_ended(self) -> bool:
        """Tell whether its end is what woke us: then all it had to say is in the pipe."""
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _tell(writer: int, found: Found) -> None:
    timeout = "-" if found.timeout is None else str(found.timeout)
    text = f"{timeout} {found.successes} {found.trouble}"
    os.write(writer, text.encode("utf-8", "replace")[:_ANSWER_BYTES])


def _understood(data: bytes) -> Found:
    timeout, _, rest = data.decode("utf-8", "replace").partition(" ")
    successes, _, trouble = rest.partition(" ")
    if not timeout:
        return Found(None, 0, "the process that reads it failed")
    return Found(None if timeout == "-" else int(timeout), int(successes), trouble)
