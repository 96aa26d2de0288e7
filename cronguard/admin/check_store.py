"""What `doctor` asks the store: can it be relied on with locks, and how good is the way to it."""

from __future__ import annotations

import time

from cronguard.admin import render
from cronguard.admin.common import wall_now
from cronguard.admin.findings import FAILED, OK, WARNING, Finding
from cronguard.admin.sharing import LOOK_BACK, sharing
from cronguard.core.words import span
from cronguard.stores.address import parse_all
from cronguard.stores.contract import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import History

Facts = dict[str, object]
_OLDEST = {"redis": (6, 2), "valkey": (7, 2)}
_PROBES = 3
_CLOCK_OFF_MS = 2_000
_YOUNG_S = 60
_FULL_PERCENT = 90
_SENTINELS = 3
_ROOM_BYTES = 10 << 20
_JOBS_MS = 2_000
_NAMED = 3
_GRANT_INFO = "grant it +info"


def reach(history: History, attempt: int) -> Finding:
    """Tell how long the store takes to answer the first question. Raises: StoreDown."""
    began = time.monotonic_ns()
    history.jobs()
    took = (time.monotonic_ns() - began) / 1_000_000
    text = f"{history.label} answers, after {took:.1f} ms with connecting"
    if took > attempt / 2:
        todo = "look at the network between; heartbeats that take longer are lost"
        return Finding("store", WARNING, f"{text}, of the {attempt} ms that an attempt has", todo)
    return Finding("store", OK, text)


def ask(history: History) -> tuple[Facts, int, int]:
    """Return the store's facts, its clock less ours in ms, and how far that may be off.

    The clock was read between our question and the answer; the shortest of some trials counts.
    """
    best: tuple[int, int] | None = None
    facts: Facts = {}
    for _ in range(_PROBES):
        asked, began = wall_now(), time.monotonic_ns()
        facts = history.facts()
        took = (time.monotonic_ns() - began) // 1_000_000
        clock = facts.get("clock")
        if isinstance(clock, int) and (best is None or took < 2 * best[1]):
            best = clock - asked - took // 2, took // 2 + 1
    return facts, *(best or (0, 0))


def clock(facts: Facts, off: int, error: int) -> Finding:
    """Compare the clocks. Leases count durations and do not mind; times and slots do."""
    if facts.get("clock") is None:
        text = "the store does not tell its time to this user"
        return Finding("clock", WARNING, text, "grant it +time; without it no lock is granted")
    if abs(off) <= max(_CLOCK_OFF_MS, error):
        return Finding("clock", OK, f"within {span(abs(off) + error)} of this host's")
    way = "ahead of" if off > 0 else "behind"
    text = f"the store's is {span(abs(off))} {way} this host's"
    todo = "run NTP on both; locks do not depend on it, but times in records and slots do"
    return Finding("clock", WARNING, text, todo)


def about(facts: Facts, px: int) -> list[Finding]:
    """Judge what the store says about itself."""
    if "journal_mode" in facts:
        return _sqlite(facts)
    return [
        _version(facts),
        _role(facts),
        _eviction(facts),
        *_memory(facts),
        *_persistence(facts, px),
    ]


def group(facts: Facts, url: str, min_replicas: int) -> list[Finding]:
    """Judge the servers that are one store together, and whether a failover may lose a lock."""
    found = []
    sentinels, quorum = facts.get("sentinels"), facts.get("quorum")
    if isinstance(sentinels, dict):
        lost = [f"{name} {view[2:]}" for name, view in sentinels.items() if view[:1] == "-"]
        masters = sorted({view for view in sentinels.values() if view[:1] != "-"})
        text = f"{len(sentinels) - len(lost)} of {len(sentinels)} name {' and '.join(masters)}"
        if lost or len(masters) > 1 or len(sentinels) < _SENTINELS:
            text += f" ({'; '.join(lost)})" if lost else ""
            todo = f"have at least {_SENTINELS} sentinels, all of one mind, and name all in the URL"
            found.append(Finding("sentinels", WARNING, text, todo))
        else:
            found.append(Finding("sentinels", OK, text))
    if isinstance(quorum, dict):
        lost = [f"{name}: {view}" for name, view in quorum.items() if view != "ok"]
        text = f"{len(quorum) - len(lost)} of {len(quorum)} servers answer"
        if facts.get("quorum_flaw"):
            todo = "correct the store's URLs: no run starts with them"
            found.append(Finding("quorum", FAILED, str(facts["quorum_flaw"]), todo))
        elif lost:
            text += f" ({'; '.join(lost)})"
            found.append(Finding("quorum", WARNING, text, "bring the others back"))
        else:
            found.append(Finding("quorum", OK, text))
    if url.partition("://")[0].partition("+")[2] and not min_replicas:
        text = "a failover may lose a lock that its replicas have not heard of"
        found.append(Finding("replicas", WARNING, text, "set min_replicas (--min-replicas) to 1"))
    return found


def tls(url: str) -> list[Finding]:
    """Find servers that are taken at their word."""
    found = [one.label for one in parse_all(url) if not one.tls_verify]
    if not found:
        return []
    text = f"tls_verify=false: anyone on the way to {', '.join(found)} can pose as it"
    todo = "name the authority that signed its certificate with ?tls_ca=FILE instead"
    return [Finding("tls", WARNING, text, todo)]


def _version(facts: Facts) -> Finding:
    flavour, version = str(facts.get("flavour") or "redis"), str(facts.get("version") or "")
    name = f"{flavour.capitalize()} {render.word(version)}"
    oldest = _OLDEST.get(flavour, (6, 2))
    wanted = ".".join(str(part) for part in oldest)
    parts = version.split(".")
    if len(parts) < 2 or not all(part.isdecimal() for part in parts[:2]):
        text = f"{name}: it is not known whether that is {wanted} or later"
        return Finding("version", WARNING, text, "see what the server's INFO says")
    if (int(parts[0]), int(parts[1])) < oldest:
        return Finding("version", FAILED, name, f"cronguard needs {wanted} or later")
    return Finding("version", OK, f"{name} ({wanted} or later is needed)")


def _role(facts: Facts) -> Finding:
    role, mode = render.word(facts.get("role")), render.word(facts.get("mode"))
    if mode == "sentinel":
        text = "this is a Sentinel, which keeps no data"
        return Finding("role", FAILED, text, "name the server that it watches")
    if role in ("replica", "slave"):
        text = "this is a read-only replica"
        return Finding("role", FAILED, text, "name its master in --store / CRONGUARD_STORE")
    return Finding("role", OK, f"{role}, {mode}")


def _eviction(facts: Facts) -> Finding:
    policy, most = facts.get("maxmemory_policy"), facts.get("maxmemory")
    if policy is None:
        text = "it is not known whether the store may drop locks: this user may not ask INFO"
        return Finding("eviction", WARNING, text, _GRANT_INFO)
    if policy == "noeviction":
        return Finding("eviction", OK, "noeviction: no lock is dropped when memory is full")
    when = (
        f"when {_mb(most)} are used" if most else "once it has a maxmemory (it has none at present)"
    )
    text = f"maxmemory-policy is {render.word(policy)}: the store may drop locks {when}"
    todo = "`CONFIG SET maxmemory-policy noeviction`, or a server of its own for cronguard"
    return Finding("eviction", WARNING, text, todo)


def _memory(facts: Facts) -> list[Finding]:
    used, most = render.number(facts.get("used_memory")), render.number(facts.get("maxmemory"))
    if not most or used * 100 < most * _FULL_PERCENT:
        return []
    text = f"{_mb(used)} of {_mb(most)} are used: when it is full, no lock is granted"
    return [Finding("memory", WARNING, text, "give it more with maxmemory, or remove keys")]


def _persistence(facts: Facts, px: int) -> list[Finding]:
    if facts.get("aof") is None:
        text = "it is not known whether a restart of the store forgets locks"
        return [Finding("persistence", WARNING, text, _GRANT_INFO)]
    found = []
    if facts.get("rdb_ok") not in (None, "ok") or facts.get("aof_ok") not in (None, "ok"):
        text = "the store could not save its data, and may refuse every lock (MISCONF)"
        todo = "look at its log, its disk and its folder"
        found.append(Finding("persistence", FAILED, text, todo))
    uptime = render.number(facts.get("uptime"))
    if facts.get("aof"):
        return found or [Finding("persistence", OK, "append-only file: a restart keeps the locks")]
    text = "no append-only file: a restart of the store forgets locks, and a second run may start"
    if uptime < max(px // 1000, _YOUNG_S):
        text += f"; it restarted {uptime}s ago"
    todo = "`CONFIG SET appendonly yes`, and in its configuration file"
    return [*found, Finding("persistence", WARNING, text, todo)]


def _sqlite(facts: Facts) -> list[Finding]:
    kind = render.word(facts.get("file_system"))
    text = f"{facts.get('version')}, on {kind}: locks hold on this host alone"
    found = [Finding("version", OK, text)]
    state = render.word(facts.get("integrity"))
    if state != "ok":
        path = render.word(facts.get("path"))
        todo = f"when no job runs, move it away: mv {path} {path}.damaged"
        found.append(Finding("integrity", FAILED, f"the database is damaged ({state})", todo))
    else:
        found.append(Finding("integrity", OK, f"sound, {_mb(facts.get('size_bytes'))}"))
    free = render.number(facts.get("free_bytes"))
    if free < _ROOM_BYTES:
        text = f"only {free >> 10} kB are free on its disk; when it is full, no lock is granted"
        found.append(Finding("room", WARNING, text, "free some space there"))
    return found


def _mb(size: object) -> str:
    return render.size(render.number(size))


# -- the jobs in it -------------------------------------------------------------------------------


def names(history: History) -> list[Finding]:
    """C5: find jobs whose name several commands share, so that they keep each other from running.

    A command that changed once is no such thing; one that comes back after another is.
    """
    until = time.monotonic() + _JOBS_MS / 1000
    jobs = history.jobs()
    shared, looked_at = [], 0
    broken = {job: seen.damage for job, seen in history.overview(jobs).items() if seen.damage}
    for job in jobs:
        if time.monotonic() > until:
            break
        looked_at += 1
        try:
            records = [*history.runs(job, LOOK_BACK), *history.skips(job, LOOK_BACK)]
            history.paused(job)  # what else a run reads
        except Damaged as error:
            broken.setdefault(job, str(error))
            continue
        if commands := sharing(records):
            shared.append(f"{render.word(job)}: {' and '.join(commands)}")
    told = [text.rpartition("; ") for text in broken.values()]
    damaged = [Finding("jobs", FAILED, text, todo) for text, _, todo in told]
    if not shared:
        seen = "" if looked_at == len(jobs) else f" ({looked_at} of {len(jobs)} were looked at)"
        return [*damaged, Finding("job names", OK, f"no two commands share one{seen}")]
    more = f"; and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
    text = f"different commands under one name: {'; '.join(shared[:_NAMED])}{more}"
    todo = "they keep each other from running, so give each its own --name"
    return [*damaged, Finding("job names", WARNING, text, todo)]
