"""Webhooks: what programs and chats are sent. Signatures are checked by the standard's library."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks.webhooks import Webhook as Standard
from standardwebhooks.webhooks import WebhookVerificationError

from cronguard.config.options import ConfigError
from cronguard.config.reporters import target
from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters.chats import fit
from cronguard.reporters.contract import Never, NotNow, Report
from cronguard.reporters.registry import make
from cronguard.reporters.webhook import fill_json, message_id, signature
from tests.reporters.chatrooms import ROOMS, units
from tests.reporters.receiver import ILLS, Answer, Receiver
from tests.reporters.samples import AT, HOSTILE, ended, skipped, started, warned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cronguard.reporters.contract import Reporter

RUN = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
PATH = "/services/T000hidden/xyzzy-token"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()
FAILED: dict[str, Any] = {
    "outcome": records.FAILED,
    "event": telling.FAILURE,
    "run_id": RUN,
    "command": ["/opt/backup", "--all"],
    "exit_status": 3,
    "output_tail": "it\nbroke\n",
}
REPORTS = [
    started(RUN, user="ops"),
    ended(run_id=RUN),
    ended(event=telling.RECOVERY, failures=3, run_id=RUN),
    ended(**FAILED),
    ended(records.STOPPED, reason="signal", run_id=RUN),
    skipped("held", run_id=RUN, holder={"host": "web-4", "run_id": "x"}),
    warned(RUN),
]
MENTIONS = (
    "<!channel> <@U1> <@&9> <@7> @everyone <at>Bob</at> [x](http://e/) ```\n# a & b <b>*c*_~|`"
)
EVIL = MENTIONS + HOSTILE


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


def webhook(receiver: Receiver, **settings: object) -> Reporter:
    """Return the reporter that a section says."""
    section = {"url": receiver.url + PATH, "allow_http": True, "allow_private": True, **settings}
    found = target("webhook", {key: (value, "test") for key, value in section.items()}, {})
    return make("webhook", found.values)


def told(receiver: Receiver, report: Report, **settings: object) -> Any:
    """Return the JSON that came of a report."""
    webhook(receiver, **settings).tell(report, 5)
    return receiver.requests[-1].json


# -- JSON, and who it is from ----------------------------------------------------------------------


@pytest.mark.parametrize("report", REPORTS, ids=lambda one: one.event)
def test_a_program_is_sent_the_report(receiver: Receiver, report: Report) -> None:
    """All of it, in the form that is documented."""
    said = told(receiver, report)
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", PATH)
    assert request.headers["Content-Type"] == "application/json"
    data = said.pop("data")
    assert said == {
        "type": f"run.{report.event}",
        "timestamp": records.utc(AT),
        "id": request.headers["webhook-id"],
    }
    assert data.pop("summary").startswith("backup")
    assert data == {
        "namespace": "cg",
        "failures": report.failures,
        "warning": report.warning,
        "record": report.record,
    }


def test_the_output_can_be_left_out(receiver: Receiver) -> None:
    """The rest stays."""
    record = told(receiver, ended(**FAILED), output=False)["data"]["record"]
    assert "output_tail" not in record
    assert record["exit_status"] == 3


def test_a_report_that_is_sent_again_has_the_same_id(receiver: Receiver) -> None:
    """Also by another process and in another try; each other report has another."""
    receiver.answers = [Answer(503)]
    for report in (ended(**FAILED), ended(**FAILED), *REPORTS):
        webhook(receiver).tell(report, 5)
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(set(ids[:3])) == 1
    assert len(set(ids)) == len(REPORTS)
    for request in receiver.requests:
        assert request.headers["Idempotency-Key"] == f'"{request.headers["webhook-id"]}"'
    assert message_id(warned(RUN, at=AT)) != message_id(warned(RUN, at=AT + 1))


def test_the_signature_is_that_of_the_standard() -> None:
    """Its own example."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    made = signature([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


FORMS: list[dict[str, object]] = [
    {},
    {"template": "slack"},
    {"body": "é {job}", "content_type": "text/plain"},
]


@pytest.mark.parametrize("form", FORMS)
def test_a_receiver_sees_who_sent_what(receiver: Receiver, form: dict[str, object]) -> None:
    """By the standard's library, whatever the body; a changed one or another key is found."""
    webhook(receiver, secret=SECRET, **form).tell(ended(**FAILED), 5)
    (request,) = receiver.requests
    headers = dict(request.headers.items())
    Standard(SECRET).verify(request.body, headers, json_parse=False)
    for secret, body in ((OTHER, request.body), (SECRET, request.body + b" ")):
        with pytest.raises(WebhookVerificationError):
            Standard(secret).verify(body, headers)


def test_while_a_secret_is_replaced_both_are_good(receiver: Receiver) -> None:
    """A prefix and padding are not needed."""
    bare = OTHER.removeprefix("whsec_").rstrip("=")
    webhook(receiver, secret=f"{SECRET} {bare}").tell(ended(**FAILED), 5)
    (request,) = receiver.requests
    for secret in (SECRET, OTHER):
        Standard(secret).verify(request.body, dict(request.headers.items()))


def test_without_a_secret_nothing_is_signed(receiver: Receiver) -> None:
    """The id and the time are there."""
    webhook(receiver).tell(ended(**FAILED), 5)
    names = [name.lower() for name in receiver.requests[0].headers]
    assert "webhook-signature" not in names
    assert {"webhook-id", "webhook-timestamp", "idempotency-key"} <= set(names)


WEAK = ["hunter22hunter22hunter22hunter22!", "whsec_", "whsec_c2hvcnQ=", "whsec_" + "A" * 100]


@pytest.mark.parametrize("secret", WEAK)
def test_a_secret_that_is_too_weak_or_none_is_refused(receiver: Receiver, secret: str) -> None:
    """Without showing it, and with how to make one."""
    with pytest.raises(ValueError, match="openssl rand") as caught:
        webhook(receiver, secret=secret)
    assert secret not in str(caught.value).replace("whsec_$", "")


# -- headers ---------------------------------------------------------------------------------------


def test_headers_of_ones_own(receiver: Receiver) -> None:
    """From a table, or as the line of a file."""
    webhook(receiver, headers={"Authorization": "Bearer abc", "X-Team": "ops"}).tell(REPORTS[1], 5)
    assert receiver.requests[0].headers["Authorization"] == "Bearer abc"
    assert receiver.requests[0].headers["X-Team"] == "ops"
    settings = {"url": receiver.url, "allow_http": True, "allow_private": True}
    make("webhook", {**settings, "headers": "X-Api-Key:  k:1 "}).tell(REPORTS[1], 5)
    assert receiver.requests[1].headers["X-Api-Key"] == "k:1"


NO_HEADERS = [
    "X: hunter22",
    ["hunter22"],
    {"X Y": "hunter22"},
    {"": "hunter22"},
    {"X:": "hunter22"},
    {"Host": "hunter22"},
    {"content-LENGTH": "7"},
    {"Webhook-Id": "hunter22"},
    {"Idempotency-Key": "hunter22"},
    {"X": "hunter22\r\nY: z"},
    {"X": "hunter22\u2028"},
    {"X": 22},
]


@pytest.mark.parametrize("headers", NO_HEADERS)
def test_headers_that_cannot_be_sent_are_refused(receiver: Receiver, headers: object) -> None:
    """When the configuration is read, and without their values."""
    with pytest.raises(ConfigError, match="headers: ") as caught:
        webhook(receiver, headers=headers)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize("line", ["hunter22", "Host: hunter22", ": hunter22", "X Y: hunter22"])
def test_a_file_that_holds_no_header_is_refused(line: str) -> None:
    """When the reporter is made."""
    with pytest.raises(ValueError, match=r"header|Host") as caught:
        make("webhook", {"url": "https://example.com/", "headers": line})
    assert "hunter22" not in str(caught.value)


# -- a form of one's own ---------------------------------------------------------------------------


def test_a_body_of_ones_own(receiver: Receiver) -> None:
    """Fields within quotes are texts; those outside are values, also where there is none."""
    body = """{
      "title": "{job} \\"{event}\\" on {host}", "took": {duration_ms}, "slot": {slot},
      "argv": {command}, "out": "{output_tail}", "n": {failures}, "odd": "{nothing}",
      "w": "{warning}"
    }"""
    report = ended(**{**FAILED, "host": EVIL, "failures": 2, "output_tail": 'a"\\\n{host}'})
    host = EVIL.encode("utf-8", "replace").decode()
    assert told(receiver, report, body=body) == {
        "title": f'backup "failure" on {host}',
        "took": 1500,
        "slot": None,
        "argv": ["/opt/backup", "--all"],
        "out": 'a"\\\n{host}',
        "n": 2,
        "odd": "{nothing}",
        "w": "",
    }


def test_a_body_that_is_no_json(receiver: Receiver) -> None:
    """It is sent as it is, as what it says it is."""
    kind = "text/plain; charset=utf-8"
    webhook(receiver, body="{job}: {reason}\n", content_type=kind).tell(
        ended(**FAILED, reason='"why" <é>'), 5
    )
    (request,) = receiver.requests
    assert request.body.decode() == 'backup: "why" <é>\n'
    assert request.headers["Content-Type"] == kind


@pytest.mark.parametrize("value", ['"', "\\", '\\"', "\n", "\udc80", "\u2028", EVIL, "{job}", ""])
def test_no_text_ends_its_quotes(value: str) -> None:
    """What is filled in is never looked at again."""
    filled = fill_json('{"a": "x{f}y", "b": {f}, "c\\\\": "{f}"}', lambda _: (True, value))
    assert json.loads(filled) == {"a": f"x{value}y", "b": value, "c\\": value}


WRONG: list[tuple[dict[str, object], str]] = [
    ({"url": ""}, "it takes one line"),
    ({"url": "example.com"}, "it is no URL"),
    ({"url": "https://[hunter22/"}, "it is no URL"),
    ({"template": "irc"}, "json, slack, teams, discord"),
    ({"text": "hello"}, "text is for a chat"),
    ({"body": "{}", "template": "slack"}, "leave out"),
    ({"body": "{}", "template": "slack", "text": "x"}, "leave out"),
    ({"body": '{"a": {nothing}}'}, "no JSON"),
    ({"body": '{"a": "{job}"'}, "no JSON"),
    ({"body": " "}, "it takes a text"),
    ({"body": "x" * 20_000}, "it takes a text"),
    ({"content_type": "text/plain"}, "set body"),
]


@pytest.mark.parametrize(("settings", "text"), WRONG)
def test_a_section_that_cannot_work_is_refused(
    receiver: Receiver, settings: dict[str, object], text: str
) -> None:
    """Before anything is sent, and without what is secret."""
    with pytest.raises((ConfigError, ValueError), match=text) as caught:
        webhook(receiver, **settings)
    assert "hunter22" not in str(caught.value)


def test_a_section_without_an_address_is_refused() -> None:
    """It may come from a file, so only now is it known."""
    with pytest.raises(ValueError, match="url_file"):
        make("webhook", target("webhook", {}, {}).values)


# -- chats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("report", REPORTS, ids=lambda one: one.event)
def test_a_chat_takes_each_report(receiver: Receiver, room: str, report: Report) -> None:
    """By its own rules."""
    receiver.check = ROOMS[room]
    said = json.dumps(told(receiver, report, template=room), ensure_ascii=False)
    assert "backup" in said
    if report.event == telling.FAILURE:
        assert "failed with status 3" in said
        assert "broke" in said
        assert "/opt/backup --all" in said


def evil(text: str, times: int) -> Report:
    """Return a report in which all that can be is *text*, so many times."""
    long = text * times
    facts: dict[str, Any] = {
        "host": long,
        "user": long,
        "reason": long,
        "started_at": long,
        "output_tail": long,
    }
    facts |= {"command": [long, long], "ended_at": long, "attempt": 3, "run_id": long}
    return ended(**{**FAILED, **facts})


@pytest.mark.variant
@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("times", [1, 30, 2_000])
@pytest.mark.parametrize(
    "text", ["a", "&", "<", "`", "```", "*", "\n", "\n\n\t \x00", "é", "😀", EVIL]
)
def test_no_text_calls_anybody_or_is_too_long(
    receiver: Receiver, room: str, times: int, text: str
) -> None:
    """Whatever strangers write, in whatever length: the service takes it, as text."""
    receiver.check = ROOMS[room]
    own = {"discord": "<@&42> <@7> {reason}", "slack": "<!here> {reason}", "teams": "**{reason}**"}
    one = webhook(receiver, template=room)
    other = webhook(receiver, template=room, text=own[room])
    for reporter in (one, other):
        reporter.tell(evil(text, times), 5)
        reporter.tell(warned(RUN, warning=text * times), 5)


def test_what_a_section_says_itself_may_call_somebody(receiver: Receiver) -> None:
    """Nobody else is called."""
    receiver.check = ROOMS["discord"]
    said = told(
        receiver,
        ended(**{**FAILED, "reason": "<@&43> @everyone"}),
        template="discord",
        text="<@&42> <@!7>: {reason}",
    )
    assert said["content"].startswith("<@&42> <@!7>: ")
    assert "<@&43>" not in said["content"].replace("\\<", "")
    assert "@everyone" not in said["content"]
    assert said["allowed_mentions"] == {"parse": [], "roles": ["42"], "users": ["7"]}
    receiver.check = ROOMS["slack"]
    said = told(receiver, ended(**FAILED), template="slack", text="<!here> {job}")
    assert said["blocks"][0]["text"]["text"] == "<!here> backup"


@pytest.mark.parametrize("room", ROOMS)
def test_of_long_output_the_end_is_shown(receiver: Receiver, room: str) -> None:
    """In a chat nobody scrolls for the rest of it; and none if that is wanted."""
    lines = "".join(f"line {number}\n" for number in range(10_000))
    report = ended(**{**FAILED, "output_tail": lines})
    receiver.check = ROOMS[room]
    shown = json.dumps(told(receiver, report, template=room))
    assert "line 9999" in shown
    assert "line 9980" in shown
    assert "line 1000" not in shown
    assert "line 9" not in json.dumps(told(receiver, report, template=room, output=False))


@pytest.mark.parametrize("query", ["", "?thread_id=5", "?wait=false"])
def test_discord_is_asked_what_became_of_a_message(receiver: Receiver, query: str) -> None:
    """Unless it is said otherwise; without that, it says yes to what it does not keep."""
    url = f"{receiver.url}{PATH}{query}"
    webhook(receiver, template="discord", url=url).tell(ended(), 5)
    wanted = {"": "?wait=true", "?thread_id=5": "?thread_id=5&wait=true", "?wait=false": query}
    assert receiver.requests[0].path == f"{PATH}{wanted[query]}"


@pytest.mark.parametrize("is_end", [False, True])
@pytest.mark.parametrize("text", ["", "abc", "a&b" * 5, "😀" * 7, "&" * 9, "\n" * 20])
def test_a_text_is_cut_between_characters(text: str, *, is_end: bool) -> None:
    """To no more than fits, and not at all where it fits."""
    table = {"&": "&amp;"}
    whole = text.replace("&", "&amp;")
    for most in range(1, 60):
        cut = fit(text, most, table, is_end=is_end)
        assert units(cut) <= most
        if units(whole) <= most:
            assert cut == whole
        else:
            rest = cut.removeprefix("…") if is_end else cut.removesuffix("…")
            assert rest != cut
            assert whole.endswith(rest) if is_end else whole.startswith(rest)
            assert rest.count("&") == rest.count("&amp;")


# -- answers ---------------------------------------------------------------------------------------

ANSWERS = [
    ("slack", Answer(404, body=b"no_service"), Never, "no_service"),
    ("slack", Answer(400, body=b"invalid_blocks"), Never, "invalid_blocks"),
    ("slack", Answer(429, {"Retry-After": "30"}), NotNow, "429"),
    ("discord", Answer(404, body=b'{"message": "Unknown Webhook"}'), Never, "Unknown Webhook"),
    ("discord", Answer(429, {"Retry-After": "0.9"}, b'{"retry_after": 0.9}'), NotNow, "429"),
    ("teams", Answer(202, body=b""), None, ""),
    ("teams", Answer(200, body=b"1"), None, ""),
    (
        "teams",
        Answer(body=b"Webhook message delivery failed with error: HTTP error 429"),
        NotNow,
        "429",
    ),
    (
        "teams",
        Answer(body=b"Webhook message delivery failed with error: HTTP error 413"),
        Never,
        "413",
    ),
    ("json", Answer(410), Never, "410"),
    ("json", Answer(204, body=b""), None, ""),
]


@pytest.mark.parametrize(("room", "answer", "expected", "text"), ANSWERS)
def test_what_answers_mean(
    receiver: Receiver, room: str, answer: Answer, expected: type[Exception] | None, text: str
) -> None:
    """A 200 is not always one."""
    receiver.usual = answer
    one = webhook(receiver, template=room)
    if expected is None:
        one.tell(ended(), 0.5)
        return
    with pytest.raises(expected, match=text):
        one.tell(ended(), 0.5)


TOLD = {"huge", "endless", "dripping", "dripping headers", "cut"}
"""The request has come in, and the status says so; what of the answer is missing does not count."""


@pytest.mark.parametrize("ill", ILLS)
def test_a_server_that_is_ill(receiver: Receiver, ill: str) -> None:
    """It ends in time, and the report waits; unless it is clear that it came in, or never will."""
    receiver.ill = ill
    one = webhook(receiver, secret=SECRET, headers={"X-Key": "sesame-open"})
    if ill in TOLD:
        one.tell(ended(), 3)
        return
    with pytest.raises(Never if ill == "redirect" else NotNow) as caught:
        one.tell(ended(), 0.5)
    text = str(caught.value)
    assert not [secret for secret in ("T000", "xyzzy", "sesame", SECRET[6:]) if secret in text]


@pytest.mark.parametrize("room", ["json", *ROOMS])
def test_a_record_of_nothing_but_its_name_is_told(receiver: Receiver, room: str) -> None:
    """Old records lack fields, and hostile ones have others."""
    receiver.check = ROOMS.get(room)
    for event in telling.EVENTS:
        bare = {"job": "j", "run_id": RUN, "holder": [], "signal": "x", "exit_status": []}
        report = Report(event, bare, namespace="cg", at=AT, failures=None)
        webhook(receiver, template=room).tell(report, 5)
    assert len(receiver.requests) == len(telling.EVENTS)
