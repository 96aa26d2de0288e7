"""What waits is told to each reporter in order, and to none in the way of another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import pytest

from cronguard.core import telling as rules
from cronguard.reporters.contract import Never, NotNow, Report, Reporter, Told
from cronguard.reporters.spool import Waiting
from cronguard.reporters.telling import Line, report_of, tell_all

SOON = 10.0


def waiting(at: int, to: str = "one", outcome: str = "failed", **more: object) -> Waiting:
    """Return a report that is on no disk."""
    said = {
        "schema": 1,
        "run_id": str(at),
        "job": "job",
        "namespace": "cg",
        "kind": "end",
        "streak": 0,
        "at": at,
        "to": to.split(),
        "config": None,
        "warning": None,
        "record": {"job": "job", "run_id": str(at), "outcome": outcome},
    }
    return Waiting("", said | more)


class Ear(Reporter):
    """Notes what it is told, and does *then*."""

    def __init__(self, then: Callable[[Report, float], None] = lambda *_: None) -> None:
        super().__init__({})
        self.heard: list[int] = []
        self.then = then

    def tell(self, report: Report, timeout: float) -> None:
        """Note it."""
        self.heard.append(report.at)
        self.then(report, timeout)


def line(name: str, ear: Ear, *, timeout: float = 5.0, muted: tuple[int, ...] = ()) -> Line:
    """Return a reporter that hears of failures."""
    rule = rules.Rule(["failure", "recovery", "warning"])
    return Line(name, rule, lambda: ear, timeout=timeout, is_muted=muted.__contains__)


def tell(all_: list[Waiting], lines: Mapping[str, Line], seconds: float = SOON) -> list[str]:
    """Tell them, for so long."""
    return tell_all(all_, lines, time.monotonic() + seconds)


def test_they_are_told_in_order_and_done_with() -> None:
    """Each reporter hears what is for it."""
    one, two = Ear(), Ear()
    all_ = [waiting(1, "one two"), waiting(2, "one"), waiting(3, "two one")]
    assert tell(all_, {"one": line("one", one), "two": line("two", two)}) == []
    assert (one.heard, two.heard) == ([1, 2, 3], [1, 3])
    assert [waits.to for waits in all_] == [[], [], []]


def test_who_cannot_be_told_now_keeps_its_order_and_holds_nobody_up() -> None:
    """What comes after it waits as well; the other hears all."""

    def ill(report: Report, _timeout: float) -> None:
        if report.at == 2:
            raise NotNow("it is ill")

    one, two = Ear(ill), Ear()
    all_ = [waiting(at, "one two") for at in (1, 2, 3)]
    said = tell(all_, {"one": line("one", one), "two": line("two", two)})
    assert said == ["one: not told yet: it is ill; it is told with the next run"]
    assert (one.heard, two.heard) == ([1, 2], [1, 2, 3])
    assert [waits.to for waits in all_] == [[], ["one"], ["one"]]


def test_what_can_never_be_told_is_let_go_and_the_rest_is_told() -> None:
    """And named."""

    def refuses(report: Report, _timeout: float) -> None:
        if report.at == 1:
            raise Never("no such hook")

    ear = Ear(refuses)
    all_ = [waiting(1), waiting(2)]
    assert tell(all_, {"one": line("one", ear)}) == ["one: cannot be told: no such hook"]
    assert ear.heard == [1, 2]
    assert [waits.to for waits in all_] == [[], []]


def test_what_was_told_with_a_remark_is_told() -> None:
    """The remark is passed on, and the report goes; so does what comes after it."""

    def remarks(report: Report, _timeout: float) -> None:
        if report.at == 1:
            raise Told("took a part of it")

    ear = Ear(remarks)
    all_ = [waiting(1), waiting(2)]
    assert tell(all_, {"one": line("one", ear)}) == ["one: took a part of it"]
    assert ear.heard == [1, 2]
    assert [waits.to for waits in all_] == [[], []]


def test_what_hangs_is_left_behind_at_the_end_of_the_time() -> None:
    """The others are told, and it stays."""
    gate = threading.Event()

    def hangs(_report: Report, _timeout: float) -> None:
        gate.wait(SOON)

    slow = Ear(hangs)
    quick = Ear()
    all_ = [waiting(1, "slow quick")]
    said = tell(all_, {"slow": line("slow", slow), "quick": line("quick", quick)}, 0.2)
    assert said == ["slow: no answer in time; it is told with the next run"]
    assert all_[0].to == ["slow"]
    gate.set()


def test_nobody_is_given_more_time_than_there_is() -> None:
    """Nor more than its section says."""
    given: list[float] = []
    ear = Ear(lambda _, timeout: given.append(timeout))
    tell([waiting(1)], {"one": line("one", ear, timeout=3.0)}, 2.0)
    tell([waiting(2)], {"one": line("one", ear, timeout=1.0)}, 2.0)
    tell([waiting(3)], {"one": line("one", ear)}, 0.0)
    assert len(given) == 2
    assert given[0] <= 2.0
    assert given[1] == 1.0


def test_what_is_muted_or_unwanted_is_done_with_unsaid() -> None:
    """It is not told afterwards either."""
    ear = Ear()
    all_ = [waiting(1), waiting(2), waiting(3, outcome="succeeded")]
    assert tell(all_, {"one": line("one", ear, muted=(1,))}) == []
    assert ear.heard == [2]
    assert [waits.to for waits in all_] == [[], [], []]


def test_who_is_not_configured_any_more_is_named_and_forgotten() -> None:
    """Who cannot be made just now is not."""
    all_ = [waiting(1, "gone broken")]
    said = tell_all(all_, {}, time.monotonic() + SOON, ["broken"])
    assert said == ["gone: there is no such reporter any more; its reports are let go"]
    assert all_[0].to == ["broken"]


@pytest.mark.parametrize(
    ("outcome", "streak", "event", "failures"),
    [
        ("failed", 2, "failure", 3),
        ("failed", None, "failure", None),
        ("abandoned", 0, "failure", 1),
        ("succeeded", 2, "recovery", 2),
    ],
)
def test_failures_in_a_row_are_counted_with_this_one(
    outcome: str, streak: int | None, event: str, failures: int | None
) -> None:
    """What is over is counted in a recovery."""
    rule = rules.Rule(["failure", "recovery"])
    report = report_of(rule, waiting(1, outcome=outcome, streak=streak))
    assert report is not None
    assert (report.event, report.failures) == (event, failures)


def test_a_warning_has_its_text() -> None:
    """Whatever the run's outcome is so far."""
    report = report_of(
        rules.Rule(["warning"]), waiting(1, outcome="running", kind="warning", warning="it is slow")
    )
    assert report is not None
    assert (report.event, report.warning) == ("warning", "it is slow")


def test_texts_may_use_fields_and_nothing_else_is_touched() -> None:
    """What is no field stays as it is: it may be JSON, or a shell's."""
    record = {"job": "job", "outcome": "failed", "exit_status": 3, "reason": None}
    report = Report("failure", record, namespace="cg", at=1, failures=2)
    text = "{job} {event} {failures} {exit_status}[{reason}] {nothing} {{}} ${HOME} {job!r}"
    assert report.fill(text) == "job failure 2 3[] {nothing} {{}} ${HOME} {job!r}"
