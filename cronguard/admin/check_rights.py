"""What the Redis user of `doctor` may do: too little for cronguard, or too much.

The server is asked without doing anything: `redis.acl_check_cmd` in a script (Redis 7.0). Each
command is tried on a key that cronguard would use. An older server is taken at its user's name.

A sentinel runs no scripts, and ACL DRYRUN needs a right of its own. So commands are sent to it that
only read, or that come to nothing as they name no master: rights are checked before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

from cronguard.admin import render
from cronguard.admin.findings import FAILED, OK, WARNING, Finding
from cronguard.stores.address import parse_all
from cronguard.stores.redis import keys
from cronguard.stores.redis.acl import (
    CLUSTER,
    COMMANDS,
    QUORUM,
    REPLICAS,
    SENTINELS,
    acl_line,
    sentinel_acl_line,
)
from cronguard.stores.redis.client import connect, sentinels

if TYPE_CHECKING:
    from cronguard.stores.address import Address

Words = tuple[str, ...]
_JOB = "cronguard-doctor"
_ASK = """
local out = {}
local at = 1
for _ = 1, tonumber(ARGV[1]) do
    local count = tonumber(ARGV[at + 1])
    local words = {}
    for i = 1, count do words[i] = ARGV[at + 1 + i] end
    local known, may = pcall(redis.acl_check_cmd, unpack(words))
    out[#out + 1] = (known and may) and 1 or 0
    at = at + 1 + count
end
return out
"""
_TOO_MUCH: tuple[tuple[str, Words], ...] = (
    ("FLUSHALL", ("flushall",)),
    ("CONFIG SET", ("config", "set", "maxmemory", "0")),
    ("ACL SETUSER", ("acl", "setuser", "x")),
    ("KEYS", ("keys", "*")),
    ("other keys", ("get", "some-other-key")),
)
"""What a stranger with this user's password would like."""
_NO_MASTER = "no master?"
"""No name that a sentinel takes: they are made of letters, digits and `.-_`."""
_TOO_MUCH_THERE: tuple[tuple[str, Words], ...] = (
    ("SENTINEL FAILOVER", ("sentinel", "failover", _NO_MASTER)),
    ("SENTINEL SET", ("sentinel", "set", _NO_MASTER, "quorum", "1")),
    ("SENTINEL REMOVE", ("sentinel", "remove", _NO_MASTER)),
    ("ACL SETUSER", ("acl", "setuser", "cronguard-doctor", "no-such-rule")),
)


def least(url: str, namespace: str, *, replicas: bool = False) -> str:
    """Return the command that makes a user with the least rights for this store."""
    address = parse_all(url)[0]
    user = address.user if address.user not in ("", "default") else "cronguard"
    return acl_line(
        user,
        namespace,
        select=address.db != 0,
        replicas=replicas,
        cluster=address.kind == "cluster",
        facts=True,
    )


def least_of_sentinels(url: str) -> str:
    """Return the command that makes a user of the sentinels; nothing if there are none."""
    address = parse_all(url)[0]
    user = address.sentinel_user if address.sentinel_user not in ("", "default") else "cronguard"
    return sentinel_acl_line(user) if address.kind == "sentinel" else ""


def rights(url: str, namespace: str, whoami: object, *, replicas: bool = False) -> Finding:
    """Tell whether the user of *url* may do what it must on each server, and no more than that."""
    addresses = parse_all(url)
    more = (*(REPLICAS if replicas else ()), *(QUORUM if len(addresses) > 1 else ()))
    found = [_rights(address, namespace, whoami, more) for address in addresses]
    return next((finding for finding in found if finding.level != OK), found[0])


def rights_there(url: str) -> list[Finding]:
    """Tell what the user of the sentinels of *url* lacks, or may do too much; of one that answers.

    Those that do not answer are told by what they say of the master.
    """
    address = parse_all(url)[0]
    if address.kind != "sentinel":
        return []
    found = []
    for client in sentinels(address).sentinels:
        try:
            missing = [name for name in SENTINELS if not _may(client, tuple(name.split("|")))]
            more = [name for name, words in _TOO_MUCH_THERE if _may(client, words)]
            found.append(_judged_there(address, missing, more))
        except redis.exceptions.RedisError:
            continue
        finally:
            client.close()
    return [next((one for one in found if one.level != OK), found[0])] if found else []


def _may(client: Any, words: Words) -> bool:
    """Tell whether *words* are allowed: what they come to does not matter. Raises: RedisError."""
    more = (_NO_MASTER,) if words[-1] == "get-master-addr-by-name" else ()
    try:
        client.execute_command(*words, *more)
    except redis.exceptions.NoPermissionError:
        return False
    except redis.exceptions.ResponseError:
        pass
    return True


def _judged_there(address: Address, missing: list[str], more: list[str]) -> Finding:
    user = f"user {render.word(address.sentinel_user or 'default')} of the sentinels"
    if missing:
        text = f"{user} lacks {', '.join(missing)}"
        return Finding("sentinel user", FAILED, text, "give it the rights below")
    if more:
        text = f"{user} may do more than finding the master needs ({', '.join(more)})"
        todo = "give cronguard the user below (sentinel_user, sentinel_password)"
        return Finding("sentinel user", WARNING, text, todo)
    return Finding("sentinel user", OK, f"{user} may find the master, and nothing more")


def _rights(address: Address, namespace: str, whoami: object, extra: Words) -> Finding:
    user = render.word(whoami or address.user or "default")
    client: Any = connect(address)
    try:
        missing, more = _asked(client, namespace, address, extra)
    except redis.exceptions.NoPermissionError:
        missing, more = ["eval"], []
    except redis.exceptions.RedisError:
        return _by_name(user)
    finally:
        client.close()
    if missing:
        text = f"user {user} lacks {', '.join(missing)} on keys and channels {namespace}:*"
        return Finding("user", FAILED, text, "give it the rights below")
    if more:
        text = f"user {user} may do more than locks need ({', '.join(more)})"
        todo = "give cronguard the user below, and its password to nobody else"
        return Finding("user", WARNING, text, todo)
    return Finding("user", OK, f"{user} may do what locks need, and nothing more")


def _asked(
    client: Any, namespace: str, address: Address, extra: Words
) -> tuple[list[str], list[str]]:
    """Return the commands that the user lacks, and what it may do beyond them."""
    needed = [*COMMANDS, *(["select"] if address.db else []), *extra]
    needed += CLUSTER if address.kind == "cluster" else ()
    tried = [_example(command, namespace) for command in needed]
    tried += [words for _, words in _TOO_MUCH]
    flat = [part for words in tried for part in (len(words), *words)]
    answers = client.execute_command("EVAL", _ASK, 0, len(tried), *flat)
    missing = [command for command, may in zip(needed, answers, strict=False) if not may]
    rest = zip(_TOO_MUCH, answers[len(needed) :], strict=True)
    if len(missing) == len(needed):
        raise redis.exceptions.ResponseError("this server has no acl_check_cmd")
    return missing, [name for (name, _), may in rest if may]


def _example(command: str, namespace: str) -> Words:
    """Return a use of *command* that names a key of cronguard where it names any."""
    key = keys.fence(namespace, _JOB)
    special: dict[str, Words] = {
        "eval": ("return 1", "1", key),
        "evalsha": ("0" * 40, "1", key),
        "publish": (keys.channel(namespace, _JOB), "x"),
        "subscribe": (keys.channel(namespace, _JOB),),
        "select": ("1",),
        "time": (),
        "del": (key,),
        "get": (key,),
        "pttl": (key,),
        "zcard": (key,),
        "hgetall": (key,),
    }
    special |= {
        "info": ("server",),
        "wait": ("1", "1"),
        "asking": (),
        "scan": ("0",),
        "command": (),
    }
    special |= {"cluster|slots": ("slots",), "cluster|shards": ("shards",)}
    return (command.partition("|")[0], *special.get(command, (key, "1", "1", "1")))


def _by_name(user: str) -> Finding:
    """Judge a user of an older server, which cannot be asked, by its name."""
    if user == "default":
        text = "user default may usually do anything"
        return Finding("user", WARNING, text, "give cronguard the user below")
    text = f"{user}; what else it may do is not to be seen before Redis 7.0"
    return Finding("user", OK, text)
