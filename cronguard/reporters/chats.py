"""What Slack, Teams and Discord are sent of a report. Pure; webhook.py sends it.

What strangers wrote (hosts, commands, reasons, output) must neither call anybody nor be taken for
markup; what is in a section's own `text` may do both, as its owner wrote it. What is too long is
cut here, as each of them refuses the whole message: output at its start, all else at its end.

* Slack (docs.slack.dev: formatting message text, text object, section block): `&`, `<` and `>` are
  escaped, by which no mention and no link is left; `verbatim` keeps it from finding some by itself.
  A text has 3,000 characters at most, one of `fields` 2,000, of which there are 10.
* Teams, by its Workflows (Power Automate): a message with one adaptive card as its attachment, of
  28 KB at most. Nothing in a TextRun is Markdown, so nothing needs to be escaped there; but it has
  no line breaks, and each line is a block. Mentions need `entities`, which there are none of.
* Discord (Execute Webhook): `content` up to 2,000 characters, in an embed `title` up to 256,
  `description` 4,096, a field's value 1,024, 6,000 in all. `allowed_mentions` names nobody but
  those that the section's `text` names.
"""

from __future__ import annotations

import re

from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters.summary import facts, headline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cronguard.reporters.contract import Report

_NOTHING = "\u200b"
"""A space without width: it parts what together would mean something."""
_MRKDWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": f"`{_NOTHING}"}
_MARKDOWN = {char: f"\\{char}" for char in "\\`*_~|[]()#>"}
_DISCORD = {**_MARKDOWN, "<": "\\<", "@": f"@{_NOTHING}"}
_CODE = {"`": f"`{_NOTHING}"}
_SLACK_TEXT, _SLACK_FIELD, _SLACK_OUTPUT = 2_900, 1_900, 2_500
_TEAMS_TEXT, _TEAMS_LINE, _TEAMS_LINES = 4_000, 200, 25
_DISCORD_TEXT, _DISCORD_TITLE, _DISCORD_VALUE, _DISCORD_OUTPUT = 2_000, 256, 300, 1_500
_GREEN, _RED, _ORANGE, _GREY = 0x2EB67D, 0xE01E5A, 0xECB22E, 0x8A8A8A
_COLOURS = {
    telling.SUCCESS: (_GREEN, "good"),
    telling.RECOVERY: (_GREEN, "good"),
    telling.FAILURE: (_RED, "attention"),
    telling.STOP: (_ORANGE, "warning"),
    telling.WARNING: (_ORANGE, "warning"),
    telling.MISSED: (_RED, "attention"),
}
_PLAIN = (_GREY, "default")
_PART = re.compile(r"&[a-z]{0,3}…$")
"""An escaped character that was cut."""
_ROLE = re.compile(r"<@&(\d{1,20})>")
_USER = re.compile(r"<@!?(\d{1,20})>")


def slack(report: Report, text: str, output: str) -> dict[str, object]:
    """Return a message with blocks. *text* is the section's own, "" for a usual one."""
    escape = _escaping(_MRKDWN)
    first = f"*{fit(headline(report), 2_000, _MRKDWN)}*"
    if text:
        first = _PART.sub("…", cut(report.fill(text, escape), _SLACK_TEXT))
    fields = [f"*{name}*\n{fit(value, _SLACK_FIELD, _MRKDWN)}" for name, value in facts(report)]
    blocks: list[dict[str, object]] = [{"type": "section", "text": _mrkdwn(first)}]
    if not text:
        blocks.append({"type": "section", "fields": [_mrkdwn(one) for one in fields[:10]]})
    if output.strip():
        code = f"```\n{fit(output, _SLACK_OUTPUT, _MRKDWN, is_end=True)}\n```"
        blocks.append({"type": "section", "text": _mrkdwn(code)})
    return {
        "text": fit(headline(report), _SLACK_TEXT, _MRKDWN),
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _mrkdwn(text: str) -> dict[str, object]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def teams(report: Report, text: str, output: str) -> dict[str, object]:
    """Return a message with a card."""
    body: list[dict[str, object]] = []
    if text:
        said = cut(report.fill(text, _escaping(_MARKDOWN)), _TEAMS_TEXT)
        body.append({"type": "TextBlock", "text": said, "wrap": True})
    else:
        colour = _COLOURS.get(report.event, _PLAIN)[1]
        run = {"text": headline(report), "weight": "bolder", "size": "medium", "color": colour}
        body.append(_line(run))
        for name, value in facts(report):
            body.append(_line({"text": f"{name}  ", "isSubtle": True}, {"text": value}))
    for line in output.splitlines()[-_TEAMS_LINES:]:
        shown = "".join([c if c.isprintable() else "·" for c in line.expandtabs()])[:_TEAMS_LINE]
        rest = shown.lstrip(" ")
        shown = "\u00a0" * (len(shown) - len(rest)) + rest
        body.append(_line({"text": shown or "\u00a0", "fontType": "monospace"}))
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "msteams": {"width": "Full"},
    }
    kind = "application/vnd.microsoft.card.adaptive"
    attachment = {"contentType": kind, "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _line(*runs: Mapping[str, object]) -> dict[str, object]:
    inlines = [{"type": "TextRun", **run} for run in runs]
    return {"type": "RichTextBlock", "spacing": "none", "inlines": inlines}


def discord(report: Report, text: str, output: str) -> dict[str, object]:
    """Return a message with an embed."""
    embed: dict[str, object] = {
        "color": _COLOURS.get(report.event, _PLAIN)[0],
        "timestamp": records.utc(report.at),
    }
    if output.strip():
        code = fit(output, _DISCORD_OUTPUT, _CODE, is_end=True)
        embed["description"] = f"```\n{code}\n```"
    allowed: dict[str, object] = {"parse": []}
    if text:
        allowed |= {"roles": _named(_ROLE, text), "users": _named(_USER, text)}
        return {
            "content": cut(report.fill(text, _escaping(_DISCORD)), _DISCORD_TEXT),
            "embeds": [embed] if "description" in embed else [],
            "allowed_mentions": allowed,
        }
    embed["title"] = fit(headline(report), _DISCORD_TITLE, _DISCORD)
    embed["fields"] = [
        {"name": name, "value": fit(value, _DISCORD_VALUE, _DISCORD), "inline": len(value) < 40}
        for name, value in facts(report)
    ]
    return {"embeds": [embed], "allowed_mentions": allowed}


def _named(pattern: re.Pattern[str], text: str) -> list[str]:
    return list(dict.fromkeys(pattern.findall(text)))[:100]


def _escaping(table: dict[str, str]) -> Callable[[str], str]:
    def escape(text: str) -> str:
        return "".join([table.get(char, char) for char in _visible(text)])

    return escape


def _visible(text: str) -> str:
    """Return *text* with what is neither to be seen nor a line's end made a dot."""
    return "".join([c if c.isprintable() or c in "\n\t" else "·" for c in text])


def cut(text: str, most: int) -> str:
    """Return the start of *text* in *most* UTF-16 units, as these services count, at most."""
    return fit(text, most, {})


def fit(text: str, most: int, table: dict[str, str], *, is_end: bool = False) -> str:
    """Return *text* escaped by *table*, and no longer than *most* UTF-16 units when it is.

    What is too long loses its end, or with *is_end* its start, and whole characters alone.
    """
    shown = _visible(text[-most - 1 :] if is_end else text[: most + 1])
    pieces = [table.get(char, char) for char in (reversed(shown) if is_end else shown)]
    if sum(map(_units, pieces)) > most:
        kept: list[str] = []
        room = most - 1
        for piece in pieces:
            room -= _units(piece)
            if room < 0:
                break
            kept.append(piece)
        pieces = [*kept, "…"]
    return "".join(reversed(pieces) if is_end else pieces)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "replace")) // 2
