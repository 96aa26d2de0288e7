"""What of a fleet becomes metrics: their names, what they mean, and their values.

Pure but for prometheus-client's families, so it is imported only where metrics are written. A
counter is one of the store's counters, or a sum of some, as these only rise (until `reset`). What
comes from the records that are kept may fall, so it is a gauge, or says in its help what it covers.
So is `abandoned`: a keeper that turns out to be alive takes its run back.

Label values are text of strangers. prometheus-client escapes quotes, backslashes and line ends, so
that none of them ends a value; what not every reader of the format takes, or what a terminal obeys
(control characters, halves of pairs), is made visible before. Nor can a stranger make as many
series as he likes: outcomes and reasons are ours, hosts are those of leases that live.
"""

from __future__ import annotations

from bisect import bisect_right

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from cronguard.admin.figures import IN_THE_WAY, LADDER, Figures
from cronguard.admin.metrics_table import COUNTER, HISTOGRAM, TABLE
from cronguard.admin.render import number
from cronguard.core.record import (
    ABANDONED,
    FAILED,
    LEASE_LOST,
    NOT_STARTED,
    OUTCOMES,
    RUNNING,
    SKIPPED,
    STOPPED,
    STORE_UNAVAILABLE,
    SUCCEEDED,
    TIMED_OUT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cronguard.admin.figures import Record
    from cronguard.admin.survey import Surveyed

ENDED = (SUCCEEDED, FAILED, TIMED_OUT, STOPPED, LEASE_LOST, NOT_STARTED, STORE_UNAVAILABLE)
"""The outcomes that are counted once and for all."""
assert {*ENDED, RUNNING, SKIPPED, ABANDONED} == set(OUTCOMES)
_SURELY_HELD = (SUCCEEDED, FAILED, TIMED_OUT, LEASE_LOST)
_REASONS, _OTHER = (*IN_THE_WAY, "slot_done", "paused"), "other"
"""What skips are told by, also while there is none: else the first would be no increase."""
_SHOWN = 256


class Sheet:
    """The metrics of one moment, family by family in the order of the table."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {
            name: _family(name, kind, labels) for name, (kind, labels, _) in TABLE.items()
        }
        self._there: set[tuple[str, ...]] = set()

    def families(self) -> list[Metric]:
        """Return all families, those without a value too."""
        return list(self._families.values())

    def put(self, name: str, value: float | None, *labels: str) -> None:
        """Add one value; None is none, and the first of two with the same labels stands."""
        family = self._families[name]
        assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
        shown = [label(text) for text in labels]
        if value is not None and self._is_new(name, shown):
            family.add_metric(shown, float(value))

    def put_spread(self, name: str, values_ms: Sequence[int], job: str) -> None:
        """Add a histogram of sorted durations in ms; of none, with empty bars."""
        family = self._families[name]
        assert isinstance(family, HistogramMetricFamily)
        shown = [label(job)]
        if self._is_new(name, shown):
            bars = [(str(ms / 1000), float(bisect_right(values_ms, ms))) for ms in LADDER]
            family.add_metric(shown, [*bars, ("+Inf", float(len(values_ms)))], sum(values_ms) / 1e3)

    def _is_new(self, name: str, labels: list[str]) -> bool:
        key = (name, *labels)
        if key in self._there:
            return False
        self._there.add(key)
        return True


def _family(name: str, kind: str, labels: tuple[str, ...]) -> Metric:
    made = _KINDS.get(kind, GaugeMetricFamily)(name, TABLE[name][2], labels=labels)
    assert isinstance(made, Metric)
    return made


_KINDS = {COUNTER: CounterMetricFamily, HISTOGRAM: HistogramMetricFamily}


def label(text: str) -> str:
    """Return *text* as the value of a label: printable but for line ends, which are escaped."""
    shown = "".join(c if c == "\n" or c.isprintable() else repr(c)[1:-1] for c in text[:_SHOWN])
    return shown if len(text) <= _SHOWN else shown + "…"


def add_job(sheet: Sheet, one: Surveyed, runs: list[Record], missed: int | None) -> None:
    """Put all of one job into *sheet*: what the survey knows, its newest *runs*, what it missed.

    *runs* newest first, at most KEPT_RUNS, up to their output · *missed* None where nobody said
    when it is due.
    """
    job, seen = one.job, one.facts.seen
    sheet.put("cronguard_damaged", bool(seen.damage), job)
    if seen.damage:
        return
    figures = Figures(job, runs, seen.counters)
    _add_counts(sheet, figures, seen.counters)
    _add_now(sheet, one)
    sheet.put_spread("cronguard_run_duration_seconds", figures.durations.values, job)
    sheet.put_spread("cronguard_lock_wait_seconds", figures.waits.values, job)
    gap = figures.longest_gap
    sheet.put("cronguard_heartbeat_longest_gap_seconds", _seconds(gap), job)
    _add_last(sheet, job, [run for run in runs if run.get("outcome") != RUNNING])
    if missed is not None:
        sheet.put("cronguard_overdue", missed > 0, job)
        sheet.put("cronguard_missed_runs", missed, job)


def _add_counts(sheet: Sheet, figures: Figures, counters: dict[str, int]) -> None:
    job = figures.job

    def total(outcomes: Iterable[str]) -> int:
        return sum(counters.get(outcome, 0) for outcome in outcomes)

    for outcome in ENDED:
        sheet.put("cronguard_runs", counters.get(outcome, 0), job, outcome)
    sheet.put("cronguard_abandoned_runs", counters.get(ABANDONED, 0), job)
    for reason in _REASONS:
        sheet.put("cronguard_skips", figures.skips.get(reason, 0), job, reason)
    others = sum(count for reason, count in figures.skips.items() if reason not in _REASONS)
    sheet.put("cronguard_skips", others, job, _OTHER)
    sheet.put("cronguard_lock_attempts", total([*ENDED, SKIPPED]), job)
    sheet.put("cronguard_lock_acquired", total(_SURELY_HELD), job)
    contended = sum(figures.skips.get(reason, 0) for reason in IN_THE_WAY)
    sheet.put("cronguard_lock_contended", contended, job)
    sheet.put("cronguard_lock_errors", counters.get(STORE_UNAVAILABLE, 0), job)
    for name in ("start", "success", "failure"):
        at = counters.get(f"last_{name}") or None
        sheet.put(f"cronguard_last_{name}_timestamp_seconds", _seconds(at), job)
    sheet.put("cronguard_consecutive_failures", counters.get("failures_in_a_row", 0), job)
    sheet.put("cronguard_consecutive_skips", counters.get("skips_since_run", 0), job)


def _add_now(sheet: Sheet, one: Surveyed) -> None:
    job, facts = one.job, one.facts
    sheet.put("cronguard_running_runs", len(facts.live), job)
    sheet.put("cronguard_waiting_runs", len(facts.seen.waiting), job)
    sheet.put("cronguard_paused", facts.paused, job)
    for lease in sorted(facts.live, key=lambda lease: -lease.quiet):
        host = lease.owner.host
        sheet.put("cronguard_heartbeat_age_seconds", _seconds(lease.quiet), job, host)


def _add_last(sheet: Sheet, job: str, ended: list[Record]) -> None:
    statuses = (run.get("exit_status") for run in ended)
    status = next((one for one in statuses if type(one) is int), None)
    sheet.put("cronguard_last_exit_status", status, job)
    if not ended:
        return
    last = ended[0]
    duration, rss = last.get("duration_ms"), last.get("max_rss_bytes")
    sheet.put("cronguard_last_run_duration_seconds", _seconds(duration), job)
    user, system = last.get("cpu_user_ms"), last.get("cpu_system_ms")
    cpu = number(user) + number(system) if type(user) is int or type(system) is int else None
    sheet.put("cronguard_last_run_cpu_seconds", _seconds(cpu), job)
    sheet.put("cronguard_last_run_max_rss_bytes", rss if type(rss) is int else None, job)


def _seconds(ms: object) -> float | None:
    return ms / 1000 if type(ms) is int else None
