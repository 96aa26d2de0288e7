"""Healthchecks is pinged as its documentation demands; `Pings` is a server that holds us to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cronguard.config.options import ConfigError
from cronguard.config.reporters import target
from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters.contract import Never, NotNow, Report
from cronguard.reporters.healthchecks import run_uuid, slug
from cronguard.reporters.registry import make
from tests.reporters.receiver import ILLS, Answer, Receiver, Request
from tests.reporters.samples import AT, HOSTILE, ended, skipped, started, warned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cronguard.reporters.contract import Reporter

CHECK = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"
KEY = "fqOOd6-F4MMNuCEnzTU01w"
RUN = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
RID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ACTION = r"(?:/(start|fail|log|\d+))?"
_PATHS = [
    re.compile(rf"/ping/({_UUID}){_ACTION}"),
    re.compile(rf"/ping/[A-Za-z0-9_-]{{22}}/([a-z0-9_-]{{1,100}}){_ACTION}"),
]


class Pings(Receiver):
    """Takes pings below `api`; `pings` has (check, action, rid, body) of each."""

    def __init__(self) -> None:
        super().__init__()
        self.pings: list[tuple[str, str, str, str]] = []
        self.check = self.take_ping
        self.api = f"{self.url}/ping"

    def take_ping(self, request: Request) -> None:
        """Keep a ping. Raises: AssertionError for what the service would not take."""
        url = urlsplit(request.path)
        found = [one for path in _PATHS if (one := path.fullmatch(url.path))]
        assert found, f"invalid url format: {url.path}"
        name, action = found[0].groups()
        assert not (action or "").isdecimal() or int(action) < 256, f"exit status {action}"
        query = parse_qs(url.query, strict_parsing=True)
        assert set(query) <= {"rid", "create"}, f"query {url.query}"
        assert query.get("create", ["1"]) in (["0"], ["1"]), "create"
        (rid,) = query["rid"]
        assert re.fullmatch(_UUID, rid), "invalid uuid format"
        assert request.method == "POST", request.method
        self.pings.append((name, action or "", rid, request.body.decode()))

    @property
    def actions(self) -> list[str]:
        """What came, in order; "" is success."""
        return [action for _, action, _, _ in self.pings]


@pytest.fixture
def pings() -> Iterator[Pings]:
    with Pings() as one:
        yield one


def healthchecks(pings: Pings, **settings: object) -> Reporter:
    """Return the reporter that a section says, for a check by its URL unless it says otherwise."""
    usual = {} if "ping_key" in settings else {"url": f"{pings.api}/{CHECK}"}
    section = {"allow_http": True, "allow_private": True, **usual, **settings}
    found = target("healthchecks", {key: (value, "test") for key, value in section.items()}, {})
    return make("healthchecks", found.values)


# -- which ping ------------------------------------------------------------------------------------

FAILED: dict[str, Any] = {"outcome": records.FAILED, "event": telling.FAILURE}
PINGS = [
    (started(RUN), "start"),
    (ended(), ""),
    (ended(event=telling.RECOVERY, failures=3), ""),
    (ended(exit_status=2), ""),
    (ended(exit_status=3, **FAILED), "3"),
    (ended(exit_status=255, **FAILED), "255"),
    (ended(exit_status=137, signal=9, **FAILED), "137"),
    (ended(exit_status=0, **FAILED), "fail"),
    (ended(exit_status=None, **FAILED), "fail"),
    (ended(exit_status=300, **FAILED), "fail"),
    (ended(exit_status=True, **FAILED), "fail"),
    (ended(records.TIMED_OUT, event=telling.FAILURE, exit_status=124), "fail"),
    (ended(records.LEASE_LOST, event=telling.FAILURE, exit_status=121), "fail"),
    (ended(records.ABANDONED, event=telling.FAILURE, exit_status=None), "fail"),
    (ended(records.STORE_UNAVAILABLE, event=telling.FAILURE, exit_status=122), "fail"),
    (ended(records.NOT_STARTED, event=telling.FAILURE, exit_status=127), "fail"),
    (ended(records.STOPPED, reason="signal"), "fail"),
    (ended(records.STOPPED, reason="operator"), "fail"),
    (ended(records.STOPPED, reason="replaced"), "log"),
    (skipped("held"), "log"),
    (skipped("wait_expired"), "log"),
    (skipped("slot_done"), "log"),
    (skipped("replaced"), "log"),
    (skipped("conflict"), "log"),
    (skipped("paused"), ""),
    (warned(RUN), "log"),
]


@pytest.mark.parametrize(("told", "action"), PINGS)
def test_what_each_report_is_to_the_check(pings: Pings, told: Report, action: str) -> None:
    """A success of another host's run must not look failed here, and a failure not well."""
    healthchecks(pings).tell(told, 5)
    assert pings.actions == [action]


def test_start_and_end_have_the_runs_id_from_which_the_service_takes_the_time(
    pings: Pings,
) -> None:
    """The same, as a UUID in its canonical form, also when two processes tell them."""
    healthchecks(pings).tell(started(RUN), 5)
    healthchecks(pings).tell(ended(run_id=RUN), 5)
    assert [(name, rid) for name, _, rid, _ in pings.pings] == [(CHECK, RID)] * 2


@pytest.mark.parametrize("run_id", ["", "r-1", "x" * 32, "a/b?c#d\n", "é" * 40])
def test_a_run_with_another_kind_of_id_has_a_uuid_of_its_own(run_id: str) -> None:
    """Always the same one."""
    assert re.fullmatch(_UUID, run_uuid(run_id))
    assert run_uuid(run_id) == run_uuid(run_id) != run_uuid(f"{run_id}.")


# -- which check -----------------------------------------------------------------------------------


def test_a_check_by_ping_key_and_slug(pings: Pings) -> None:
    """Of each job its own, unless it is said; and it is made only if that is wanted."""
    settings = {"ping_key": KEY, "api": f"{pings.api}/"}
    healthchecks(pings, **settings).tell(started(RUN, job="db.Backup:1"), 5)
    healthchecks(pings, **settings, slug="{host}-{job}", create=True).tell(ended(run_id=RUN), 5)
    assert [request.path for request in pings.requests] == [
        f"/ping/{KEY}/db-backup-1/start?rid={RID}",
        f"/ping/{KEY}/web-3-backup?create=1&rid={RID}",
    ]


@pytest.mark.parametrize("end", ["", "/", "#copied"])
def test_a_ping_url_as_people_copy_it(pings: Pings, end: str) -> None:
    """What it asks for already stays."""
    healthchecks(pings, url=f"{pings.api}/{KEY}/backup{end}").tell(ended(run_id=RUN), 5)
    healthchecks(pings, url=f"{pings.api}/{KEY}/backup?create=1").tell(started(RUN), 5)
    assert [request.path for request in pings.requests] == [
        f"/ping/{KEY}/backup?rid={RID}",
        f"/ping/{KEY}/backup/start?create=1&rid={RID}",
    ]


@pytest.mark.parametrize(
    "text", ["Backup", "a" * 100, "b" * 101, "...", "", "é", HOSTILE, "x" * 999]
)
def test_a_slug_is_what_the_service_takes(text: str) -> None:
    """Whatever the fields of the record say."""
    assert re.fullmatch(r"[a-z0-9_-]{1,100}", slug(text))


def test_long_names_that_differ_at_their_end_are_different_checks() -> None:
    """Their slugs end with a hash of the whole."""
    assert slug("x" * 120 + "1") != slug("x" * 120 + "2")


WRONG = [
    {},
    {"url": "https://hc-ping.com/x", "ping_key": KEY},
    {"url": "hc-ping.com"},
    {"url": "https://hc-ping.com/"},
    {"url": "https://[x/"},
    {"ping_key": "a/b"},
    {"ping_key": KEY, "api": "hc.example.com"},
]


@pytest.mark.parametrize("settings", WRONG)
def test_a_section_that_names_no_check_is_refused(settings: dict[str, object]) -> None:
    """When the reporter is made, and without what is secret of it."""
    section = {key: (value, "test") for key, value in settings.items()}
    found = target("healthchecks", section, {})
    with pytest.raises(
        ValueError, match=r"it takes url|it is no URL|names no check|ping_key"
    ) as why:
        make("healthchecks", found.values)
    assert KEY not in str(why.value)
    assert "[x" not in str(why.value)


@pytest.mark.parametrize("value", [0, "0", "much", True])
def test_a_limit_that_is_none_is_refused(value: object) -> None:
    """When the configuration is read."""
    with pytest.raises(ConfigError, match="body_limit"):
        target("healthchecks", {"body_limit": (value, "test")}, {})


# -- the body --------------------------------------------------------------------------------------

LINES = "".join(f"line {number} of the output\n" for number in range(10_000))


def test_a_body_is_what_happened_and_the_output(pings: Pings) -> None:
    """A start has none yet."""
    one = healthchecks(pings)
    one.tell(started(RUN, output_tail="stale"), 5)
    one.tell(ended(exit_status=3, output_tail="it\nbroke\n", at=AT, failures=2, **FAILED), 5)
    first, last = [body for *_, body in pings.pings]
    assert first.startswith("backup has started on web-3")
    assert "stale" not in first
    head, _, output = last.partition("\n\n")
    assert head.startswith("backup failed with status 3 on web-3 after 1.5s, 2 times in a row")
    assert output == "it\nbroke\n"


def test_output_is_left_out_where_that_is_wanted(pings: Pings) -> None:
    """The line stays."""
    healthchecks(pings, output=False).tell(ended(output_tail="hush"), 5)
    (ping,) = pings.pings
    assert "hush" not in ping[3]


def test_a_report_that_is_late_says_so(pings: Pings) -> None:
    """The service takes the time at which a ping comes in."""
    healthchecks(pings).tell(ended(at=AT), 5)
    assert re.match(r"backup succeeded .* \(told \d+d\d+h late\)\n", pings.pings[0][3])


def test_of_long_output_the_end_is_sent(pings: Pings) -> None:
    """From the start of a line on, in no more than a server keeps that says nothing."""
    healthchecks(pings).tell(ended(output_tail=LINES), 5)
    ((*_, body),) = pings.pings
    assert 9_900 < len(body.encode()) <= 10_000
    assert body.endswith(LINES[-5000:])
    assert body.partition("\n")[2].startswith("line ")


def test_the_servers_limit_is_kept_from_its_first_answer_on(pings: Pings) -> None:
    """In both directions: more than is usual, and less."""
    for limit in (50_000, 200):
        one = healthchecks(pings)
        pings.usual = Answer(200, {"Ping-Body-Limit": str(limit)})
        one.tell(started(RUN), 5)
        one.tell(ended(output_tail=LINES), 5)
        assert limit - 60 < len(pings.requests[-1].body) <= limit
        assert pings.pings[-1][3].endswith("line 9999 of the output\n")
    assert pings.actions == ["start", "", "start", ""]


def test_a_server_that_kept_less_than_was_sent_gets_the_end_once_more(pings: Pings) -> None:
    """It keeps the start of a body, and the end counts. As a log, so that nothing counts twice."""
    pings.usual = Answer(200, {"Ping-Body-Limit": "300"})
    healthchecks(pings).tell(ended(run_id=RUN, output_tail=LINES), 5)
    assert pings.actions == ["", "log"]
    assert {rid for _, _, rid, _ in pings.pings} == {RID}
    assert len(pings.requests[1].body) <= 300
    assert pings.pings[1][3].endswith("line 9999 of the output\n")


def test_what_was_told_is_told_also_if_its_end_cannot_be_sent(pings: Pings) -> None:
    """Else it would be told again."""
    pings.answers = [Answer(200, {"Ping-Body-Limit": "300"}), Answer(404)]
    healthchecks(pings).tell(ended(output_tail=LINES), 5)
    assert pings.actions == ["", "log"]


@pytest.mark.parametrize("limit", ["", "-1", "much", "1e3", "9" * 40, "²"])
def test_a_limit_that_is_no_number_is_none(pings: Pings, limit: str) -> None:
    """What is usual stays."""
    one = healthchecks(pings)
    pings.usual = Answer(200, {"Ping-Body-Limit": limit})
    one.tell(started(RUN), 5)
    one.tell(ended(output_tail=LINES), 5)
    assert 9_900 < len(pings.requests[-1].body) <= 10_000


def test_a_limit_of_ones_own_is_the_most(pings: Pings) -> None:
    """More than servers usually keep, and not more than is said, whatever the server would."""
    for limit, said in (("20k", ""), ("1k", "100000")):
        pings.usual = Answer(200, {"Ping-Body-Limit": said} if said else {})
        one = healthchecks(pings, body_limit=limit)
        one.tell(started(RUN), 5)
        one.tell(ended(output_tail=LINES), 5)
        most = int(limit[:-1]) << 10
        assert most - 60 < len(pings.requests[-1].body) <= most


@pytest.mark.parametrize("limit", [0, 1, 10, 40])
def test_a_limit_below_a_line_is_kept_as_well(pings: Pings, limit: int) -> None:
    """Down to nothing."""
    one = healthchecks(pings)
    pings.usual = Answer(200, {"Ping-Body-Limit": str(limit)})
    one.tell(started(RUN), 5)
    pings.requests.clear()
    one.tell(ended(output_tail=LINES), 5)
    assert [len(request.body) for request in pings.requests] == [limit]


def test_texts_of_strangers_stay_texts(pings: Pings) -> None:
    """In valid UTF-8, and in the URL not at all."""
    one = healthchecks(pings, ping_key=KEY, api=pings.api, slug="{user}")
    one.tell(ended(user=HOSTILE, host=HOSTILE, output_tail=HOSTILE, reason=HOSTILE), 5)
    assert "\x1b" not in pings.pings[0][3].partition("\n\n")[0]


# -- answers ---------------------------------------------------------------------------------------

ANSWERS = [
    (Answer(404, body=b"not found"), Never, "knows no such check"),
    (Answer(200, body=b"OK (not found)"), Never, "knows no such check"),
    (Answer(409, body=b"ambiguous slug"), Never, "several checks"),
    (Answer(400, body=b"invalid url format"), Never, "invalid url format"),
    (Answer(200, body=b"OK (rate limited)"), NotNow, "no more pings"),
    (Answer(429, {"Retry-After": "60"}), NotNow, "429"),
    (Answer(503), NotNow, "503"),
]


@pytest.mark.parametrize(("answer", "expected", "text"), ANSWERS)
def test_what_answers_mean(
    pings: Pings, answer: Answer, expected: type[Exception], text: str
) -> None:
    """Among them those of hc-ping.com that are 200, and ignore the ping."""
    pings.usual = answer
    with pytest.raises(expected, match=text) as caught:
        healthchecks(pings).tell(ended(), 0.5)
    assert CHECK not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "is_kept"),
    [(skipped("held"), False), (skipped("paused"), True), (warned(RUN), True), (ended(), True)],
)
def test_a_skip_that_is_one_ping_too_many_holds_up_nothing(
    pings: Pings, told: Report, *, is_kept: bool
) -> None:
    """Many hosts that skip are more than the service takes; the pings that count wait for it."""
    pings.usual = Answer(200, body=b"OK (rate limited)")
    one = healthchecks(pings)
    if is_kept:
        with pytest.raises(NotNow) as caught:
            one.tell(told, 5)
        assert caught.value.after == 60
    else:
        one.tell(told, 5)
    assert len(pings.pings) == 1


def test_a_check_that_was_made_is_fine(pings: Pings) -> None:
    """201 says so."""
    pings.usual = Answer(201, body=b"Created")
    healthchecks(pings, ping_key=KEY, api=pings.api, create=True).tell(ended(), 5)
    assert pings.actions == [""]


TOLD = {"huge", "endless", "dripping", "dripping headers", "cut"}
"""The ping has come in, and the status says so; what of the answer is missing does not count."""


@pytest.mark.parametrize("ill", ILLS)
def test_a_server_that_is_ill(pings: Pings, ill: str) -> None:
    """It ends in time, and the report waits; unless it is clear that it came in, or never will."""
    pings.ill = ill
    one = healthchecks(pings)
    if ill in TOLD:
        one.tell(ended(), 3)
        return
    with pytest.raises(Never if ill == "redirect" else NotNow) as caught:
        one.tell(ended(), 0.5)
    assert CHECK not in str(caught.value)


def test_a_record_of_nothing_but_its_name_is_told(pings: Pings) -> None:
    """Old records lack fields, and hostile ones have others."""
    for event in telling.EVENTS:
        bare = {"job": "j", "run_id": RUN, "holder": [], "signal": "x", "exit_status": []}
        healthchecks(pings).tell(Report(event, bare, namespace="cg", at=AT, failures=None), 5)
    assert len(pings.pings) == len(telling.EVENTS)
