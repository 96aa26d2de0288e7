"""What reports of one job add up to, as metrics. Pure: takes reports, returns a sheet and text.

It knows what runs told that were heard here, and nothing of those of other hosts; what only the
store knows (who waits, what is overdue, whether a skip was another host's start) it leaves out.
Counters are named as the stores' are, so that the same sums make the same metrics of them.

The text that keeps it between reports may have been changed by anybody, so all of it is checked,
and whatever is not as we write it is nothing: counting begins anew, which Prometheus understands.
"""

from __future__ import annotations

import json

from cronguard.core import record as records
from cronguard.core.metrics import ENDED, OTHER, REASONS
from cronguard.core.moments import wall_ms
from cronguard.core.record import ABANDONED, KEPT_RUNS, RUNNING, SKIPPED, SUCCEEDED
from cronguard.core.sheet import Sheet, add_counts, add_last, seconds
from cronguard.core.telling import FAILURE, WARNINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cronguard.reporters.contract import Report

SCHEMA = 1
KEPT_IDS = 500
"""As many ended runs are known by their ids, so that none is counted twice."""
_MOST_RUNNING = 100
_MOST = 1 << 53
_ID_LENGTH = 64
_PREFIX = f"{SKIPPED}:"
_TIMES = ("last_start", "last_success", "last_failure")
_COUNTERS = frozenset(
    (*ENDED, ABANDONED, SKIPPED, *_TIMES, *(_PREFIX + one for one in (*REASONS, OTHER)))
)
_SPREADS = ("duration_ms", "wait_ms", "longest_gap_ms")
_LAST = ("duration_ms", "cpu_user_ms", "cpu_system_ms", "max_rss_bytes", "exit_status")
Fields = dict[str, int | None]


class Running:
    """A run that was heard to start: its keeper's `host` and `pid`, and when, in ms."""

    __slots__ = ("at", "host", "pid")

    def __init__(self, host: str, pid: int, at: int) -> None:
        self.host = host
        self.pid = pid
        self.at = at


class Tally:
    """What was heard of one job.

    `counters` by the stores' names · `runs` the last that ended, the newest last · `last` the
    newest of them, that ended at `last_at` · `status` the newest exit status · `failures` in a row
    · `running` by run id · `done` ids of ended runs, and whether they are taken for dead.
    """

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.runs: list[Fields] = []
        self.last: Fields = {}
        self.last_at = 0
        self.status: int | None = None
        self.failures: int | None = None
        self.running: dict[str, Running] = {}
        self.done: dict[str, bool] = {}

    def take(self, report: Report) -> bool:
        """Add what is told of a run; tell whether that was news."""
        run, outcome = report.run_id[:_ID_LENGTH], report.text("outcome")
        if report.event in WARNINGS or outcome not in records.OUTCOMES:
            return False
        is_alive = self.done.get(run, False) and outcome not in (RUNNING, ABANDONED)
        if run in self.done and not is_alive:
            return False
        if outcome == RUNNING:
            return self._start(run, report)
        if is_alive:  # another run found it abandoned, but it was not
            self.counters[ABANDONED] = max(self.counters.get(ABANDONED, 0) - 1, 0)
        self.running.pop(run, None)
        self.done[run] = outcome == ABANDONED
        self.counters[outcome] = self.counters.get(outcome, 0) + 1
        if outcome == SKIPPED:
            reason = report.text("reason")
            name = _PREFIX + (reason if reason in REASONS else OTHER)
            self.counters[name] = self.counters.get(name, 0) + 1
        else:
            self._end(outcome, report)
        self._stay_small()
        return True

    def forget(self, is_gone: Callable[[Running], bool]) -> None:
        """Take off the runs of which no end will be told, as their keepers are gone."""
        self.running = {run: one for run, one in self.running.items() if not is_gone(one)}

    def sheet(self, job: str, more: Mapping[str, str]) -> Sheet:
        """Return the metrics; *more* labels of each."""
        sheet = Sheet(more)
        add_counts(sheet, job, self.counters)
        sheet.put("cronguard_consecutive_failures", self.failures, job)
        sheet.put("cronguard_running_runs", len(self.running), job)
        durations, waits, gaps = (
            sorted(value for run in self.runs if (value := run.get(name)) is not None)
            for name in _SPREADS
        )
        sheet.put_spread("cronguard_run_duration_seconds", durations, job)
        sheet.put_spread("cronguard_lock_wait_seconds", waits, job)
        longest = gaps[-1] if gaps else None
        sheet.put("cronguard_heartbeat_longest_gap_seconds", seconds(longest), job)
        add_last(sheet, job, self.status, self.last)
        return sheet

    def _start(self, run: str, report: Report) -> bool:
        at = moment(report, "started_at")
        self._note("last_start", at)
        pid = _bounded(report.number("pid")) or 0
        self.running[run] = Running(report.text("host")[:256], pid, at or _bounded(report.at) or 0)
        if report.failures is not None:
            self.failures = _bounded(report.failures)
        self._stay_small()
        return True

    def _end(self, outcome: str, report: Report) -> None:
        # An abandoned run has no end, and is told of by a later run, before that run's own end.
        ended = (
            moment(report, "ended_at") or moment(report, "started_at") or _bounded(report.at) or 0
        )
        self._note("last_start", moment(report, "started_at"))
        is_failed = records.is_failure(outcome)
        self._note("last_failure" if is_failed else "last_success", ended)
        self.failures = self._failures(report) if is_failed else 0
        facts = {name: _bounded(report.number(name)) for name in (*_LAST, *_SPREADS)}
        spreads = {name: facts[name] for name in _SPREADS}
        if outcome != SUCCEEDED:
            spreads["duration_ms"] = None
        self.runs.append(spreads)
        if ended >= self.last_at:
            self.last_at = ended
            self.last = {name: facts[name] for name in _LAST}
            if facts["exit_status"] is not None:
                self.status = facts["exit_status"]

    def _failures(self, report: Report) -> int:
        """Return how many have failed in a row; as far as we heard, if nobody said."""
        if report.failures is None:
            return (self.failures or 0) + 1
        return (_bounded(report.failures) or 0) + (report.event != FAILURE)

    def _note(self, name: str, at: int | None) -> None:
        if at:
            self.counters[name] = max(self.counters.get(name, 0), at)

    def _stay_small(self) -> None:
        del self.runs[:-KEPT_RUNS]
        for run in list(self.done)[:-KEPT_IDS]:
            del self.done[run]
        for run in list(self.running)[:-_MOST_RUNNING]:
            del self.running[run]


def moment(report: Report, field: str) -> int | None:
    """Return a moment of the record in ms since the epoch, or None."""
    return _bounded(wall_ms(report.record.get(field)))


def _bounded(value: int | None) -> int | None:
    """Return a number that can be counted with, or None."""
    return value if value is not None and 0 <= value <= _MOST else None


# -- kept as text ----------------------------------------------------------------------------------


def encode(tally: Tally) -> str:
    """Return it as one line of ASCII."""
    running = {run: [one.host, one.pid, one.at] for run, one in tally.running.items()}
    return records.encode(
        {
            "schema": SCHEMA,
            "counters": tally.counters,
            "runs": [[run.get(name) for name in _SPREADS] for run in tally.runs],
            "last": [tally.last.get(name) for name in _LAST],
            "last_at": tally.last_at,
            "status": tally.status,
            "failures": tally.failures,
            "running": running,
            "done": list(tally.done),
            "dead": [run for run, is_dead in tally.done.items() if is_dead],
        }
    )


def decode(text: str) -> Tally:
    """Return what *text* keeps. Raises: ValueError if `encode` did not write it."""
    try:
        said = json.loads(text)
    except RecursionError:
        raise ValueError("depth") from None
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        raise ValueError("schema")
    tally = Tally()
    tally.counters = {_known(name): _whole(n) for name, n in _items(said, "counters")}
    runs = _rows(said.get("runs"), KEPT_RUNS)
    tally.runs = [_fields(_SPREADS, row) for row in runs]
    tally.last = _fields(_LAST, said.get("last"))
    tally.last_at = _whole(said.get("last_at"))
    tally.status = _maybe(said.get("status"))
    tally.failures = _maybe(said.get("failures"))
    for run, found in _items(said, "running")[:_MOST_RUNNING]:
        host, pid, at = _rows(found, 3)
        if not isinstance(host, str):
            raise ValueError("host")  # noqa: TRY004 - the caller's one word for nonsense
        tally.running[_id(run)] = Running(host[:256], _whole(pid), _whole(at))
    dead = {_id(run) for run in _rows(said.get("dead"), KEPT_IDS)}
    tally.done = {_id(run): run in dead for run in _rows(said.get("done"), KEPT_IDS)}
    return tally


def _items(said: dict[str, object], key: str) -> list[tuple[str, object]]:
    found = said.get(key)
    if not isinstance(found, dict):
        raise ValueError(key)  # noqa: TRY004 - as above
    return list(found.items())


def _rows(found: object, most: int) -> list[object]:
    if not isinstance(found, list) or len(found) > most:
        raise ValueError("list")
    return found


def _fields(names: tuple[str, ...], found: object) -> Fields:
    return dict(zip(names, map(_maybe, _rows(found, len(names))), strict=True))


def _known(name: str) -> str:
    if name not in _COUNTERS:
        raise ValueError(name)
    return name


def _id(run: object) -> str:
    if not isinstance(run, str) or len(run) > _ID_LENGTH:
        raise ValueError("id")
    return run


def _maybe(value: object) -> int | None:
    return None if value is None else _whole(value)


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError("number")
    return value
