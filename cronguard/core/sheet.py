"""The metrics of one moment: the table's families, and the values that are told of any job.

Pure but for prometheus-client's families, so it is imported only where metrics are written.

Label values are text of strangers. prometheus-client escapes quotes, backslashes and line ends, so
that none of them ends a value; what not every reader of the format takes, or what a terminal obeys
(control characters, halves of pairs), is made visible before.
"""

from __future__ import annotations

from bisect import bisect_right

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest

from cronguard.core.metrics import (
    COUNTER,
    ENDED,
    HISTOGRAM,
    IN_THE_WAY,
    LADDER,
    OTHER,
    REASONS,
    SURELY_HELD,
    TABLE,
)
from cronguard.core.record import ABANDONED, SKIPPED, STORE_UNAVAILABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SHOWN = 256


class Sheet:
    """The metrics of one moment, family by family in the order of the table.

    *more* labels that each sample has beside those of the table.
    """

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        self._more = dict(more or {})
        self._families: dict[str, Metric] = {
            name: _family(name, kind, (*labels, *self._more))
            for name, (kind, labels, _) in TABLE.items()
        }
        self._there: set[tuple[str, ...]] = set()

    def families(self) -> list[Metric]:
        """Return all families, those without a value too."""
        return list(self._families.values())

    def put(self, name: str, value: float | None, *labels: str) -> None:
        """Add one value; None is none, and the first of two with the same labels stands."""
        family = self._families[name]
        assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
        shown = self._shown(labels)
        if value is not None and self._is_new(name, shown):
            family.add_metric(shown, float(value))

    def put_spread(self, name: str, values_ms: Sequence[int], job: str) -> None:
        """Add a histogram of sorted durations in ms; of none, with empty bars."""
        family = self._families[name]
        assert isinstance(family, HistogramMetricFamily)
        shown = self._shown((job,))
        if self._is_new(name, shown):
            bars = [(str(ms / 1000), float(bisect_right(values_ms, ms))) for ms in LADDER]
            family.add_metric(shown, [*bars, ("+Inf", float(len(values_ms)))], sum(values_ms) / 1e3)

    def _shown(self, labels: tuple[str, ...]) -> list[str]:
        return [label(text) for text in (*labels, *self._more.values())]

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


def seconds(ms: object) -> float | None:
    """Return ms of a record as seconds, or None if they are no number."""
    return ms / 1000 if type(ms) is int else None


def add_counts(sheet: Sheet, job: str, counters: Mapping[str, int]) -> None:
    """Put what is counted of a job into *sheet*; *counters* as in stores/contract.py."""

    def total(names: Iterable[str]) -> int:
        return sum(counters.get(name, 0) for name in names)

    for outcome in ENDED:
        sheet.put("cronguard_runs", counters.get(outcome, 0), job, outcome)
    sheet.put("cronguard_abandoned_runs", counters.get(ABANDONED, 0), job)
    prefix = f"{SKIPPED}:"
    for reason in REASONS:
        sheet.put("cronguard_skips", counters.get(prefix + reason, 0), job, reason)
    known = {prefix + reason for reason in REASONS}
    others = (name for name in counters if name.startswith(prefix) and name not in known)
    sheet.put("cronguard_skips", total(others), job, OTHER)
    sheet.put("cronguard_lock_attempts", total([*ENDED, SKIPPED]), job)
    sheet.put("cronguard_lock_acquired", total(SURELY_HELD), job)
    sheet.put("cronguard_lock_contended", total(prefix + reason for reason in IN_THE_WAY), job)
    sheet.put("cronguard_lock_errors", counters.get(STORE_UNAVAILABLE, 0), job)
    for name in ("start", "success", "failure"):
        at = counters.get(f"last_{name}") or None
        sheet.put(f"cronguard_last_{name}_timestamp_seconds", seconds(at), job)


def add_last(sheet: Sheet, job: str, status: object, last: Mapping[str, object]) -> None:
    """Put what the newest run that ended took into *sheet*: its record's fields.

    *status* is that of the newest that has one.
    """
    sheet.put("cronguard_last_exit_status", _number(status), job)
    duration, rss = last.get("duration_ms"), last.get("max_rss_bytes")
    sheet.put("cronguard_last_run_duration_seconds", seconds(duration), job)
    used = [n for n in (last.get("cpu_user_ms"), last.get("cpu_system_ms")) if type(n) is int]
    sheet.put("cronguard_last_run_cpu_seconds", seconds(sum(used)) if used else None, job)
    sheet.put("cronguard_last_run_max_rss_bytes", _number(rss), job)


def _number(value: object) -> int | None:
    return value if type(value) is int else None


def as_text(families: Iterable[Metric]) -> bytes:
    """Return those of *families* that have a value, in Prometheus' text format, as UTF-8."""
    registry = CollectorRegistry()
    registry.register(_Collected([family for family in families if family.samples]))
    return bytes(generate_latest(registry))


class _Collected:
    """prometheus-client's collector of what is there."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
