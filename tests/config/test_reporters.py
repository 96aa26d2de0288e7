"""Sections of reporters: what they may say, and what is refused with which words."""

from __future__ import annotations

import pytest

from cronguard.config import reporters
from cronguard.config.options import ConfigError
from cronguard.config.reporter_rows import Kind, Setting, text
from cronguard.config.reporters import Target, target
from cronguard.core import telling

SOURCE = "file.toml:3 [reporters.one]"
LOUD = Kind(
    (telling.START,),
    (
        Setting("url", text, "", "Where.", is_secret=True),
        Setting("slug", text, "{job}", "Which."),
    ),
)


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporters, "KINDS", {"loud": LOUD})


def table(**values: object) -> dict[str, tuple[object, str]]:
    """Return a section as the files have it."""
    return {key: (value, SOURCE) for key, value in values.items()}


def read(**values: object) -> Target:
    """Return the reporter that a section says."""
    return target("loud", table(**values), {})


def problem(**values: object) -> str:
    """Return what is said of a section that is wrong."""
    with pytest.raises(ConfigError) as caught:
        read(**values)
    return str(caught.value)


def test_an_empty_section_has_the_defaults_of_its_type() -> None:
    """Its name says the type."""
    found = read()
    assert (found.name, found.type, found.kind) == ("loud", "loud", LOUD)
    assert found.values == {"timeout": 5_000, "url": "", "slug": "{job}"}
    assert found.rule.on == {telling.START}
    assert (found.rule.after, found.rule.changes, found.mute) == (1, False, [])


def test_a_type_can_have_several_sections() -> None:
    """`type` says which."""
    found = target("second", table(type="loud", slug="x"), {})
    assert (found.name, found.type, found.values["slug"]) == ("second", "loud", "x")


def test_what_a_job_says_is_stronger_key_by_key() -> None:
    """The rest stays as the section has it."""
    found = target("loud", table(slug="all", after=5, timeout="1m"), table(slug="own", after=2))
    assert (found.values["slug"], found.values["timeout"], found.rule.after) == ("own", 60_000, 2)


def test_a_secret_can_stand_in_a_file() -> None:
    """Its path is kept with the source; the value is for who sends to read."""
    found = read(url_file="/etc/cronguard/url")
    assert found.secret_files == {"url": ("/etc/cronguard/url", SOURCE)}
    assert found.values["url"] == ""


@pytest.mark.parametrize(
    ("section", "job"), [({"url": "a"}, {"url_file": "/b"}), ({"url_file": "/b"}, {"url": "a"})]
)
def test_a_job_can_say_a_secret_in_the_other_way(
    section: dict[str, object], job: dict[str, object]
) -> None:
    """Then that alone counts."""
    found = target("loud", table(**section), table(**job))
    assert (found.values["url"], bool(found.secret_files)) == (
        ("a", False) if "url" in job else ("", True)
    )


def test_events_outcomes_and_reasons_can_be_listed() -> None:
    """One word need not be a list."""
    assert read(on=["failure", "timed_out", "held"]).rule.on == {"failure", "timed_out", "held"}
    assert read(on="skip").rule.on == {"skip"}
    assert read(on=[]).rule.on == frozenset()


def test_windows_are_read() -> None:
    """Schedule, length, zone."""
    window = {"cron": "0 2 * * sun", "for": "4h", "tz": "Europe/Berlin"}
    expected = {"cron": "0 2 * * sun", "for_ms": 14_400_000, "tz": "Europe/Berlin"}
    assert read(mute=[window]).mute == [expected]
    assert read(mute=window).mute == [expected]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"slugs": "x"}, "'slugs' is no setting of loud; did you mean slug?"),
        ({"slug_file": "/x"}, "'slug_file' is no setting of loud; did you mean"),
        ({"slug": 3}, "slug: it takes one line of text, in quotes"),
        ({"slug": "a\nb"}, "slug: it takes one line of text, in quotes"),
        ({"url": "a", "url_file": "/b"}, "both url and url_file are there; remove one"),
        ({"url_file": 7}, "it takes the name of a file, in quotes"),
        ({"on": ["failur"]}, "on: 'failur' is no event; did you mean failure?"),
        ({"on": [3]}, "on: '3' is no event; write start, success"),
        ({"after": 0}, "after: it takes a whole number from 1 on"),
        ({"after": True}, "after: it takes a whole number from 1 on"),
        ({"changes": "yes"}, "changes: it takes true or false, without quotes"),
        ({"timeout": "soon"}, "timeout: 'soon' is not a duration"),
        ({"timeout": 0}, "timeout: '0' leaves no time at all"),
        ({"mute": ["0 2 * * *"]}, "mute: a window has cron, for and perhaps tz"),
        ({"mute": [{"cron": "0 2 * *", "for": "1h"}]}, "mute: a schedule has five fields"),
        ({"mute": [{"cron": "0 2 * * *", "for": "x"}]}, "mute: 'x' is not a duration"),
        ({"type": 3}, "the type is a text in quotes; known are loud"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(values: dict[str, object], said: str) -> None:
    """File and line first, then what to write."""
    told = problem(**values)
    assert told.startswith(SOURCE)
    assert said in told


def test_a_secret_is_not_shown_when_it_is_wrong() -> None:
    """Whatever stands in its place."""
    assert "canary" not in problem(url="canary\n")
    assert "canary" not in problem(url=["canary"])


def test_a_type_that_is_not_ours_keeps_what_its_section_says() -> None:
    """The package that has it checks that; the common settings are ours."""
    found = target("pager", table(type="acme", team=["a"], after=2, key_file="/k"), {})
    assert (found.type, found.kind) == ("acme", None)
    assert found.values == {"timeout": 5_000, "team": ["a"], "key_file": "/k"}
    assert (found.rule.after, found.rule.on) == (
        2,
        frozenset((telling.FAILURE, telling.RECOVERY, telling.MISSED)),
    )
