"""The lease as the block has it."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import TYPE_CHECKING

from cronguard.library.errors import LeaseLost
from cronguard.runtime.clock import now_ms

if TYPE_CHECKING:
    from cronguard.core.machine import Run
    from cronguard.library.errors import Stopped


class Lease:
    """A lock that is held while the block runs.

    `job` the lock's name · `run_id` names this run in the records · `token` the fencing token: it
    rises with every grant of the job's lock; None only when the store is down and
    `on_store_error` is `run` · `environ` what `cronguard run` gives a command beyond its
    environment (CRONGUARD_TOKEN, ...), for processes that the block starts.
    """

    __slots__ = ("_over", "_pid", "_run", "_stop", "environ", "job", "run_id", "token")

    def __init__(self, run: Run, run_id: str, token: int | None, environ: dict[str, str]) -> None:
        self.job = run.spec.name
        self.run_id = run_id
        self.token = token
        self.environ = environ
        self._run = run
        self._pid = os.getpid()
        self._stop: Stopped | None = None
        self._over = False

    def check(self) -> None:
        """Return if the lock is surely ours; call it before each step that needs that.

        With a TTL of 30 s (the default) it then is for 7 s more, so a step that takes less is done
        before the lock can be anybody else's. Costs microseconds, waits for nothing, and may be
        called in any thread of the process. It asks the clock, not the thread that keeps the
        lease: after the process, or the machine, was suspended for too long it raises at once.

        Raises: LeaseLost; TimedOut when the timeout has passed; Stopped when somebody asked for
        the run's end with `cronguard stop`. Once it has raised, it always does.
        """
        stop = self._stop or self._lost_unnoticed()
        if stop is not None:
            raise type(stop)(*stop.args)

    def _lost_unnoticed(self) -> Stopped | None:
        """Return what nobody has told us: by the clock, or by where we are."""
        if os.getpid() != self._pid:
            return LeaseLost(
                f"{self.job}: this process was forked from the one that holds the lock "
                f"(pid {self._pid}), and does not hold it"
            )
        if self._over:
            return LeaseLost(f"{self.job}: the block is over, and the lock was given back")
        held = self._run.lease
        if held is None or now_ms() < held.give_up_at:
            return None
        self.stop(LeaseLost(f"{self.job}: lock lost: it was not renewed in time"))
        return self._stop

    def stop(self, why: Stopped) -> bool:
        """Have `check` raise this from now on; a lost lease is the last word. For the keeper."""
        if isinstance(self._stop, LeaseLost) or (self._stop and not isinstance(why, LeaseLost)):
            return False
        self._stop = why
        return True

    def end(self) -> None:
        """Have `check` raise from now on: the block is over. For the keeper."""
        self._over = True

    @property
    def is_over(self) -> bool:
        """Whether the block has ended."""
        return self._over

    @property
    def stopped(self) -> Stopped | None:
        """What `check` was told to raise, or None."""
        return self._stop


current: ContextVar[Lease | None] = ContextVar("cronguard_lease", default=None)


def current_lease() -> Lease:
    """Return the lease of the guard that this code runs under: the innermost one.

    For decorated functions, and whatever they call, in the same thread or asyncio task. Raises:
    RuntimeError if there is none.
    """
    lease = current.get()
    if lease is None:
        raise RuntimeError("no guard is open here: use `with guard(...)`, or decorate the function")
    return lease
