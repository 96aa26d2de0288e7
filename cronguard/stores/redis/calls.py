"""Each request as a script with its keys and arguments. Both sides of the store use these."""

from __future__ import annotations

from cronguard.core.record import KEPT_FAILURES, KEPT_RUNS, KEPT_SKIPS, encode
from cronguard.stores.redis.keys import jobs, prefix, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Claim
    from cronguard.stores.contract import Acquire, Close, Reclaim, Renew

Part = str | int


class Call:
    """A script by name, its keys and its arguments; `bounded`: the last one is `not_after`.

    `not_after` is the store's clock in ms at which who asked has given up, or 0 if not known. For
    an acquire, -1 if it may grant nothing.
    `replicas` how many of them must have what it changed.
    """

    __slots__ = ("args", "bounded", "keys", "name", "replicas")

    def __init__(
        self,
        name: str,
        keys: list[str],
        args: list[Part],
        *,
        bounded: bool = False,
        replicas: int = 0,
    ) -> None:
        self.name = name
        self.keys = keys
        self.args = args
        self.bounded = bounded
        self.replicas = replicas


def _facts(claim: Claim) -> str:
    """Return what is kept of the owner beside the lease."""
    return encode(claim.owner.facts())


def _keys(claim: Claim, indexed: bool) -> list[str]:
    """Return the keys of a script that hears of the job, for the index of jobs if there is one."""
    whole_job = whole(claim.namespace, claim.job)
    return [*whole_job, jobs(claim.namespace)] if indexed else whole_job


def acquire(
    claim: Claim, request: Acquire, indexed: bool = True, ask: int = 0, slot: int = 0
) -> Call:
    """Return the call that asks for the lease, the *ask*th time; a Cluster has no index of jobs.

    *slot* is the one that the run is for, once that is known.
    """
    slot = request.slot or slot
    args: list[Part] = [
        claim.owner.run_id,
        _facts(claim),
        claim.px,
        claim.slots,
        claim.settings,
        request.queue_for,
        request.evict or "",
        str(slot) if slot else claim.rule,
        claim.slot_px,
        request.record,
        claim.job,
        request.at_least,
        ask,
        request.replace,
    ]
    keys = _keys(claim, indexed)
    return Call("acquire", keys, args, bounded=True, replicas=claim.replicas)


def renew(claim: Claim, request: Renew) -> Call:
    """Return the call that extends the lease.

    It names one key alone, which a Cluster finds also while the job's keys are moving.
    """
    lease = f"{prefix(claim.namespace, claim.job)}l:{request.index}"
    args: list[Part] = [claim.owner.run_id, request.token, claim.px]
    return Call("renew", [lease], args, replicas=claim.replicas)


def reclaim(claim: Claim, request: Reclaim, granted: int | None, slot: int = 0) -> Call:
    """Return the call that takes the vanished lease again; *granted* by the store's clock.

    *slot* is the one that the run is for, 0 for none.
    """
    args: list[Part] = [
        claim.owner.run_id,
        _facts(claim),
        claim.px,
        claim.settings,
        request.token,
        request.index,
        "" if granted is None else granted,
        slot or "",
        claim.slot_px,
    ]
    keys = whole(claim.namespace, claim.job)
    return Call("reclaim", keys, args, bounded=True, replicas=claim.replicas)


def close(claim: Claim, request: Close, indexed: bool = True, ask: int = 0, slot: int = 0) -> Call:
    """Return the call that ends the run.

    One that undoes a grant (no record) comes to nothing after its attempt, or when the run was
    granted the lease since by a later request than the *ask*th, over another connection.
    """
    undo = request.record is None
    args: list[Part] = [
        claim.owner.run_id,
        claim.slots,
        int(request.release),
        0 if undo else claim.min_hold,
        slot or "",
        int(request.forget_slot),
        request.record or "",
        request.outcome,
        request.reason,
        request.ended_wall,
        claim.job,
        KEPT_RUNS,
        KEPT_FAILURES,
        KEPT_SKIPS,
    ]
    if undo:
        args.append(ask)
    # Nobody counts on the record of a skip: it is not worth another round trip.
    replicas = 0 if undo or request.outcome == "skipped" else claim.replicas
    return Call("close", _keys(claim, indexed), args, bounded=undo, replicas=replicas)
