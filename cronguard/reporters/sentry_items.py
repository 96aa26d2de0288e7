"""What Sentry is sent of a run: a check-in of its monitor, an event. Pure; sentry.py sends them.

After develop.sentry.dev (check-ins, event payloads) and what Sentry's own code does with them:

* A check-in counts at the moment when it comes in. One with an id that is there updates that one;
  once it is `ok` or `error` it stays so. So the start and the end of a run have one id, and what is
  sent twice counts once. The id is a hash, as ids are unique over all projects and monitors.
* Any check-in moves the moment on at which the next is missed; only `ok` ends an incident. A run
  under way does not: a job that is due while its last run goes on would be missed. So a skip by a
  run of this job sends that one's check-in again, as `in_progress`: it still runs, its lock shows
  that. Not in the first minute, which its own check-in stands for, as a monitor takes but few of
  them in a minute; and not when it has run for longer than `max_runtime`, as that alarm, which each
  of these puts off, should come.
* `slot_done`, `replaced`: the other run sends its own, and nothing is added. `paused` is meant, so
  it is `ok`: nobody is called. With another job's lock in the way this job has not run, and nothing
  is sent: it is missed.
* A run that was stopped has not done its work, and is an `error`; one that was stopped for another
  to take its place (--replace) is `ok`, as that other one checks in by itself.
"""

from __future__ import annotations

import math
from datetime import datetime
from hashlib import sha256

from cronguard import __version__
from cronguard.core import record as records
from cronguard.core import telling
from cronguard.core.words import printable, signal_name, span
from cronguard.reporters.trace_ids import span_id, trace_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.reporters.contract import Report

IN_PROGRESS, OK, ERROR = "in_progress", "ok", "error"
SLUG_LENGTH = 50
MOST_MINUTES = 40_320
"""28 days: the most that Sentry takes as a margin or a runtime."""
_SLUG = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_MINUTE_MS = 60_000
_UNITS = (("day", 1_440), ("hour", 60), ("minute", 1))
_LONGEST_MS = (1 << 31) - 1
_TITLE, _TAG, _TEXT = 300, 200, 4_000
_STALE_MS = 60_000
"""A check-in of a run under way says nothing true after so long."""
_TITLES = {
    records.TIMED_OUT: "timed out",
    records.LEASE_LOST: "lost its lock, and was stopped",
    records.NOT_STARTED: "could not be started",
    records.STORE_UNAVAILABLE: "was not started: the store could not be reached",
    records.ABANDONED: "vanished: cronguard was killed, or its host went down",
}
_CONTEXT = (
    "run_id", "host", "user", "pid", "attempt", "slot", "queued_at", "started_at", "ended_at",
    "wait_ms", "duration_ms", "timeout_ms", "outcome", "reason", "exit_status", "signal", "token",
    "renewals", "renew_failures", "longest_gap_ms", "cpu_user_ms", "cpu_system_ms", "max_rss_bytes",
    "stragglers", "output_bytes", "store", "version",
)  # fmt: skip


def slug(text: str) -> str:
    """Return what Sentry takes as the name of a monitor, from *text*, as near to it as can be.

    At most 50 of a-z 0-9 _ and -, and not digits alone. What is cut ends with a hash of all of it.
    """
    shown = "".join([c if c in _SLUG else "-" for c in text.lower()])
    while "--" in shown:
        shown = shown.replace("--", "-")
    shown = shown.strip("-_")
    if len(shown) > SLUG_LENGTH or not shown:
        shown = f"{shown[: SLUG_LENGTH - 9]}-{_hash(text)[:8]}".lstrip("-")
    return f"job-{shown}"[:SLUG_LENGTH] if shown.isdecimal() else shown


def title(report: Report) -> str:
    """Return in one line what happened."""
    outcome, reason = report.text("outcome"), report.text("reason")
    if report.event in telling.WARNINGS:
        return printable(f"{report.job}: {report.warning or 'it warns'}", _TITLE)
    if outcome == records.FAILED:
        number, status = report.number("signal"), report.number("exit_status")
        how = (
            f"was killed by signal {signal_name(number)}"
            if number
            else f"failed with status {status}"
        )
    else:
        how = _TITLES.get(outcome, f"ended: {outcome}")
    took = report.number("duration_ms")
    if outcome == records.TIMED_OUT and took is not None and took >= 0:
        how += f" after {span(took)}"
    return printable(f"{report.job} {how}" + (f": {reason}" if reason else ""), _TITLE)


class Items:
    """Makes them by the settings of a section; `place` tells the project apart from others."""

    def __init__(self, settings: Mapping[str, object], environment: str, place: str) -> None:
        self.settings = settings
        self.environment = environment
        self.release = str(settings.get("release") or "") or None
        self.place = place

    # -- check-ins --------------------------------------------------------------------------------

    def check_in(self, report: Report, now: int) -> dict[str, object] | None:
        """Return the check-in that a report is at *now* (ms since the epoch); None if none."""
        status, run_id = self._status(report, now)
        if not status:
            return None
        monitor = slug(report.fill(str(self.settings.get("monitor") or "{job}")))
        said: dict[str, object] = {
            "check_in_id": _hash(f"{run_id}/{monitor}/{self.environment}/{self.place}")[:32],
            "monitor_slug": monitor,
            "status": status,
            "environment": self.environment,
            "contexts": {"trace": {"trace_id": trace_id(run_id)}},
        }
        if self.release:
            said["release"] = self.release
        took = report.number("duration_ms")
        if status != IN_PROGRESS and took is not None and 0 <= took <= _LONGEST_MS:
            said["duration"] = took / 1000
        config = self._config(report)
        if config is not None:
            said["monitor_config"] = config
        return said

    def _status(self, report: Report, now: int) -> tuple[str, str]:
        """Return the status to tell, and the run that it is of; nothing for no check-in."""
        reason = report.text("reason")
        match report.event:
            case telling.START:
                return IN_PROGRESS, report.run_id
            case telling.SUCCESS | telling.RECOVERY:
                return OK, report.run_id
            case telling.FAILURE:
                return ERROR, report.run_id
            case telling.STOP:
                return (OK if reason == "replaced" else ERROR), report.run_id
            case telling.SKIP if reason == "paused":
                return OK, report.run_id
            case telling.SKIP if reason in ("held", "wait_expired"):
                return self._of_holder(report, now)
        return "", ""

    def _of_holder(self, report: Report, now: int) -> tuple[str, str]:
        holder = report.record.get("holder")
        if not isinstance(holder, dict) or not self.settings.get("heartbeat", True):
            return "", ""
        run_id, since = holder.get("run_id"), _moment(holder.get("since"))
        of_other = holder.get("lock") and holder.get("job") != report.job
        if not isinstance(run_id, str) or not run_id or of_other or now - report.at > _STALE_MS:
            return "", ""
        if since is not None:
            most = self._max_runtime(report)
            age = report.at - since
            if age < _MINUTE_MS or (most is not None and age > most):
                return "", ""
        return IN_PROGRESS, run_id

    # -- the monitor ------------------------------------------------------------------------------

    def _config(self, report: Report) -> dict[str, object] | None:
        """Return what the monitor is to be; None where Sentry could not know when the job is due.

        What is not said stays as it is in Sentry.
        """
        schedule, zone = _schedule(report.record.get("schedule"))
        if schedule is None:
            return None
        config: dict[str, object] = {"schedule": schedule}
        if zone:
            config["timezone"] = zone
        minutes = {
            "checkin_margin": self.settings.get("margin"),
            "max_runtime": self._max_runtime(report),
        }
        for name, ms in minutes.items():
            if isinstance(ms, int) and ms > 0:
                config[name] = min(math.ceil(ms / _MINUTE_MS), MOST_MINUTES)
        for name in ("failure_issue_threshold", "recovery_threshold", "owner"):
            if self.settings.get(name):
                config[name] = self.settings[name]
        return config

    def _max_runtime(self, report: Report) -> int | None:
        """Return the ms that a run may last: as configured, else a minute more than --timeout."""
        said = self.settings.get("max_runtime")
        if isinstance(said, int):
            return said
        timeout = report.number("timeout_ms")
        return timeout + _MINUTE_MS if timeout is not None and timeout > 0 else None

    # -- events -----------------------------------------------------------------------------------

    def event(self, report: Report) -> dict[str, object] | None:
        """Return the event that a report is; None if there is nothing for anybody to do."""
        if report.event not in (telling.FAILURE, *telling.WARNINGS):
            return None
        is_warning = report.event in telling.WARNINGS
        kind = report.event if is_warning else report.text("outcome") or telling.FAILURE
        when = f"/{report.at}" if is_warning else ""
        ended = _moment(report.record.get("ended_at"))
        said: dict[str, object] = {
            "event_id": _hash(f"{report.run_id}/{kind}{when}/{self.place}")[:32],
            "timestamp": records.utc(report.at if is_warning or ended is None else ended),
            "platform": "other",
            "level": "warning" if is_warning else "error",
            "logger": "cronguard",
            "logentry": {"formatted": title(report)},
            "transaction": report.job,
            "server_name": printable(report.text("host"), _TAG),
            "environment": self.environment,
            "fingerprint": ["cronguard", report.job, kind],
            "tags": self._tags(report),
            "contexts": {
                "trace": {"trace_id": trace_id(report.run_id), "span_id": span_id(report.run_id)},
                "cronguard": _facts(report),
            },
            "sdk": {"name": "cronguard", "version": __version__},
        }
        if self.release:
            said["release"] = self.release
        return said

    def _tags(self, report: Report) -> dict[str, str]:
        found = {
            "job": report.job,
            "namespace": report.namespace,
            **{name: report.text(name) for name in ("outcome", "host", "exit_status", "signal")},
        }
        own = self.settings.get("tags")
        for name, value in own.items() if isinstance(own, dict) else ():
            found[str(name)] = report.fill(str(value))
        return {name: printable(value, _TAG) for name, value in found.items() if value}

    def output(self, report: Report) -> bytes:
        """Return what the run's output is known to be, to go with its event."""
        text = report.text("output_tail") if self.settings.get("output", True) else ""
        return text.encode("utf-8", "replace")


def _facts(report: Report) -> dict[str, object]:
    facts: dict[str, object] = {}
    for name in _CONTEXT:
        value = report.record.get(name)
        if isinstance(value, int):
            facts[name] = value
        elif value is not None:
            facts[name] = printable(value, _TEXT)
    command = report.record.get("command")
    if isinstance(command, list):
        facts["command"] = printable(" ".join([str(word) for word in command]), _TEXT)
    if report.failures is not None:
        facts["failures_in_a_row"] = report.failures
    return facts


def _schedule(said: object) -> tuple[dict[str, object] | None, str]:
    """Return the schedule of a record as Sentry takes it, and its zone.

    None where it has none, or one that Sentry would read otherwise: seconds, or hours in the zone
    of a host that has no name for it.
    """
    if not isinstance(said, dict):
        return None, ""
    cron, zone, period = said.get("cron"), said.get("tz"), said.get("once_ms")
    if isinstance(cron, str) and isinstance(zone, str) and zone and zone != "local":
        return {"type": "crontab", "value": cron}, zone
    if not isinstance(period, int) or period < _MINUTE_MS or period % _MINUTE_MS:
        return None, ""
    minutes = period // _MINUTE_MS
    unit, of = next((unit, of) for unit, of in _UNITS if minutes % of == 0)
    return {"type": "interval", "value": minutes // of, "unit": unit}, ""


def _moment(text: object) -> int | None:
    """Return a moment of a record in ms since the epoch, or None."""
    try:
        return int(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()
