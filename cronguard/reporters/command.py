"""Hooks: commands of the user's own that hear of runs.

    [reporters.hooks]
    type = "command"
    on_failure = ["/usr/local/bin/page", "--team", "ops"]   # started as it is
    on_success = 'touch "/run/ok/$CRONGUARD_JOB"'           # a text is for /bin/sh
    timeout = "20s"                                         # and report_timeout for the job

There are on_start, on_success, on_recovery, on_failure, on_stop, on_skip, on_warning and on_missed,
and `run` for whichever of these is not said. A recovery without a hook of its own is a success; of
what else has none nothing is told, and unless `on` says otherwise nobody is even started for it.

A hook gets the environment of the run, with what it needs to know (see VARIABLES), and on stdin all
of it: one JSON object with event, job, run_id, namespace, failures, warning, at and the record.
Where a fact is not known the variable is empty. It is not the run's child: it is started when that
is over, or beside it, and neither holds up nor changes the run.

It runs at most once, as what it does may not bear a second time: one that has begun has been told,
however it ends. Only the status 75 (EX_TEMPFAIL of sysexits.h) asks for another go, with the next
run. What could not be begun is begun later. Its time is `timeout`, within the job's report_timeout;
with less than a second of it left it is not begun. See programs.py for what becomes of it then.
"""

from __future__ import annotations

import json
import os
import shlex

from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters import programs
from cronguard.reporters.contract import Never, NotNow, Report, Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ANY = "run"
_INSTEAD = {telling.RECOVERY: telling.SUCCESS}
_TRY_AGAIN = 75
_LEAST_SECONDS = 1.0
_LONGEST = 4_096
_FIELDS = {
    "CRONGUARD_JOB": "job",
    "CRONGUARD_RUN_ID": "run_id",
    "CRONGUARD_OUTCOME": "outcome",
    "CRONGUARD_REASON": "reason",
    "CRONGUARD_EXIT_STATUS": "exit_status",
    "CRONGUARD_EXIT_SIGNAL": "signal",
    "CRONGUARD_HOST": "host",
    "CRONGUARD_USER": "user",
    "CRONGUARD_TOKEN": "token",
    "CRONGUARD_SLOT": "slot",
    "CRONGUARD_ATTEMPT": "attempt",
    "CRONGUARD_QUEUED_AT": "queued_at",
    "CRONGUARD_STARTED_AT": "started_at",
    "CRONGUARD_ENDED_AT": "ended_at",
    "CRONGUARD_WAIT_MS": "wait_ms",
    "CRONGUARD_DURATION_MS": "duration_ms",
}
"""Variables that are fields of the record."""
VARIABLES = (
    "CRONGUARD_EVENT",
    "CRONGUARD_NAMESPACE",
    "CRONGUARD_FAILURES",
    "CRONGUARD_WARNING",
    "CRONGUARD_COMMAND",
    *_FIELDS,
)
_OF_A_RUN = ("CRONGUARD_DEADLINE",)
"""What is there only if cronguard runs within cronguard, and is of the outer run."""


class Command(Reporter):
    """Starts hooks."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Take the hooks. Raises: ValueError if there is none."""
        super().__init__(settings)
        if not any(self._hook(event)[1] for event in telling.EVENTS):
            raise ValueError("it has no hook; set on_failure, on_success …, or run")

    def tell(self, report: Report, timeout: float) -> None:
        """Run the hook of that event, if there is one. Raises: NotNow, Never."""
        name, argv = self._hook(report.event)
        if not argv:
            return
        own = self.settings.get("timeout")
        if timeout < min(own / 1000 if isinstance(own, int) else timeout, _LEAST_SECONDS):
            raise NotNow(f"{name}: too little time is left to begin it")
        environ = {**os.environ, **facts(report)}
        for variable in _OF_A_RUN:
            environ.pop(variable, None)
        try:
            ended = programs.run(argv, as_json(report), environ, timeout)
        except OSError as error:
            raise NotNow(f"{name}: cannot start {argv[0]}: {error.strerror}") from None
        if ended.status == _TRY_AGAIN:
            raise NotNow(f"{name} {ended.how()}")
        if ended.status is None:
            raise Never(f"{name} {ended.how()}; see `timeout` and --report-timeout")
        if ended.status:
            raise Never(f"{name} {ended.how()}; it is not run again")

    def _hook(self, event: str) -> tuple[str, list[str]]:
        """Return the hook for an event, by its name in the section; no words if there is none."""
        for name in (f"on_{event}", f"on_{_INSTEAD.get(event, event)}", ANY):
            found = self.settings.get(name)
            if isinstance(found, list | tuple) and found:
                return name, [str(word) for word in found]
        return f"on_{event}", []


def facts(report: Report) -> dict[str, str]:
    """Return the variables that a hook gets."""
    argv = report.record.get("command")
    words = [str(word) for word in argv] if isinstance(argv, list | tuple) else [str(argv or "")]
    found = {
        "CRONGUARD_EVENT": report.event,
        "CRONGUARD_NAMESPACE": report.namespace,
        "CRONGUARD_FAILURES": "" if report.failures is None else str(report.failures),
        "CRONGUARD_WARNING": report.warning or "",
        "CRONGUARD_COMMAND": shlex.join(words),
        **{name: report.text(field) for name, field in _FIELDS.items()},
    }
    return {name: _clean(value) for name, value in found.items()}


def as_json(report: Report) -> bytes:
    """Return all of a report: ASCII, one line."""
    said = {
        "event": report.event,
        "job": report.job,
        "run_id": report.run_id,
        "namespace": report.namespace,
        "failures": report.failures,
        "warning": report.warning,
        "at": records.utc(report.at),
        "record": dict(report.record),
    }
    return f"{json.dumps(said, default=str)}\n".encode()


def _clean(value: str) -> str:
    """Return *value* as an environment can hold it; control characters are no part of any fact."""
    shown = value[:_LONGEST].encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)
