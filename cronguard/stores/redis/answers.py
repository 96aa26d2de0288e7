"""What scripts return, as owners and sentences. Loaded only when a lease is not granted."""

from __future__ import annotations

from cronguard.core.decode import decode
from cronguard.core.events import Refused
from cronguard.core.spec import Owner, owner_from
from cronguard.stores import refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Claim

_DIGITS = 18


class Held:
    """A lease as it is stored: `run_id:token:granted_ms:px:facts`."""

    __slots__ = ("granted", "owner", "px", "token")

    def __init__(self, value: bytes) -> None:
        run_id, token, granted, px, facts = (
            value.decode("utf-8", "replace").split(":", 4) + [""] * 4
        )[:5]
        self.owner: Owner = owner_from(run_id, decode(facts) if facts else {})
        self.token, self.granted, self.px = _number(token), _number(granted), _number(px)


def _number(text: str) -> int:
    """Return a number of ours, or 0 for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


def refused(reason: str, details: list[bytes], claim: Claim) -> Refused:
    """Return why a job was refused, as the end of a sentence, and by what run if by one."""
    if reason == "conflict":
        holder = Held(details[1]).owner
        why = refusals.conflict(holder, details[0].decode(), claim.settings)
        return Refused(reason, why, holder)
    if reason == "slot_done":
        user = Held(details[0])
        user.owner.since_wall = user.granted
        return refusals.slot_done(user.owner, _number(details[1].decode()))
    pause = decode(details[0].decode())
    return refusals.paused(pause.get("until"), pause.get("by"), pause.get("reason"))
