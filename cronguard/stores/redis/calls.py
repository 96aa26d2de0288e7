"""Each request as a script with its keys and arguments. Both sides of the store use these."""

from __future__ import annotations

from cronguard.core.record import KEPT_FAILURES, KEPT_RUNS, KEPT_SKIPS, encode
from cronguard.stores.redis.keys import fence, jobs, prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Claim
    from cronguard.stores.contract import Acquire, Close, Reclaim, Renew

Part = str | int


class Call:
    """A script by name, its keys and its arguments; `bounded`: the last one is `not_after`.

    `not_after` is the store's clock in ms at which who asked has given up, or 0 if not known.
    """

    __slots__ = ("args", "bounded", "keys", "name")

    def __init__(self, name: str, keys: list[str], args: list[Part], bounded: bool = False) -> None:
        self.name = name
        self.keys = keys
        self.args = args
        self.bounded = bounded


def _facts(claim: Claim) -> str:
    """Return what is kept of the owner beside the lease."""
    return encode(claim.owner.facts())


def _index(claim: Claim) -> list[str]:
    """Return the keys of a script that hears of the job for the index of jobs."""
    return [fence(claim.namespace, claim.job), jobs(claim.namespace)]


def acquire(claim: Claim, request: Acquire) -> Call:
    """Return the call that asks for the lease."""
    args: list[Part] = [
        claim.owner.run_id,
        _facts(claim),
        claim.px,
        claim.slots,
        claim.settings,
        request.queue_for,
        request.evict or "",
        claim.slot_id or "",
        claim.slot_px,
        request.record,
        claim.job,
    ]
    return Call("acquire", _index(claim), args, bounded=True)


def renew(claim: Claim, request: Renew) -> Call:
    """Return the call that extends the lease."""
    job = prefix(claim.namespace, claim.job)
    args: list[Part] = [claim.owner.run_id, request.token, claim.px]
    return Call("renew", [f"{job}l:{request.index}", f"{job}c"], args)


def reclaim(claim: Claim, request: Reclaim, granted: int | None) -> Call:
    """Return the call that takes the vanished lease again; *granted* by the store's clock."""
    args: list[Part] = [
        claim.owner.run_id,
        _facts(claim),
        claim.px,
        claim.settings,
        request.token,
        request.index,
        "" if granted is None else granted,
    ]
    return Call("reclaim", [fence(claim.namespace, claim.job)], args, bounded=True)


def close(claim: Claim, request: Close) -> Call:
    """Return the call that ends the run."""
    args: list[Part] = [
        claim.owner.run_id,
        claim.slots,
        int(request.release),
        claim.min_hold,
        claim.slot_id or "",
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
    return Call("close", _index(claim), args)
