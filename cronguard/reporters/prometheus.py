"""Tells Prometheus: as files for node_exporter's textfile collector, or through a Pushgateway.

    [reporters.prometheus]
    textfile = "/var/lib/prometheus/node-exporter"
    pushgateway = "https://push.example.net:9091"  # or pushgateway_file: it may hold a password
    instance = "{host}"                            # a group for each host at the Pushgateway

Names and labels are those of `cronguard export metrics`; a metric that only the store knows is not
told. In a namespace other than the usual one each sample has it as the label `namespace`.

`textfile` a file for each job, `cronguard-JOB.prom`, 0644, replaced whole: what was heard of the
job's runs by whoever writes to this folder. Counters go on from what stands in the file, and a run
that is told twice is counted once. The collector takes a sample from one file alone, so the file of
`export metrics` belongs into another folder.

`pushgateway` its address, and the path it is under, if any. It is a cache and adds nothing up, so
it gets no counters: the gauges of the newest run alone. They are sent by POST, which leaves the
metrics there that are not sent (a failure leaves the time of the last success). The group is the
job: a job of a fleet is not a machine's, and groups stay until they are deleted, so its
documentation advises against `instance` for such; with the setting, each host has its own. What
is told last stands there: with several hosts, or with --slots, that need not be the newest run when
a report was late, or the only one under way.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time

from cronguard.core.metrics import NAMESPACE
from cronguard.core.record import SKIPPED
from cronguard.core.sheet import as_text
from cronguard.core.spec import is_job_name
from cronguard.reporters import textfile
from cronguard.reporters.contract import Never, NotNow, Report, Reporter
from cronguard.reporters.tally import Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.reporters.tally import Running

USUAL = "cg"
"""The namespace that is not said."""
PUSHED = (
    "cronguard_running_runs",
    "cronguard_consecutive_failures",
    "cronguard_last_start_timestamp_seconds",
    "cronguard_last_success_timestamp_seconds",
    "cronguard_last_failure_timestamp_seconds",
    "cronguard_last_exit_status",
    "cronguard_last_run_duration_seconds",
    "cronguard_last_run_cpu_seconds",
    "cronguard_last_run_max_rss_bytes",
)
"""What one run tells that is true without those before it."""
_TYPE = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
_LONGEST = 200
_SLACK_MS = 60_000


class Prometheus(Reporter):
    """Writes textfiles, pushes to a Pushgateway, or both."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        super().__init__(settings)
        self.folder = str(settings.get("textfile") or "")
        self.gateway = str(settings.get("pushgateway") or "").rstrip("/")
        self.instance = str(settings.get("instance") or "")
        if not self.folder and not self.gateway:
            raise ValueError("it has neither textfile nor pushgateway; set one of them")
        if self.instance and not self.gateway:
            raise ValueError("instance is for a Pushgateway; set pushgateway as well, or remove it")
        if self.gateway:
            _check(self.gateway, allow_http=bool(settings.get("allow_http")))
            from cronguard.reporters.http import Sender  # noqa: PLC0415 - 90 ms, for files unused

            self._sender = Sender(settings)

    def tell(self, report: Report, timeout: float) -> None:
        """Write and push, the one also where the other fails. Raises: NotNow, Never."""
        until = time.monotonic() + timeout
        if not (is_job_name(report.job) and is_job_name(report.namespace)):
            raise Never("the job's name or namespace is none")
        later = None
        if self.folder:
            try:
                self._write(report, timeout)
            except OSError as error:
                later = NotNow(
                    f"cannot write to {self.folder}: {error.strerror or error}; "
                    "textfile takes a folder that this user may write to"
                )
        if self.gateway:
            try:
                self._push(report, until - time.monotonic())
            except Never:
                if later is None:
                    raise
        if later is not None:
            raise later

    def _write(self, report: Report, timeout: float) -> None:
        def count(tally: Tally) -> bytes | None:
            tally.forget(lambda one: _is_gone(one, report))
            if not tally.take(report):
                return None
            return as_text(tally.sheet(report.job, _more(report)).families())

        textfile.change(os.path.join(self.folder, file_name(report)), count, timeout)

    def _push(self, report: Report, timeout: float) -> None:
        tally = Tally()
        if report.text("outcome") == SKIPPED or not tally.take(report):
            return  # another run may be under way, and its gauges stand
        sheet = tally.sheet(report.job, _more(report))
        body = as_text(family for family in sheet.families() if family.name in PUSHED)
        url = f"{self.gateway}/metrics{_group(report, report.fill(self.instance))}"
        self._sender.send("POST", url, body, _TYPE, timeout=timeout)


def file_name(report: Report) -> str:
    """Return the name of the job's file: its own in each namespace."""
    name = report.job if report.namespace == USUAL else f"{report.job}@{report.namespace}"
    if len(name) > _LONGEST:
        name = f"{name[:100]}@{hashlib.sha256(name.encode('ascii')).hexdigest()}"
    return f"cronguard-{name}.prom"


def _more(report: Report) -> dict[str, str]:
    return {} if report.namespace == USUAL else {NAMESPACE: report.namespace}


def _group(report: Report, instance: str) -> str:
    labels = {"job": report.job, **_more(report)}
    if instance:
        labels["instance"] = instance
    return "".join(f"/{_pair(name, value)}" for name, value in labels.items())


def _pair(name: str, value: str) -> str:
    """Return a label as a path has it: in base64 what a path could take for something else."""
    if is_job_name(value):
        return f"{name}/{value}"
    coded = base64.urlsafe_b64encode(value.encode("utf-8", "backslashreplace")).decode("ascii")
    return f"{name}@base64/{coded}"


def _check(url: str, *, allow_http: bool) -> None:
    """Raises: ValueError if it is no address of a Pushgateway; the text does not have it."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("https", "http") or not rest or "?" in rest or "#" in rest:
        raise ValueError("pushgateway: it is no address; write https://HOST:9091")
    if scheme == "http" and not allow_http:
        raise ValueError("pushgateway: it is not encrypted; use https:, or set allow_http = true")


def _is_gone(run: Running, report: Report) -> bool:
    """Tell whether a run of this host cannot end any more: nobody is there to tell it."""
    import psutil  # noqa: PLC0415 - 20 ms, and mostly no other run is under way

    if run.host != report.text("host") or not run.pid:
        return False
    try:
        begun = psutil.Process(run.pid).create_time() * 1000
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OverflowError):
        return False
    return begun > run.at + _SLACK_MS
