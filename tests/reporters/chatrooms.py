"""Slack, Teams and Discord as far as their documentation goes: what they refuse is refused.

Each is a check of a Receiver: it raises AssertionError for a message that the service would not
take, or that calls somebody. After docs.slack.dev (text object, section, formatting), the schema of
adaptive cards (adaptivecards.io) with the limit of Teams, and Discord's Execute Webhook with the
limits of embeds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from tests.reporters.receiver import Request

_CARD_BYTES = 28 << 10
_TEXT_BLOCK = {"type", "text", "wrap"}
_TEXT_RUN = {"type", "text", "weight", "size", "color", "isSubtle", "fontType"}
_COLOURS = {"default", "good", "warning", "attention"}


def units(text: str) -> int:
    """Return how long a text is, as these services count: in UTF-16."""
    return len(text.encode("utf-16-le")) // 2


def said(request: Request) -> Any:
    """Return the JSON of a request. Raises: AssertionError if it is none, or no POST of it."""
    assert request.method == "POST", request.method
    assert request.headers["Content-Type"] == "application/json", "content type"
    return request.json


# -- Slack -----------------------------------------------------------------------------------------


def slack(request: Request) -> None:
    """Take a message for an incoming webhook."""
    message = said(request)
    assert set(message) <= {"text", "blocks", "unfurl_links", "unfurl_media"}, "invalid_payload"
    assert 0 < units(message["text"]) <= 4_000, "text"
    _is_quiet(message["text"])
    assert 0 < len(message["blocks"]) <= 50, "invalid_blocks"
    for block in message["blocks"]:
        assert block["type"] == "section", "invalid_blocks"
        assert ("text" in block) != ("fields" in block), "invalid_blocks"
        if "text" in block:
            _take_text(block["text"], 3_000)
        for field in block.get("fields", ()):
            _take_text(field, 2_000)
        assert 0 < len(block.get("fields", "x")) <= 10, "fields"


def _take_text(text: dict[str, Any], most: int) -> None:
    assert text["type"] == "mrkdwn", "type"
    assert text["verbatim"] is True, "mentions would be found"
    assert 0 < units(text["text"]) <= most, f"text of {units(text['text'])}"
    _is_quiet(text["text"])
    assert text["text"].count("```") in (0, 2), "code that is left before its end"


def _is_quiet(text: str) -> None:
    """Fail for a mention or a link that our own text has not: the tests' own has `<!here>`."""
    text = text.replace("<!here>", "")
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text), f"markup in {text!a}"


# -- Teams -----------------------------------------------------------------------------------------


def teams(request: Request) -> None:
    """Take a message for the trigger of a workflow that posts a card."""
    message = said(request)
    assert set(message) == {"type", "attachments"}, "attachments is of type Null"
    assert message["type"] == "message", "type"
    assert len(request.body.decode().encode("utf-16-le")) <= 2 * _CARD_BYTES, "too large"
    assert len(request.body) <= _CARD_BYTES, f"too large: {len(request.body)}"
    (attachment,) = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive", "contentType"
    card = attachment["content"]
    assert card["type"] == "AdaptiveCard", "type of the card"
    assert card["version"] in ("1.2", "1.3", "1.4", "1.5"), "RichTextBlock is of 1.2"
    assert "entities" not in card["msteams"], "mentions"
    assert card["body"], "an empty card"
    for element in card["body"]:
        _take_element(element)


def _take_element(element: dict[str, Any]) -> None:
    if element["type"] == "TextBlock":
        assert set(element) <= _TEXT_BLOCK, f"{set(element)}"
        assert element["wrap"] is True, "wrap"
        return
    assert element["type"] == "RichTextBlock", element["type"]
    for run in element["inlines"]:
        assert run["type"] == "TextRun", run["type"]
        assert set(run) <= _TEXT_RUN, f"{set(run)}"
        assert run["text"], "text"
        assert "\n" not in run["text"], "a line break that is not shown"
        assert run.get("color", "default") in _COLOURS, run["color"]


# -- Discord ---------------------------------------------------------------------------------------


def discord(request: Request) -> None:
    """Take a message for a webhook."""
    assert parse_qs(urlsplit(request.path).query)["wait"] == ["true"], "it is not said what became"
    message = said(request)
    assert set(message) <= {"content", "embeds", "allowed_mentions"}, f"{set(message)}"
    assert message.get("content") or message.get("embeds"), "cannot send an empty message"
    assert units(message.get("content", "")) <= 2_000, "content"
    allowed = message["allowed_mentions"]
    assert allowed["parse"] == [], "everybody may be called"
    assert set(allowed.get("roles", ())) <= {"42"}, "roles"
    assert set(allowed.get("users", ())) <= {"7"}, "users"
    total = 0
    for embed in message.get("embeds", ()):
        total += _take_embed(embed)
    assert total <= 6_000, f"{total} in all"


def _take_embed(embed: dict[str, Any]) -> int:
    limits = {"title": 256, "description": 4_096}
    assert set(embed) <= {*limits, "color", "timestamp", "fields"}, f"{set(embed)}"
    for name, most in limits.items():
        assert units(embed.get(name, "")) <= most, name
    assert 0 <= embed["color"] < 1 << 24, "color"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", embed["timestamp"]), "timestamp"
    assert len(embed.get("fields", ())) <= 25, "fields"
    total = sum(units(embed.get(name, "")) for name in limits)
    for field in embed.get("fields", ()):
        assert 0 < units(field["name"]) <= 256, "name"
        assert 0 < units(field["value"]) <= 1_024, "value"
        total += units(field["name"]) + units(field["value"])
    assert embed.get("description", "").count("```") in (0, 2), "code that is left before its end"
    return total


ROOMS = {"slack": slack, "teams": teams, "discord": discord}
