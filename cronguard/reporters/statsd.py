"""Tells a StatsD server, or a Datadog agent (DogStatsD), by datagrams.

    [reporters.statsd]
    address = "127.0.0.1:8125"    # or unix:///run/datadog/dsd.socket; this is the default
    dialect = "dogstatsd"         # or "statsd", the default: no tags, no events
    prefix = "cronguard"          # what names begin with; {host}, {namespace} … are filled in
    tags = ["env:prod", "user:{user}"]    # of DogStatsD

`statsd` the job is a part of the name: `cronguard.JOB.runs.failed:1|c`. In each part of a name what
is no letter, digit, `-` or `_` becomes `_`, as `.` and `:` mean something.

`dogstatsd` it is a tag: `cronguard.runs:1|c|#job:JOB,outcome:failed`, with `namespace` beside it
where that is not the usual one; and a failure and a recovery are events (`_e{…}`), too.

Of each run: `runs` by outcome, `run_duration`, `run_cpu`, `lock_wait` (timers, in ms),
`run_max_rss_bytes`, `exit_status`, `consecutive_failures`, `running` (gauges; `running` is 1 from
the start on where `on` has "start"); `skips` by reason; `warnings`.

A datagram holds several lines, and at most 1,432 bytes (8,192 to a socket), so that no network
takes it apart. It is gone when it is sent: nobody says that it arrived, only that nobody listens.
"""

from __future__ import annotations

import re

from cronguard.config.datagrams import place
from cronguard.core import record as records
from cronguard.core.metrics import OTHER
from cronguard.core.telling import FAILURE, RECOVERY, SKIPS, WARNINGS
from cronguard.core.words import span
from cronguard.reporters import datagrams
from cronguard.reporters.contract import Never, Report, Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STATSD, DOGSTATSD = "statsd", "dogstatsd"
USUAL = "cg"
MTU_BYTES = 1432
SOCKET_BYTES = 8192
_COUNT, _GAUGE, _TIMER = "c", "g", "ms"
_MOST = 1 << 53
_TAG_LENGTH = 200
_KEY_LENGTH = 100
_TAIL_BYTES = 600
_FIELD = re.compile(r"\{[a-z_]+\}")
_NO_PART = re.compile(r"[^A-Za-z0-9_-]")
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]")


class Sample:
    """One value: its `name`, its kind, and what it is split by, as (label, value)."""

    __slots__ = ("kind", "name", "split", "value")

    def __init__(self, name: str, value: int, kind: str, *split: tuple[str, str]) -> None:
        self.name = name
        self.value = value
        self.kind = kind
        self.split = split


class Statsd(Reporter):
    """Sends a datagram or two for each report."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        super().__init__(settings)
        self.place = place(str(settings.get("address") or "127.0.0.1:8125"))
        self.is_dog = (settings.get("dialect") or STATSD) == DOGSTATSD
        self.prefix = str(settings.get("prefix") or "cronguard")
        tags = settings.get("tags") or ()
        self.tags = [str(tag) for tag in tags] if isinstance(tags, list | tuple) else [str(tags)]
        if self.tags and not self.is_dog:
            raise ValueError('StatsD has no tags; set dialect = "dogstatsd", or remove them')

    def tell(self, report: Report, timeout: float) -> None:
        """Send what one report says. Raises: NotNow, Never."""
        lines = [self._line(report, one) for one in samples(report)]
        if self.is_dog and report.event in (FAILURE, RECOVERY):
            lines.append(self._event(report))
        most = SOCKET_BYTES if self.place.path else MTU_BYTES
        datagrams.send(self.place, packed(lines, most), timeout)

    def _line(self, report: Report, one: Sample) -> bytes:
        filled = _FIELD.sub(lambda one: _NO_PART.sub("_", report.fill(one[0])), self.prefix)
        prefix = _NO_NAME.sub("_", filled)
        if self.is_dog:
            name = f"{prefix}.{one.name}".replace("-", "_")
            return f"{name}:{one.value}|{one.kind}{self._tagged(report, *one.split)}".encode()
        job = _NO_PART.sub("_", report.job)
        parts = [prefix, job, one.name, *[_NO_PART.sub("_", value) for _, value in one.split]]
        return f"{'.'.join(parts)}:{one.value}|{one.kind}".encode()

    def _tagged(self, report: Report, *more: tuple[str, str]) -> str:
        told = [("job", report.job), *more]
        if report.namespace != USUAL:
            told.append(("namespace", report.namespace))
        own = [f"{name}:{value}" for name, value in told]
        filled = [report.fill(tag) for tag in self.tags]
        return "|#" + ",".join(dict.fromkeys(tag(one) for one in [*own, *filled]))

    def _event(self, report: Report) -> bytes:
        """Return the event of a failure or a recovery; its text is the longest that fits."""
        is_failed = report.event == FAILURE
        title, text = _escaped(_title(report)), _escaped(_text(report))
        host = _NO_NAME.sub("_", report.text("host"))[:_KEY_LENGTH]
        key = f"{report.namespace}:{report.job}"[:_KEY_LENGTH]
        facts = f"|d:{report.at // 1000}" + (f"|h:{host}" if host else "")
        facts += f"|k:{key}|p:normal|s:cronguard|t:{'error' if is_failed else 'success'}"
        facts += self._tagged(report, ("outcome", report.text("outcome")))
        rest = facts.encode()
        room = MTU_BYTES - len(title) - len(rest) - len("_e{000,0000}:|")
        text = _cut(text, max(room, 0))
        return b"_e{%d,%d}:%s|%s%s" % (len(title), len(text), title, text, rest)


# -- what a report tells ---------------------------------------------------------------------------


def samples(report: Report) -> Iterator[Sample]:
    """Yield the values of a report."""
    outcome = report.text("outcome")
    if report.event in WARNINGS:
        yield Sample("warnings", 1, _COUNT)
    elif outcome == records.SKIPPED:
        reason = report.text("reason")
        yield Sample("skips", 1, _COUNT, ("reason", reason if reason in SKIPS else OTHER))
    elif outcome == records.RUNNING:
        yield Sample("running", 1, _GAUGE)
    elif outcome in records.OUTCOMES:
        yield from _of_end(report, ("outcome", outcome))


def _of_end(report: Report, by: tuple[str, str]) -> Iterator[Sample]:
    yield Sample("runs", 1, _COUNT, by)
    user, system = (_number(report, f"cpu_{one}_ms") for one in ("user", "system"))
    cpu = None if user is None and system is None else (user or 0) + (system or 0)
    timers = {
        "run_duration": _number(report, "duration_ms"),
        "run_cpu": cpu,
        "lock_wait": _number(report, "wait_ms"),
    }
    for name, value in timers.items():
        if value is not None:
            yield Sample(name, value, _TIMER)
    yield Sample("running", 0, _GAUGE)
    failures = report.failures
    if by[1] == records.SUCCEEDED:
        failures = 0
    elif failures is not None and report.event != FAILURE:
        failures += 1  # a run that was stopped: the report's number is of those before it
    gauges = {
        "run_max_rss_bytes": _number(report, "max_rss_bytes"),
        "exit_status": _number(report, "exit_status"),
        "consecutive_failures": failures,
    }
    for name, value in gauges.items():
        if value is not None:
            yield Sample(name, value, _GAUGE)


def _number(report: Report, field: str) -> int | None:
    value = report.number(field)
    return value if value is not None and 0 <= value <= _MOST else None


def _title(report: Report) -> str:
    if report.event == RECOVERY:
        return f"{report.job} succeeds again"
    return f"{report.job}: {report.text('outcome').replace('_', ' ')}"


def _text(report: Report) -> str:
    """Return what happened in a line, and the end of the output below it."""
    facts = []
    if report.event == FAILURE and report.failures is not None and report.failures > 1:
        facts.append(f"{report.failures} times in a row")
    status, took = report.number("exit_status"), _number(report, "duration_ms")
    facts += [f"exit status {status}"] if status is not None else []
    facts += [f"after {span(took)}"] if took is not None else []
    facts += [report.text("reason")] if report.text("reason") else []
    facts.append(f"run {report.run_id[:12]} on {report.text('host') or 'a host'}")
    tail = report.text("output_tail").strip()
    return ", ".join(facts) + (f"\n{tail[-_TAIL_BYTES:]}" if tail else "")


# -- how it is written -----------------------------------------------------------------------------


def packed(lines: list[bytes], most: int) -> Iterator[bytes]:
    """Yield datagrams of whole lines, of *most* bytes each. Raises: Never if a line is longer."""
    packet = b""
    for line in lines:
        if len(line) > most:
            raise Never(f"a line of {len(line)} bytes fits into no datagram; give it fewer tags")
        if packet and len(packet) + 1 + len(line) > most:
            yield packet
            packet = b""
        packet += b"\n" + line if packet else line
    if packet:
        yield packet


def tag(text: str) -> str:
    """Return *text* as a tag: letters, digits, and `_ - : . /`, the rest becomes `_`."""
    cut = text[:_TAG_LENGTH]
    return "".join(c if c.isalnum() or c in "_-:./" else "_" for c in cut)


def _escaped(text: str) -> bytes:
    """Return a text of an event on one line, in UTF-8; what a terminal obeys is made visible."""
    lines = text.replace("\r\n", "\n").split("\n")
    shown = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines]
    return "\\n".join(shown).encode()


def _cut(text: bytes, most: int) -> bytes:
    """Return the start of *text* in so many bytes, no character of it in half."""
    return text[:most].decode("utf-8", "ignore").encode()
