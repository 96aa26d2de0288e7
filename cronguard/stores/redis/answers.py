"""What scripts return, as owners and sentences. Loaded only when a lease is not granted."""

from __future__ import annotations

from _json import make_scanner  # the C core: `json` costs 7 ms at start

from cronguard.core.record import utc
from cronguard.core.spec import Owner, owner_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Claim


class _Plain:
    """What the scanner asks for: JSON as it is."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012  the scanner clears it after each document


_scan = make_scanner(_Plain())  # type: ignore[arg-type]


def decode(text: str) -> dict[str, object]:
    """Return the JSON object in *text*; what is none is empty: facts are for people."""
    try:
        found, _ = _scan(text, 0)
    except (StopIteration, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Held:
    """A lease as it is stored: `run_id:token:granted_ms:px:facts`."""

    __slots__ = ("granted", "owner", "px", "token")

    def __init__(self, value: bytes) -> None:
        run_id, token, granted, px, facts = (
            value.decode("utf-8", "replace").split(":", 4) + [""] * 4
        )[:5]
        self.owner: Owner = owner_from(run_id, decode(facts) if facts else {})
        self.token = int(token) if token.isdigit() else 0
        self.granted = int(granted) if granted.isdigit() else 0
        self.px = int(px) if px.isdigit() else 0


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
    if not px.isdigit() or not slots.isdigit():
        return text
    return f"{int(px) / 1000:g}s in the store (TTL and takeover delay) and {slots} at a time"
