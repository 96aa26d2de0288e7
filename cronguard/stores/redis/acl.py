"""The least that a Redis user needs for cronguard, command by command. A test runs under it."""

from __future__ import annotations

SCRIPTS = (
    "del",
    "get",
    "hdel",
    "hget",
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
HELPFUL = ("info", "acl|whoami")
"""What `doctor` asks, and does without."""
COMMANDS = tuple(sorted({*SCRIPTS, *DIRECT}))


def acl_line(user: str, namespace: str, *, select: bool = False, facts: bool = False) -> str:
    """Return the command that makes such a user; `PASSWORD` is to be replaced."""
    extra = (ANY_DATABASE if select else ()) + (HELPFUL if facts else ())
    rights = " ".join([f"+{command}" for command in (*COMMANDS, *extra)])
    keys = f"resetkeys ~{namespace}:* resetchannels &{namespace}:*"
    return f"ACL SETUSER {user} on >PASSWORD {keys} -@all {rights}"
