"""A job some of whose keys are of another kind than cronguard makes them: others wrote to them.

Redis refuses what works on such a key (WRONGTYPE), and tells nobody which one it was. So each of
the job's keys is asked for what needs its kind, and no right that cronguard has not got.
"""

from __future__ import annotations

from typing import Any

import redis

_CODE = "WRONGTYPE"
_KINDS = (("GET", "l:0"), *(("HGET", key) for key in "fcrn"))
_SETS = ("w", "wx", "o", "h", "x", "k")


def is_damage(reply: object) -> bool:
    """Tell whether *reply* is the error of a command on a key of another kind."""
    return isinstance(reply, redis.exceptions.ResponseError) and _CODE in str(reply)


def sound(replies: list[Any]) -> list[Any]:
    """Return the replies of a pipeline, such errors among them. Raises: the first other one."""
    for reply in replies:
        if isinstance(reply, Exception) and not is_damage(reply):
            raise reply
    return replies


def key_of(command: tuple[Any, ...]) -> str | bytes:
    """Return the first key of a command as the history side sends them; bytes if not ours."""
    key = command[3] if command[0] == "EVALSHA" else command[1]
    return key if isinstance(key, bytes) else str(key)


def probes(prefix: str) -> list[tuple[str, ...]]:
    """Return commands that read, and of which those fail whose key is damaged."""
    some = [(word, prefix + key, *(["-"] if word == "HGET" else [])) for word, key in _KINDS]
    return [*some, *[("ZCARD", prefix + key) for key in _SETS]]


def described(what: str, label: str, found: list[str]) -> str:
    """Return what to say of *what*, and what to do about the keys *found*."""
    names = " and ".join(found) or "one of its keys"
    return (
        f"cannot read {what} in {label}: {names} is not of the kind that cronguard makes it, so "
        "something else wrote there; when nothing of it runs, rename or remove it (RENAME, DEL)"
    )
