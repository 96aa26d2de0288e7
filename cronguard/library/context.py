"""`guard(JOB)`: a block of Python code, or a function, that runs under the job's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from threading import Lock
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from cronguard.config import options as opt
from cronguard.config.options import ConfigError
from cronguard.config.resolve import from_code
from cronguard.library.keeper import BlockKeeper
from cronguard.library.lease import current

if TYPE_CHECKING:
    from types import TracebackType

    from cronguard.config.options import Option
    from cronguard.library.errors import Stopped
    from cronguard.library.lease import Lease

P = ParamSpec("P")
R = TypeVar("R")
Duration = str | float | timedelta
"""`"10m"` as on the command line, seconds, or a timedelta."""


def guard(
    job: str,
    *,
    timeout: Duration | None = None,
    wait: Duration | None = None,
    replace: bool | None = None,
    slots: int | None = None,
    lock: str | Sequence[str] | None = None,
    once: Duration | bool | None = None,
    schedule: str | None = None,
    tz: str | None = None,
    force_slot: bool = False,
    min_hold: Duration | None = None,
    ttl: Duration | None = None,
    store: str | None = None,
    namespace: str | None = None,
    config: str | os.PathLike[str] | None = None,
    dead_man: bool = False,
    on_lost: Callable[[Stopped], object] | None = None,
) -> Guard:
    """Return a guard for *job*: a context manager, and a decorator, also for `async` code.

    The options are those of `cronguard run`, and what is not said here comes from the same
    variables and files (CRONGUARD_STORE, the job's section, `[defaults]`), which are read when the
    block begins. `wait="forever"` waits without an end; without *wait* a lock that is held skips.

    *timeout* asks the block to end (see `Lease.check`); the lock is kept until it does.
    *dead_man* has the kernel SIGKILL the **whole process** before its lease can end, if the lease
    is lost and the block still runs; refused where the kernel has no such timer.
    *on_lost* is called with what `check` raises from then on: once when the block is to end, and
    once when the lock is lost. It runs in a thread of its own: in asyncio, let it hand on with
    `loop.call_soon_threadsafe`.

    Raises: ValueError for options that are wrong, in the command line's words. Entering raises that
    of variables and files; Skipped, StoreUnavailable, or another NotStarted; Stopped if somebody
    asked for the end of what still waited. Leaving raises Stopped (TimedOut, LeaseLost) if the
    run was stopped and the block ended as if nothing had happened.
    """
    given: list[tuple[Option, object]] = [
        (opt.NAME, job),
        (opt.TIMEOUT, timeout),
        (opt.WAIT, wait),
        (opt.REPLACE, replace),
        (opt.SLOTS, slots),
        (opt.LOCK, " ".join(lock) if lock is not None and not isinstance(lock, str) else lock),
        (opt.ONCE, once),
        (opt.SCHEDULE, schedule),
        (opt.TZ, tz),
        (opt.FORCE_SLOT, force_slot or None),
        (opt.MIN_HOLD, min_hold),
        (opt.TTL, ttl),
        (opt.STORE, store),
        (opt.NAMESPACE, namespace),
        (opt.CONFIG, os.fspath(config) if config is not None else None),
    ]
    flags = {option.name: [_text(option, value)] for option, value in given if value is not None}
    return Guard(flags, dead_man=dead_man, on_lost=on_lost)


class Guard:
    """A job's lock for Python code; made by `guard`. It can be used again, but not twice at once.

    As a decorator it is a new one for each call, so a function may run in several threads or
    tasks, as far as the lock allows.
    """

    def __init__(
        self,
        flags: dict[str, list[str]],
        *,
        dead_man: bool,
        on_lost: Callable[[Stopped], object] | None,
    ) -> None:
        self._flags = flags
        self._dead_man = dead_man
        self._on_lost = on_lost
        self._keeper: BlockKeeper | None = None
        self._outer: Lease | None = None
        self._pid = 0
        self._entering = Lock()

    @property
    def job(self) -> str:
        """The lock's name."""
        return self._flags[opt.NAME.name][0]

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Guard each call of *function*, also of an `async` one; `current_lease()` is its lease."""
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise TypeError(
                f"{function.__name__} is a generator: put `with guard(...)` into it, or guard the "
                "function that uses it up"
            )
        if iscoroutinefunction(function):

            @wraps(function)
            async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> object:
                async with self._another():
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", guarded_async)

        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._another():
                return function(*args, **kwargs)

        return guarded

    def __enter__(self) -> Lease:
        keeper = self._start()
        try:
            keeper.settled.wait()
        except BaseException:  # Ctrl-C while we wait
            keeper.abandon()
            self._keeper = None
            keeper.over.wait()
            raise
        return self._begun(keeper)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        keeper = self._end(error)
        if keeper is not None:
            keeper.over.wait()
            _tell_of_the_end(keeper, error)

    async def __aenter__(self) -> Lease:
        keeper = self._start()
        try:
            await keeper.settled.come()
        except BaseException:  # the task was cancelled while it waited
            keeper.abandon()
            self._keeper = None
            raise
        return self._begun(keeper)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        keeper = self._end(error)
        if keeper is not None:
            await keeper.over.come()
            _tell_of_the_end(keeper, error)

    def _another(self) -> Guard:
        return Guard(self._flags, dead_man=self._dead_man, on_lost=self._on_lost)

    def _start(self) -> BlockKeeper:
        """Begin to ask for the lease. Raises: ValueError, RuntimeError if it is open already."""
        with self._entering:
            if self._keeper is not None:
                raise RuntimeError(
                    f"{self.job}: this guard is open already; make another one with guard(...)"
                )
            dead_man = "required" if self._dead_man else "off"
            try:
                resolved = from_code(self._flags, os.environ, dead_man)
            except ConfigError as error:
                raise ValueError(str(error)) from None
            keeper = self._keeper = BlockKeeper(resolved, self._on_lost)
            self._pid = os.getpid()
            try:
                keeper.start()
            except RuntimeError:
                self._keeper = None
                raise
        return keeper

    def _begun(self, keeper: BlockKeeper) -> Lease:
        if keeper.lease is None:
            self._keeper = None
            keeper.over.wait()
            raise keeper.refusal()
        self._outer = current.get()
        current.set(keeper.lease)
        return keeper.lease

    def _end(self, error: BaseException | None) -> BlockKeeper | None:
        """Say that the block has ended; nothing in a forked child, as the lease is its parent's."""
        keeper, self._keeper = self._keeper, None
        current.set(self._outer)
        if keeper is None or self._pid != os.getpid():
            return None
        keeper.end(error)
        return keeper


def _tell_of_the_end(keeper: BlockKeeper, error: BaseException | None) -> None:
    """Raise what stopped the run, if the block did not end with an error of its own."""
    if error is None and keeper.lease is not None and keeper.lease.stopped is not None:
        raise keeper.lease.stopped


def _text(option: Option, value: object) -> str:
    """Return *value* as the command line has it. Raises: ValueError."""
    if isinstance(value, bool):
        text = "true" if value else "off"
    elif isinstance(value, timedelta):
        text = f"{value // timedelta(milliseconds=1)}ms"
    else:
        text = str(value)
    try:
        option.read(text)
    except ValueError as error:
        raise ValueError(f"{option.flags[-1]}: {error}") from None
    return text
