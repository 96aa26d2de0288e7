"""Regular expressions of the user's own: what they match is a secret, whatever it looks like.

Only to be applied where they may take for ever: Python's `re` holds the whole interpreter while it
looks, and some patterns look for longer than the world will last. See runtime/redaction.py.
"""

from __future__ import annotations

import re
import warnings

from cronguard.core.redact import MASK

BETWEEN = "\n"
"""What stands between patterns where they are one text."""


def split(text: str) -> list[str]:
    """Return the patterns in *text*."""
    return [line for line in text.split(BETWEEN) if line.strip()]


def problem(pattern: str) -> str:
    """Say why *pattern* is none, or none that tells anything; nothing if it can be used."""
    try:
        matches_nothing = compiled(pattern).match("") is not None
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    return "matches where there is nothing; make a part of it firm" if matches_nothing else ""


def apply(pattern: str, text: str) -> str:
    """Return *text* with MASK in the place of each match that is not empty. May take for ever."""
    return compiled(pattern).sub(lambda found: MASK if found[0] else "", text)


def compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Return *pattern*, to be applied. Raises: re.error, OverflowError, RecursionError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what later versions may read otherwise
        return re.compile(pattern, flags)
