"""Traces reach a server as OTLP demands, or wait, or are let go; and nothing else is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTracePartialSuccess

from cronguard.config.options import ConfigError
from cronguard.config.reporters import target
from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters.contract import Never, NotNow, Report, Told
from cronguard.reporters.registry import make
from tests.reporters.collector import PROTOBUF, Collector, attributes, took
from tests.reporters.receiver import ILLS, Answer
from tests.reporters.samples import AT, HOSTILE, ended, skipped, started, warned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cronguard.reporters.contract import Reporter

RUN = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
SECRET = "hush-hush-1"
FAILED: dict[str, Any] = {
    "run_id": RUN,
    "queued_at": records.utc(AT - 1540),
    "command": ["/opt/backup", "--all"],
    "output_tail": "it\nbroke\n",
    "exit_status": 3,
}
REPORTS = [
    ended(run_id=RUN),
    ended(records.FAILED, **FAILED),
    ended(records.TIMED_OUT, stopping_at=records.utc(AT - 100), run_id=RUN),
    ended(event=telling.RECOVERY, failures=3, run_id=RUN),
    skipped("held", run_id=RUN, holder={"host": "web-4", "run_id": "x"}),
    ended(warnings=[{"at": records.utc(AT - 3), "text": "still running"}], run_id=RUN),
    started(RUN),
    warned(RUN),
]


@pytest.fixture(autouse=True)
def _without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        yield one


def otlp(collector: Collector, **settings: object) -> Reporter:
    """Return the reporter that a section says."""
    section = {"endpoint": collector.url, "allow_http": True, "allow_private": True, **settings}
    if section["endpoint"] is None:
        del section["endpoint"]
    found = target("otlp", {key: (value, "test") for key, value in section.items()}, {})
    return make("otlp", found.values)


# -- what is sent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("report", REPORTS, ids=lambda one: f"{one.event}-{one.record['outcome']}")
def test_a_report_is_what_the_specification_demands(collector: Collector, report: Report) -> None:
    """The collector looks at each id, moment and link, and takes it."""
    otlp(collector).tell(report, 5)
    assert {span.trace_id.hex() for span in collector.spans} == {RUN}


def test_a_failed_run_arrives_whole(collector: Collector) -> None:
    """Its parts, in ns, with its attributes, its status, and who ran it."""
    report = ended(records.FAILED, stopping_at=records.utc(AT - 100), pid=77, **FAILED)
    report.released_at = AT + 4
    otlp(collector).tell(report, 5)
    whole, *parts = collector.spans
    assert [part.name for part in parts] == ["wait", "run", "stop", "release"]
    assert {part.parent_span_id for part in parts} == {whole.span_id}
    assert not whole.parent_span_id
    assert whole.start_time_unix_nano == (AT - 1540) * 1_000_000
    assert whole.end_time_unix_nano == (AT + 4) * 1_000_000
    assert whole.status.code == parts[1].status.code == whole.status.STATUS_CODE_ERROR
    assert whole.status.message == "failed (exit 3)"
    said = attributes(whole.attributes)
    assert said["process.exit.code"] == 3
    assert said["cronguard.output_tail"] == "it\nbroke\n"
    assert attributes(parts[1].attributes)["process.command_args"] == {
        "values": [{"stringValue": "/opt/backup"}, {"stringValue": "--all"}]
    }
    assert collector.resource == {
        "service.name": "cronguard",
        "host.name": "web-3",
        "process.pid": 77,
        "process.owner": "alice",
    }


def test_what_is_told_again_is_the_same(collector: Collector) -> None:
    """Byte for byte, also by another process and in another try: no server has it twice."""
    collector.answers = [Answer(503)]
    for _ in range(2):
        otlp(collector).tell(ended(records.FAILED, **FAILED), 5)
    bodies = {request.body for request in collector.requests}
    assert (len(collector.requests), len(bodies)) == (3, 1)


@pytest.mark.parametrize("packing", ["gzip", "none"])
def test_it_is_packed_or_not(collector: Collector, packing: str) -> None:
    """As the section says."""
    otlp(collector, compression=packing).tell(ended(), 5)
    (request,) = collector.requests
    assert request.headers.get("Content-Encoding", "none") == packing
    assert len(collector.spans) == 2


def test_the_output_can_be_left_out(collector: Collector) -> None:
    """The rest stays."""
    otlp(collector, output=False).tell(ended(records.FAILED, **FAILED), 5)
    said = attributes(collector.spans[0].attributes)
    assert "cronguard.output_tail" not in said
    assert said["process.exit.code"] == 3


def test_what_strangers_wrote_arrives_as_text(collector: Collector) -> None:
    """Also what is no UTF-8, or no number that fits."""
    odd: dict[str, Any] = {"job": HOSTILE, "reason": HOSTILE, "output_tail": HOSTILE}
    odd |= {"command": [HOSTILE], "host": HOSTILE, "token": 1 << 80, "pid": -(1 << 63)}
    odd |= {"warnings": [{"at": records.utc(AT), "text": HOSTILE}], "attempt": True}
    otlp(collector, service="{job}").tell(ended(records.FAILED, **odd), 5)
    said = attributes(collector.spans[0].attributes)
    assert said["cronguard.token"] == str(1 << 80)
    assert "\n" not in str(collector.resource["service.name"])


def test_the_usual_events_are_the_ends(collector: Collector) -> None:
    """Warnings are events of the run's own trace; a start has none yet."""
    on = target("otlp", {"endpoint": ("https://h/", "test")}, {}).rule.on
    assert on == {"success", "recovery", "failure", "stop", "skip"}


# -- where to --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("", "/v1/traces"),
        ("/", "/v1/traces"),
        ("/otlp", "/otlp/v1/traces"),
        ("/otlp/?key=x#y", "/otlp/v1/traces?key=x"),
        ("/v1/traces", "/v1/traces"),
    ],
)
@pytest.mark.parametrize("name", ["endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_a_base_gets_the_path_of_traces(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, name: str, endpoint: str, path: str
) -> None:
    """Unless it has it; for the section and the environment alike."""
    collector.path = path
    said = collector.url + endpoint
    if name == "endpoint":
        one = otlp(collector, endpoint=said)
    else:
        monkeypatch.setenv(name, said)
        one = otlp(collector, endpoint=None)
    one.tell(ended(), 5)
    assert collector.spans


def test_an_endpoint_of_the_environment_for_traces_is_taken_as_it_is(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stronger than the one for all, and weaker than the section."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/in")
    collector.path = "/in"
    otlp(collector, endpoint=None).tell(ended(), 5)
    collector.path = "/of/v1/traces"
    otlp(collector, endpoint=f"{collector.url}/of").tell(ended(), 5)
    assert len(collector.taken) == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "no endpoint; set endpoint, endpoint_file or OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": f"collector/{SECRET}"}, "OTEL_EXPORTER_OTLP_ENDPOINT: it"),
        ({"endpoint": f"ftp://h/{SECRET}"}, "endpoint: it is no URL"),
        ({"endpoint": f"http://[{SECRET}"}, "endpoint: it is no URL"),
        ({"OTEL_EXPORTER_OTLP_TRACES_HEADERS": SECRET}, "part 1 is not NAME=VALUE"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": f"a=1,{SECRET} x=2"}, "HEADERS: its header 2"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": f"a={SECRET}%0a"}, "HEADERS: its header 1"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": f"Host={SECRET}"}, "HEADERS: its header 1"),
        ({"headers": f"Host: {SECRET}"}, "headers_file: its header 1"),
        ({"headers": SECRET}, "headers_file: its part 1"),
        ({"OTEL_RESOURCE_ATTRIBUTES": f"=,{SECRET}"}, "OTEL_RESOURCE_ATTRIBUTES: its part 1"),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": SECRET}, "COMPRESSION: it takes one of gzip, none"),
    ],
)
def test_what_cannot_be_used_is_refused_without_its_text(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], why: str
) -> None:
    """With the name of the setting, or of the variable."""
    settings = {"endpoint": "https://collector.example/"}
    if why.startswith(("no endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT")):
        settings = {}
    for name, value in said.items():
        if name.startswith("OTEL_"):
            monkeypatch.setenv(name, value)
        else:
            settings[name] = value
    with pytest.raises(ValueError, match=why) as caught:
        make("otlp", settings)
    assert SECRET not in str(caught.value)


def test_an_endpoint_for_grpc_is_refused(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It speaks another protocol; what the section says is for us."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ValueError, match=r"PROTOCOL is grpc.*\(port 4318\)"):
        otlp(collector, endpoint=None)
    otlp(collector).tell(ended(), 5)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    otlp(collector, endpoint=None)


def test_what_is_not_encrypted_or_private_must_be_allowed(collector: Collector) -> None:
    """As for every reporter over HTTP."""
    with pytest.raises(Never, match="allow_http"):
        otlp(collector, allow_http=False).tell(ended(), 5)
    with pytest.raises(Never, match="allow_private"):
        otlp(collector, allow_private=False).tell(ended(), 5)
    assert not collector.requests


# -- with what -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"headers": {"api-key": "a=b c"}}, {"api-key": "a=b c"}),
        ({"headers": "Authorization: Bearer x=="}, {"Authorization": "Bearer x=="}),
        ({"headers": "api-key=a%3Db, x-scope = 1 ,"}, {"api-key": "a=b", "x-scope": "1"}),
        (
            {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20eDp5"},
            {"Authorization": "Basic eDp5"},
        ),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=x:y==,b=+"}, {"a": "x:y==", "b": "+"}),
        (
            {"OTEL_EXPORTER_OTLP_HEADERS": "a=1", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "b=2"},
            {"a": None, "b": "2"},
        ),
        ({"headers": {"a": "1"}, "OTEL_EXPORTER_OTLP_HEADERS": "b=2"}, {"a": "1", "b": None}),
    ],
)
def test_headers_are_those_of_the_section_or_the_environment(
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    said: dict[str, Any],
    found: dict[str, str | None],
) -> None:
    """Of a table, of the line of a file in either form, or percent-encoded of a variable."""
    for name in [name for name in said if name.startswith("OTEL_")]:
        monkeypatch.setenv(name, said[name])
    more = {"headers": said["headers"]} if isinstance(said.get("headers"), dict) else {}
    one = otlp(collector, **more)
    if isinstance(said.get("headers"), str):
        one = make("otlp", {**one.settings, "headers": said["headers"]})
    one.tell(ended(), 5)
    (request,) = collector.requests
    assert {name: request.headers.get(name) for name in found} == found
    assert request.headers["Content-Type"] == PROTOBUF


def test_the_resource_is_what_section_environment_and_run_say(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order of strength; OTEL_SERVICE_NAME before what the attributes say."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=of-list,team=a%2Cb,host.name=h")
    otlp(collector).tell(ended(), 5)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "of-variable")
    otlp(collector).tell(ended(), 5)
    own = {"team": "ops", "deployment.environment.name": "{host}"}
    otlp(collector, service="cron-{job}", attributes=own).tell(ended(), 5)
    found = [attributes(one.resource_spans[0].resource.attributes) for one in collector.taken]
    assert [one["service.name"] for one in found] == ["of-list", "of-variable", "cron-backup"]
    assert [one["team"] for one in found] == ["a,b", "a,b", "ops"]
    assert found[0]["host.name"] == "h"
    assert found[2]["deployment.environment.name"] == "web-3"


@pytest.mark.parametrize(("value", "sent"), [("TRUE", 0), ("true", 0), ("1", 1), ("", 1)])
def test_nothing_is_sent_where_the_environment_says_so(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, value: str, sent: int
) -> None:
    """By `true` alone, in any case; and then nothing else needs to be right."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    otlp(collector).tell(ended(), 5)
    assert len(collector.requests) == sent
    if not sent:
        make("otlp", {}).tell(ended(), 5)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("headers", ["a"], "takes a table"),
        ("headers", {"a b": "x"}, "no name of a header"),
        ("headers", {"Content-Encoding": "x"}, "set by cronguard itself"),
        ("headers", {"a": "é"}, "a: it takes one line of ASCII"),
        ("headers", {"a": 1}, "a: it takes one line of ASCII"),
        ("attributes", "x", "takes a table"),
        ("attributes", {"deployment": {"environment": "x"}}, "put it in quotes"),
        ("attributes", {"a": 1}, "one line of text"),
        ("compression", "zstd", "gzip, none"),
        ("output", "yes", "true or false"),
        ("service", "", "one line of text"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(key: str, value: object, said: str) -> None:
    """Before the run starts."""
    with pytest.raises(ConfigError, match=said):
        target("otlp", {key: (value, "test")}, {})


# -- what is answered ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_these_are_tried_again(collector: Collector, status: int) -> None:
    """While there is time; and told once."""
    collector.answers = [Answer(status)]
    otlp(collector).tell(ended(), 30)
    assert (len(collector.requests), len(collector.taken)) == (2, 1)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_how_long_to_leave_it_alone_is_kept_to(collector: Collector, status: int) -> None:
    """Nothing more is sent, and the report stays."""
    collector.answers = [Answer(status, {"Retry-After": "77"})]
    with pytest.raises(NotNow, match=f"answers {status}") as caught:
        otlp(collector).tell(ended(), 5)
    assert (caught.value.after, len(collector.requests)) == (77, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 501, 505])
def test_no_other_refusal_is_tried_again(collector: Collector, status: int) -> None:
    """Also not what other services mean by it: the specification has a list."""
    collector.answers = [Answer(status, body=b"no")]
    with pytest.raises(Never, match=f"answers {status}: no"):
        otlp(collector).tell(ended(), 5)
    assert len(collector.requests) == 1


def test_what_a_refusal_says_is_shown_without_secrets(collector: Collector) -> None:
    """In protobuf, or as a text; in one line."""
    said = f"unknown key {SECRET}\nfor traces in {PROTOBUF} at /v1/traces"
    body = ExportTracePartialSuccess(rejected_spans=3, error_message=said).SerializeToString()
    one = otlp(collector, headers={"api-key": SECRET}, endpoint=f"{collector.url}/hidden1")
    collector.path = "/hidden1/v1/traces"
    for answer in (
        Answer(400, {"Content-Type": PROTOBUF}, body),
        Answer(400, {"Content-Type": "text/plain"}, said.encode()),
        Answer(400, {}, f"unknown key hidden1\nfor traces in {PROTOBUF} at /v1/traces".encode()),
    ):
        collector.answers = [answer]
        with pytest.raises(Never, match=r"answers 400: unknown key \*\*\*") as caught:
            one.tell(ended(), 5)
        assert str(caught.value).endswith(f"for traces in {PROTOBUF} at /v1/traces")
        assert "\n" not in str(caught.value)
        assert SECRET not in str(caught.value)
        assert "hidden1" not in str(caught.value)


def test_what_was_taken_in_part_is_said_and_not_sent_again(collector: Collector) -> None:
    """It has been told; if nothing was taken, it has not."""
    one = otlp(collector, headers={"api-key": SECRET})
    collector.usual = took(1, f"too old, {SECRET}")
    with pytest.raises(Told, match=r"refused 1 of 2 spans: too old, \*\*\*$"):
        one.tell(ended(), 5)
    collector.usual = took(0, "use another endpoint")
    with pytest.raises(Told, match="took it, and says: use another endpoint"):
        one.tell(ended(), 5)
    collector.usual = took(2, "")
    with pytest.raises(Never, match=r"refused all 2 spans$"):
        one.tell(ended(), 5)
    assert len(collector.requests) == 3


@pytest.mark.parametrize("body", [b"", b"{}", b"OK", b"\xff" * 40, b"x" * (10 << 20)])
@pytest.mark.parametrize("kind", [PROTOBUF, f"{PROTOBUF}; x=y", "application/json", ""])
def test_an_answer_that_makes_no_sense_is_a_success(
    collector: Collector, kind: str, body: bytes
) -> None:
    """Its status stands; no more of it is read than a little."""
    collector.usual = Answer(headers={"Content-Type": kind}, body=body)
    otlp(collector).tell(ended(), 10)
    assert len(collector.taken) == 1


TAKEN = {"huge", "endless", "dripping", "dripping headers", "cut"}


@pytest.mark.parametrize("ill", ILLS)
def test_an_ill_server_costs_no_more_than_the_timeout(collector: Collector, ill: str) -> None:
    """The report stays if it may yet be taken, and goes if it was, or never will be."""
    collector.ill = ill
    one = otlp(collector)
    if ill in TAKEN:
        one.tell(ended(), 3)
        return
    with pytest.raises(Never if ill == "redirect" else NotNow):
        one.tell(ended(), 0.5)


def test_the_collector_refuses_what_a_server_would(collector: Collector) -> None:
    """So that the tests above can fail."""
    with pytest.raises(Never, match="refused: method or path"):
        otlp(collector, endpoint=f"{collector.url}/x").tell(ended(), 5)
    late = ended(queued_at="1970-01-01T00:00:01.000Z")
    with pytest.raises(Never, match="refused: times"):
        otlp(collector).tell(late, 5)


# -- the package -----------------------------------------------------------------------------------

WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Gone(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("opentelemetry", "google"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Gone())
"""
MAKE = """
from cronguard.reporters.registry import make
try:
    make("otlp", {"endpoint": "https://h/"})
except ValueError as error:
    print(error)
"""
CHECK = """
from cronguard.admin.cli import main
sys.exit(main(["config", "check", "-c", sys.argv[1]]))
"""
INSTALL = f"`{sys.executable} -m pip install 'cronguard-supervisor[otel]'`"


def without(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run *script* where neither package is there."""
    code = [sys.executable, "-c", WITHOUT + script, *words]
    environ = {name: said for name, said in os.environ.items() if "CRONGUARD" not in name}
    return subprocess.run(code, capture_output=True, text=True, timeout=60, env=environ)


def test_where_the_package_is_missing_it_says_what_to_install() -> None:
    """And nothing of it is needed to find that out."""
    done = without(MAKE)
    assert done.stderr == ""
    assert done.stdout == f"the package opentelemetry-proto is not installed; do {INSTALL}\n"


def test_a_check_of_the_configuration_finds_that_it_is_missing(tmp_path: Path) -> None:
    """Where a section has that type, or a job names it; and only then."""
    file = tmp_path / "c.toml"
    for text, status in (
        ("[reporters.traces]\ntype = 'otlp'\n", 1),
        ("[jobs.x]\nreport = ['otlp']\n", 1),
        ("[jobs.x]\nreport = ['sentry']\n", 0),
    ):
        file.write_text(text)
        file.chmod(0o600)
        done = without(CHECK, str(file))
        assert (done.returncode, INSTALL in " ".join(done.stdout.split())) == (status, bool(status))
