"""Why a store refused a run, as the end of a sentence: both stores say it in the same words.

Loaded only when it happens.
"""

from __future__ import annotations

from cronguard.core.events import Refused
from cronguard.core.lease import TAKEOVER_MS
from cronguard.core.record import utc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Owner

_DIGITS = 18


def conflict(holder: Owner, theirs: str, ours: str) -> str:
    """Say in what the settings of the run that holds the lock differ from those of this one."""
    held, asked = _flags(theirs), _flags(ours)
    differing = [flag for flag in asked if held.get(flag) != asked[flag]]
    with_theirs = " ".join([f"{flag} {held.get(flag, '?')}" for flag in differing])
    with_ours = " ".join([f"{flag} {asked[flag]}" for flag in differing])
    where = f"{holder.host or 'another host'}, pid {holder.pid or '?'}, run {holder.run_id[:12]}"
    return f"another run ({where}) holds the lock with {with_theirs}, and this one has {with_ours}"


def slot_done(user: Owner, slot: int) -> Refused:
    """Say that *user* was the run for this slot."""
    began = f" (it began at {utc(user.since_wall)})" if user.since_wall else ""
    where = f"run {user.run_id[:12]} on {user.host or 'another host'}"
    why = f"{where} was the one for {utc(slot)}{began}"
    return Refused("slot_done", why, user, slot)


def paused(until: object, by: object, reason: object) -> Refused:
    """Say until when, by whom and why the job is paused: `until resumed by ann: a new disk`."""
    text = f"until {utc(until)}" if isinstance(until, int) else "until resumed"
    text += f" by {by}" if by else ""
    return Refused("paused", f"{text}: {reason}" if reason else text)


def _flags(settings: str) -> dict[str, str]:
    """Turn `px=35000 slots=1` into the options that say it."""
    found = dict([part.split("=", 1) for part in settings.split() if "=" in part])
    px, slots = found.get("px", ""), found.get("slots", "")
    flags = {"--slots": slots} if _is_number(slots) else {}
    if _is_number(px):
        flags["--ttl"] = f"{(int(px) - TAKEOVER_MS) / 1000:g}s"
    return flags


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS
