"""The keeper of a block of Python code: the one of commands, in a daemon thread, on no signals.

What it says of the lease becomes what the block is told; all else is logged as `cronguard`.
"""

from __future__ import annotations

import logging
import os
import signal
from threading import Lock, Thread
from typing import TYPE_CHECKING

from cronguard.core import exits, messages, record, redact
from cronguard.core.lease import LeaseTimes
from cronguard.core.machine import Run
from cronguard.core.spec import REPLACED_BY
from cronguard.core.words import Context, printable, span
from cronguard.library import forks
from cronguard.library.block import Block, Silence
from cronguard.library.errors import (
    Holder,
    LeaseLost,
    NotStarted,
    Skipped,
    Stopped,
    StoreUnavailable,
    TimedOut,
)
from cronguard.library.lease import Lease
from cronguard.library.moment import Moment
from cronguard.runtime import teller
from cronguard.runtime.afterwards import deliver_outbox, tell_end
from cronguard.runtime.auto_timeout import look
from cronguard.runtime.claims import claim_of, plan_of, refuse_wrong_address
from cronguard.runtime.clock import Wall, now_ms
from cronguard.runtime.identity import this_run
from cronguard.runtime.keeper import Keeper
from cronguard.runtime.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.config.resolve import Resolved
    from cronguard.config.rules import Plan
    from cronguard.core.spec import Claim

log = logging.getLogger("cronguard")
_CALM = frozenset(("queued", "recovered"))
_MARK = b"%c" % signal.SIGCHLD
"""What the wake-up pipe gets when a child has ended: the block, here."""


class BlockKeeper(Keeper):
    """One run of a block, from its first request to its record.

    `begun` or the whole being `over` is reached first: then `lease` is there, or `refusal()` says
    why not. `working` is held but while it waits, for forks.
    """

    def __init__(self, resolved: Resolved, on_lost: Callable[[Stopped], object] | None) -> None:
        spec = resolved.spec
        unverified = refuse_wrong_address(spec.store, resolved.sources["store"])
        self.working = Lock()
        self.settled = Moment()
        self.over = Moment()
        self.lease: Lease | None = None
        self.crash: Exception | None = None
        self._on_lost = on_lost
        self._why = ""
        run, claim, plan = _made(resolved)
        wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._is_open = True
        self.block = Block(self._begin, self._overdue)
        super().__init__(
            run,
            claim,
            self.block,
            Silence(),
            wake,
            state=resolved.state,
            secrets=resolved.secrets,
            schedule=plan.schedule if plan else None,
            announced=plan.announced if plan else None,
            redaction=Redaction(spec.redact) if spec.redact else None,
            teller=teller.of(resolved, claim, plan) if resolved.targets else None,
        )
        self._auto_timeout = resolved.auto_timeout
        for why in plan.odd if plan else []:
            self.say("odd_rule", {"why": why})
        if unverified:
            self.say("tls_unverified", {"store": unverified})

    # -- what the block's side calls --------------------------------------------------------------

    def start(self) -> None:
        """Begin to ask for the lease. Raises: RuntimeError if no thread can be had."""
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        try:
            Thread(target=self._live, name=f"cronguard {self.spec.name}", daemon=True).start()
        except RuntimeError:
            self._close_pipe()
            raise

    def end(self, error: BaseException | None) -> None:
        """Say that the block has ended, and how; soon it is `over`."""
        status, why = _ending(error, self.secrets)
        if self.lease is not None:
            self.lease.end()
        self.block.end(status, why, signal.SIGINT if isinstance(error, KeyboardInterrupt) else 0)
        self._wake(_MARK)
        if self.crash is not None:
            self._let_go_of_timer()

    def abandon(self) -> None:
        """Give up what was asked for, and what may be granted yet; soon it is `over`."""
        self.block.end(exits.of_signal(signal.SIGINT), "given up before it began")
        self._wake(b"%c" % signal.SIGINT + _MARK)

    def refusal(self) -> Exception:
        """Return why the block could not begin."""
        run = self.run
        if self.crash is not None:
            return self.crash
        text = self._why or f"{self.spec.name}: not started: {run.reason or run.outcome}"
        if run.outcome == record.SKIPPED:
            holder = run.holder
            seen = Holder(holder.host, holder.user, holder.pid, holder.run_id) if holder else None
            return Skipped(text, run.reason, seen)
        if run.outcome == record.STORE_UNAVAILABLE:
            return StoreUnavailable(text, "store_unavailable")
        if run.outcome == record.STOPPED:
            return Stopped(text)
        return NotStarted(text, run.reason)

    def forget(self) -> None:
        """Let go, in a forked child, of what is its parent's. Nothing is sent."""
        if self.store is not None:
            self.store.close()
            self.store = None
        self._close_pipe()

    # -- in the thread ----------------------------------------------------------------------------

    def _live(self) -> None:
        """Keep the lease until the block has ended and the record is stored."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are not for us
        self.working.acquire()
        forks.add(self)
        try:
            if self._auto_timeout:
                self._find_timeout()
            self.serve()
            deliver_outbox(self)
            if self.teller is not None:
                tell_end(self, self.teller)
        except Exception as error:  # noqa: BLE001  (or nobody would learn of it: this is a thread)
            self._crashed(error)
        finally:
            self._put_away()
            self.working.release()
            forks.remove(self)
            self.over.reach()
            self.settled.reach()
        if self.teller is not None:
            self._see_told(self.teller)

    def _see_told(self, telling: teller.Teller) -> None:
        """Wait for who tells the reporters; the program goes on meanwhile, and may end."""
        telling.wait(-1, now_ms() + self.spec.report_timeout)
        for what in dict.fromkeys(telling.said):
            log.warning("%s: %s", self.spec.name, what)

    def _find_timeout(self) -> None:
        """See how long the job's runs take: here it may block, and what it loads is no matter."""
        found = look(self.spec)
        self.spec.timeout = found.timeout
        if found.timeout is None:
            topic = "auto_timeout_unknown" if found.trouble else "auto_timeout_few"
            self.say(topic, {"successes": found.successes, "why": found.trouble})

    def _crashed(self, error: Exception) -> None:
        what = redact.text(f"{type(error).__name__}: {error}", self.secrets)
        text = f"{self.spec.name}: internal error: {what}; please report it"
        log.error("%s", text, exc_info=log.isEnabledFor(logging.DEBUG))
        self.crash = RuntimeError(text)
        self._tell(LeaseLost(f"{self.spec.name}: nobody renews the lock any more: {what}"))

    def _put_away(self) -> None:
        self.forget()
        runs_on = self.crash is not None and self.lease is not None and not self.lease.is_over
        if not runs_on:  # or the kernel must see to it that it does not do so without its lease
            self._let_go_of_timer()

    def _let_go_of_timer(self) -> None:
        timer, self._deadman = self._deadman, None
        if timer is not None:
            timer.close()

    def _wait(self) -> set[int]:
        self.working.release()
        try:
            return super()._wait()
        finally:
            self.working.acquire()

    def _begin(self, environ: dict[str, str]) -> None:
        token = self.token if self.run.guarded else None
        self.lease = Lease(self.run, self.claim.owner.run_id, token, environ)
        self.settled.reach()

    def prove_dead(self) -> None:
        """Leave no proof: what the block has started may live."""

    # -- what is said -----------------------------------------------------------------------------

    def say(self, topic: str, facts: dict[str, object]) -> None:
        """Tell the block if it is for it, whoever waits for the block if it is why; or log it."""
        stop = self._stop_of(topic, facts)
        if stop is not None:
            self._tell(stop)
            return
        owner = self.claim.owner
        text = messages.render(topic, facts, self.spec, self.label, owner.run_id, "")
        if self.lease is None and self.run.outcome is not None and not self._why:
            self._why = text.partition("\n")[0]  # the rest is about the command line
        else:
            log.log(logging.INFO if topic in _CALM else logging.WARNING, "%s", text)

    def _stop_of(self, topic: str, facts: dict[str, object]) -> Stopped | None:
        """Return what the block is to be told of *topic*, if it is."""
        job, store, why = self.spec.name, self.label, printable(facts.get("why") or "")
        match topic:
            case "lost_unrenewed":
                since = span(int(str(facts["since"])))
                because = f" ({why})" if why else ""
                return LeaseLost(f"{job}: lock lost: {store} did not renew it for {since}{because}")
            case "taken":
                holder = Context(facts, self.spec, store, "").holder()
                return LeaseLost(f"{job}: lock lost: {store} gave it to {holder}")
            case "timed_out":
                limit = span(int(str(facts["timeout"])))
                return TimedOut(f"{job}: timed out: it runs for longer than {limit}")
            case "stop_asked":
                by = printable(facts.get("by"))
                return Stopped(
                    f"{job}: asked to stop: {by}"
                    if by.startswith(REPLACED_BY)
                    else f"{job}: asked to stop by {by}"
                )
        return None

    def _tell(self, stop: Stopped) -> None:
        """Have `check` raise it, log it, and call back: in a thread, as we must go on renewing."""
        if self.lease is None:
            self._why = self._why or str(stop)
            return
        self.lease.stop(stop)
        log.warning("%s", stop)
        if self._on_lost is not None:
            name = f"cronguard {self.spec.name} on_lost"
            Thread(target=self._call_back, args=(stop,), name=name, daemon=True).start()

    def _call_back(self, stop: Stopped) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)  # what it starts would inherit ours
        assert self._on_lost is not None
        self._on_lost(stop)

    def _overdue(self) -> None:
        lost = self.lease is not None and isinstance(self.lease.stopped, LeaseLost)
        lock = "another run may start beside it" if lost else "the lock is kept until it ends"
        log.warning(
            "%s: the block was told to end and runs on: Python code cannot be killed; %s",
            self.spec.name,
            lock,
        )

    # -- the pipe ---------------------------------------------------------------------------------

    def _wake(self, word: bytes) -> None:
        with self.working:  # or the thread might close it: another file would have its number
            if self._is_open:
                os.write(self._waker, word)

    def _close_pipe(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self.wake)
            os.close(self._waker)


def _made(resolved: Resolved) -> tuple[Run, Claim, Plan | None]:
    spec = resolved.spec
    times = LeaseTimes(spec.ttl)
    now_wall = Wall().at(now_ms())
    owner = this_run(now_wall, spec.command, os.environ)
    owner.command_hash = ""  # no command: with other arguments it is still the same job
    plan = plan_of(spec, now_wall, resolved.period)
    run = Run(spec, times, seed=int(owner.run_id[:8], 16))
    return run, claim_of(spec, owner, times.px, plan), plan


def _ending(error: BaseException | None, secrets: tuple[str, ...]) -> tuple[int, str]:
    """Return the exit status that a program would have had, and the record's reason."""
    if error is None:
        return 0, ""
    if isinstance(error, SystemExit):
        code = error.code
        status = 0 if code is None else code & 0xFF if isinstance(code, int) else 1
        return status, f"SystemExit: {code}" if status else ""
    if isinstance(error, KeyboardInterrupt):
        return exits.of_signal(signal.SIGINT), "KeyboardInterrupt"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return 1, printable(redact.text(text, secrets))
