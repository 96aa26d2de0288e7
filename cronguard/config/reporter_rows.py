"""A row of a reporter's section, and how its TOML value is read. See reporters.py."""

from __future__ import annotations

from difflib import get_close_matches

from cronguard.config import values
from cronguard.config.datagrams import place
from cronguard.config.values import shown
from cronguard.core import telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TAG = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-")
_MUTE_KEYS = frozenset(("cron", "for", "tz"))


class Setting:
    """One key of a reporter's section.

    `read` turns the TOML value into what the reporter gets, or raises ValueError with a sentence ·
    `is_secret` it is never shown, and may stand in a file: KEY_file.
    """

    __slots__ = ("default", "help", "is_secret", "name", "read")

    def __init__(
        self,
        name: str,
        read: Callable[[object], object],
        default: object,
        text: str,
        *,
        is_secret: bool = False,
    ) -> None:
        self.name = name
        self.read = read
        self.default = default
        self.help = text
        self.is_secret = is_secret


class Kind:
    """A type of reporter: its settings beyond the common ones, and what it hears unless told.

    `on` may be a function: of the settings that were read · `lacks` says what is not installed here
    that it needs, and what to do; "" if nothing.
    """

    __slots__ = ("lacks", "on", "settings")

    def __init__(
        self,
        on: tuple[str, ...] | Callable[[Mapping[str, object]], tuple[str, ...]],
        settings: tuple[Setting, ...],
        lacks: Callable[[], str] = str,
    ) -> None:
        self.on = on
        self.settings = settings
        self.lacks = lacks


# -- readers of TOML values ------------------------------------------------------------------------


def text(value: object) -> str:
    """Return a line of text."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("it takes one line of text, in quotes")
    return value


def folder(value: object) -> str:
    """Return the path of a folder, from the root on."""
    path = text(value)
    if path[0] != "/":
        raise ValueError("it takes the path of a folder from the root on, as /var/lib/metrics")
    return path


def texts(value: object) -> tuple[str, ...]:
    """Return lines of text; one need not be in a list."""
    return tuple(text(one) for one in (value if isinstance(value, list) else [value]))


def one_of(*words: str) -> Callable[[object], str]:
    """Return a reader that takes one of these words."""

    def read(value: object) -> str:
        if value not in words:
            raise ValueError(f"it takes one of {', '.join(words)}, in quotes")
        return str(value)

    return read


def datagrams_to(value: object) -> str:
    """Return where datagrams go, as it was written."""
    return str(place(text(value)))


def switch(value: object) -> bool:
    """Return true or false."""
    if value is not True and value is not False:
        raise ValueError("it takes true or false, without quotes")
    return value


def count(value: object) -> int:
    """Return a whole number from 1 up."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1_000_000:
        raise ValueError("it takes a whole number from 1 on, without quotes")
    return value


def period(value: object) -> int:
    """Return a duration in ms that is not zero."""
    return values.positive("" if isinstance(value, bool) else str(value))


def events(value: object) -> tuple[str, ...]:
    """Return words of telling.WORDS."""
    found = value if isinstance(value, list) else [value]
    for word in found:
        if word not in telling.WORDS:
            near = get_close_matches(str(word), telling.WORDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"write {', '.join(telling.EVENTS)}"
            raise ValueError(f"{shown(str(word))} is no event; {hint}")
    return tuple(found)


def windows(value: object) -> list[dict[str, object]]:
    """Return windows in which nothing is told: `{cron, for_ms, tz}` each."""
    found = value if isinstance(value, list) else [value]
    return [_window(one) for one in found]


def _window(one: object) -> dict[str, object]:
    from cronguard.config.schedule import LOCAL, Schedule  # noqa: PLC0415 - cronsim: 4 ms

    example = 'write { cron = "0 2 * * sun", for = "4h" }'
    if not isinstance(one, dict) or not {"cron", "for"} <= set(one) <= _MUTE_KEYS:
        raise ValueError(f"a window has cron, for and perhaps tz; {example}")
    cron, zone = str(one["cron"]), str(one.get("tz", LOCAL))
    Schedule(cron, zone)
    return {"cron": cron, "for_ms": period(one["for"]), "tz": zone}


def tags(value: object) -> dict[str, str]:
    """Return texts by name, as Sentry and others take them: `{ team = "ops", host = "{host}" }`."""
    if not isinstance(value, dict):
        raise ValueError('it takes a table of texts; write { team = "ops" }')  # noqa: TRY004
    for name, said in value.items():
        if not 0 < len(name) <= 32 or not _TAG.issuperset(name):
            raise ValueError(
                f"{shown(name)} is no name of a tag; it is up to 32 of a-z 0-9 _ . : -"
            )
        try:
            text(said)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return dict(value)
