"""What each command answers with --json: every field and its type, in one place.

Fields may be added; none changes its type, and none goes away without its line here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cronguard.core import record as rec
from tests.shape.test_docs import commands, context_of

from .seeds import Seeds, wall


class Each:
    """An object with any keys, all of whose values have one shape."""

    def __init__(self, shape: object) -> None:
        self.shape = shape


class OneOf:
    """One of these words."""

    def __init__(self, *words: str) -> None:
        self.words = words


def maybe(shape: object) -> tuple[object, None]:
    """The shape, or null."""
    return (shape, None)


TEXT, NUMBER = maybe(str), maybe(int)
DUE_FROM = maybe(OneOf("configuration", "announced"))
HOLDER = {"run_id": str, "host": str, "pid": int, "user": str, "since": TEXT}
HOLDER_OF_LOCK = {**HOLDER, "lock": str, "job": str}
ATTEMPT = {
    "attempt": int,
    "started_at": TEXT,
    "ended_at": str,
    "exit_status": NUMBER,
    "signal": NUMBER,
}
RECORD = {
    "schema": int,
    "job": str,
    "run_id": str,
    "host": TEXT,
    "user": TEXT,
    "pid": NUMBER,
    "command": maybe([str]),
    "slot": TEXT,
    "schedule": maybe({"once_ms": NUMBER, "cron": TEXT, "tz": TEXT}),
    "attempt": NUMBER,
    "attempts": maybe([ATTEMPT]),
    "timeout_ms": NUMBER,
    "queued_at": TEXT,
    "started_at": TEXT,
    "stopping_at": TEXT,
    "ended_at": TEXT,
    "wait_ms": NUMBER,
    "duration_ms": NUMBER,
    "outcome": OneOf(*rec.OUTCOMES),
    "reason": TEXT,
    "exit_status": NUMBER,
    "signal": NUMBER,
    "token": NUMBER,
    "renewals": NUMBER,
    "renew_failures": NUMBER,
    "longest_gap_ms": NUMBER,
    "cpu_user_ms": NUMBER,
    "cpu_system_ms": NUMBER,
    "max_rss_bytes": NUMBER,
    "stragglers": NUMBER,
    "warnings": maybe([{"at": str, "text": str}]),
    "limits": maybe(Each((int, str))),
    "output_bytes": NUMBER,
    "output_tail": TEXT,
    "holder": (HOLDER, HOLDER_OF_LOCK, None),
    "store": TEXT,
    "version": TEXT,
}
LEASE = {
    "run_id": str,
    "index": int,
    "token": int,
    "host": str,
    "user": str,
    "pid": int,
    "since_ms": int,
    "left_ms": int,
    "quiet_ms": int,
    "released": bool,
}
REPORTER = {
    "name": str,
    "type": TEXT,
    "told_of": [str],
    "after": NUMBER,
    "changes": maybe(bool),
    "all_jobs": bool,
    "jobs": [str],
    "waiting": int,
    "problem": TEXT,
}
REPORTED = {"reporter": str, "event": str, "told": bool, "why": TEXT, "ms": int}
PAUSE = {"until_ms": NUMBER, "reason": TEXT, "by": TEXT}
STATUS = {
    "job": str,
    "state": OneOf("running", "held", "paused", "idle", "damaged"),
    "queued": int,
    "waiting": [str],
    "leases": [LEASE],
    "lock_left_ms": NUMBER,
    "paused": maybe(PAUSE),
    "last": maybe(RECORD),
    "last_success": TEXT,
    "skips_since_run": int,
    "next_due": TEXT,
    "due_from": DUE_FROM,
    "counters": Each(int),
    "damage": TEXT,
}
USAGE = {"processes": int, "cpu_ms": int, "rss_bytes": int}
PS = {**RECORD, "lease": LEASE, "queued": int, "usual_ms": NUMBER, "usage": maybe(USAGE)}
TOP = {
    "at": str,
    "runs": [{**PS, "cpu_percent": NUMBER}],
    "waiting": [{"job": str, "queued": int, "run_ids": [str]}],
}
SHOW = {**RECORD, "lease": maybe(LEASE)}
LOGS = {"job": str, "run_id": str, "output_bytes": NUMBER, "output_tail": TEXT}
WHY = {
    "job": str,
    "why": str,
    "now": str,
    "do": TEXT,
    "commands": [str],
    "paused": maybe(PAUSE),
    "record": maybe(RECORD),
}
SPREAD = {"count": int, "p50_ms": NUMBER, "p95_ms": NUMBER, "p99_ms": NUMBER, "longest_ms": NUMBER}
STATS = {
    "job": str,
    "runs": int,
    "succeeded": int,
    "success_rate": maybe(float),
    "outcomes": Each(int),
    "skips": Each(int),
    "lock": {"acquired": int, "queued": int, "contended": int, "failed": int},
    "wait": SPREAD,
    "duration": SPREAD,
    "histogram": [{"below_ms": NUMBER, "runs": int}],
    "longest_gap_ms": NUMBER,
    "suggested_timeout_ms": NUMBER,
    "suggested_warn_after_ms": NUMBER,
    "period": maybe({"period_ms": int, "due_from": DUE_FROM, "too_short": maybe(bool)}),
}
LEVEL = OneOf("ok", "warning", "critical", "unknown")
CHECK = {
    "status": LEVEL,
    "exit_status": int,
    "findings": [{"job": str, "level": LEVEL, "check": str, "text": str}],
    "perf": Each(str),
}
HEALTHY = OneOf("healthy", "warning", "critical")
REASON = {"check": str, "level": LEVEL, "text": str}
HEALTH = {
    "status": HEALTHY,
    "jobs": [{"job": str, "status": HEALTHY, "running": int, "paused": bool, "reasons": [REASON]}],
    "error": TEXT,
}
DOCTOR = {
    "result": str,
    "store": TEXT,
    "checks": [{"check": str, "level": str, "text": str, "do": str}],
    "acl": TEXT,
    "sentinel_acl": TEXT,
}
CONFIG = {"job": TEXT, "files": [str], "values": Each({"value": str, "source": str})}
LINE = {
    "file": str,
    "line": int,
    "schedule": str,
    "user": TEXT,
    "command": str,
    "name": TEXT,
    "guarded": bool,
    "guarded_by": maybe(OneOf("run", "shell")),
    "next_at": TEXT,
}
LINT = {"file": str, "line": int, "problem": str, "remedy": str}
STOPPED = {**LEASE, "job": str, "ended": bool}
LEFT = {
    "kind": str,
    "job": TEXT,
    "run_id": TEXT,
    "host": TEXT,
    "pids": [int],
    "since_ms": NUMBER,
    "key": TEXT,
    "store": TEXT,
    "why": str,
    "provably_dead": bool,
    "clean": TEXT,
}
UNLOCKED = {**LEASE, "job": str, "unlocked": bool, "locks": [str]}

FAILING = ("sh", "-c", "echo hello; [ $CRONGUARD_ATTEMPT = 2 ]")
"""Its first attempt fails."""

SCHEMAS: dict[str, list[tuple[tuple[str, ...], object]]] = {
    "status": [((), [STATUS]), (("live",), [STATUS])],
    "ps": [((), [PS])],
    "top": [((), TOP)],
    "history": [(("--skips",), [RECORD]), (("real",), [RECORD])],
    "show": [(("real",), SHOW), (("live",), SHOW)],
    "logs": [(("real",), LOGS)],
    "why": [((job,), WHY) for job in ("real", "live", "failing", "paused")],
    "stats": [((), [STATS]), (("real",), STATS), (("paused",), STATS)],
    "check": [((), CHECK), (("real",), CHECK), (("nope",), CHECK)],
    "health": [((), HEALTH), (("real",), HEALTH)],
    "doctor": [((), DOCTOR)],
    "config show": [((), CONFIG), (("real",), CONFIG)],
    "config check": [((), [{"where": str, "problem": str}])],
    "crontab list": [(("TABLE",), [LINE])],
    "crontab lint": [(("TABLE",), [LINT])],
    "export history": [((), [RECORD]), (("real",), [RECORD])],
    "version": [((), {"version": str, "python": str, "kernel": str})],
    "stop": [(("live",), [STOPPED])],
    "unlock": [(("live", "--force"), [UNLOCKED])],
    "pause": [
        (
            ("real", "--for", "2h", "--reason", "x"),
            {"job": str, "paused": PAUSE, "running": [LEASE]},
        )
    ],
    "stuck": [((), [LEFT])],
    "clean": [
        (("--dry-run",), [{**LEFT, "done": None}]),
        (("--force",), [{**LEFT, "done": maybe(bool)}]),
    ],
    "prune": [
        (("--keep", "1", "--dry-run"), [{"job": str, "records": int, "dry_run": bool}]),
    ],
    "reset": [(("real", "--force"), [{"job": str, "reset": bool}])],
    "report list": [((), [REPORTER])],
    "report test": [(("nobody",), REPORTED)],
    "flush": [((), {"told": int, "waiting": int, "said": [str]})],
    "resume": [(("paused",), {"job": str, "resumed": bool, "was": maybe(PAUSE)})],
}
"""For each command: what to ask it, and the shape of the answer."""


def mistakes(value: Any, shape: Any, at: str = "$") -> list[str]:
    """Return where *value* is not of the shape."""
    if isinstance(shape, tuple):
        tried = [mistakes(value, one, at) for one in shape]
        return [] if [] in tried else [line for found in tried for line in found]
    if isinstance(shape, OneOf):
        return [] if value in shape.words else [f"{at}: {value!r} is none of {shape.words}"]
    if shape is None or isinstance(shape, type):
        is_it = value is None if shape is None else type(value) is shape
        return [] if is_it else [f"{at}: {value!r} is no {shape}"]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{at}: {value!r} is no list"]
        return [
            line for n, one in enumerate(value) for line in mistakes(one, shape[0], f"{at}[{n}]")
        ]
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is no object"]
    if isinstance(shape, Each):
        shape = dict.fromkeys(value, shape.shape)
    if value.keys() != shape.keys():
        return [f"{at}: {sorted(value.keys() ^ shape.keys())} are missing, or not told of here"]
    return [
        line for name, one in value.items() for line in mistakes(one, shape[name], f"{at}.{name}")
    ]


def test_every_command_with_json_has_its_schema() -> None:
    """Whoever adds a command adds its schema."""
    having = {
        name
        for name, command in commands().items()
        if any("--json" in parameter.opts for parameter in command.get_params(context_of(command)))
    }
    assert set(SCHEMAS) == having
    assert tuple(RECORD) == rec.FIELDS


@pytest.mark.parametrize("name", SCHEMAS)
def test_json_is_as_the_schema_says(seeds: Seeds, tmp_path: Path, name: str) -> None:
    """Of jobs that run, wait, fail, are skipped, paused and not there; a list is not empty."""
    run = [sys.executable, "-m", "cronguard", "run", "-n"]
    once = ("--once", "4d", "-E", "9", "--retries", "1", "--retry-delay", "1ms", "--", *FAILING)
    for _ in range(2):
        subprocess.run([*run, "real", *once], check=False, capture_output=True, timeout=60)
    seeds.live("live", **seeds.here())
    seeds.run("live").acquire(queue_for=60_000)
    subprocess.run([*run, "live", "--", "true"], check=False, capture_output=True, timeout=60)
    seeds.ended(rec.FAILED, job="failing", exit_status=3)
    seeds.ended(rec.SUCCEEDED, job="paused", at=wall() - 40 * 86_400_000)
    seeds.dead("gone")
    seeds.say("pause", "paused", "--reason", "a new disk")
    file = tmp_path / "c.toml"
    file.write_text(
        "[jobs.real]\ntimeout = '4m'\n[jobs.odd]\ntimeout = 'soon'\n[reporters.nobody]\n"
    )
    file.chmod(0o600)
    table = tmp_path / "table"
    table.write_text("*/5 * * * * cronguard run -n pull -t 30 -- /opt/pull\n0 3 * * * /opt/x\n")
    for argv, shape in SCHEMAS[name]:
        given = [str(table) if word == "TABLE" else word for word in argv]
        if name.startswith(("config", "report")):
            given += ["--config", str(file)]
        _, out, err = seeds.say(*name.split(), *given, "--json")
        found = json.loads(out)
        assert mistakes(found, shape) == [], (argv, err)
        assert found, "something is there to be looked at"


def test_what_has_another_shape_is_found() -> None:
    """The judge itself: types, words, keys, and what is nested."""
    shape = {"a": NUMBER, "b": [OneOf("x", "y")], "c": Each(str), "d": (HOLDER, None)}
    good: dict[str, object] = {"a": None, "b": ["x"], "c": {"q": "w"}, "d": None}
    assert mistakes(good, shape) == []
    numbers: tuple[object, ...] = (True, "1", 1.0)
    lists: tuple[object, ...] = (["z"], "x", None, [None])
    objects: tuple[object, ...] = ({"q": 1}, [], None)
    bad: list[dict[str, object]] = [
        *({**good, "a": wrong} for wrong in numbers),
        *({**good, "b": wrong} for wrong in lists),
        *({**good, "c": wrong} for wrong in objects),
        {**good, "d": {}},
        {**good, "e": 1},
        {"a": 1},
    ]
    for value in bad:
        assert mistakes(value, shape), value
