"""What a run does when its lock has been given back: reports, the rest of the output, what waited.

Nothing here decides anything any more: the exit status is known, and the next run may have begun.
"""

from __future__ import annotations

import os

from cronguard.core import record as records
from cronguard.core.asking import STOP_SIGNALS
from cronguard.runtime import signals
from cronguard.runtime.clock import now_ms
from cronguard.runtime.met import takes_turns
from cronguard.runtime.report import kept
from cronguard.stores.open import open_lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.runtime.keeper import Keeper
    from cronguard.runtime.log import Log
    from cronguard.runtime.teller import Teller

PATIENCE_MS = 200
LAST_WORDS_MS = 1_000


def finish(keeper: Keeper) -> None:
    """Do what need not hold the lock, and wait for who is told of it."""
    teller = keeper.teller
    if keeper.notifier is not None:
        keeper.notifier.last(keeper.run, now_ms())
    if teller is not None:
        tell_end(keeper, teller)
    _show_output(keeper)
    if keeper.output.log is not None:
        _end_log(keeper, keeper.output.log)
    deliver_outbox(keeper)
    _tell_turns(keeper)
    if keeper.minder.child and keeper.terminal:
        from cronguard.runtime import terminal  # noqa: PLC0415  (only where a person sits)

        terminal.put_in_front(os.getpgrp())
    keeper.minder.dismiss()
    if keeper.criteria is not None:
        keeper.criteria.close()
    if keeper.limits is not None and keeper.limits.group is not None:
        keeper.limits.group.leave()
    keeper.output.say_all(LAST_WORDS_MS)
    if teller is not None:
        _wait_for_teller(keeper, teller)
        keeper.output.say_all(LAST_WORDS_MS)
    if keeper.notifier is not None:
        keeper.notifier.close()


def _is_calm(keeper: Keeper) -> bool:
    return keeper.run.outcome in (records.SUCCEEDED, records.SKIPPED)


def _show_output(keeper: Keeper) -> None:
    """Wait until our own reader has the output; show what --quiet kept, if it failed."""
    output = keeper.output
    while not output.finish(PATIENCE_MS):
        if set(signals.received(keeper.wake)) & STOP_SIGNALS:
            break  # our own reader takes nothing, and somebody wants us gone
        if keeper.notifier is not None:
            keeper.notifier.look(keeper.run, now_ms())
    if output.spill is None:
        return
    if output.spill.failed:
        keeper.say("spill_failed", {"why": output.spill.failed})
    if not _is_calm(keeper):
        for data in keeper.withheld:
            output.say(data)
        output.spill.show()


def _end_log(keeper: Keeper, log: Log) -> None:
    run = keeper.run
    (reason,) = kept(keeper, [run.reason])
    took = (run.ended_at or now_ms()) - (run.started_at or now_ms())
    log.end(run.outcome or "", reason, run.exit_status, max(took, 0))
    if log.trouble and not log.is_told:
        keeper.say("log_failed", {"why": log.trouble, "path": log.path})


def deliver_outbox(keeper: Keeper) -> None:
    """Hand the store what it could not take before, if it is there now."""
    state = keeper.state
    if not keeper.is_closed or keeper.run.local or state is None:
        return
    if not os.path.isdir(f"{state}/outbox"):
        return
    from cronguard.runtime import outbox  # noqa: PLC0415  (only when something waits)

    _, odd = outbox.deliver(
        outbox.waiting(state),
        keeper.label,
        lambda claim: open_lease(keeper.spec.store, claim, keeper.run.times.attempt),
    )
    if odd:
        keeper.say("records_set_aside", {"count": len(odd), "path": odd[0]})


def _tell_turns(keeper: Keeper) -> None:
    """Say so if several commands take turns under the job's name on this host."""
    if keeper.state is None or keeper.run.started_at is None:
        return
    job = f"{keeper.main_label} {keeper.claim.namespace} {keeper.claim.job}"
    if takes_turns(keeper.state, job, keeper.claim.owner.command_hash):
        keeper.say("name_shared", {})


# -- reporters ------------------------------------------------------------------------------------


def tell_end(keeper: Keeper, teller: Teller) -> None:
    """Keep the report of the end, and start who tells it."""
    close, run = keeper.ended, keeper.run
    record = (close and close.record) or keeper.record()
    at = keeper.wall.at(run.ended_at or now_ms())
    teller.released_at = None if run.released_at is None else keeper.wall.at(run.released_at)
    teller.tell_end(record, at, run.outcome or "", run.reason, run.slot)


def _wait_for_teller(keeper: Keeper, teller: Teller) -> None:
    """Wait until all is told, within bounds, and pass on what went wrong."""
    ended = keeper.run.ended_at or now_ms()
    teller.wait(keeper.wake, ended + keeper.spec.report_timeout)
    if keeper.spec.quiet and _is_calm(keeper):
        return
    for what in dict.fromkeys(teller.said):
        keeper.say("report_trouble", {"what": what})
