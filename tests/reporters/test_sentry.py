"""Envelopes reach Sentry, or wait, or are let go, as it asks for; and nothing else is sent."""

from __future__ import annotations

import threading

import pytest
import sentry_sdk

from cronguard.config.options import ConfigError
from cronguard.config.reporters import target
from cronguard.core import telling
from cronguard.reporters.contract import Never, NotNow
from cronguard.reporters.registry import make
from cronguard.reporters.sentry import Limited, limits
from tests.reporters.relay import KEY, Relay
from tests.reporters.sentry_runs import FAILED, check_in, report, sentry
from tests.reporters.sentry_runs import relay_without_environment as _relay  # noqa: F401  (a fixture)


@pytest.mark.parametrize("name", ["SENTRY_DSN", "dsn"])
@pytest.mark.parametrize(
    "dsn", ["nonsense", "https://h.test/1", "https://hush@h.test/x", "https://hush@h.test:x/1", "é"]
)
def test_a_dsn_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, dsn: str
) -> None:
    """Without telling it to anybody."""
    monkeypatch.delenv("SENTRY_DSN", raising=False)
    if name == "SENTRY_DSN":
        monkeypatch.setenv(name, dsn)
    settings = {name: dsn} if name == "dsn" else {}
    with pytest.raises(ValueError, match="https://KEY@HOST/PROJECT") as caught:
        make("sentry", settings)
    assert "hush" not in str(caught.value)


def test_the_environment_says_what_the_section_does_not(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does for Sentry's own clients."""
    with pytest.raises(ValueError, match="SENTRY_DSN"):
        make("sentry", {})
    monkeypatch.setenv("SENTRY_DSN", relay.dsn)
    monkeypatch.setenv("SENTRY_ENVIRONMENT", "staging")
    monkeypatch.setenv("SENTRY_RELEASE", "r1")
    make("sentry", {"allow_http": True, "allow_private": True}).tell(report(telling.SUCCESS), 5)
    assert (check_in(relay)["environment"], check_in(relay)["release"]) == ("staging", "r1")


def test_what_is_not_encrypted_or_private_must_be_allowed(relay: Relay) -> None:
    """As for every reporter over HTTP."""
    with pytest.raises(ValueError, match="allow_http"):
        sentry(relay, allow_http=False)
    with pytest.raises(Never, match="allow_private"):
        sentry(relay, allow_private=False).tell(report(telling.SUCCESS), 5)
    assert relay.requests == 0


def test_no_thread_and_nothing_of_its_own_is_left(relay: Relay) -> None:
    """The classes of sentry-sdk are used, not its client."""
    before = threading.active_count()
    sentry(relay).tell(report(telling.FAILURE, **FAILED), 5)
    names = [thread.name for thread in threading.enumerate()]
    assert threading.active_count() <= before + 2, names  # the relay's own, one a request
    assert not [name for name in names if "sentry" in name.lower()]
    assert not sentry_sdk.get_client().is_active()


LIMITED = "60:error;default:organization, 45.5:monitor:project"


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"X-Sentry-Rate-Limits": LIMITED, "Retry-After": "2700"}, 45),
        ({"X-Sentry-Rate-Limits": "120::key"}, 120),
        ({"Retry-After": "90"}, 90),
        ({}, 60),
    ],
)
def test_a_limit_is_waited_out(relay: Relay, headers: dict[str, str], after: int) -> None:
    """Nothing more is sent, and the report stays, for as long as Sentry asks."""
    one = sentry(relay)
    relay.answers = [(429, headers)]
    with pytest.raises(NotNow, match="takes no more check-ins") as caught:
        one.tell(report(telling.SUCCESS), 5)
    assert after - 1 <= caught.value.after <= after + 1
    with pytest.raises(NotNow):
        one.tell(report(telling.SUCCESS), 5)
    assert relay.requests == 1


def test_events_over_quota_do_not_keep_check_ins_back(relay: Relay) -> None:
    """It may last until the end of the month: those events are let go, and that is said."""
    one = sentry(relay)
    relay.answers = [(200, {}), (429, {"X-Sentry-Rate-Limits": "86400:error:organization:quota"})]
    for _ in range(2):
        with pytest.raises(Never, match=r"takes no more events for 2[34]h"):
            one.tell(report(telling.FAILURE, **FAILED), 5)
    assert [kind for kind, _ in relay.items] == ["check_in", "check_in"]
    assert relay.requests == 3


def test_check_ins_over_quota_do_not_keep_events_back(relay: Relay) -> None:
    """Each is limited by itself."""
    one = sentry(relay)
    relay.answers = [(429, {"X-Sentry-Rate-Limits": "86400:monitor:organization"})]
    with pytest.raises(Never, match="takes no more check-ins"):
        one.tell(report(telling.FAILURE, **FAILED), 5)
    assert [kind for kind, _ in relay.items] == ["event", "attachment"]


def test_a_limit_may_come_with_success(relay: Relay) -> None:
    """What was taken is taken; what follows waits."""
    one = sentry(relay)
    relay.answers = [(200, {"X-Sentry-Rate-Limits": "30:error:key, 9:span:key, nonsense, nan:x"})]
    with pytest.raises(Limited, match="takes no more events"):
        one.tell(report(telling.FAILURE, **FAILED), 5)
    assert [kind for kind, _ in relay.items] == ["check_in"]
    one.tell(report(telling.SUCCESS), 5)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("60:transaction:key, 2700:default;error:organization", {"error": 2700.0}),
        ("60::organization, 2700::organization", {"": 2700.0}),
        ("2700:metric_bucket:organization:quota_exceeded:custom", {}),
        ("-5:error:key,inf:error:key,:error,", {}),
        ("1.5:error", {"error": 1.5}),
    ],
)
def test_limits_are_read_as_they_are_documented(header: str, found: dict[str, float]) -> None:
    """The longest of one category counts; what is unknown is passed over."""
    known = {key: value for key, value in limits(header).items() if key in ("error", "")}
    assert known == found


def test_what_sentry_refuses_is_let_go_without_the_key(relay: Relay) -> None:
    """A wrong key, a project that is no more: it will not be another next time."""
    relay.answers = [(403, {})]
    relay.text = f"no such key: {KEY}".encode()
    with pytest.raises(Never, match="answers 403: no such key") as caught:
        sentry(relay).tell(report(telling.SUCCESS), 5)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([(500, {})] * 99, NotNow),
        ([(503, {"Retry-After": "99999"})], NotNow),
        ([(302, {"Location": "http://127.0.0.1:1/"})], Never),
        ([(413, {})], Never),
        ([(404, {})], Never),
    ],
)
def test_another_answer_is_waited_out_or_given_up(
    relay: Relay, answers: list[tuple[int, dict[str, str]]], problem: type[Exception]
) -> None:
    """As everywhere; that a server is being repaired is no limit of Sentry's."""
    relay.answers = answers
    with pytest.raises(problem) as caught:
        sentry(relay).tell(report(telling.FAILURE, **FAILED), 0.5)
    assert type(caught.value) is problem
    assert not relay.items


def test_it_is_tried_again_while_there_is_time(relay: Relay) -> None:
    """And is told once."""
    relay.answers = [(502, {}), (408, {})]
    relay.text = b"x" * (10 << 20)
    sentry(relay).tell(report(telling.SUCCESS), 30)
    assert relay.requests == 3
    assert check_in(relay)["status"] == "ok"


@pytest.mark.parametrize("fault", ["silent", "gone"])
def test_a_server_that_does_not_answer_costs_no_more_than_the_timeout(
    relay: Relay, fault: str
) -> None:
    """Both envelopes share it."""
    relay.fault = fault
    with pytest.raises(NotNow):
        sentry(relay).tell(report(telling.FAILURE, **FAILED), 0.3)


def test_the_relay_refuses_what_sentry_would(relay: Relay) -> None:
    """So that the tests above can fail."""
    with pytest.raises(Never, match="refused: the key"):
        sentry(relay, dsn=relay.dsn.replace(KEY, "another")).tell(report(telling.SUCCESS), 5)
    with pytest.raises(Never, match="refused: path"):
        sentry(relay, dsn=relay.dsn[:-2] + "43").tell(report(telling.SUCCESS), 5)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("recovery_threshold", 721, "720"),
        ("failure_issue_threshold", 0, "from 1 on"),
        ("owner", "ops", "team:NAME"),
        ("environment", "a/b", "no slash"),
        ("environment", "None", "not none"),
        ("release", "a/b", "without slashes"),
        ("tags", ["a"], "table"),
        ("tags", {"a b": "c"}, "no name of a tag"),
        ("tags", {"a": 1}, "a: it takes one line"),
        ("margin", 0, "no time"),
        ("heartbeat", "yes", "true or false"),
    ],
)
def test_a_setting_that_sentry_would_not_take_is_refused(
    key: str, value: object, said: str
) -> None:
    """Before the run starts."""
    with pytest.raises(ConfigError, match=said):
        target("sentry", {key: (value, "test")}, {})
