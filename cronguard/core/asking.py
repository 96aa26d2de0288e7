"""The part of the machine before the command: asking for the lease, waiting for it, giving up."""

from __future__ import annotations

from cronguard.core import actions as do
from cronguard.core import events as ev
from cronguard.core import exits, record
from cronguard.core.ending import ASKING, SPAWNING, WAITING, Ending
from cronguard.core.holding import Holding, backoff
from cronguard.core.spec import REPLACED_BY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.actions import Action
    from cronguard.core.events import Event

STOP_SIGNALS = frozenset((1, 2, 3, 15))
"""HUP, INT, QUIT and TERM stop the run; every other signal is only forwarded."""
QUEUE_POLL_MS = 1_000
"""How often a waiting run asks, at the least: it keeps its place in the queue alive."""
REPLICAS_MS = 600
"""In less time replicas need not be asked: what was granted could not be given back any more."""


def stop_reason(by: str) -> str:
    """Return the reason on record of a run that *by* asked to stop."""
    return "replaced" if by.startswith(REPLACED_BY) else f"by {by}"


class Asking(Ending):
    """WAITING and ASKING."""

    def _begin(self, _event: Event, now: int) -> list[Action]:
        self.begun_at = now
        ask_at = now
        if self.spec.jitter:
            ask_at += self.jitter.shorten(self.spec.jitter, 100)
        if self.spec.wait:
            self._queue_until = ask_at + self.spec.wait
        if ask_at == now:
            return self._ask(now)
        self._retry_at = ask_at
        return []

    def _ask(self, now: int, evict: str | None = None) -> list[Action]:
        self.phase = ASKING
        self._again = False
        self._retry_at = None
        if self._store_until is None:
            self._store_until = now + self.spec.store_timeout
        return [do.Acquire(evict, self._store_until)]

    def _woken(self, _event: Event, now: int) -> list[Action]:
        if self._queued and not self._trouble:
            return self._ask(now)
        return []

    def _woken_asking(self, _event: Event, _now: int) -> list[Action]:
        self._again = True
        return []

    def _ask_tick(self, _event: Event, now: int) -> list[Action]:
        if self._queue_until is not None and self._queued and now >= self._queue_until:
            return self._skip("wait_expired", now)
        if self._store_until is not None and now >= self._store_until:
            return self._store_failed(now)
        if self.phase == WAITING and self._retry_at is not None and now >= self._retry_at:
            return self._ask(now)
        return []

    def _granted(self, event: ev.Granted, now: int) -> list[Action]:
        lease = Holding(self.times, event.token, event.index, event.sent_at, self.jitter)
        if now >= lease.give_up_at:  # we were stopped meanwhile: asking again extends it
            return self._ask(now)
        lease.clock.stepped(event.clock, event.sent_at, now)
        self.lease = lease
        self.slot = event.slot
        self.phase = SPAWNING
        return [*self._arm(lease), do.Spawn()]

    def _held(self, event: ev.Held | ev.Queued, now: int) -> list[Action]:
        self.holder, self.lock = event.holder, event.lock
        self._store_until = None
        self._trouble = 0
        if event.gone and (event.holder.run_id, event.lock) != self._evicted:
            self._evicted = event.holder.run_id, event.lock
            return self._ask(now, evict=event.holder.run_id)
        if self.spec.wait == 0 and not self.spec.replace:
            is_over = isinstance(event, ev.Held) and event.over
            return self._skip("held", now, left=event.left, over=is_over)
        return self._queue(event, now)

    def _queue(self, event: ev.Held | ev.Queued, now: int) -> list[Action]:
        if self._again:
            return self._ask(now)
        self.phase = WAITING
        self._retry_at = now + self.jitter.shorten(min(max(event.left, 20), QUEUE_POLL_MS), 20)
        if self._queued:
            return []
        self._queued = True
        return [
            do.Watch(),
            self._say("queued", holder=event.holder, left=event.left, lock=event.lock),
        ]

    def _refused(self, event: ev.Refused, now: int) -> list[Action]:
        self.holder = event.holder or self.holder
        self.slot = event.slot
        holder = event.holder
        if event.gone and holder is not None and (holder.run_id, "") != self._evicted:
            self._evicted = holder.run_id, ""
            return self._ask(now, evict=holder.run_id)
        if event.reason in ("slot_done", "paused"):
            return self._skip(event.reason, now, why=event.why)
        self.begun_at = self.begun_at or now
        self._end(record.NOT_STARTED, exits.OWN_FAILURE, event.reason)
        return [self._say(event.reason, why=event.why), *self._close_up(now, release=False)]

    def _off_schedule(self, _event: ev.OffSchedule, now: int) -> list[Action]:
        """Ask again, as the runtime now knows which moments the store's clock is between."""
        if not self._was_off:
            self._was_off = True
            return self._ask(now)
        return self._ask_failed(ev.Unavailable("acquire", "its clock is never the same"), now)

    def _skip(self, reason: str, now: int, **facts: object) -> list[Action]:
        self._end(record.SKIPPED, self.spec.skip_exit_code, reason)
        said = self._say("skipped", reason=reason, holder=self.holder, lock=self.lock, **facts)
        waited = reason in ("wait_expired", "replaced")  # and may be granted it meanwhile
        return [said, *self._close_up(now, release=waited, forget_slot=True)]

    def _ask_failed(self, event: ev.Unavailable, now: int) -> list[Action]:
        self._trouble += 1
        if self._store_until is not None and now >= self._store_until:
            self._why = self._why or event.why  # the last attempt was cut short: it knows less
            return self._store_failed(now)
        self._why = event.why
        self.phase = WAITING
        retry_at = now + backoff(self._trouble, self.times.backoff, self.jitter)
        left = (self._store_until or retry_at) - retry_at
        if not self.spec.min_replicas or left >= REPLICAS_MS:
            self._retry_at = retry_at
        return []

    def _denied(self, event: ev.Denied, now: int) -> list[Action]:
        self._end(record.NOT_STARTED, exits.OWN_FAILURE, "store_denied")
        return [self._say("denied", why=event.why), *self._spool_and_exit(now)]

    def _store_failed(self, now: int) -> list[Action]:
        why = self._why or f"no answer within {self.spec.store_timeout / 1000:g}s"
        if self.spec.on_store_error == "local" and not self.local:
            self.local = True
            self._store_until = None
            self._trouble = 0
            self._queued = False
            said = self._say("store_local", why=why)
            return [said, do.UseLocalStore(), *self._ask(now)]
        if self.spec.on_store_error == "run":
            self.guarded = False
            self.reason = "unguarded"
            self.phase = SPAWNING
            return [self._say("store_unguarded", why=why), do.Spawn()]
        self._end(record.STORE_UNAVAILABLE, exits.STORE_UNAVAILABLE, why)
        return [self._say("store_unavailable", why=why), *self._spool_and_exit(now)]

    def _signalled_before(self, event: ev.Signalled, now: int) -> list[Action]:
        if event.signum not in STOP_SIGNALS:
            return []
        self.signal = event.signum
        return self._stopped_before(event.signum, "signal", now)

    def _stop_asked_before(self, event: ev.StopAsked, now: int) -> list[Action]:
        if event.by.startswith(REPLACED_BY):
            return self._skip("replaced", now, why=event.by)
        return self._stopped_before(15, f"by {event.by}", now)

    def _stopped_before(self, signum: int, reason: str, now: int) -> list[Action]:
        self._end(record.STOPPED, exits.of_signal(signum), reason)
        said = self._say("stopped_early", signum=signum, reason=reason)
        return [said, *self._close_up(now, release=True, forget_slot=True)]

    def _guardian_died_before(self, _event: Event, now: int) -> list[Action]:
        self._end(record.NOT_STARTED, exits.OWN_FAILURE, "guardian_killed")
        return [
            self._say("guardian_died_early"),
            *self._close_up(now, release=True, forget_slot=True),
        ]

    def _arm(self, lease: Holding) -> list[Action]:
        if self.spec.dead_man == "off" or self._keeps_on_losing():
            return []
        return [do.Arm(lease.kill_at)]
