"""The mail that a report is. Pure; mail.py sends it.

* `Message-ID` follows from the run and the event, so what is sent twice is seen to be one mail.
* `References` names the job, in a mail that nobody has ever sent: mail programs put into one thread
  what refers to the same (RFC 5256), so a recovery stands below its failure.
* `Auto-Submitted` keeps holiday notices away (RFC 3834).
* Nothing from outside reaches a header as it is: what is not printable is escaped before, and the
  library encodes the rest. In the body, too, control characters are made visible.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import sha256

from cronguard.core import telling
from cronguard.core.words import printable, span
from cronguard.reporters.headline import headline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cronguard.config.reporter_mail import Address
    from cronguard.reporters.contract import Report

_SUBJECT = 200
_VALUE = 1_000
_ROWS = (
    ("job", "job"),
    ("run", "run_id"),
    ("host", "host"),
    ("user", "user"),
    ("outcome", "outcome"),
    ("reason", "reason"),
    ("exit status", "exit_status"),
    ("signal", "signal"),
    ("attempt", "attempt"),
    ("slot", "slot"),
    ("queued", "queued_at"),
    ("started", "started_at"),
    ("ended", "ended_at"),
)
_SPANS = (("waited", "wait_ms"), ("took", "duration_ms"), ("timeout", "timeout_ms"))


def message(
    report: Report,
    sender: Address,
    to: Sequence[Address],
    *,
    subject: str = "",
    with_output: bool = True,
) -> EmailMessage:
    """Return the mail; *subject* may have fields of the record."""
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"] = _of(sender)
    mail["To"] = [_of(one) for one in to]
    usual = f"[{report.text('host') or '?'}] {report.job}: {headline(report)}"
    mail["Subject"] = printable(report.fill(subject) if subject else usual, _SUBJECT)
    mail["Date"] = format_datetime(datetime.fromtimestamp(max(report.at, 0) // 1000, UTC))
    domain = sender.domain or "localhost"
    mail["Message-ID"] = f"<{_id(report)}@{domain}>"
    thread = f"<{_hash(report.namespace, report.job)}.job@{domain}>"
    mail["In-Reply-To"] = thread
    mail["References"] = thread
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Cronguard-Job"] = printable(report.job, _SUBJECT)
    mail["X-Cronguard-Event"] = report.event
    mail.set_content(body(report, with_output=with_output), charset="utf-8")
    return mail


def body(report: Report, *, with_output: bool = True) -> str:
    """Return the text: what happened, the facts, the output's tail."""
    job, host = printable(report.job, 200), printable(report.text("host"), 200)
    lines = [f"{job} {headline(report)}" + (f", on {host}" if host else "") + ".", ""]
    lines += [f"{name + ':':13}{value}" for name, value in _facts(report)]
    lines += ["", f"More: cronguard show {printable(report.run_id, 64)}"]
    tail = report.text("output_tail") if with_output else ""
    if tail:
        size = report.number("output_bytes")
        of = f", of {size} bytes" if size is not None else ""
        lines += ["", f"Output (its end{of}):", "", *map(_clean, tail.split("\n"))]
    return "\n".join(lines).rstrip("\n") + "\n"


def _facts(report: Report) -> list[tuple[str, str]]:
    found = [(name, report.text(field)) for name, field in _ROWS]
    found += [(name, _span(report.number(field))) for name, field in _SPANS]
    argv = report.record.get("command")
    words = argv if isinstance(argv, list | tuple) else [argv or ""]
    found.append(("command", " ".join(str(word) for word in words)))
    if report.failures and report.event in (telling.FAILURE, telling.RECOVERY):
        found.append(("failures", f"{report.failures} in a row"))
    if report.warning:
        found.append(("warning", report.warning))
    if report.namespace != "cg":
        found.append(("namespace", report.namespace))
    return [(name, printable(value, _VALUE)) for name, value in found if value]


def _span(ms: int | None) -> str:
    return span(ms) if ms is not None and ms >= 0 else ""


def _clean(line: str) -> str:
    """Return a line with all made visible that a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in line.rstrip("\r"))


def _of(address: Address) -> HeaderAddress:
    return HeaderAddress(printable(address.name, 100), address.user, address.domain)


def _id(report: Report) -> str:
    """Return what is one for each thing that is told; a run may warn several times."""
    when = f".{report.at}" if report.event in telling.WARNINGS else ""
    run = report.run_id
    safe = run if run.isascii() and run.isalnum() and len(run) <= 64 else _hash(run)
    return f"{safe}.{report.event}{when}"


def _hash(*parts: str) -> str:
    return sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:24]
