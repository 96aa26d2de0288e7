"""Puts a run's record together from what the machine, the guardian and the output know."""

from __future__ import annotations

import os

from cronguard import __version__
from cronguard.core import record, redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Owner
    from cronguard.runtime.keeper import Keeper
    from cronguard.runtime.log import Log


def run_record(keeper: Keeper) -> str:
    """Return the encoded record as of now: of a run that starts, or of one that has ended."""
    run, owner, wall = keeper.run, keeper.claim.owner, keeper.wall
    command = _command(keeper)
    tail = _tail(keeper)
    reason, tail_kept = kept(keeper, [run.reason, tail or ""])
    facts: dict[str, object] = {
        "job": keeper.spec.name,
        "run_id": owner.run_id,
        "host": redact.text(owner.host),
        "user": redact.text(owner.user),
        "pid": owner.pid,
        "command": command,
        "attempt": run.attempt,
        "attempts": _attempts(keeper) if keeper.spec.retries else None,
        "timeout_ms": keeper.spec.timeout,
        "slot": record.utc(run.slot) if run.slot else None,
        "schedule": keeper.announced,
        "queued_at": record.utc(wall.at(run.begun_at)),
        "outcome": run.outcome or record.RUNNING,
        "reason": reason or None,
        "warnings": keeper.warnings or None,
        "limits": _limits(keeper),
        "store": keeper.label,
        "version": __version__,
    }
    if run.outcome is None:
        started = run.started_at if run.started_at is not None else keeper.now()
        facts["started_at"] = record.utc(wall.at(started))
    else:
        _add_end(facts, keeper)
        if tail is not None:
            facts["output_bytes"] = keeper.output.capture.total
            facts["output_tail"] = tail_kept
    return record.encode(record.complete(facts))


def tell_log(keeper: Keeper, log: Log) -> None:
    """Tell the log whose output it gets."""
    owner = keeper.claim.owner
    facts = keeper.spec.name, owner.run_id, redact.text(owner.host), owner.pid
    from cronguard.core.logline import Told  # noqa: PLC0415  (only with a log)

    log.tell(Told(*facts, _command(keeper)), _secrets(keeper))


def _limits(keeper: Keeper) -> dict[str, object] | None:
    """Return what the command is limited to; nothing of one that was never started."""
    if keeper.limits is None or (keeper.run.outcome and keeper.run.started_at is None):
        return None
    return keeper.limits.in_force()


def _command(keeper: Keeper) -> list[str]:
    return kept(keeper, redact.command(keeper.spec.command, _secrets(keeper)), again=True)


def kept(keeper: Keeper, texts: list[str], *, again: bool = False) -> list[str]:
    """Return *texts* as they may be kept and told: without secrets, and what --redact matches.

    *again* says that the same ones will come again: they need not be looked at twice.
    """
    secrets = _secrets(keeper)
    clean = [redact.text(text, secrets) for text in texts]
    return clean if keeper.redaction is None else keeper.redaction.applied(clean, again=again)


def _secrets(keeper: Keeper) -> tuple[str, ...]:
    return keeper.secrets + redact.known(os.environ.items(), keeper.spec.command)


def _tail(keeper: Keeper) -> str | None:
    """Return what is known of the output, once the run has ended; None without any."""
    run, output = keeper.run, keeper.output
    has_one = run.outcome is not None and run.started_at is not None and output.is_captured
    return output.capture.text() if has_one else None


def _add_end(facts: dict[str, object], keeper: Keeper) -> None:
    run, wall = keeper.run, keeper.wall
    ended = run.ended_at if run.ended_at is not None else keeper.now()
    facts["ended_at"] = record.utc(wall.at(ended))
    facts["exit_status"] = run.exit_status
    facts["signal"] = run.child_signal or run.signal
    facts["wait_ms"] = (run.started_at or ended) - run.begun_at
    if run.lease is not None:
        facts["token"] = run.lease.token
        facts["renewals"] = run.lease.renewals
        facts["renew_failures"] = run.lease.renew_failures
        facts["longest_gap_ms"] = run.lease.gap(ended)
    if run.holder is not None and run.holder.run_id:
        facts["holder"] = _holder(run.holder, run.lock)
    if run.started_at is None:
        return
    facts["started_at"] = record.utc(wall.at(run.started_at))
    facts["duration_ms"] = ended - run.started_at
    if run.stopping_at is not None:
        facts["stopping_at"] = record.utc(wall.at(run.stopping_at))
    if keeper.minder.used is not None:
        user_us, system_us, rss_kb = keeper.minder.used
        facts["cpu_user_ms"] = user_us // 1000
        facts["cpu_system_ms"] = system_us // 1000
        facts["max_rss_bytes"] = rss_kb * 1024
        facts["stragglers"] = run.stragglers


def _attempts(keeper: Keeper) -> list[dict[str, object]]:
    """Return what became of each attempt so far; the record of a start knows of none."""
    wall = keeper.wall
    return [
        {
            "attempt": one.number,
            "started_at": None if one.started_at is None else record.utc(wall.at(one.started_at)),
            "ended_at": record.utc(wall.at(one.ended_at)),
            "exit_status": one.exit_status,
            "signal": one.signal,
        }
        for one in keeper.run.attempts
    ]


def _holder(owner: Owner, lock: str) -> dict[str, object]:
    """Return who was in the way; and of which job, where it had a further lock."""
    shared: dict[str, object] = {"lock": lock, "job": redact.text(owner.job)} if lock else {}
    return shared | {
        "run_id": owner.run_id,
        "host": redact.text(owner.host),
        "pid": owner.pid,
        "user": redact.text(owner.user),
        "since": record.utc(owner.since_wall) if owner.since_wall else None,
    }
