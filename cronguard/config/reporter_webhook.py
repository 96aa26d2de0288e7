"""What the sections of the type webhook may say. See cronguard/reporters/webhook.py."""

from __future__ import annotations

from cronguard.config.reporter_rows import Setting, one_of, switch, text
from cronguard.config.values import shown

TEMPLATES = ("json", "slack", "teams", "discord")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_OURS = (
    "host", "content-length", "content-type", "transfer-encoding", "connection", "expect",
    "idempotency-key",
)  # fmt: skip
_LONGEST = 16_384


def header(name: str, value: object) -> str:
    """Return the value of a header. Raises: ValueError, which does not show it."""
    if not name or not _NAME.issuperset(name):
        raise ValueError(f"{shown(name)} is no name of a header; it has letters, digits, - and _")
    if name.lower() in _OURS or name.lower().startswith("webhook-"):
        raise ValueError(f"{name} is set by cronguard itself; leave it out")
    if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
        raise ValueError(f"{name}: it takes one line of ASCII, in quotes")
    return value


def headers(value: object) -> dict[str, str]:
    """Return headers by name: `{ Authorization = "Bearer …" }`."""
    if not isinstance(value, dict):
        raise ValueError('it takes a table; write { Authorization = "Bearer …" }')  # noqa: TRY004
    return {name: header(name, said) for name, said in value.items()}


def lines(value: object) -> str:
    """Return a text, perhaps of several lines."""
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        raise ValueError(f"it takes a text, in quotes, of no more than {_LONGEST} characters")
    return value


SETTINGS = (
    Setting("url", text, "", "Where to send to.", is_secret=True),
    Setting("template", one_of(*TEMPLATES), "json", "The form: json, slack, teams, discord."),
    Setting("text", lines, "", "What a chat is told, with fields of the record."),
    Setting("body", lines, "", "A form of your own, with fields of the record."),
    Setting("content_type", text, "application/json", "What kind of text `body` is."),
    Setting("secret", text, "", "What signs: whsec_BASE64, one or more.", is_secret=True),
    Setting("headers", headers, {}, "More headers, by name.", is_secret=True),
    Setting("output", switch, True, "Send the output's tail."),
)
