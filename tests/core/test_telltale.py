"""Secrets are found in whatever a command says; what is none stays readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.core import redact, telltale

KEY = "-----BEGIN EC PRIVATE KEY-----\ncanary+/\ncanary==\n-----END EC PRIVATE KEY-----"
HIDDEN = [
    ("password=canary", "password=***"),
    ("PGPASSWORD=canary psql", "PGPASSWORD=*** psql"),
    ("password: canary", "password: ***"),
    ("Password : 'canary and more' x", "Password : '***' x"),
    ('{"user":"me","password":"canary","n":1}', '{"user":"me","password":"***","n":1}'),
    ("{'apiKey': 'canary'}", "{'apiKey': '***'}"),
    ("secret => canary\nnext", "secret => ***\nnext"),
    ("secretAccessKey := canary", "secretAccessKey := ***"),
    ("clientSecret=canary", "clientSecret=***"),
    ("DB_PASSWORD_PROD='canary'", "DB_PASSWORD_PROD='***'"),
    ("token2=canary", "token2=***"),
    ("MYSQL_PWD=canary", "MYSQL_PWD=***"),
    ("aws_secret_access_key = canary", "aws_secret_access_key = ***"),
    ("+ mysql --password canary shop", "+ mysql --password *** shop"),
    ("+ mysql --password 'canary x' shop", "+ mysql --password '***' shop"),
    ("--api-key\tcanary", "--api-key\t***"),
    ("--db-password=canary;x", "--db-password=***"),
    ("<secret>canary x</secret>", "<secret>***</secret>"),
    ("https://h/x?token=canary", "https://h/x?token=***"),
    ('password="canary', 'password="***'),
    ("Authorization: Basic canary=", "Authorization: ***"),
    ("curl -H 'Authorization: Bearer canary' h", "curl -H 'Authorization: ***' h"),
    ("> Proxy-Authorization: canary x\n> Host: h", "> Proxy-Authorization: ***\n> Host: h"),
    ("'Proxy-Authorization: canary x' h", "'Proxy-Authorization: ***' h"),
    ('{"authorization": "canary x", "a": 1}', '{"authorization": "***", "a": 1}'),
    ("Set-Cookie: s=canary; Path=/", "Set-Cookie: ***"),
    ("sent Bearer canary-0.1~2 to h", "sent Bearer *** to h"),
    ("X-Api-Key: canary", "X-Api-Key: ***"),
    ("id AKIACANARY0123456789 x", "id *** x"),
    ("ghp_canary0123456789abcd", "***"),
    ("(sk-canary-0123456789abcdef)", "(***)"),
    ("eyJcanary.eyJcanary012345.canary_-", "***"),
    (
        f"key:\n{KEY}\nend",
        "key:\n-----BEGIN EC PRIVATE KEY-----***-----END EC PRIVATE KEY-----\nend",
    ),
    ("not kept\n" + KEY[40:], "not kept\n***-----END EC PRIVATE KEY-----"),
    ("redis://:canary@h:6379/0", "redis://:***@h:6379/0"),
]


@pytest.mark.parametrize(("text", "shown"), HIDDEN)
def test_s1_o5_a_secret_that_shows_itself_is_masked(text: str, shown: str) -> None:
    """S1, O5: with or without quotes, in JSON, in headers, in traces, in keys."""
    assert redact.text(text) == shown
    assert redact.text(f"é {text}\n") == f"é {shown}\n"
    assert "canary" not in redact.text(f"İ {text}")
    assert redact.text(shown) == shown


def test_a_key_that_is_cut_off_is_masked_to_the_end() -> None:
    """Where its foot is not to be seen, all that follows its head may be of it."""
    assert redact.text("x\n" + KEY[:45] + "\ny") == "x\n-----BEGIN EC PRIVATE KEY-----***"


@pytest.mark.parametrize(
    "text",
    [
        "tokens: 1532, token_count=5, max_tokens: 8",
        "the secretary=me; tokenizer: fast",
        "password_file = /run/secrets/db",
        "token://host/x",
        "Enter password for user root",
        "--password --verbose",
        "password:\n  next line",
        "Bearer of news: 3",
        "through Asia by sk-12 and eyJab.c",
        "eyJcanary0123456789abcdef",
        "xAKIA0123456789ABCDEFG",
        "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
        "<password/>",
    ],
)
def test_what_only_reads_like_a_secret_stays(text: str) -> None:
    """Output is kept for people to read."""
    assert redact.text(text) == text


@given(st.text(max_size=300))
def test_a_text_keeps_all_else(text: str) -> None:
    """What is before and behind a secret stays; a second look finds nothing more."""
    hidden = redact.text(f"password=canary {text}")
    assert hidden.startswith("password=*** ")
    assert redact.text(hidden) == hidden


@given(st.lists(st.sampled_from([*telltale.HINTS, *"=: '\"<>-\n", "AKIA", "x" * 20]), max_size=60))
def test_any_pieces_of_secrets_are_taken(pieces: list[str]) -> None:
    """However they are put together; and only what is masked is gone."""
    text = "".join(pieces)
    left = redact.text(text)
    at = 0
    for piece in left.split(redact.MASK):
        found = text.find(piece, at)
        assert found >= at
        at = found + len(piece)


@pytest.mark.parametrize("hint", telltale.HINTS)
def test_every_hint_leads_to_a_closer_look(hint: str) -> None:
    """redact.py looks for less, as it looks at every text."""
    assert any(short in hint for short in redact.HINTS)


@pytest.mark.parametrize(
    "piece",
    [*telltale.HINTS, "eyJ-", "password=", "token_a=1", 'password="', "<token>", "--token ",
     "-----END PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----", "PRIVATE KEY-----", "A\n",
     "authorization:", "'cookie: ", "://a:b@", "token" + " " * 99, "a" * 99 + "-"],
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    """64 KiB of anything: nothing that is looked at is looked at again for each find."""
    for text in (piece * (65_536 // len(piece)), "A\n" * 16_000 + piece * (32_768 // len(piece))):
        redact.text(text)
