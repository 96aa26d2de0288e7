"""What people are told of a run: a line of what happened, and what they ask next. Pure.

All texts are on one line each, with nothing in them that a terminal could obey; what their target
could obey (mrkdwn, Markdown) is for the reporter to escape.
"""

from __future__ import annotations

from cronguard.core import record as records
from cronguard.core import telling
from cronguard.core.words import printable, signal_name, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.reporters.contract import Report

_LINE, _FACT = 300, 400
_FAILED = {
    records.TIMED_OUT: "timed out",
    records.LEASE_LOST: "lost its lock, and was stopped",
    records.NOT_STARTED: "could not be started",
    records.STORE_UNAVAILABLE: "was not started: the store could not be reached",
    records.ABANDONED: "vanished: cronguard was killed, or its host went down",
}
_SKIPPED = {
    "held": "another run holds the lock",
    "wait_expired": "another run still holds the lock",
    "slot_done": "another run was the one for this slot",
    "paused": "the job is paused",
    "replaced": "a later run replaced it in the queue",
    "conflict": "hosts disagree about the job's settings",
}


def headline(report: Report) -> str:
    """Return what happened, in one line: `backup failed with status 3 on web-3 after 1m12s`."""
    if report.event in telling.WARNINGS:
        return printable(f"{report.job}: {report.warning or 'it warns'}", _LINE)
    host = report.text("host")
    said = f"{report.job} {_what(report)}" + (f" on {host}" if host else "")
    took = report.number("duration_ms")
    if took is not None and took >= 0:
        said += f" after {span(took)}"
    if report.event == telling.FAILURE and report.failures is not None and report.failures > 1:
        said += f", {report.failures} times in a row"
    return printable(said + _why(report), _LINE)


def _what(report: Report) -> str:
    match report.event:
        case telling.START:
            return "has started"
        case telling.SUCCESS:
            return "succeeded"
        case telling.RECOVERY:
            times = report.failures or 0
            return "succeeded again" + (f", {times} failures later," if times > 1 else "")
        case telling.STOP:
            return "was stopped"
        case telling.SKIP:
            return "was skipped"
        case _:
            return _failed(report)


def _failed(report: Report) -> str:
    outcome = report.text("outcome")
    if outcome != records.FAILED:
        return _FAILED.get(outcome, f"ended: {outcome}")
    number, status = report.number("signal"), report.number("exit_status")
    if number:
        return f"was killed by signal {signal_name(number)}"
    return "failed" if not status else f"failed with status {status}"


def _why(report: Report) -> str:
    reason = report.text("reason")
    if report.event == telling.SKIP:
        reason = _SKIPPED.get(reason, reason)
        holder = report.record.get("holder")
        where = holder.get("host") if isinstance(holder, dict) else ""
        reason += f" ({where})" if reason and where else ""
    return f": {reason}" if reason else ""


def facts(report: Report) -> list[tuple[str, str]]:
    """Return what else is known that helps, by name."""
    command = report.record.get("command")
    words = command if isinstance(command, list) else []
    attempt = report.number("attempt") or 1
    status = report.number("exit_status")
    found = (
        ("host", report.text("host")),
        ("user", report.text("user")),
        ("command", " ".join([str(word) for word in words])),
        ("started", report.text("started_at")),
        ("ended", report.text("ended_at")),
        ("exit status", "" if status is None else str(status)),
        ("attempts", str(attempt) if attempt > 1 else ""),
        ("run", report.run_id),
    )
    return [(name, printable(value, _FACT)) for name, value in found if value]


def tail(text: str, most: int) -> str:
    """Return the end of *text* in at most *most* bytes of UTF-8, from the start of a line on.

    Where a line is too long for that, as much of it as fits.
    """
    raw = text.encode("utf-8", "replace")
    if len(raw) <= most:
        return raw.decode("utf-8")
    cut = raw[-most:] if most > 0 else b""
    rest = cut.partition(b"\n")[2]
    return (rest if len(rest) > most // 2 else cut).decode("utf-8", "ignore")
