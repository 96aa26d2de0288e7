# ruff: noqa: SLF001  (the table at the end names its own class's methods)
"""The keeper: one thread, one loop, which shows the machine what happens and does what it says.

Sources: signals (a pipe), the guardian (a socket), the store (its descriptors), time. Nothing in
the loop blocks: the store is asked without waiting, and output is pumped by its own threads.

The keeper kills itself rather than outlive its lease: `Arm` sets the kernel's timer before the
command starts and at each renewal, from the moment the request was *sent*. A keeper that is
stopped between a reply and the timer's setting only dies earlier.
"""

from __future__ import annotations

import os
from select import poll

from cronguard.core import actions as do
from cronguard.core import events as ev
from cronguard.core import record as records
from cronguard.core.spec import REPLACED_BY
from cronguard.runtime import proof, signals
from cronguard.runtime.clock import Wall, now_ms
from cronguard.runtime.kernel import DeadMan
from cronguard.runtime.met import MetServers
from cronguard.stores import contract
from cronguard.stores.open import open_lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from cronguard.config.schedule import Schedule
    from cronguard.core.actions import Action
    from cronguard.core.events import Event
    from cronguard.core.machine import Run
    from cronguard.core.spec import Claim, JobSpec
    from cronguard.runtime.criteria import Criteria
    from cronguard.runtime.limits import Limits
    from cronguard.runtime.notify import Notifier
    from cronguard.runtime.parts import Talk, Work
    from cronguard.runtime.redaction import Redaction
    from cronguard.runtime.teller import Teller
else:
    import _signal as signal

QUEUE_FOR_MS = 5_000
"""How long a place in the queue is kept for a waiter that does not ask."""
DRAIN_MS = 1_000
"""How long the record waits for output that our own reader has not taken yet."""
ANSWER_MS = 5_000
"""How long an attempt that is over waits, at most, until its output is looked at: a busy host
starts processes late."""
PATIENCE_MS = 200
WATCH_AFTER_MS = 200
"""A command that ends sooner needs no word from the store, and is not held up by asking for it."""


class Keeper:
    """One run, from its first request to its exit status."""

    def __init__(
        self,
        run: Run,
        claim: Claim,
        minder: Work,
        output: Talk,
        wake: int,
        *,
        state: str | None,
        secrets: tuple[str, ...] = (),
        terminal: bool = False,
        refusal: tuple[str, str] | None = None,
        schedule: Schedule | None = None,
        announced: dict[str, object] | None = None,
        teller: Teller | None = None,
        redaction: Redaction | None = None,
        criteria: Criteria | None = None,
        notifier: Notifier | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits
        self.notifier = notifier
        self.criteria = criteria
        self.warnings: list[dict[str, object]] = []
        self.redaction = redaction
        self.teller = teller
        self.schedule = schedule
        self.announced = announced
        self.run = run
        self.spec: JobSpec = run.spec
        self.claim = claim
        self.minder = minder
        self.output = output
        self.wake = wake
        self.state = state
        self.secrets = secrets
        self.wall = Wall()
        self.store: contract.LeaseStore | None = None
        self.label = ""
        self.main_label = ""
        self.terminal = terminal
        self.status: int | None = None
        self.token: int | None = None
        self._deadman: DeadMan | None = None
        self._deadman_refused = ""
        self._refused = refusal
        self._refusal: str | None = None
        self.ended: contract.Close | None = None
        self.is_closed = False
        self._watch_at: int | None = None
        self.withheld: list[bytes] = []
        self._deadline = 0

    def now(self) -> int:
        """Return the moment that decisions and records count on."""
        return now_ms()

    # -- the loop ---------------------------------------------------------------------------------

    def serve(self) -> int:
        """Run the loop until the machine exits; return the exit status."""
        self._open(self.spec.store)
        self._feed(self._first_event())
        self._take_replies()
        self._notify()
        while self.status is None:
            ready = self._wait()
            if self.wake in ready:
                self._take_signals()
            for event in self.minder.events(now_ms()):
                if self.criteria is not None and isinstance(event, ev.Exited | ev.TreeDead):
                    event.said = self._fault(self.criteria)
                self._feed(event)
                if self.teller is not None and isinstance(event, ev.Spawned):
                    self._note_start(self.teller)
            self._tick()
            self._take_replies()
            self._notify()
        return self.status

    def _notify(self) -> None:
        if self.notifier is not None and self.status is None:
            self.notifier.look(self.run, now_ms())

    def _first_event(self) -> Event:
        if self._refused is not None:
            return ev.Refused(*self._refused)
        if self.spec.dead_man != "required" or self.has_dead_man():
            return ev.Begin()
        return ev.Refused("dead_man_required", self._deadman_refused)

    def _wait(self) -> set[int]:
        """Sleep until a descriptor is ready or a moment is due."""
        poller = poll()
        poller.register(self.wake, 1)
        for number in self.minder.watches():
            poller.register(number, 1)
        moments = [self.run.wake_at(), self.minder.wake_at(), self._watch_at]
        if self.teller is not None:
            moments.append(self.teller.wake_at())
        if self.notifier is not None:
            moments.append(self.notifier.wake_at())
        if self.store is not None:
            for number, events in self.store.watches():
                poller.register(number, events)
            moments.append(self.store.wake_at())
        due = min([moment for moment in moments if moment is not None], default=None)
        pause = None if due is None else max(due - now_ms(), 0)
        return {number for number, _ in poller.poll(pause)}

    def _feed(self, event: Event) -> None:
        for action in self.run.step(event, now_ms()):
            self._perform(action)

    def _tick(self) -> None:
        now = now_ms()
        due = self.run.wake_at()
        if due is not None and now >= due:
            self._feed(ev.Tick())
        if self._watch_at is not None and now >= self._watch_at:
            self._watch_at = None
            if self.store is not None:
                self.store.watch_job(now)

        if self.teller is not None and self.teller.is_due(now):
            self.teller.tell_start()

    def _take_replies(self) -> None:
        if self._refusal is not None:
            why, self._refusal = self._refusal, None
            self._feed(ev.Denied(why))
        while self.store is not None and self.status is None:
            replies = self.store.events(now_ms())
            if not replies:
                return
            for event in replies:
                if isinstance(event, ev.Held | ev.Queued | ev.Refused) and event.holder:
                    event.gone = proof.is_gone(self.state, event.holder)
                elif isinstance(event, ev.OffSchedule) and self.schedule is not None:
                    self.claim.rule, self.claim.slot_px = self.schedule.around(event.clock)
                elif isinstance(event, ev.Granted):
                    self.token = event.token
                    if self.teller is not None:
                        self.teller.streak = event.failures
                elif isinstance(event, ev.Closed):
                    self.is_closed = True
                if self.status is None:
                    self._feed(event)

    def _take_signals(self) -> None:
        for number in signals.received(self.wake):
            if number != signal.SIGCHLD:
                self._feed(ev.Signalled(number))
            elif self.teller is not None:
                self.teller.reap()

    # -- actions ----------------------------------------------------------------------------------

    def _perform(self, action: Action) -> None:
        PERFORM[type(action)](self, action)

    def _acquire(self, action: do.Acquire) -> None:
        spec, owner = self.spec, self.claim.owner
        self._send(
            contract.Acquire(
                self.record(),
                queue_for=0 if spec.wait == 0 and not spec.replace else QUEUE_FOR_MS,
                evict=action.evict,
                until=action.until,
                replace=f"{REPLACED_BY}{owner.host}, pid {owner.pid}" if spec.replace else "",
            )
        )
        if action.evict is not None and self.state is not None:
            dead = self.run.holder
            used = "" if dead is not None and dead.job else action.evict  # it has several leases
            proof.forget_marks(self.state, used, self.wall.at(now_ms()))

    def _renew(self, action: do.Renew) -> None:
        self._send(contract.Renew(action.token, action.index))

    def _reclaim(self, action: do.Reclaim) -> None:
        self._send(contract.Reclaim(action.token, action.index))

    def _close(self, action: do.Close) -> None:
        self._send(self._closing(release=action.release, forget_slot=action.forget_slot))

    def _use_local_store(self, _action: Action) -> None:
        if self.state is not None:
            self._open(f"sqlite://{self.state}/cronguard.db")
            return
        self.store = None
        self._refusal = "this host has no state folder (set HOME or CRONGUARD_STATE_DIR)"

    def _watch(self, _action: Action) -> None:
        self._watch_at = now_ms() + (WATCH_AFTER_MS if self.minder.child else 0)

    def _arm(self, action: do.Arm) -> None:
        if self.has_dead_man():
            assert self._deadman is not None
            self._deadman.arm(action.at)

    def _disarm(self, _action: Action) -> None:
        if self._deadman is not None:
            self._deadman.disarm()

    def _spawn(self, _action: Action) -> None:
        if self.criteria is not None:
            self.criteria.begin()
        is_first = self.run.attempt == 1
        if self.output.log is not None and is_first:
            from cronguard.runtime.report import tell_log  # noqa: PLC0415  (only with a log)

            tell_log(self, self.output.log)
        if self.limits is not None and self.limits.unmet and is_first:
            self._warn(do.Warn("limits_unmet", {"why": self.limits.unmet}))
        self.minder.spawn(
            self._additions(),
            may_follow=self.run.attempt <= self.spec.retries,
            in_front=self.terminal and (is_first or self._is_in_front()),
        )

    def _is_in_front(self) -> bool:
        from cronguard.runtime import terminal  # noqa: PLC0415  (only where a person sits)

        return terminal.is_in_front()

    def _rest(self, _action: Action) -> None:
        """Be in front at the terminal: the command's group is gone, and Ctrl-C is for us now."""
        if self.terminal:
            from cronguard.runtime import terminal  # noqa: PLC0415  (only where a person sits)

            terminal.put_in_front(os.getpgrp())

    def _signal(self, action: do.Signal) -> None:
        self.minder.signal(action.signum)

    def _forward(self, action: do.Forward) -> None:
        self.minder.forward(action.signum)

    def _kill(self, _action: Action) -> None:
        self.minder.kill(now_ms())

    def _leave(self, _action: Action) -> None:
        self.minder.leave()

    def _suspend(self, _action: Action) -> None:
        """Stop with the child, so that the shell takes over; go on with it."""
        from cronguard.runtime import terminal  # noqa: PLC0415  (only where a person sits)

        self.output.say_all(PATIENCE_MS)
        self.terminal = terminal.suspend(self.minder.child, in_front=self.terminal)
        self.minder.forward(signal.SIGCONT)

    def _warn(self, action: do.Warn) -> None:
        from cronguard.runtime.warn import warn  # noqa: PLC0415  (rarely needed)

        warn(self, action.topic, action.facts)

    def _say_what(self, action: do.Say) -> None:
        self.say(action.topic, action.facts)

    def _spool(self, _action: Action) -> None:
        self._keep_on_host(self._closing(release=True, forget_slot=False))
        if self.run.lease is not None:
            self.prove_dead()

    def _exit(self, action: do.Exit) -> None:
        if self.run.local and self.ended is not None:
            self._keep_on_host(self.ended)  # the store of all hosts shall know of it too
        self.status = action.status

    def prove_dead(self) -> None:
        """Leave the proof that our tree is dead: the next run here need not wait for the lease."""
        proof.leave_mark(self.state, self.claim.owner.run_id)

    # -- what they need ---------------------------------------------------------------------------

    def _open(self, url: str) -> None:
        if self.store is not None:
            self.store.close()
            self.store = None
        attempt = min(self.run.times.attempt, max(self.spec.store_timeout, 100))
        try:
            met = MetServers(self.state) if self.state is not None else None
            self.store = open_lease(url, self.claim, attempt, met, self.spec.lock)
        except (contract.StoreDown, ValueError) as error:
            self._refusal = str(error)
            return
        self.label = self.store.label
        self.main_label = self.main_label or self.label

    def _send(self, request: contract.Request) -> None:
        if self.store is not None:
            self.store.send(request, now_ms())

    def has_dead_man(self) -> bool:
        """Make the kernel's timer if there is none; False, said once, if the kernel refuses."""
        if self._deadman is None and not self._deadman_refused:
            try:
                self._deadman = DeadMan()
            except OSError as error:
                self._deadman_refused = os.strerror(error.errno or 0).lower()
                if self.spec.dead_man != "required":
                    self.say("dead_man_refused", {"why": self._deadman_refused})
        return self._deadman is not None

    def _additions(self) -> list[bytes]:
        """What the child's environment has beyond ours."""
        words = [
            f"CRONGUARD_JOB={self.spec.name}",
            f"CRONGUARD_RUN_ID={self.claim.owner.run_id}",
            f"CRONGUARD_ATTEMPT={self.run.attempt}",
        ]
        if self.token is not None and self.run.guarded:
            words.append(f"CRONGUARD_TOKEN={self.token}")
            if self.run.slot:
                words.append(f"CRONGUARD_SLOT={records.utc(self.run.slot)}")
        if self.spec.timeout is not None:
            self._deadline = self._deadline or self.wall.at(now_ms() + self.spec.timeout)
            words.append(f"CRONGUARD_DEADLINE={records.utc(self._deadline)}")
        return [os.fsencode(word) for word in words]

    def say(self, topic: str, facts: dict[str, object]) -> None:
        """Tell the user on stderr; nobody there is not our trouble."""
        from cronguard.core import messages  # noqa: PLC0415  (only when there is something to say)

        if self.spec.quiet and topic in messages.QUIET_TOPICS:
            return
        owner = self.claim.owner
        text = messages.render(
            topic, facts, self.spec, self.label, owner.run_id, owner.command_hash
        )
        data = f"cronguard: {text}\n".encode("utf-8", "replace")
        if self.spec.quiet and topic in messages.WITHHELD_TOPICS:
            self.withheld.append(data)
        else:
            self.output.say(data)

    def record(self) -> str:
        """Return the encoded record as of now."""
        from cronguard.runtime.report import run_record  # noqa: PLC0415

        record = run_record(self)
        if self.redaction is not None and self.redaction.trouble:
            self.say("redact_failed", {"why": self.redaction.trouble})
            self.redaction.trouble = ""
        return record

    def _closing(self, *, release: bool, forget_slot: bool) -> contract.Close:
        self.output.finish(DRAIN_MS)
        log, run = self.output.log, self.run
        if log is not None and not log.is_told:
            log.is_told = bool(log.trouble or log.stuck)
            if log.trouble:
                self._warn(do.Warn("log_failed", {"why": log.trouble, "path": log.path}))
            if log.stuck:
                self._warn(do.Warn("log_stuck", {"why": log.stuck, "path": log.path}))
        self.ended = contract.Close(
            self.record(),
            outcome=run.outcome or "",
            reason=run.reason,
            ended_wall=self.wall.at(run.ended_at or now_ms()),
            release=release,
            forget_slot=forget_slot,
        )
        return self.ended

    def _keep_on_host(self, close: contract.Close) -> None:
        """Keep the end of this run on this host, for a store that cannot take it now."""
        from cronguard.runtime import outbox  # noqa: PLC0415  (only when a store is down)

        why = "there is no state folder"
        if self.state is not None:
            try:
                outbox.keep(self.state, self.main_label, self.claim, close)
            except OSError as error:
                why = os.strerror(error.errno or 0).lower()
            else:
                return
        self.say("record_kept_nowhere", {"why": why})

    def _fault(self, criteria: Criteria) -> str:
        """Say what is at fault with the output of an attempt that is over."""
        if self.run.outcome is not None:
            return ""
        until = self._patient_until(now_ms())
        return criteria.fault(until, is_all=self.output.settle(until))

    def _patient_until(self, now: int) -> int:
        """Return how long the loop may wait for who looks at the output: the lease comes first."""
        lease = self.run.lease
        if lease is None:
            return now + ANSWER_MS
        return now + min(ANSWER_MS, max((lease.give_up_at - now) // 2, DRAIN_MS))

    def _note_start(self, teller: Teller) -> None:
        if teller.wants_start():
            now = now_ms()
            teller.command_started(self.record(), self.wall.at(now), now)


PERFORM: dict[type[Action], Callable[[Keeper, Any], None]] = {
    do.Acquire: Keeper._acquire,
    do.Renew: Keeper._renew,
    do.Reclaim: Keeper._reclaim,
    do.Close: Keeper._close,
    do.UseLocalStore: Keeper._use_local_store,
    do.Watch: Keeper._watch,
    do.Arm: Keeper._arm,
    do.Disarm: Keeper._disarm,
    do.Spawn: Keeper._spawn,
    do.Rest: Keeper._rest,
    do.Signal: Keeper._signal,
    do.Forward: Keeper._forward,
    do.Kill: Keeper._kill,
    do.Leave: Keeper._leave,
    do.Suspend: Keeper._suspend,
    do.Say: Keeper._say_what,
    do.Warn: Keeper._warn,
    do.Spool: Keeper._spool,
    do.Exit: Keeper._exit,
}
