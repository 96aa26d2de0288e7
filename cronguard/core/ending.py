"""The part of the machine that every other part ends in: saying what ended the run, closing up."""

from __future__ import annotations

from cronguard.core import actions as do
from cronguard.core import events as ev
from cronguard.core import exits, record
from cronguard.core.holding import Holding, Jitter, backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.core.actions import Action
    from cronguard.core.attempts import Attempt
    from cronguard.core.events import Event
    from cronguard.core.lease import LeaseTimes
    from cronguard.core.spec import JobSpec, Owner

WAITING = "waiting"
ASKING = "asking"
SPAWNING = "spawning"
RUNNING = "running"
STOPPING = "stopping"
KILLING = "killing"
LINGERING = "lingering"
RESTING = "resting"
CLOSING = "closing"
DONE = "done"
PHASES = (
    *(WAITING, ASKING, SPAWNING, RUNNING, STOPPING, KILLING),
    *(LINGERING, RESTING, CLOSING, DONE),
)

CLOSING_MS = 3_000
"""How long the end may be tried; then the record is kept on this host and the TTL decides."""


class Ending:
    """What a run knows, and how it ends.

    Everything below `phase` is for the record and for messages; moments in monotonic ms.
    """

    table: dict[str, dict[type[Event], Callable[..., list[Action]]]] = {}  # noqa: RUF012 - machine.py

    def __init__(self, spec: JobSpec, times: LeaseTimes, seed: int = 0) -> None:
        self.spec = spec
        self.times = times
        self.jitter = Jitter(seed)
        self.phase = WAITING
        self.lease: Holding | None = None
        self.begun_at = 0
        self.started_at: int | None = None
        self.stopping_at: int | None = None
        self.ended_at: int | None = None
        self.released_at: int | None = None
        self.outcome: str | None = None
        self.reason = ""
        self.exit_status = exits.OWN_FAILURE
        self.signal: int | None = None
        self.stragglers = 0
        self.attempt = 1
        self.attempts: list[Attempt] = []
        self.holder: Owner | None = None
        self.lock = ""
        self.slot = 0
        self.guarded = True
        self.local = False
        self._child: tuple[int, int | None] | None = None
        self._child_why = ""
        self._fault = ""
        self._is_own_limit = False
        self._took = 0
        self._warn_at: int | None = None
        self._lost = False
        self._warned = False
        self._trouble = 0
        self._why = ""
        self._evicted: tuple[str, str] | None = None  # the run, and of which lock
        self._again = False
        self._was_off = False
        self._queued = False
        self._deferred: list[Event] = []
        self._queue_until: int | None = None
        self._store_until: int | None = None
        self._retry_at: int | None = None
        self._run_until: int | None = None
        self._grace_until = 0
        self._attempt_at: int | None = None
        self._rest_until = 0
        self._forwarded: set[int] = set()
        self._close: do.Close | None = None
        self._closing_until = 0

    def step(self, event: Event, now: int) -> list[Action]:
        """Take in *event* at *now*, and return what to do, in order."""
        done = self.table[self.phase][type(event)](self, event, now)
        if self.stopping_at is None and self.phase in (STOPPING, KILLING):
            self.stopping_at = now
        return done

    def grace_left(self, now: int) -> int:
        """Return how many ms are left of the grace, while the run is being stopped."""
        return max(self._grace_until - now, 0)

    def is_delayed(self) -> bool:
        """Tell whether the run waits before it asks for the lock at all (--jitter)."""
        return self.phase == WAITING and self._store_until is None and not self._queued

    def store_trouble(self) -> str:
        """Return why a store that is asked for the lock does not answer; nothing if it does."""
        return self._why if self._trouble and self.phase in (WAITING, ASKING) else ""

    def _keeps_on_losing(self) -> bool:
        return self.spec.on_lease_lost == "continue"

    # -- the end ----------------------------------------------------------------------------------

    def _end(self, outcome: str, exit_status: int, reason: str) -> None:
        """Say what ended the run; the first cause stands."""
        if self.outcome is None:
            self.outcome = outcome
            self.exit_status = exit_status
            self.reason = reason or self.reason

    def _end_by_child(self) -> None:
        if self._child is None or self.outcome is not None:
            return
        status, self.signal = self._child
        if self._fault:
            self._end(record.FAILED, status or exits.COUNTS_AS_FAILED, self._fault)
        elif status in self.spec.success_exit_status:
            self._end(record.SUCCEEDED, status, self._child_why)
        else:
            self._end(record.FAILED, status, self._child_why)

    @property
    def child_signal(self) -> int | None:
        """The signal that ended the child, if one did."""
        return self._child[1] if self._child else None

    def _close_up(self, now: int, *, release: bool, forget_slot: bool = False) -> list[Action]:
        self._end_by_child()
        self._end(record.FAILED, exits.OWN_FAILURE, "child_lost")
        self.phase = CLOSING
        self.ended_at = now
        disarm: list[Action] = [do.Disarm()] if self.lease is not None else []
        if not self.guarded:
            return [*disarm, *self._spool_and_exit(now)]
        overdue = self.lease is not None and now >= self.lease.ends_at
        self._close = do.Close(
            release=release and not self._lost and not overdue, forget_slot=forget_slot
        )
        self._closing_until = now + CLOSING_MS
        self._trouble = 0
        return [*disarm, *self._send_close(now)]

    def _send_close(self, _now: int) -> list[Action]:
        assert self._close is not None
        self._retry_at = None
        return [self._close]

    def _close_failed(self, event: ev.Unavailable, now: int) -> list[Action]:
        if event.request != "release" or self._retry_at is not None:
            return []
        self._why = event.why
        self._trouble += 1
        self._retry_at = now + backoff(self._trouble, self.times.backoff, self.jitter)
        return self._close_tick(event, now)

    def _close_tick(self, _event: Event, now: int) -> list[Action]:
        if now >= self._closing_until:
            return self._not_closed(now)
        if self._retry_at is not None and now >= self._retry_at:
            return self._send_close(now)
        return []

    def _close_denied(self, event: ev.Denied, now: int) -> list[Action]:
        self._why = event.why
        return self._not_closed(now)

    def _not_closed(self, now: int) -> list[Action]:
        why = self._why or f"no answer within {CLOSING_MS / 1000:g}s"
        return [self._say("not_closed", why=why), *self._spool_and_exit(now)]

    def _closed(self, _event: Event, now: int) -> list[Action]:
        self.phase = DONE
        if self.lease is not None and self._close is not None and self._close.release:
            self.released_at = now
        return [do.Exit(self.exit_status)]

    def _spool_and_exit(self, now: int) -> list[Action]:
        self.phase = DONE
        if self.ended_at is None:
            self.ended_at = now
        return [do.Spool(), do.Exit(self.exit_status)]

    def _say(self, topic: str, **facts: object) -> do.Say:
        return do.Say(topic, facts)

    def _ignore(self, _event: Event, _now: int) -> list[Action]:
        return []
