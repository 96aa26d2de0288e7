"""What the sections of the type webhook may say. See cronguard/reporters/webhook.py."""

from __future__ import annotations

from cronguard.config.reporter_headers import Headers
from cronguard.config.reporter_rows import Setting, one_of, switch, text

HEADERS = Headers('{ Authorization = "Bearer …" }', "-_", "idempotency-key", "webhook-")
TEMPLATES = ("json", "slack", "teams", "discord")
_LONGEST = 16_384


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
    Setting("headers", HEADERS.read, {}, "More headers, by name.", is_secret=True),
    Setting("output", switch, True, "Send the output's tail."),
)
