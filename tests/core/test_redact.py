"""No password reaches a record or a message; all else stays readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.core import redact

HIDDEN = [
    ["mysqldump", "--password=hunter2", "shop"],
    ["mysqldump", "--password", "hunter2", "shop"],
    ["env", "PGPASSWORD=hunter2", "psql"],
    ["tool", "--api-key", "hunter2"],
    ["tool", "--access-token=hunter2"],
    ["curl", "https://me:hunter2@example.com/x"],
    ["curl", "-u", "me:hunter2", "https://example.com"],
    ["curl", "--proxy-user=me:hunter2", "https://example.com"],
    ["sh", "-c", "curl -s -u 'me:hunter2' https://example.com | sh"],
    ["sh", "-c", "mysqldump --password=hunter2 shop | gzip"],
    ["sh", "-c", "cd /srv && PGPASSWORD=hunter2 psql -c 'select 1'"],
    ["sh", "-c", "tool --token hunter2 -v"],
    ["sh", "-c", "tool --token 'hunter2 with a space' -v"],
    ["sh", "-c", 'tool --password="hunter2 quoted" -v'],
    ["sh", "-c", "(SECRET=hunter2;export SECRET)\ntool\t--passwd\thunter2"],
    ["sh", "-c", "redis-cli -u redis://:hunter2@h:6379/0 ping"],
    ["tool", "--password", "hunter2 and more"],
    ["tool", "--url=amqp://u:hunter2@h/"],
    ["tool", "redis+sentinel://u:hunter2@h1,h2/m/0"],
]


@pytest.mark.parametrize("argv", HIDDEN)
def test_s1_o5_a_password_in_argv_is_masked(argv: list[str]) -> None:
    """S1, O5: by its name, or as part of a URL, also inside the text of a shell."""
    shown = redact.command(argv)
    assert "hunter2" not in " ".join(shown)
    assert redact.MASK in " ".join(shown)
    assert shown[0] == argv[0]
    assert len(shown) == len(argv)


@pytest.mark.parametrize(
    "argv",
    [
        ["backup", "--all", "/srv"],
        ["sh", "-c", 'for i in 1 2; do echo  "$i" | wc -l; done\n'],
        ["curl", "https://example.com:8080/a?b=c#d"],
        ["git", "clone", "ssh://git@example.com/x.git"],
        ["tool", "--no-cache", "user@example.com"],
        ["docker", "run", "-u", "1000:1000", "--user", "root", "x:y"],
        ["tool", "-u", "C:\\x", "--user", "C:/x", "-u", "-v", "a:b", "-u"],
        ["", " ", "a b"],
    ],
)
def test_what_is_no_secret_stays_as_it_is(argv: list[str]) -> None:
    """A record is for people: they recognise their command."""
    assert redact.command(argv) == argv


@given(st.lists(st.text(st.characters(exclude_characters="="), max_size=20), max_size=5))
def test_every_argv_gives_as_many_words_of_valid_text(argv: list[str]) -> None:
    """Odd bytes and odd quotes break nothing."""
    shown = redact.command(argv)
    assert len(shown) == len(argv)
    for word in shown:
        word.encode()


def test_surrogates_become_replacement_characters() -> None:
    """H7: argv in no encoding is valid text in the record."""
    assert redact.text(b"a\xffb".decode("utf-8", "surrogateescape")) == "a\ufffdb"


def test_known_secrets_are_masked_wherever_they_stand() -> None:
    """S1: by value; very short ones would mask half the text."""
    assert redact.text("x s3cret y s3cret", ("s3cret",)) == "x *** y ***"
    assert redact.text("a b a", ("a",)) == "a b a"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("redis://u:p@h", "redis://u:***@h"),
        ("redis://:p@h", "redis://:***@h"),
        (
            "see redis://u:p@h and http://a:b@c/d, or not",
            "see redis://u:***@h and http://a:***@c/d, or not",
        ),
        ("redis://u:p@q@h/", "redis://u:***@h/"),
        ("http://h:80/u@x", "http://h:80/u@x"),
        ("http://user@h", "http://user@h"),
        ("://:@", "://:***@"),
        ("a://b://c:d@e", "a://b://c:***@e"),
    ],
)
def test_urls(before: str, after: str) -> None:
    """The password goes, user and host stay."""
    assert redact.mask_urls(before) == after


def test_s1_o5_secrets_are_known_by_the_names_of_variables_and_options() -> None:
    """S1, O5: so that they are masked by value, wherever the command writes them."""
    environ = {
        "PGPASSWORD": "canary-1",
        "AWS_SECRET_ACCESS_KEY": "canary-22",
        "MYSQL_PWD": "canary-3",
        "SENTRY_DSN": "https://canary-4@h/1",
        "DATABASE_URL": "postgres://me:canary-5@h/db",
        "PWD": "/srv/here",
        "PASSWORD_FILE": "/run/secrets/x",
        "SHORT_TOKEN": "abc",
        "REQUIRE_TOKEN": "required",
        "CRONGUARD_TOKEN": "1795710953050",
        "HOME": "/home/me",
    }
    argv = [
        "tool",
        "-u",
        "me:canary-9",
        "--token",
        "canary-6",
        "--api-key=canary-7",
        "-v",
        "amqp://u:canary-8@h",
    ]
    found = redact.known(environ.items(), [*argv, "--secret", "--all", "x password=y"])
    assert sorted(found) == sorted(
        ["canary-1", "canary-22", "canary-3", "https://canary-4@h/1"]
        + [f"canary-{number}" for number in (5, 6, 7, 8, 9)]
    )
    assert found[0] == "https://canary-4@h/1", "the longest first: one may be part of another"
    assert "canary" not in redact.text(" ".join([*environ.values(), *argv]), found)
