"""The least that a Redis user needs for cronguard, command by command. A test runs under it."""

from __future__ import annotations

SCRIPTS = (
    "del",
    "get",
    "hdel",
    "hget",
    "hgetall",
    "hincrby",
    "hmget",
    "hset",
    "pexpire",
    "pttl",
    "publish",
    "set",
    "time",
    "zadd",
    "zcard",
    "zcount",
    "zrange",
    "zrangebyscore",
    "zrank",
    "zrem",
    "zscore",
)
"""What the scripts call: Redis checks these against the user's rights, too."""
DIRECT = (
    "eval",
    "evalsha",
    "subscribe",
    "hgetall",
    "hmget",
    "hget",
    "hset",
    "hdel",
    "hscan",
    "zrange",
    "zrevrange",
    "time",
)
"""What both sides send themselves."""
ANY_DATABASE = ("select",)
"""Needed where the store URL names a database other than 0."""
REPLICAS = ("wait",)
"""Needed with `min_replicas`."""
QUORUM = ("info",)
"""Needed of each server of a quorum: one that may have lost its data has no vote."""
CLUSTER = ("asking", "scan", "cluster|slots", "command")
"""Needed in a Redis Cluster: to follow a slot that moves, and to read from all nodes."""
SENTINELS = ("sentinel|get-master-addr-by-name", "sentinel|masters")
"""Needed on the sentinels: by a run, and by commands that read."""
HELPFUL = ("info", "acl|whoami", "scan")
CLUSTER_HELPFUL = ("cluster|info",)
"""What `doctor` asks, and `stuck` for foreign keys, and do without.

A run without +info cannot notice a restart."""
COMMANDS = tuple(sorted({*SCRIPTS, *DIRECT}))


def acl_line(
    user: str,
    namespace: str,
    *,
    select: bool = False,
    replicas: bool = False,
    cluster: bool = False,
    facts: bool = False,
) -> str:
    """Return the command that makes such a user; `PASSWORD` is to be replaced."""
    extra = (ANY_DATABASE if select else ()) + (REPLICAS if replicas else ())
    extra += (CLUSTER if cluster else ()) + (HELPFUL if facts else ())
    extra += CLUSTER_HELPFUL if cluster and facts else ()
    rights = " ".join([f"+{command}" for command in dict.fromkeys((*COMMANDS, *extra))])
    keys = f"resetkeys ~{namespace}:* resetchannels &{namespace}:*"
    return f"ACL SETUSER {user} on >PASSWORD {keys} -@all {rights}"


def sentinel_acl_line(user: str) -> str:
    """Return the command that makes such a user of a sentinel."""
    rights = " ".join([f"+{command}" for command in SENTINELS])
    return f"ACL SETUSER {user} on >PASSWORD -@all {rights}"
