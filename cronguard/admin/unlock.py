"""`cronguard unlock`: take a lock away from a run that is gone. Careful: it may not be gone.

A lock whose holder is heard of is refused, because another run would start beside it: the holder
learns of it only with its next heartbeat. A lock frees itself when its holder is dead, so this is
for people who cannot wait that long, or for a store whose clock was set back.

The further locks of that run (`--lock`) go with it: each by itself, and only if it is still that
run's. They are looked for at each key of the store, so only where the run said that it has some.
"""

from __future__ import annotations

import click

from cronguard.admin import render
from cronguard.admin.common import Here, by, is_job, no_such_job, wall_now, with_store
from cronguard.admin.output import say, say_error, say_json
from cronguard.admin.ps import start_record
from cronguard.core import exits
from cronguard.core.lease import TAKEOVER_MS, LeaseTimes
from cronguard.core.spec import LOCK_MARK
from cronguard.core.words import printable, span
from cronguard.runtime import proof
from cronguard.stores.contract import Damaged, StoreDown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import History, Lease, Overview

_FRESH_BEATS = 3


def every_ms(lease: Lease) -> int:
    """Return the heartbeat interval of the run that holds *lease*."""
    return LeaseTimes(max(lease.px - TAKEOVER_MS, 1)).every if lease.px > TAKEOVER_MS else 5_000


def seems_alive(lease: Lease) -> bool:
    """Tell whether the holder was heard of lately, or is to be seen on this host."""
    if lease.released:
        return False
    if lease.quiet < _FRESH_BEATS * every_ms(lease):
        return True
    return proof.is_here(lease.owner) and proof.keeper_lives(lease.owner)


def whose(lease: Lease, record: render.Record) -> str:
    """Return `run 0a1b on web-3, pid 8121, since ... : COMMAND`."""
    owner = lease.owner
    since = render.moment(owner.since_wall, wall_now())
    return (
        f"run {render.short(owner.run_id)} of {render.word(owner.user)} on {render.holder(lease)}, "
        f"since {since}: {render.word(record.get('command'))[:200]}"
    )


def signs(lease: Lease) -> str:
    """Return what is known of the holder's life."""
    heard = f"last heartbeat {span(lease.quiet)} ago"
    if not proof.is_here(lease.owner):
        return f"{heard}; whether it lives cannot be seen from here"
    if proof.keeper_lives(lease.owner):
        return f"{heard}; its cronguard is alive on this host"
    return f"{heard}; its cronguard on this host is dead"


def _refuse(lease: Lease, record: render.Record) -> int:
    return say_error(
        f"{lease.job}: not unlocked: its holder seems alive ({signs(lease)}).\n"
        f"  It is {whose(lease, record)}.\n"
        f"  Stop it with `cronguard stop {lease.job}`. If it is gone, the lock frees itself in "
        f"{span(lease.left)}; with --force another run may start beside it at once.",
        exits.NO,
    )


def free_locks(history: History, lease: Lease) -> list[str]:
    """Free the further locks of the run that had *lease*; return their names.

    Raises: StoreDown if it cannot be seen which they are.
    """
    if not lease.owner.job or lease.released:  # it told of its job for those who share a lock
        return []
    held = [one for found in history.leases(history.locks()).values() for one in found]
    its = [one for one in held if one.owner.run_id == lease.owner.run_id]
    return [one.job.removeprefix(LOCK_MARK) for one in its if history.unlock(one, by())]


def _told(lease: Lease, record: render.Record, locks: list[str], trouble: str) -> str:
    if lease.released:
        return f"{lease.job}: unlocked; its run was over, and --min-hold kept the lock."
    beat = span(every_ms(lease))
    further = f"  Its further locks are free as well: {', '.join(locks)}.\n" if locks else ""
    if trouble:
        further = (
            f"  Its further locks (--lock) are not freed: {printable(trouble)}\n"
            f"  If that run is gone, they free themselves in {span(lease.px)} at the latest.\n"
        )
    return (
        f"{lease.job}: unlocked; it was held by {whose(lease, record)}.\n{further}"
        f"  If that run lives, it learns of it at its next heartbeat (within {beat}), stops its "
        f"command and ends with status {exits.LEASE_LOST}; another run may start before that."
    )


def _unlock(history: History, seen: Overview) -> list[dict[str, object]]:
    """Take each lease away; return what was done, with the words for people."""
    done: list[dict[str, object]] = []
    for lease in seen.leases:
        record = start_record(seen, lease)
        freed = history.unlock(lease, by())
        locks, trouble = [], ""
        try:
            locks = free_locks(history, lease) if freed else []
        except StoreDown as error:
            trouble = str(error)
        text = (
            _told(lease, record, locks, trouble)
            if freed
            else (
                f"{lease.job}: nothing unlocked: the lock was given back or changed hands just now."
            )
        )
        told = {"job": lease.job, "unlocked": freed, "locks": locks, "text": text}
        done.append({**render.lease_json(lease), **told})
    return done


@click.command()
@click.argument("job")
@click.option(
    "--force",
    is_flag=True,
    help="Do it even if the holder seems alive: another run may start beside it.",
)
@with_store
def command(*, here: Here, job: str, force: bool) -> int:
    """Take the lock of JOB away from a run that is gone."""
    with here.history(job) as history:
        if not is_job(history, job):
            return no_such_job(history, job)
        seen = history.overview([job])[job]
        if seen.damage:
            raise Damaged(seen.damage)
        if not seen.leases:
            return say_error(f"{job}: not locked: no run holds its lock.", exits.NO)
        for lease in seen.leases:
            if not force and seems_alive(lease):
                return _refuse(lease, start_record(seen, lease))
        done = _unlock(history, seen)
    if here.as_json:
        say_json([{k: v for k, v in one.items() if k != "text"} for one in done])
    else:
        for one in done:
            say(str(one["text"]))
    return exits.DONE if all(one["unlocked"] for one in done) else exits.NO
