"""What a server says about itself, for `doctor`. A missing permission costs one fact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Callable

_INFO = {
    "uptime": ("server", "uptime_in_seconds"),
    "run_id": ("server", "run_id"),
    "maxmemory": ("memory", "maxmemory"),
    "maxmemory_policy": ("memory", "maxmemory_policy"),
    "used_memory": ("memory", "used_memory"),
    "aof": ("persistence", "aof_enabled"),
    "aof_ok": ("persistence", "aof_last_write_status"),
    "rdb_ok": ("persistence", "rdb_last_bgsave_status"),
    "rdb_last_save": ("persistence", "rdb_last_save_time"),
}
_LEAST = ("uptime", "aof", "aof_ok", "rdb_ok")
"""Of these the least is the worst: a server that restarted, one that does not save, `err`."""


def read_hello(client: Any) -> dict[str, str]:
    """Return what the server says it is; nothing if it does not know the question."""
    return _pairs(_tried(lambda: client.execute_command("HELLO")))


def read_run_id(client: Any) -> str:
    """Return what tells this start of the server from any other; nothing if it may not be asked."""
    return str((_section(client, "server") or {}).get("run_id") or "")


def read_facts(client: Any) -> dict[str, object]:
    """Return the server's facts by name; None for what this user may not ask."""
    hello = read_hello(client)
    clock = _tried(client.time)
    facts: dict[str, object] = {
        "flavour": hello.get("server"),
        "version": hello.get("version"),
        "mode": hello.get("mode"),
        "role": hello.get("role"),
        "clock": clock[0] * 1000 + clock[1] // 1000 if clock else None,
        "whoami": _tried(lambda: client.execute_command("ACL WHOAMI")),
    }
    if isinstance(facts["whoami"], bytes):
        facts["whoami"] = facts["whoami"].decode()
    sections: dict[str, Any] = {}
    for name, (section, field) in _INFO.items():
        if section not in sections:
            sections[section] = _section(client, section)
        facts[name] = sections[section].get(field)
    if facts["flavour"] == "redis" and "valkey_version" in (sections["server"] or {}):
        facts |= {"flavour": "valkey", "version": sections["server"]["valkey_version"]}
    return facts


def read_cluster(client: Any) -> dict[str, str]:
    """Return what a node says of its Cluster; nothing if this user may not ask."""
    said = _tried(lambda: client.execute_command("CLUSTER INFO"))
    if isinstance(said, dict):
        return {_text(name): _text(value) for name, value in said.items()}
    lines = [line.partition(":") for line in _text(said or b"").split()]
    return {name: value for name, _, value in lines}


def merged(servers: list[dict[str, object]]) -> dict[str, object]:
    """Return the facts of many servers as those of one: where they differ, what is worst."""
    facts = dict(servers[0])
    for other in servers[1:]:
        for name, value in other.items():
            worse = value is None or (name in _LEAST and _less(value, facts[name]))
            if worse or (name == "maxmemory_policy" and facts[name] == "noeviction"):
                facts[name] = value
    return facts


def _less(one: object, other: object) -> bool:
    return other is not None and str(one).rjust(20, "0") < str(other).rjust(20, "0")


def _section(client: Any, name: str) -> dict[str, Any]:
    return _tried(lambda: client.info(name)) or {}


def _tried(ask: Callable[[], Any]) -> Any:
    """Return what *ask* returns, or None where the server will not say."""
    try:
        return ask()
    except redis.exceptions.ResponseError:
        return None


def _pairs(flat: object) -> dict[str, str]:
    """Turn HELLO's answer (a flat list in RESP2) into a dict of its texts."""
    if isinstance(flat, dict):
        items = list(flat.items())
    elif isinstance(flat, list):
        items = list(zip(flat[::2], flat[1::2], strict=False))
    else:
        return {}
    return {_text(key): _text(value) for key, value in items if isinstance(value, bytes | str)}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
