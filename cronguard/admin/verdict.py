"""What is wrong with a job, for a monitoring system. Pure: takes facts and the time.

A paused job is neither overdue nor skipped too often: that is what it was paused for.
"""

from __future__ import annotations

from cronguard.admin import render
from cronguard.admin.figures import Spread
from cronguard.core.durations import ENOUGH_RUNS
from cronguard.core.lease import FULL_TTL_MS, MIN_TTL_MS, TAKEOVER_MS, LeaseTimes
from cronguard.core.metrics import IN_THE_WAY
from cronguard.core.moments import wall_ms
from cronguard.core.record import LEASE_LOST
from cronguard.core.words import span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.admin.figures import Record
    from cronguard.stores.contract import Lease, Overview

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("ok", "warning", "critical", "unknown")
EARLY_MS = 60_000
"""A run that began so long before it was due, at most, was the one: clocks differ."""
OVERDUE = "overdue"
RECENT_RUNS = 5
_RECENT_MS = 86_400_000
"""A near miss is told of while it is one of the last runs, and for a day."""


class Finding:
    """Something that is wrong with a job: how bad it is, by which check, and in words."""

    def __init__(self, job: str, level: int, check: str, text: str) -> None:
        self.job = job
        self.level = level
        self.check = check
        self.text = text

    def as_json(self) -> dict[str, object]:
        """Return it for programs."""
        level = WORDS[self.level]
        return {"job": self.job, "level": level, "check": self.check, "text": self.text}


class Limits:
    """From when on something is wrong. `critical` is the longest run, in ms, or None."""

    def __init__(self, failures: int, skips: int, grace: int, critical: int | None) -> None:
        self.failures = failures
        self.skips = skips
        self.grace = grace
        self.critical = critical


class Expected:
    """What was said of a job: the longest run, and the moment before which one was due.

    `due` the last moment of the schedule up to now less the grace, None without a schedule · `gap`
    from there to the next one · `ttl` of its lease; all in ms.
    """

    def __init__(
        self,
        timeout: int | None = None,
        due: int | None = None,
        gap: int = 0,
        ttl: int = FULL_TTL_MS,
    ) -> None:
        self.timeout = timeout
        self.ttl = ttl
        self.due = due
        self.gap = gap


class Facts:
    """What is known of a job: `seen` by the store, the `stale` of its leases, and its records.

    `durations` those of its successes · `skips` its newest skips · `recent` its newest runs, the
    newest first · `paused` whether a pause stands.
    """

    def __init__(
        self,
        job: str,
        seen: Overview,
        *,
        stale: list[Lease],
        durations: Spread,
        skips: list[Record],
        recent: list[Record] | None = None,
        paused: bool = False,
    ) -> None:
        self.job = job
        self.seen = seen
        self.stale = stale
        self.durations = durations
        self.skips = skips
        self.recent = recent or []
        self.paused = paused
        self.live = [lease for lease in seen.leases if not lease.released]

    def ages(self, now: int) -> dict[str, int]:
        """Return for how long each run is under way, by run id."""
        found = {}
        for lease in self.live:
            record = self.seen.records.get(lease.owner.run_id, {})
            begun = wall_ms(record.get("started_at")) or lease.owner.since_wall
            found[lease.owner.run_id] = max(now - begun, 0)
        return found

    def skipped(self) -> int:
        """Return how many runs since the last start found the lock held."""
        started = self.seen.counters.get("last_start", 0)
        return sum(
            record.get("reason") in IN_THE_WAY and (render.when_of(record) or 0) >= started
            for record in self.skips
        )


def judge(facts: Facts, limits: Limits, expected: Expected, now: int) -> list[Finding]:
    """Return what is wrong with a job, the worst first."""
    if facts.seen.damage:
        return [Finding(facts.job, UNKNOWN, "damaged", facts.seen.damage)]
    found = [
        *_failing(facts, limits),
        *_running(facts, limits, expected, now),
        *_stale(facts),
        *_near_miss(facts, expected, now),
        *([] if facts.paused else _skipped(facts, limits)),
        *([] if facts.paused else _overdue(facts, expected, now)),
    ]
    return sorted(found, key=lambda one: badness(one.level), reverse=True)


def badness(level: int) -> int:
    """Return the rank of *level*: what is not known is better than what is known to be bad."""
    return (OK, UNKNOWN, WARNING, CRITICAL).index(level)


def _failing(facts: Facts, limits: Limits) -> list[Finding]:
    row = facts.seen.counters.get("failures_in_a_row", 0)
    if row < 1:
        return []
    level = CRITICAL if row >= limits.failures else WARNING
    last = render.result(facts.seen.last or {})
    text = f"{row} runs failed in a row" if row > 1 else "the last run failed"
    return [Finding(facts.job, level, "failing", f"{text} ({last})")]


def _running(facts: Facts, limits: Limits, expected: Expected, now: int) -> list[Finding]:
    usual = facts.durations.p95 if len(facts.durations.values) >= ENOUGH_RUNS else None
    found = []
    for run_id, age in facts.ages(now).items():
        longest = _longest(facts.seen.records.get(run_id, {}), limits, expected)
        text = f"run {render.short(run_id)} is under way for {span(age)}"
        if longest is not None and age > longest:
            said = f"{text}, longer than {span(longest)}"
            found.append(Finding(facts.job, CRITICAL, "running", said))
        elif usual is not None and age > usual:
            said = f"{text}; 95 % of its runs take {span(usual)} at most"
            found.append(Finding(facts.job, WARNING, "running", said))
    return found


def _longest(record: Record, limits: Limits, expected: Expected) -> int | None:
    """Return the longest that a run may take: by the flag, by its own record, or as configured."""
    own = record.get("timeout_ms")
    if limits.critical is not None:
        return limits.critical
    return own if type(own) is int else expected.timeout


def _stale(facts: Facts) -> list[Finding]:
    return [
        Finding(
            facts.job,
            WARNING,
            "stale",
            f"its lock's holder ({render.holder(lease)}) was not heard of for {span(lease.quiet)}; "
            f"it frees itself in {span(max(lease.left, 0))}",
        )
        for lease in facts.stale
    ]


def _near_miss(facts: Facts, expected: Expected, now: int) -> list[Finding]:
    """Tell of a run that was nearly stopped as it was without a heartbeat for so long.

    A live run is asked itself; its lease tells its TTL, which its records do not.
    """
    ttl = next((lease.px - TAKEOVER_MS for lease in facts.live), expected.ttl)
    stopped_after = LeaseTimes(max(ttl, MIN_TTL_MS)).give_up_at(0)
    near = stopped_after * 3 // 4
    known = f"it is stopped after {span(stopped_after)} without one"
    for lease in facts.live:
        if near <= lease.quiet and lease not in facts.stale:
            run = f"run {render.short(lease.owner.run_id)}"
            text = f"near miss: {run} has had no heartbeat for {span(lease.quiet)}; {known}"
            return [Finding(facts.job, WARNING, "heartbeat", text)]
    for record in facts.recent:
        gap, when = render.number(record.get("longest_gap_ms")), render.when_of(record) or 0
        if near <= gap and now - when <= _RECENT_MS and record.get("outcome") != LEASE_LOST:
            run = f"run {render.short(record.get('run_id'))}"
            text = f"near miss: {run} had no heartbeat for {span(gap)}; {known}"
            return [Finding(facts.job, WARNING, "heartbeat", text)]
    return []


def _skipped(facts: Facts, limits: Limits) -> list[Finding]:
    count = facts.skipped()
    if count < limits.skips:
        return []
    what = f"{count} runs in a row were" if count > 1 else "a run was"
    text = f"{what} skipped, as the lock was held"
    return [Finding(facts.job, WARNING, "skipped", text)]


def _overdue(facts: Facts, expected: Expected, now: int) -> list[Finding]:
    if expected.due is None or facts.live:
        return []
    started = facts.seen.counters.get("last_start", 0)
    due = render.moment(expected.due, now)
    if not started:
        return [Finding(facts.job, WARNING, OVERDUE, f"it never started; it was due {due}")]
    if started >= expected.due - min(expected.gap // 2, EARLY_MS):
        return []
    text = f"overdue: it was due {due}, and last started {render.ago(started, now)}"
    return [Finding(facts.job, CRITICAL, OVERDUE, text)]
