"""What scripts return, as owners and sentences. Loaded only when a lease is not granted."""

from __future__ import annotations

from cronguard.core.decode import decode
from cronguard.core.record import utc
from cronguard.core.spec import Owner, owner_from

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


def why_refused(reason: str, details: list[bytes], claim: Claim) -> str:
    """Say why a job was refused, as the end of a sentence that begins with what was refused."""
    if reason == "conflict":
        owner = Held(details[1]).owner
        return (
            f"run {owner.run_id} on {owner.host or 'another host'} runs this job with "
            f"{_settings(details[0].decode())}, and here it is {_settings(claim.settings)}: "
            "give the job the same --ttl and --slots everywhere"
        )
    if reason == "slot_done":
        return f"the slot {claim.slot_id} was used by run {details[0].decode()}"
    return why_paused(decode(details[0].decode()))


def why_paused(pause: dict[str, object]) -> str:
    """Say for how long, by whom and why the job is paused."""
    until, by, reason = pause.get("until"), pause.get("by"), pause.get("reason")
    text = f"paused until {utc(until)}" if isinstance(until, int) else "paused until resumed"
    text += f" by {by}" if by else ""
    return f"{text}: {reason}" if reason else text


def _settings(text: str) -> str:
    """Turn `px=35000 slots=1` into words."""
    found = dict([part.split("=", 1) for part in text.split() if "=" in part])
    px, slots = found.get("px", ""), found.get("slots", "")
    if not _number(px) or not _number(slots):
        return text
    return f"{_number(px) / 1000:g}s in the store (TTL and takeover delay) and {slots} at a time"
