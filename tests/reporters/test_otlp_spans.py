"""A run is one trace: which spans there are, what they say, and how they hang together."""

from __future__ import annotations

from typing import Any

import pytest

from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters.contract import Report
from cronguard.reporters.otlp_span import LAST_MS, Span
from cronguard.reporters.otlp_spans import OUTPUT_BYTES, resource, spans
from cronguard.reporters.trace_ids import span_id, trace_id
from tests.reporters.samples import AT, HOSTILE, ended, report, run_id, skipped, started, warned

RUN = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
OTHER = "f" * 32
QUEUED, STARTED = AT - 1540, AT - 1500


def of(one: Report, *, with_output: bool = True) -> dict[str, Span]:
    """Return the spans of a report by name."""
    found = spans(one, with_output=with_output)
    named = {span.name: span for span in found}
    assert len(named) == len(found)
    return named


def run(outcome: str = records.SUCCEEDED, **facts: Any) -> Report:
    """Return what is told at the end of a run that waited 40 ms and lasted 1.5 s."""
    usual = {"run_id": RUN, "queued_at": records.utc(QUEUED), "command": ["/opt/backup", "--all"]}
    return ended(outcome, **(usual | facts))


def bounds(span: Span) -> tuple[int, int]:
    return span.started_at, span.ended_at


def test_a_run_is_a_whole_with_its_parts() -> None:
    """They have its id as their parent, and the moments of the record."""
    found = of(run())
    assert list(found) == ["backup", "wait", "run"]
    whole = found["backup"]
    assert (bounds(whole), whole.parent_id, whole.error) == ((QUEUED, AT), "", "")
    assert bounds(found["wait"]) == (QUEUED, STARTED)
    assert bounds(found["run"]) == (STARTED, AT)
    assert {span.parent_id for name, span in found.items() if name != "backup"} == {whole.span_id}
    assert {span.trace_id for span in found.values()} == {RUN}
    assert len({span.span_id for span in found.values()}) == len(found)


def test_stop_and_release_are_there_once_their_moments_are_known() -> None:
    """And the whole lasts until the lock is given back."""
    one = run(records.TIMED_OUT, stopping_at=records.utc(AT - 200))
    one.released_at = AT + 30
    found = of(one)
    assert list(found) == ["backup", "wait", "run", "stop", "release"]
    assert bounds(found["stop"]) == (AT - 200, AT)
    assert bounds(found["release"]) == (AT, AT + 30)
    assert bounds(found["backup"]) == (QUEUED, AT + 30)


def test_what_is_told_twice_is_the_same_and_other_runs_are_others() -> None:
    """Ids come of the run's id, and of nothing else."""
    ids = [[(span.trace_id, span.span_id) for span in of(run()).values()] for _ in range(2)]
    assert ids[0] == ids[1]
    others = [(span.trace_id, span.span_id) for span in of(run(run_id=OTHER)).values()]
    assert not set(ids[0]) & set(others)


@pytest.mark.parametrize("odd", ["", "0" * 32, "A" * 32, "r-1", RUN[:-1], "\udc80"])
def test_an_id_of_another_form_makes_a_trace_as_well(odd: str) -> None:
    """32 hexadecimal digits that are not all zero, always the same."""
    found = trace_id(odd)
    assert (len(found), found == trace_id(odd), found == odd) == (32, True, False)
    assert int(found, 16)
    assert len(span_id(odd)) == 16


def attempt(
    number: int, begun: int | None, over: int, status: int, signal: int | None = None
) -> dict[str, object]:
    """Return what a record has of one attempt."""
    return {
        "attempt": number,
        "started_at": None if begun is None else records.utc(begun),
        "ended_at": records.utc(over),
        "exit_status": status,
        "signal": signal,
    }


def test_each_attempt_has_a_span_with_how_it_ended() -> None:
    """One that could not be started has none; why the run failed stands at the last."""
    said = [
        attempt(1, STARTED, STARTED + 300, 3),
        attempt(2, STARTED + 800, AT, 137, signal=9),
        attempt(3, None, AT, 127),
    ]
    found = spans(
        run(records.FAILED, attempts=said[:2], exit_status=137, signal=9), with_output=True
    )
    first, second = (span for span in found if span.name == "run")
    assert [bounds(first), bounds(second)] == [
        (STARTED, STARTED + 300),
        (STARTED + 800, AT),
    ]
    assert first.span_id != second.span_id
    assert first.error == "failed (exit 3)"
    assert second.error == found[0].error == "failed (killed by KILL)"
    assert first.attributes["cronguard.attempt"] == 1
    assert second.attributes["process.exit.code"] == 137
    assert second.attributes["cronguard.signal"] == 9
    assert "cronguard.signal" not in first.attributes
    found = spans(run(records.FAILED, attempts=said), with_output=True)
    assert [span.name for span in found].count("run") == 2


def test_an_attempt_that_was_over_before_the_run_failed_by_itself() -> None:
    """A signal in the pause after it stopped the run, not the attempt."""
    said = [attempt(1, STARTED, STARTED + 300, 3)]
    found = of(run(records.STOPPED, attempts=said, reason="signal"))
    assert found["run"].error == "failed (exit 3)"
    assert found["backup"].error == "was stopped after 1.5s: signal"


@pytest.mark.parametrize(
    ("outcome", "facts", "error"),
    [
        (records.SUCCEEDED, {}, ""),
        (records.FAILED, {"exit_status": 3}, "failed (exit 3)"),
        (records.TIMED_OUT, {}, "timed out after 1.5s"),
        (records.STORE_UNAVAILABLE, {}, "was not started: the store could not be reached"),
        (records.NOT_STARTED, {"reason": "no such file"}, "could not be started: no such file"),
        (records.LEASE_LOST, {}, "lost its lock, and was stopped after 1.5s"),
        (records.STOPPED, {"reason": "signal"}, "was stopped after 1.5s: signal"),
        (records.STOPPED, {"reason": "replaced"}, ""),
    ],
)
def test_the_whole_and_the_run_are_errors_if_the_work_was_not_done(
    outcome: str, facts: dict[str, Any], error: str
) -> None:
    """With what happened, and its class; another run that takes this one's place does the work."""
    found = of(run(outcome, **facts))
    assert found["backup"].error == found["run"].error == error
    assert found["backup"].attributes.get("error.type") == (outcome if error else None)
    assert found["wait"].error == ""


def test_a_skip_is_a_short_trace_that_leads_to_the_run_in_its_way() -> None:
    """It has the reason, and is no error."""
    holder = {"run_id": OTHER, "host": "web-4", "pid": 7, "since": records.utc(QUEUED)}
    moments = {"queued_at": records.utc(AT), "ended_at": records.utc(AT + 3)}
    found = of(skipped("held", run_id=RUN, holder=holder, **moments))
    assert list(found) == ["backup", "wait"]
    whole = found["backup"]
    assert bounds(whole) == bounds(found["wait"]) == (AT, AT + 3)
    assert (whole.error, whole.attributes["cronguard.reason"]) == ("", "held")
    assert whole.attributes["cronguard.holder.host"] == "web-4"
    others = of(run(run_id=OTHER))["backup"]
    assert whole.links == [(others.trace_id, others.span_id)]


def test_a_run_that_vanished_ends_at_its_last_known_moment() -> None:
    """No moment is invented: when the command ended is not known, so it has no span."""
    warnings = [{"at": records.utc(AT - 100), "text": "still running after 1s"}]
    gone = run(records.ABANDONED, ended_at=None, warnings=warnings, duration_ms=None)
    found = of(gone)
    assert list(found) == ["backup", "wait"]
    assert bounds(found["backup"]) == (QUEUED, AT - 100)
    assert found["backup"].error.startswith("vanished")


def test_warnings_are_events_of_the_whole() -> None:
    """At their moments; what is no warning is passed over."""
    said = [{"at": records.utc(AT - 5), "text": "still running"}, {"at": "x"}, {"text": "y"}, 3]
    (event,) = of(run(warnings=said))["backup"].events
    assert event == (AT - 5, "warning", {"cronguard.warning": "still running"})


@pytest.mark.parametrize(
    "one",
    [
        started(RUN),
        warned(RUN),
        report(telling.MISSED, records.SUCCEEDED, run_id=RUN, warning="two runs never came"),
    ],
    ids=lambda one: one.event,
)
def test_what_is_told_while_it_runs_is_a_moment_in_the_same_trace(one: Report) -> None:
    """Of no length, below the whole, which comes later; each has an id of its own."""
    (span,) = spans(one, with_output=True)
    assert (span.name, bounds(span), span.trace_id) == (one.event, (AT, AT), RUN)
    whole = of(run())["backup"]
    assert (span.parent_id, span.error) == (whole.span_id, "")
    assert span.attributes.get("cronguard.warning") == one.warning
    later = Report(one.event, one.record, namespace="cg", at=AT + 1, failures=0)
    assert spans(later, with_output=True)[0].span_id != span.span_id


def test_attributes_have_the_names_of_the_conventions_and_ours() -> None:
    """The whole tells of `cronguard run`, the run of the command."""
    facts = {"pid": 77, "token": 5, "exit_status": 3, "reason": "x", "signal": None}
    facts |= {"limits": {"nice": 10, "memory_max_bytes": 1 << 30}}
    one = run(records.FAILED, **facts)
    found = of(one)
    said = found["backup"].attributes
    assert said["process.exit.code"] == 3
    assert {
        name: said[f"cronguard.{name}"] for name in ("job", "run_id", "namespace", "token")
    } == {
        "job": "backup",
        "run_id": RUN,
        "namespace": "cg",
        "token": 5,
    }
    assert (said["cronguard.duration_ms"], said["cronguard.failures_in_a_row"]) == (1500, 1)
    assert (said["cronguard.limits.nice"], said["cronguard.limits.memory_max_bytes"]) == (
        10,
        1 << 30,
    )
    assert "cronguard.signal" not in said
    assert found["run"].attributes == {
        "process.command_args": ["/opt/backup", "--all"],
        "process.executable.name": "backup",
    }
    assert resource(one) == {
        "service.name": "cronguard",
        "host.name": "web-3",
        "process.pid": 77,
        "process.owner": "alice",
    }


def test_the_outputs_end_goes_along_unless_it_is_not_wanted() -> None:
    """As much of it as no server cuts off."""
    text = "".join(f"line {number}\n" for number in range(1000))
    one = run(output_tail=text)
    tail = of(one)["backup"].attributes["cronguard.output_tail"]
    assert isinstance(tail, str)
    assert (text.endswith(tail), tail[:5]) == (True, "line ")
    assert len(tail) <= OUTPUT_BYTES
    assert "cronguard.output_tail" not in of(one, with_output=False)["backup"].attributes


MOMENTS = ("queued_at", "started_at", "ended_at", "stopping_at")


@pytest.mark.parametrize(
    "moment", [None, 3, "x", "1969-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "2026-01-01"]
)
def test_a_record_that_others_wrote_makes_spans_or_none(moment: object) -> None:
    """None ends before it begins, or at a moment that OTLP has no number for."""
    facts: dict[str, Any] = dict.fromkeys(records.FIELDS, HOSTILE)
    del facts["outcome"]
    odd: list[dict[str, Any]] = [
        facts | dict.fromkeys(MOMENTS, moment),
        *[{"run_id": run_id(), name: moment} for name in MOMENTS],
        {"attempts": [{"started_at": moment, "ended_at": moment, "exit_status": HOSTILE}, 3]},
        {"warnings": [{"at": moment, "text": None}], "holder": {"run_id": HOSTILE}},
        {"command": [moment, HOSTILE], "pid": 1 << 80, "output_tail": HOSTILE},
    ]
    for one in odd:
        for span in spans(run(records.FAILED, **one), with_output=True):
            assert 0 <= span.started_at <= span.ended_at <= LAST_MS
            assert all(0 <= at <= LAST_MS for at, _, _ in span.events)
