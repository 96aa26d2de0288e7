"""What an error reply means for us: may it pass, and what can the reader do about it.

Every text is read after "cannot use redis://10.0.0.5:6379/0: ". Loaded only when there is an
error. An error that is not listed is taken to pass: the machine asks again until its time is up.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address

_PASSING = {
    "OOM": "it is out of memory",
    "MISCONF": "it refuses writes as it cannot save to disk",
    "NOREPLICAS": "it refuses writes as too few replicas follow it",
    "READONLY": "it is a read-only replica",
    "MASTERDOWN": "it is a replica that has lost its master",
    "LOADING": "it is still loading its data",
    "BUSY": "it is busy with somebody's script",
    "MOVED": "its nodes do not agree on who has the job",
    "TRYAGAIN": "the job's keys are moving to another node",
    "ASK": "the job's keys are moving to another node",
    "CLUSTERDOWN": "its cluster is down",
    "WRONGTYPE": "a key of the job is not of its kind (`cronguard doctor` names it)",
    "UNBLOCKED": "it has just changed its role",
}
_FINAL = {
    "NOAUTH": "it wants a password: give one in the store URL, as redis://:PASSWORD@host",
    "WRONGPASS": "it does not know this user, or the password is wrong",
    "CROSSSLOT": "it is a node of a Redis Cluster: write redis+cluster://host:6379",
}
_NO_RIGHT = ("ERR The user executing the script can't", "ERR ACL failure")
"""NOPERM inside a script, as Redis 7.0 and Valkey have it."""
_NOT_HERE = "attempted to access a non local key"
"""A script met a key that has moved to another node already, or not come yet."""
_FULL = "max number of clients"
_DROPS = frozenset(("READONLY", "MASTERDOWN", "UNBLOCKED", "CLUSTERDOWN", "MOVED"))
_LENGTH = 200


class Fault:
    """One error reply, understood. `drop`: another server may answer on a new connection."""

    __slots__ = ("denied", "drop", "why")

    def __init__(self, why: str, denied: bool, drop: bool = False) -> None:
        self.why = why
        self.denied = denied
        self.drop = drop


def understand(reply: str, address: Address) -> Fault:
    """Return what *reply*, an error, means. The text never has the password in it."""
    text = _cleaned(reply, address)
    code = _code(text)
    if code == "NOPERM" or text.startswith(_NO_RIGHT):
        return Fault(_no_permission(text, address), denied=True)
    if code in _FINAL:
        return Fault(_FINAL[code], denied=True)
    if text.startswith("ERR") and ("AUTH" in text or "invalid password" in text):
        return Fault(f"it does not accept the user or the password ({text})", denied=True)
    if text.startswith("ERR DB index") or "SELECT is not allowed" in text:
        return Fault(f"it has no database {address.db} ({text})", denied=True)
    if code == "MOVED" and address.kind != "cluster":
        return Fault(_FINAL["CROSSSLOT"], denied=True)
    if _NOT_HERE in text:
        return Fault(_PASSING["TRYAGAIN"], denied=False)
    if _FULL in text:
        return Fault(f"it has no room for another client ({text})", denied=False, drop=True)
    if code in _PASSING:
        return Fault(f"{_PASSING[code]} ({text})", denied=False, drop=code in _DROPS)
    return Fault(f"it answered: {text}", denied=False)


def _cleaned(reply: str, address: Address) -> str:
    """Return the server's words: one printable line, without where in the script it was."""
    words, found, where = reply.rpartition(" script: ")
    text = (words if found and ", on @" in where else reply).rstrip(". ")
    if address.password:
        text = text.replace(address.password, "***")
    text = "".join([char if char.isprintable() else "?" for char in text])
    return text if len(text) <= _LENGTH else text[:_LENGTH] + "..."


def _code(text: str) -> str:
    """Return the error's code. Redis 6.2 wraps what a script met in an ERR of its own."""
    first = text.split(" ", 1)[0]
    if first != "ERR" or "running script" not in text:
        return first
    for word in text.replace("-", " ").replace(":", " ").split():
        if word in _PASSING or word in _FINAL or word == "NOPERM":
            return word
    return first


def _no_permission(text: str, address: Address) -> str:
    return (
        f"user {address.user or 'default'!r} lacks a permission ({text}): "
        "`cronguard doctor` prints the ACL that is needed"
    )
