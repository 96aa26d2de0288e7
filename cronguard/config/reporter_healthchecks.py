"""What the sections of the type healthchecks may say. See cronguard/reporters/healthchecks.py."""

from __future__ import annotations

from cronguard.config import values
from cronguard.config.reporter_rows import Setting, switch, text


def size(value: object) -> int:
    """Return a number of bytes that is not zero."""
    found = values.size("" if isinstance(value, bool) else str(value))
    if not found:
        raise ValueError("it takes more than 0; output = false sends none")
    return found


SETTINGS = (
    Setting("url", text, "", "The ping URL of one check.", is_secret=True),
    Setting("ping_key", text, "", "The project's ping key, for checks by slug.", is_secret=True),
    Setting("slug", text, "{job}", "The check's slug, with fields of the record."),
    Setting("create", switch, False, "Make a check that is not there yet."),
    Setting("api", text, "", "Where pings go. Default: https://hc-ping.com."),
    Setting("body_limit", size, None, "How much of the output to send. Default: 100k, 10k."),
    Setting("output", switch, True, "Send the output's tail."),
)
