# ruff: noqa: E501, SLF001  (the transition table is one screen, and names its own class's methods)
"""The run's state machine: what happened and what time it is go in, what to do comes out.

It decides and nothing else: no clock, no process, no store. Time is integer milliseconds handed
in. Store requests are actions and store replies are events, so it knows no store.

    WAITING ⇄ ASKING ─► SPAWNING ─► RUNNING ─► STOPPING ─► KILLING ─► CLOSING ─► DONE
                            ▲          ├──────► LINGERING (--stragglers wait) ──┤
                            └──────────┴─────── RESTING (--retries) ────────────┘

What holds in every walk through the table (tests/core/test_machine_walks.py attacks it):

 1. One Exit, as the last action, and the phase is DONE then and never leaves it.
 2. At most one Spawn per attempt, and only with a lease that is surely ours, or unguarded because
    the user said so. There is a further attempt only after the pause, which begins when nothing of
    the one before is left, and only if the command failed by itself.
 3. No Spawn after a signal or a stop request: the Close that follows at once is executed after the
    Acquire that is under way, so a grant that comes too late is given back; and a signal that
    comes while the command starts is delivered once it has started. In a pause it ends the run.
 4. Kill never earlier than the grace after the polite signal, unless the lease is at stake.
 5. The lease is given back only when the tree is dead, and never once it was lost.
 6. While the command runs under a lease, the machine never waits past the lease's `kill_at`,
    and the kernel's timer was armed with it before the command was started.
 7. What ended the run is said once, by the first cause.
"""

from __future__ import annotations

from cronguard.core import actions as do
from cronguard.core import events as ev
from cronguard.core import exits, record
from cronguard.core.asking import STOP_SIGNALS, stop_reason
from cronguard.core.attempts import Attempts
from cronguard.core.ending import (
    ASKING,
    CLOSING,
    DONE,
    KILLING,
    LINGERING,
    PHASES,
    RESTING,
    RUNNING,
    SPAWNING,
    STOPPING,
    WAITING,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.actions import Action
    from cronguard.core.events import Event
    from cronguard.core.holding import Holding
    from cronguard.core.spec import Owner


CLOCK_STEP_MS = 1_000
"""Smaller steps of the store's clock are not worth a word."""


class Run(Attempts):
    """One run of a job, from before the lease to after the record.

    The runtime asks two things of it: `step` and `wake_at`.
    """

    def wake_at(self) -> int | None:
        """Return the moment at which a Tick is due, or None when only events matter."""
        moments: tuple[int | None, ...] = ()
        if self.phase in (WAITING, ASKING):
            queue_until = self._queue_until if self._queued else None
            moments = (self._retry_at, queue_until, self._store_until)
        elif self.phase == CLOSING:
            moments = (self._retry_at, self._closing_until)
        elif self.phase != DONE:
            moments = (*self._lease_moments(), self._phase_moment())
        return min([moment for moment in moments if moment is not None], default=None)

    def _lease_moments(self) -> tuple[int | None, ...]:
        lease = self.lease
        if lease is None or self._lost:
            return ()
        ask_at = None if lease.asking else lease.ask_at
        if self._keeps_on_losing():
            return (ask_at, None if self._warned else lease.give_up_at)
        return (
            ask_at,
            None if self._warned else lease.give_up_at,
            None if self.phase == KILLING else lease.kill_at,
        )

    def _phase_moment(self) -> int | None:
        if self.phase == STOPPING:
            return self._grace_until
        if self.phase not in (RUNNING, LINGERING, RESTING):
            return None
        end = self._rest_until if self.phase == RESTING else self._run_until
        return min([at for at in (end, self._warn_at) if at is not None], default=None)

    # -- the command ------------------------------------------------------------------------------

    def _spawned(self, _event: Event, now: int) -> list[Action]:
        is_first = self.started_at is None
        self._attempt_at = now
        if is_first:
            self.started_at = now
        if self.phase != SPAWNING:  # the lease was lost meanwhile: it is being stopped already
            return []
        self.phase = RUNNING
        if is_first and self.spec.timeout is not None:
            self._run_until = now + self.spec.timeout
        if is_first and self.spec.warn_after is not None:
            self._warn_at = now + self.spec.warn_after
        todo: list[Action] = [do.Watch()] if self.lease and is_first else []
        deferred, self._deferred = self._deferred, []
        for event in deferred:
            todo += self.step(event, now)
        return todo

    def _not_spawned(self, event: ev.NotSpawned, now: int) -> list[Action]:
        if self.attempt > 1:
            return self._not_spawned_again(event, now)
        self._end(record.NOT_STARTED, event.exit_status, event.why)
        said = self._say("not_started", why=event.why)
        return [said, *self._close_up(now, release=True, forget_slot=True)]

    def _defer(self, event: Event, _now: int) -> list[Action]:
        self._deferred.append(event)
        return []

    def _exited(self, event: ev.Exited, now: int) -> list[Action]:
        self._child = exits.of_wait_status(event.status)
        self._child_why = event.why
        self._judge(event, now)
        self.stragglers += event.left
        if event.left == 0:
            return self._attempt_over(now)
        if self.phase in (STOPPING, KILLING):
            return []
        if self.spec.stragglers == "wait":
            self.phase = LINGERING
            return []
        if self.spec.stragglers == "leave" or not self._may_try_again(now):
            self._end_by_child()
        if self.spec.stragglers == "leave":
            self.phase = LINGERING
            self._run_until = None
            return [do.Leave()]
        self.phase = STOPPING
        self._grace_until = now + self.spec.kill_after
        return [self._say("stragglers", left=event.left), do.Signal(self.spec.signal)]

    def _signalled(self, event: ev.Signalled, now: int) -> list[Action]:
        if event.signum not in STOP_SIGNALS:
            self._forwarded.add(event.signum)
            return [do.Forward(event.signum)]
        self.signal = event.signum
        self._end(record.STOPPED, exits.of_signal(event.signum), "signal")
        return self._stop(event.signum, now)

    def _forward(self, event: ev.Signalled, now: int) -> list[Action]:
        self._note_signal(event, now)
        return [do.Forward(event.signum)]

    def _note_signal(self, event: ev.Signalled, _now: int) -> list[Action]:
        """Have it end the run, also where the tree is being killed for the next attempt."""
        if event.signum in STOP_SIGNALS and self.outcome is None:
            self.signal = event.signum
            self._end(record.STOPPED, exits.of_signal(event.signum), "signal")
        return []

    def _stop_asked(self, event: ev.StopAsked, now: int) -> list[Action]:
        self._end(record.STOPPED, exits.of_signal(15), stop_reason(event.by))
        said = self._say("stop_asked", by=event.by)
        return [said, *self._stop(self.spec.signal, now)]

    def _note_stop(self, event: ev.StopAsked, _now: int) -> list[Action]:
        """Have it end the run there as well."""
        if self.outcome is not None:
            return []
        self._end(record.STOPPED, exits.of_signal(15), stop_reason(event.by))
        return [self._say("stop_asked", by=event.by)]

    def _stop(self, signum: int, now: int) -> list[Action]:
        """Begin the procedure: the polite signal, the grace period, KILL."""
        self.phase = STOPPING
        self._grace_until = now + self.spec.kill_after
        return [do.Signal(signum)]

    def _tick(self, _event: Event, now: int) -> list[Action]:
        kept = self._keep_lease(now)
        if self.phase == STOPPING and now >= self._grace_until:
            return [*kept, *self._kill()]
        if self.phase not in (RUNNING, LINGERING):
            return kept
        if self._run_until is not None and now >= self._run_until:
            self._run_until = None
            self._end(record.TIMED_OUT, exits.TIMED_OUT, "")
            said = self._say("timed_out", timeout=self.spec.timeout)
            return [*kept, *self._stop(self.spec.signal, now), said]
        return [*kept, *self._warn_if_long(now)]

    def _kill(self) -> list[Action]:
        self.phase = KILLING
        return [do.Kill()]

    def _suspended(self, event: ev.Suspended, now: int) -> list[Action]:
        left = None if self.lease is None else max(self.lease.kill_at - now, 0)
        return [self._say("suspended", left=left), do.Suspend(event.signum)]

    def _unkillable(self, event: ev.Unkillable, _now: int) -> list[Action]:
        return [self._say("unkillable", why=event.why)]

    def _guardian_died(self, _event: Event, _now: int) -> list[Action]:
        self._end(record.FAILED, exits.OWN_FAILURE, "guardian_killed")
        return [self._say("guardian_died"), *self._kill()]

    def _tree_dead(self, event: ev.TreeDead, now: int) -> list[Action]:
        self._judge(event, now)
        return self._attempt_over(now)

    def _rest_tick(self, _event: Event, now: int) -> list[Action]:
        if self.lease is not None and now >= self.lease.give_up_at:
            return self._lost_resting(now, None)
        kept = [*self._keep_lease(now), *self._warn_if_long(now)]
        return [*kept, *self._try_again(now)] if now >= self._rest_until else kept

    # -- the lease while the command runs ---------------------------------------------------------

    def _keep_lease(self, now: int) -> list[Action]:
        lease = self.lease
        if lease is None or self._lost:
            return []
        todo: list[Action] = []
        if now >= lease.give_up_at and not self._warned:
            self._warned = True
            todo += self._lose(lease, now)
        if now >= lease.kill_at and self.phase != KILLING and not self._keeps_on_losing():
            todo += self._kill()
        if now >= lease.ask_at and not lease.asking:
            lease.asking = True
            again = do.Reclaim if lease.vanished else do.Renew
            todo.append(again(lease.token, lease.index))
        return todo

    def _lose(self, lease: Holding, now: int) -> list[Action]:
        """Nobody says the lease is gone, but it could not be renewed in time."""
        since = now - lease.sent_at
        if self._keeps_on_losing():
            return [self._say("lost_continuing", since=since, why=self._why)]
        said = self._say("lost_unrenewed", since=since, why=self._why)
        self._end(record.LEASE_LOST, exits.LEASE_LOST, "not_renewed")
        if self.phase == KILLING:
            return [said]
        if self.phase == STOPPING:
            self._grace_until = min(self._grace_until, now + self.times.grace)
            return [said]
        self.phase = STOPPING
        self._grace_until = now + self.times.grace
        return [do.Signal(self.spec.signal), said]

    def _renewed(self, event: ev.Renewed, now: int) -> list[Action]:
        lease = self.lease
        if lease is None or self._lost:
            return []
        todo: list[Action] = []
        if lease.vanished:
            todo.append(self._say("reclaimed"))
        elif lease.failing_since is not None:
            todo.append(self._say("recovered", since=now - lease.failing_since))
        stepped = lease.clock.stepped(event.clock, event.sent_at, now)
        if stepped:
            lease.hurry()
        if abs(stepped) >= CLOCK_STEP_MS:
            todo.append(self._say("clock_stepped", by=stepped))
        lease.extended(event.sent_at)
        self._warned = False
        todo += self._arm(lease)
        if event.stop_by is not None:
            todo += self.step(ev.StopAsked(event.stop_by), now)
        return todo

    def _renew_failed(self, event: ev.Unavailable | ev.Denied, now: int) -> list[Action]:
        lease = self.lease
        if lease is None or self._lost or not lease.asking:
            return []
        self._why = event.why
        first = lease.failing_since is None
        lease.failed(now)
        if not first:
            return []
        return [self._say("renew_failing", why=event.why, left=max(lease.give_up_at - now, 0))]

    def _gone(self, _event: Event, now: int) -> list[Action]:
        lease = self.lease
        if lease is None or self._lost:
            return []
        if now >= lease.ends_at and not self._keeps_on_losing():
            return self._lost_for_sure(None, now)
        lease.vanished = True
        lease.asking = True
        return [do.Reclaim(lease.token, lease.index)]

    def _woken_holding(self, _event: Event, now: int) -> list[Action]:
        if self.lease is not None and not self._lost and self.lease.failing_since is None:
            self.lease.woken(now)
        return []

    def _flawed(self, event: ev.Flawed, _now: int) -> list[Action]:
        return [self._say("store_flawed", why=event.why)]

    def _taken(self, event: ev.Taken, now: int) -> list[Action]:
        if self.lease is None or self._lost:
            return []
        return self._lost_for_sure(event.holder, now)

    def _lost_for_sure(self, holder: Owner | None, now: int) -> list[Action]:
        self._lost = True
        self.holder = holder
        if self.phase == RESTING:
            return self._lost_resting(now, holder)
        if self._keeps_on_losing():
            return [self._say("taken_continuing", holder=holder)]
        self._end(record.LEASE_LOST, exits.LEASE_LOST, "taken")
        said = self._say("taken", holder=holder)
        return [said] if self.phase == KILLING else [*self._kill(), said]


_ = Run._ignore
_R = Run
# fmt: off
# One row an event, one column a phase, in the order of PHASES. `_` is a decision: nothing to do.
_ROWS: tuple[tuple[object, ...], ...] = (
 #                 WAITING                   ASKING                    SPAWNING           RUNNING            STOPPING           KILLING            LINGERING          RESTING                    CLOSING           DONE
 (ev.Begin,        _R._begin,                _,                        _,                 _,                 _,                 _,                 _,                 _,                         _,                _),
 (ev.Granted,      _R._granted,              _R._granted,              _,                 _,                 _,                 _,                 _,                 _,                         _,                _),
 (ev.Held,         _,                        _R._held,                 _,                 _,                 _,                 _,                 _,                 _,                         _,                _),
 (ev.Queued,       _,                        _R._held,                 _,                 _,                 _,                 _,                 _,                 _,                         _,                _),
 (ev.Refused,      _R._refused,              _R._refused,              _,                 _,                 _,                 _,                 _,                 _,                         _,                _),
 (ev.OffSchedule,  _,                        _R._off_schedule,         _,                 _,                 _,                 _,                 _,                 _,                         _,                _),
 (ev.Renewed,      _,                        _,                        _R._renewed,       _R._renewed,       _R._renewed,       _R._renewed,       _R._renewed,       _R._renewed,               _,                _),
 (ev.Gone,         _,                        _,                        _R._gone,          _R._gone,          _R._gone,          _R._gone,          _R._gone,          _R._gone,                  _,                _),
 (ev.Taken,        _,                        _,                        _R._taken,         _R._taken,         _R._taken,         _R._taken,         _R._taken,         _R._taken,                 _,                _),
 (ev.Closed,       _,                        _,                        _,                 _,                 _,                 _,                 _,                 _,                         _R._closed,       _),
 (ev.Unavailable,  _,                        _R._ask_failed,           _R._renew_failed,  _R._renew_failed,  _R._renew_failed,  _R._renew_failed,  _R._renew_failed,  _R._renew_failed,          _R._close_failed, _),
 (ev.Denied,       _,                        _R._denied,               _R._renew_failed,  _R._renew_failed,  _R._renew_failed,  _R._renew_failed,  _R._renew_failed,  _R._renew_failed,          _R._close_denied, _),
 (ev.Flawed,       _,                        _,                        _R._flawed,        _R._flawed,        _R._flawed,        _R._flawed,        _R._flawed,        _R._flawed,                _,                _),
 (ev.Woken,        _R._woken,                _R._woken_asking,         _,                 _R._woken_holding, _R._woken_holding, _R._woken_holding, _R._woken_holding, _R._woken_holding,         _,                _),
 (ev.Spawned,      _,                        _,                        _R._spawned,       _,                 _R._spawned,       _R._spawned,       _,                 _,                         _,                _),
 (ev.NotSpawned,   _,                        _,                        _R._not_spawned,   _,                 _R._not_spawned,   _R._not_spawned,   _,                 _,                         _,                _),
 (ev.Exited,       _,                        _,                        _,                 _R._exited,        _R._exited,        _R._exited,        _,                 _,                         _,                _),
 (ev.Suspended,    _,                        _,                        _,                 _R._suspended,     _,                 _,                 _,                 _,                         _,                _),
 (ev.TreeDead,     _,                        _,                        _,                 _R._tree_dead,     _R._tree_dead,     _R._tree_dead,     _R._tree_dead,     _,                         _,                _),
 (ev.Unkillable,   _,                        _,                        _,                 _,                 _R._unkillable,    _R._unkillable,    _,                 _,                         _,                _),
 (ev.GuardianDied, _R._guardian_died_before, _R._guardian_died_before, _R._guardian_died, _R._guardian_died, _R._guardian_died, _R._guardian_died, _R._guardian_died, _R._guardian_died_resting, _,                _),
 (ev.Signalled,    _R._signalled_before,     _R._signalled_before,     _R._defer,         _R._signalled,     _R._forward,       _R._note_signal,   _R._signalled,     _R._signalled_resting,     _,                _),
 (ev.StopAsked,    _R._stop_asked_before,    _R._stop_asked_before,    _R._defer,         _R._stop_asked,    _R._note_stop,     _R._note_stop,     _R._stop_asked,    _R._stop_asked_resting,    _,                _),
 (ev.Tick,         _R._ask_tick,             _R._ask_tick,             _R._tick,          _R._tick,          _R._tick,          _R._tick,          _R._tick,          _R._rest_tick,             _R._close_tick,   _),
)
# fmt: on
TABLE = Run.table = {
    phase: {row[0]: row[column] for row in _ROWS}  # type: ignore[misc]
    for column, phase in enumerate(PHASES, 1)
}
