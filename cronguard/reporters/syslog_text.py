"""The line of a log that a report is, in both forms of syslog. Pure; syslog.py sends it.

    <75>1 2026-01-01T00:00:00.000Z web-3 cronguard 812 failure [cronguard@32473 job="backup" …] …
    <75>Jan  1 01:00:00 cronguard[812]: backup failed (exit 3) job="backup" run="…" …

The first is RFC 5424. The second is what daemons take on /dev/log: RFC 3164 without the host, as
syslog(3) writes it. rsyslog reads it so there, and systemd-journald knows no other form: of the
first it would take all for the text, without a tag. Its moment is in local time.

A line is one line: control characters are made visible, and it is cut to what receivers take.
"""

from __future__ import annotations

import time

from cronguard.core import record as records
from cronguard.core import telling
from cronguard.core.words import printable
from cronguard.reporters.headline import headline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.reporters.contract import Report

SD_ID = "cronguard@32473"
"""32473 is the number that RFC 5612 keeps for those who have none of their own."""
MOST_BYTES = 2_048
"""RFC 5424, 6.1: receivers SHOULD take so much, and every one takes 480."""
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6
SEVERITIES = {
    telling.START: INFO,
    telling.SUCCESS: INFO,
    telling.RECOVERY: NOTICE,
    telling.FAILURE: ERROR,
    telling.STOP: WARNING,
    telling.SKIP: NOTICE,
    telling.WARNING: WARNING,
    telling.MISSED: WARNING,
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FIELDS = (
    ("run", "run_id"),
    ("outcome", "outcome"),
    ("reason", "reason"),
    ("exit_status", "exit_status"),
    ("signal", "signal"),
    ("attempt", "attempt"),
    ("duration_ms", "duration_ms"),
    ("wait_ms", "wait_ms"),
    ("user", "user"),
)
_VALUE = 100


def rfc5424(report: Report, facility: int, tag: str) -> bytes:
    """Return the message for a line to another host."""
    head = (
        f"<{_priority(report, facility)}>1 {records.utc(max(report.at, 0))} "
        f"{_name(report.text('host'), 255)} {_name(tag, 48)} {_process(report) or '-'} "
        f"{_name(report.event, 32)} "
    )
    data = "".join([f' {name}="{_quoted(value, "]")}"' for name, value in facts(report)])
    text = _text(report)
    mark = b"" if text.isascii() else b"\xef\xbb\xbf"  # RFC 5424, 6.4: it says that this is UTF-8
    return _cut(f"{head}[{SD_ID}{data}] ".encode() + mark + text.encode())


def rfc3164(report: Report, facility: int, tag: str) -> bytes:
    """Return the message for the daemon of this host."""
    now = time.localtime(max(report.at, 0) // 1000)
    moment = f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2d} {time.strftime('%H:%M:%S', now)}"
    process = _process(report)
    who = f"{tag}[{process}]" if process else tag
    data = "".join([f' {name}="{_quoted(value)}"' for name, value in facts(report)])
    head = f"<{_priority(report, facility)}>{moment} {who}: "
    return _cut(f"{head}{_text(report)}{data}".encode())


def facts(report: Report) -> list[tuple[str, str]]:
    """Return what a machine may want to read, by name."""
    found = [("job", report.job), ("event", report.event)]
    found += [(name, report.text(field)) for name, field in _FIELDS]
    if report.failures is not None:
        found.append(("failures", str(report.failures)))
    if report.namespace != "cg":
        found.append(("namespace", report.namespace))
    return [(name, printable(value, _VALUE)) for name, value in found if value]


def _priority(report: Report, facility: int) -> int:
    return facility * 8 + SEVERITIES.get(report.event, NOTICE)


def _text(report: Report) -> str:
    return f"{printable(report.job, 200)} {headline(report)}"


def _process(report: Report) -> str:
    pid = report.number("pid")
    return str(pid) if pid is not None and pid > 0 else ""


def _name(text: str, limit: int) -> str:
    """Return *text* as a field of the head: printable ASCII, no space; `-` for nothing."""
    return "".join([c if "!" <= c <= "~" else "_" for c in text])[:limit] or "-"


def _quoted(value: str, further: str = "") -> str:
    """Return *value* for between quotes: RFC 5424 wants these escaped."""
    for c in f'\\"{further}':
        value = value.replace(c, f"\\{c}")
    return value


def _cut(message: bytes) -> bytes:
    """Return a message of bounded length, no character of it cut in two."""
    if len(message) <= MOST_BYTES:
        return message
    return message[:MOST_BYTES].decode("utf-8", "ignore").encode()
