"""Traces of real runs: OpenTelemetry is sent when each of them waited, ran, stopped, released."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.process.lab import Lab, until
from tests.reporters.collector import Collector, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

CONFIG = """
[defaults]
report = ["otlp"]
report_timeout = "20s"
[reporters.otlp]
allow_http = true
allow_private = true
timeout = "10s"
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        yield one


@pytest.fixture
def place(lab: Lab, collector: Collector) -> Lab:
    """A lab whose jobs are traced, on each kind of store."""
    file = lab.folder / "cronguard.toml"
    file.write_text(CONFIG)
    file.chmod(0o600)
    lab.env["CRONGUARD_CONFIG"] = str(file)
    lab.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    return lab


def trace(collector: Collector) -> dict[str, Span]:
    """Return the spans that have come, by name, and forget them."""
    found = {span.name: span for span in collector.spans}
    collector.taken.clear()
    return found


def test_a_run_that_is_stopped_has_all_its_spans(place: Lab, collector: Collector) -> None:
    """In the order of what happened, each beginning where the one before it ends, or within."""
    done = place.call("run", "-n", "job", "-t", "300ms", "--", "sleep", "60")
    assert done.returncode == 124
    (record,) = place.records("job")
    found = trace(collector)
    assert list(found) == ["job", "wait", "run", "stop", "release"]
    whole, wait, run, stop, release = found.values()
    assert whole.trace_id.hex() == record["run_id"]
    assert whole.start_time_unix_nano == wait.start_time_unix_nano
    assert wait.end_time_unix_nano == run.start_time_unix_nano < stop.start_time_unix_nano
    assert run.end_time_unix_nano == stop.end_time_unix_nano == release.start_time_unix_nano
    assert release.end_time_unix_nano == whole.end_time_unix_nano
    assert stop.start_time_unix_nano - run.start_time_unix_nano >= 300_000_000
    assert whole.status.message.startswith("timed out after")


def test_a_skip_leads_to_the_run_in_its_way(place: Lab, collector: Collector) -> None:
    """Whose own trace comes with its end."""
    run = place.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; read x", stdin=-1)
    assert place.call("run", "-n", "job", "--", "true").returncode == 0
    skipped = trace(collector)["job"]
    assert attributes(skipped.attributes)["cronguard.reason"] == "held"
    run.communicate(b"\n")
    whole = trace(collector)["job"]
    assert [(one.trace_id, one.span_id) for one in skipped.links] == [
        (whole.trace_id, whole.span_id)
    ]


def test_attempts_and_warnings_are_in_it(place: Lab, collector: Collector) -> None:
    """A span for each attempt, an event for each warning."""
    options = ("--retries", "1", "--retry-delay", "1ms", "--warn-after", "10ms")
    script = "test $CRONGUARD_ATTEMPT = 2 || { read x; exit 3; }"
    run = place.start("run", "-n", "job", *options, "--", "sh", "-c", script, stdin=-1)
    assert run.stderr is not None
    assert b"still running" in run.stderr.readline()
    run.communicate(b"\n")
    assert run.returncode == 0
    runs = [span for span in collector.spans if span.name == "run"]
    assert [attributes(span.attributes)["process.exit.code"] for span in runs] == [3, 0]
    (whole,) = [span for span in collector.spans if span.name == "job"]
    assert whole.events[0].name == "warning"
    assert whole.status.code == whole.status.STATUS_CODE_UNSET


def test_a_trace_that_waited_is_the_same(place: Lab, collector: Collector) -> None:
    """What could not be sent comes later, with the moments that it had, and once."""
    collector.ill = "broken"
    place.call("run", "-n", "job", "--", "true")
    until("it was tried", lambda: collector.requests)
    collector.ill = ""
    assert place.call("flush").returncode == 0
    found = trace(collector)
    assert list(found) == ["job", "wait", "run", "release"]
    place.call("flush")
    assert not collector.taken
