"""What OpenTelemetry is told of a run: the spans of its trace. Pure; otlp_wire.py encodes them.

    backup                  queued, waited, ran, gave its lock back: all of the run
      wait                  until the command started, or until it was clear that it would not
      run                   the command; with --retries one span for each attempt
      stop                  from the first signal until nothing of the command was left
      release               until the store had taken the lock back, and the record
    start, warning, missed  a moment, where a section asks for it in `on`

* Ids come of the run's (trace_ids.py): what is told twice is the same span.
* Only moments that are known make a span. A run that vanished has its last known moment as its end.
* Attributes have the names of the semantic conventions (process, host, error) where there are such,
  and `cronguard.` before our own. `process.exit.code` of the whole is that of `cronguard run`.
* A skip is linked to the run that was in its way, whose spans need not be known for that.
"""

from __future__ import annotations

from cronguard.core import record as records
from cronguard.core import telling
from cronguard.core.moments import wall_ms
from cronguard.core.words import printable
from cronguard.reporters.headline import headline
from cronguard.reporters.otlp_span import LAST_MS, Span
from cronguard.reporters.summary import tail
from cronguard.reporters.trace_ids import span_id, trace_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.reporters.contract import Report
    from cronguard.reporters.otlp_span import Value

OUTPUT_BYTES = 2_048
"""The end of an output in so many bytes: of a longer attribute Tempo would drop the end."""
_TEXT, _NAME, _WORDS = 2_000, 200, 64
_NUMBERS = (
    "attempt", "signal", "token", "timeout_ms", "wait_ms", "duration_ms", "renewals",
    "renew_failures", "longest_gap_ms", "cpu_user_ms", "cpu_system_ms", "max_rss_bytes",
    "stragglers", "output_bytes",
)  # fmt: skip
_TEXTS = ("job", "run_id", "outcome", "reason", "slot", "store", "version")
_LIMITS = ("nice", "ionice", "rlimit_as_bytes", "memory_max_bytes", "cpu_quota_percent")
_HOLDER = ("run_id", "host", "pid", "user", "job", "lock")


def spans(report: Report, *, with_output: bool) -> list[Span]:
    """Return the spans that a report is, the whole first."""
    if report.event == telling.START or report.event in telling.WARNINGS:
        return [_moment(report)]
    whole = _whole(report, with_output=with_output)
    found = (_wait(report), *_runs(report, whole.error), _stop(report), _release(report))
    return [whole, *[one for one in found if one is not None]]


def resource(report: Report) -> dict[str, Value]:
    """Return what is known of who ran the command."""
    found: dict[str, Value] = {"service.name": "cronguard"}
    if report.text("host"):
        found["host.name"] = printable(report.text("host"), _NAME)
    pid = report.number("pid")
    if pid is not None:
        found["process.pid"] = pid
    if report.text("user"):
        found["process.owner"] = printable(report.text("user"), _NAME)
    return found


# -- the whole -------------------------------------------------------------------------------------


def _whole(report: Report, *, with_output: bool) -> Span:
    begun, ended = _bounds(report)
    whole = Span(report.run_id, report.job, begun, ended, "")
    whole.attributes = _attributes(report)
    status = report.number("exit_status")
    if status is not None:
        whole.attributes["process.exit.code"] = status
    if _is_error(report):
        whole.error = headline(report)
        whole.attributes["error.type"] = report.text("outcome")
    if with_output and report.text("output_tail"):
        whole.attributes["cronguard.output_tail"] = tail(report.text("output_tail"), OUTPUT_BYTES)
    whole.events = _warnings(report)
    holder = report.record.get("holder")
    if isinstance(holder, dict) and holder.get("run_id"):
        of_other = str(holder["run_id"])
        whole.links.append((trace_id(of_other), span_id(of_other)))
    return whole


def _bounds(report: Report) -> tuple[int, int]:
    """Return the first and the last moment that are known of a run."""
    found = [_at(report, name) for name in ("queued_at", "started_at", "ended_at")]
    known = [moment for moment in (*found, report.released_at) if moment is not None]
    if report.record.get("ended_at") is None:  # it vanished
        known += [at for at, _, _ in _warnings(report)]
        known += [at for one in _attempts(report) for at in (wall_ms(one.get("ended_at")),) if at]
    return (known[0], max(known)) if known else (report.at, report.at)


def _is_error(report: Report) -> bool:
    """Tell whether the work was not done; a run that replaced this one does it."""
    outcome = report.text("outcome")
    is_stopped = outcome == records.STOPPED and report.text("reason") != "replaced"
    return outcome in telling.FAILURES or is_stopped


def _attributes(report: Report) -> dict[str, Value]:
    found: dict[str, Value] = {"cronguard.namespace": printable(report.namespace, _NAME)}
    _put(found, report.record, "cronguard.", (*_TEXTS, *_NUMBERS))
    for name, fields in (("holder", _HOLDER), ("limits", _LIMITS)):
        said = report.record.get(name)
        if isinstance(said, dict):
            _put(found, said, f"cronguard.{name}.", fields)
    if report.failures is not None:
        found["cronguard.failures_in_a_row"] = report.failures
    return found


def _put(
    found: dict[str, Value], said: Mapping[str, object], prefix: str, names: tuple[str, ...]
) -> None:
    for name in names:
        value = said.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            found[prefix + name] = value
        elif value is not None and value != "":
            found[prefix + name] = printable(value, _TEXT)


def _warnings(report: Report) -> list[tuple[int, str, dict[str, Value]]]:
    """Return what the run warned of, as events."""
    said = report.record.get("warnings")
    found: list[tuple[int, str, dict[str, Value]]] = []
    for one in said if isinstance(said, list) else ():
        at = wall_ms(one.get("at")) if isinstance(one, dict) else None
        if at is not None and 0 <= at <= LAST_MS:
            text = printable(one.get("text", ""), _TEXT)
            found.append((at, "warning", {"cronguard.warning": text}))
    return found


# -- its parts -------------------------------------------------------------------------------------


def _wait(report: Report) -> Span | None:
    until = "ended_at" if report.record.get("started_at") is None else "started_at"
    return _part(report, "wait", _at(report, "queued_at"), _at(report, until))


def _runs(report: Report, error: str) -> list[Span | None]:
    """Return a span for each time that the command ran."""
    attempts = _attempts(report)
    if not attempts:
        span = _part(report, "run", _at(report, "started_at"), _at(report, "ended_at"))
        return [_with_command(report, span, error)]
    found = []
    for number, one in enumerate(attempts, 1):
        status = one.get("exit_status")
        is_runs = one.get("ended_at") == report.record.get("ended_at")
        bounds = wall_ms(one.get("started_at")), wall_ms(one.get("ended_at"))
        span = _part(report, "run", *bounds, which=f"run/{number}")
        why = "failed" + (f" (exit {status})" if status else "")  # or the run had ended there
        span = _with_command(report, span, error if is_runs else why)
        if span is not None:
            _put(span.attributes, one, "cronguard.", ("attempt", "signal"))
            _put(span.attributes, {"code": status}, "process.exit.", ("code",))
        found.append(span)
    return found


def _with_command(report: Report, span: Span | None, error: str) -> Span | None:
    """Add what is known of the command; it is redacted, as the convention demands."""
    command = report.record.get("command")
    if span is None:
        return None
    span.error = error
    if isinstance(command, list) and command:
        span.attributes["process.command_args"] = [printable(one) for one in command[:_WORDS]]
        name = str(command[0]).rstrip("/").rpartition("/")[2]
        span.attributes["process.executable.name"] = printable(name, _NAME)
    return span


def _stop(report: Report) -> Span | None:
    return _part(report, "stop", _at(report, "stopping_at"), _at(report, "ended_at"))


def _release(report: Report) -> Span | None:
    return _part(report, "release", _at(report, "ended_at"), report.released_at)


def _moment(report: Report) -> Span:
    """Return a span of no length, in the trace of the run, for what is told while it runs."""
    found = Span(report.run_id, report.event, report.at, report.at, f"{report.event}/{report.at}")
    found.attributes = _attributes(report)
    if report.warning:
        found.attributes["cronguard.warning"] = printable(report.warning, _TEXT)
    return found


def _part(
    report: Report, name: str, begun: int | None, ended: int | None, which: str = ""
) -> Span | None:
    """Return a part of the whole; None if nobody knows when it was."""
    if begun is None or ended is None or ended < begun:
        return None
    return Span(report.run_id, name, begun, ended, which or name)


# -- the record ------------------------------------------------------------------------------------


def _at(report: Report, name: str) -> int | None:
    return wall_ms(report.record.get(name))


def _attempts(report: Report) -> list[dict[str, object]]:
    said = report.record.get("attempts")
    return [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
