"""What a service manager is told of a run, by sd_notify(3). Pure; runtime/notify.py sends it.

    READY=1                 the command has started; or the run is skipped, which is no failure
    STATUS=…                what it does now, for `systemctl status`
    STOPPING=1              the run is being stopped, or has ended
    EXTEND_TIMEOUT_USEC=…   it is not stuck, but waits for the lock, or for its end

A command that could not be started, or a store that is away, is never READY: so starting the unit
fails. Being READY for a skip keeps a `Type=notify` unit from failing over a protocol that it kept;
it is said before STOPPING, while the store still takes in the record of the skip.
"""

from __future__ import annotations

from cronguard.core import record
from cronguard.core.ending import (
    ASKING,
    CLOSING,
    DONE,
    KILLING,
    LINGERING,
    RESTING,
    RUNNING,
    SPAWNING,
    STOPPING,
    WAITING,
)
from cronguard.core.words import Context, printable, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.machine import Run

EXTEND_EVERY_MS = 5_000
PATIENCE_MS = 15_000
"""For how much longer than it takes by itself we ask to be left alone each time."""
_BEFORE = (WAITING, ASKING)
_DELAYED = "delayed"
_SKIPPED = {
    "held": "another run holds the lock",
    "wait_expired": "another run still holds the lock",
    "slot_done": "another run was the one for this slot",
    "paused": "the job is paused",
    "replaced": "a later run took its place",
}


def stage(run: Run) -> str:
    """Return the phase; asking for the lock and waiting for it are one, and a delay is none."""
    if run.is_delayed():
        return _DELAYED
    return WAITING if run.phase in _BEFORE else run.phase


def is_ready(run: Run) -> bool:
    """Tell whether the run has got as far as it ever wanted to at its start."""
    return run.started_at is not None or run.outcome == record.SKIPPED


def is_stopping(run: Run) -> bool:
    """Tell whether nothing follows but the end: between two attempts it does not stop."""
    return run.phase in (CLOSING, DONE) or run.outcome is not None


def is_over(run: Run) -> bool:
    """Tell whether the lock has been given back, and the loop that pings is at its end."""
    return run.phase == DONE


def patience(run: Run, now: int) -> int:
    """Return for how many ms from *now* nobody shall lose patience with us; 0 where nobody does."""
    if run.phase == STOPPING:
        return run.grace_left(now) + PATIENCE_MS
    if run.phase == DONE:
        return run.spec.report_timeout + PATIENCE_MS
    waits = run.phase in (*_BEFORE, SPAWNING, KILLING)
    return PATIENCE_MS if waits or is_stopping(run) else 0


def status(run: Run, run_id: str, now: int) -> str:
    """Return what the run does now, in a line, whatever strangers wrote into it."""
    return f"{printable(_doing(run, now))}, run {run_id[:12]}"


def _doing(run: Run, now: int) -> str:
    if run.phase in _BEFORE:
        return _waiting(run)
    if run.phase == SPAWNING:
        return "starting the command"
    took = span(max(now - run.started_at, 0)) if run.started_at is not None else "0ms"
    held = f"holding the lock for {took}" if run.guarded else f"running unguarded for {took}"
    many = f", attempt {run.attempt} of {run.spec.retries + 1}" if run.attempt > 1 else ""
    match run.phase:
        case p if p == RUNNING:
            return f"{held}{many}"
        case p if p == LINGERING:
            return f"{held}, the command has ended and its background processes run on"
        case p if p == RESTING:
            return f"{held}, attempt {run.attempt} failed and the next one follows"
        case p if p == STOPPING:
            why = f" ({_word(run.outcome)})" if run.outcome else ""
            return f"stopping{why}: KILL follows in {span(run.grace_left(now))}"
        case p if p == KILLING:
            return "killing what is left"
    why = f": {_reason(run)}" if run.reason else ""
    return f"{_word(run.outcome)}{why}"


def _waiting(run: Run) -> str:
    if run.is_delayed():
        return "waiting before it asks for the lock (--jitter)"
    if run.store_trouble():
        return f"waiting for the store: {run.store_trouble()}"
    if run.holder is None or not run.holder.run_id:
        return "waiting for the lock"
    facts: dict[str, object] = {"holder": run.holder}
    return f"waiting for the lock, held by {Context(facts, run.spec, '', '').holder()}"


def _word(outcome: str | None) -> str:
    return str(outcome).replace("_", " ")


def _reason(run: Run) -> str:
    return _SKIPPED.get(run.reason) or run.reason.replace("_", " ")
