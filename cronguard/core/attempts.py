"""The part of the machine between attempts: whether the command is run again, and when.

An attempt is over when nothing of it is left. Another follows, under the same lease, if the command
failed by itself: not if it was stopped, timed out, could not be started, or died of a signal that
was handed on to it. `--timeout` is for the whole run with its pauses, as that is how long the lock
is held; an attempt that could not begin before it is not made.

In a pause nothing runs. So whatever else would stop the command ends the run at once, and a lost
lease does also with `--on-lease-lost continue`, which is about a command that runs.
"""

from __future__ import annotations

from cronguard.core import actions as do
from cronguard.core import events as ev
from cronguard.core import exits, record
from cronguard.core.asking import STOP_SIGNALS, Asking, stop_reason
from cronguard.core.ending import RESTING, SPAWNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.actions import Action
    from cronguard.core.events import Event
    from cronguard.core.spec import Owner

OOM_KILLED = "oom_killed"
"""The record's reason where the kernel has killed what ran for want of memory."""
LONGEST_PAUSE_MS = 600_000
"""No pause grows beyond this, unless --retry-delay itself is longer."""


def pause_after(failures: int, first: int) -> int:
    """Return the pause after so many failed attempts (1, 2, ...), in ms: *first*, then doubled."""
    return min(first << min(failures - 1, 30), max(first, LONGEST_PAUSE_MS))


class Attempt:
    """One start of the command, for the record; moments in monotonic ms.

    `started_at` is None if it could not be started, `exit_status` if its end was not seen.
    """

    __slots__ = ("ended_at", "exit_status", "number", "signal", "started_at")

    def __init__(
        self,
        number: int,
        started_at: int | None,
        ended_at: int,
        exit_status: int | None,
        signal: int | None = None,
    ) -> None:
        self.number = number
        self.started_at = started_at
        self.ended_at = ended_at
        self.exit_status = exit_status
        self.signal = signal


class Attempts(Asking):
    """RESTING."""

    # -- the end of an attempt --------------------------------------------------------------------

    def _judge(self, event: ev.Exited | ev.TreeDead, now: int) -> None:
        """Note why the attempt counts as failed; what its last processes say counts as well."""
        if isinstance(event, ev.Exited):
            self._fault = ""
            self._is_own_limit = event.is_own_limit
            self._took = now - (self._attempt_at or now)
        if self._child is None or self._fault:
            return
        spec, (status, _) = self.spec, self._child
        if event.said or spec.min_runtime or spec.success_exit_status != (0,):
            from cronguard.core import criteria  # noqa: PLC0415  (only when asked for)

            self._fault = criteria.fault(spec, status, self._took, event.said)

    def _failed_by_itself(self) -> bool:
        if self._child is None:
            return False
        status, signum = self._child
        is_failure = self._fault or status not in self.spec.success_exit_status
        return bool(is_failure) and signum not in self._forwarded

    def _may_try_again(self, now: int) -> bool:
        if self.outcome is not None or not self._failed_by_itself():
            return False
        return self.attempt <= self.spec.retries and not self._against(now)

    def _against(self, now: int) -> str:
        """Say what forbids another attempt; nothing if there is time for it and it is guarded."""
        if self._lost or (self.lease is not None and now >= self.lease.give_up_at):
            return "the lock is not ours any more"
        next_at = now + pause_after(self.attempt, self.spec.retry_delay)
        if self._run_until is not None and next_at >= self._run_until:
            return "--timeout leaves no time for another attempt"
        return ""

    def _attempt_over(self, now: int) -> list[Action]:
        """Nothing of this attempt is left: rest before the next one, or close up."""
        if self._may_try_again(now):
            return self._rest(now)
        self._end_by_child()
        is_childs = self.outcome == record.FAILED and self.reason in (
            "",
            "unguarded",
            OOM_KILLED,
            self._fault,
        )
        if not self.spec.retries or not is_childs or self._child is None:
            return self._close_up(now, release=True)
        why = self._against(now) if self.attempt <= self.spec.retries else ""
        return [self._say_failed("attempts_failed", why=why), *self._close_up(now, release=True)]

    def _rest(self, now: int) -> list[Action]:
        self._note_attempt(now)
        pause = pause_after(self.attempt, self.spec.retry_delay)
        self.phase = RESTING
        self.stopping_at = None
        self._rest_until = now + pause
        return [do.Rest(), self._say_failed("attempt_failed", pause=pause)]

    def _say_failed(self, topic: str, **facts: object) -> do.Say:
        assert self._child is not None
        status, signum = self._child
        return self._say(
            topic, attempt=self.attempt, status=status, signum=signum, fault=self._fault, **facts
        )

    def _note_attempt(self, now: int) -> None:
        if self._attempt_at is not None:
            status, signum = self._child or (None, None)
            self.attempts.append(Attempt(self.attempt, self._attempt_at, now, status, signum))
            self._attempt_at = None

    def _close_up(self, now: int, *, release: bool, forget_slot: bool = False) -> list[Action]:
        self._note_attempt(now)
        done = super()._close_up(now, release=release, forget_slot=forget_slot)
        if self.outcome == record.FAILED and self.reason == OOM_KILLED:
            limit = self.spec.memory_max if self._is_own_limit else 0
            return [self._say("oom_killed", limit=limit), *done]
        if not self._fault or self.reason != self._fault or self.spec.retries:
            return done
        return [self._say("counts_as_failed", status=self.exit_status, why=self._fault), *done]

    def _not_spawned_again(self, event: ev.NotSpawned, now: int) -> list[Action]:
        """The command is gone, or there is no room for it: its slot is used all the same."""
        self.attempts.append(Attempt(self.attempt, None, now, event.exit_status))
        reason = f"attempt {self.attempt} could not be started: {event.why}"
        self._end(record.FAILED, event.exit_status, reason)
        said = self._say("not_started_again", attempt=self.attempt, why=event.why)
        return [said, *self._close_up(now, release=True)]

    # -- a run that goes on -----------------------------------------------------------------------

    def _warn_if_long(self, now: int) -> list[Action]:
        """Warn of a run that lasts, once for each --warn-after that it does."""
        if self._warn_at is None or now < self._warn_at or self.started_at is None:
            return []
        from cronguard.core import criteria  # noqa: PLC0415  (only when asked for)

        assert self.spec.warn_after is not None
        self._warn_at = criteria.next_warning(self.started_at, self.spec.warn_after, now)
        return [do.Warn("still_running", {"since": now - self.started_at})]

    # -- the pause --------------------------------------------------------------------------------

    def _try_again(self, now: int) -> list[Action]:
        """Begin the next attempt, unless we come so late that there is no time for it."""
        if self._run_until is not None and now >= self._run_until:
            why = "--timeout leaves no time for another attempt"
            said = self._say_failed("attempts_failed", why=why)
            return [said, *self._close_up(now, release=True)]
        self.attempt += 1
        self.phase = SPAWNING
        self._child = None
        self._fault = ""
        self._forwarded.clear()
        return [do.Spawn()]

    def _signalled_resting(self, event: ev.Signalled, now: int) -> list[Action]:
        if event.signum not in STOP_SIGNALS:
            return []
        self.signal = event.signum
        said = self._say("stopped_resting", attempt=self.attempt, signum=event.signum)
        status = exits.of_signal(event.signum)
        return self._over_resting(record.STOPPED, status, "signal", said, now)

    def _stop_asked_resting(self, event: ev.StopAsked, now: int) -> list[Action]:
        said = self._say("stopped_resting", attempt=self.attempt, by=event.by)
        reason = stop_reason(event.by)
        return self._over_resting(record.STOPPED, exits.of_signal(15), reason, said, now)

    def _lost_resting(self, now: int, holder: Owner | None) -> list[Action]:
        """Nothing is to be killed; it is given back if it may still be ours."""
        reason = "taken" if self._lost else "not_renewed"
        said = self._say("lost_resting", attempt=self.attempt, holder=holder, why=self._why)
        return self._over_resting(record.LEASE_LOST, exits.LEASE_LOST, reason, said, now)

    def _guardian_died_resting(self, _event: Event, now: int) -> list[Action]:
        said = self._say("guardian_died_resting", attempt=self.attempt)
        return self._over_resting(record.FAILED, exits.OWN_FAILURE, "guardian_killed", said, now)

    def _over_resting(
        self, outcome: str, exit_status: int, reason: str, said: do.Say, now: int
    ) -> list[Action]:
        self._child = None  # how the last attempt ended is told with it, and is not how the run did
        self._end(outcome, exit_status, reason)
        return [said, *self._close_up(now, release=True)]
