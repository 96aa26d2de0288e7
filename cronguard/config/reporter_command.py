"""What the sections of the type command may say. See cronguard/reporters/command.py."""

from __future__ import annotations

from cronguard.config.reporter_rows import Setting
from cronguard.core import telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_EXAMPLE = 'write ["/usr/bin/hook", "--loud"], or a text for the shell'


def hook(value: object) -> tuple[str, ...]:
    """Return the words of a command; a text is for the shell."""
    words = ["/bin/sh", "-c", value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words:
        raise ValueError(f"it takes a command; {_EXAMPLE}")
    if not all(isinstance(word, str) and "\0" not in word for word in words):
        raise ValueError(f"a command is of texts without NUL; {_EXAMPLE}")
    if not words[0].strip() or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"the command is empty; {_EXAMPLE}")
    return tuple(words)


def hooked(settings: Mapping[str, object]) -> tuple[str, ...]:
    """Return the events that have a hook: those are what it is told of, unless `on` is said."""
    if settings.get("run"):
        return tuple(telling.EVENTS)
    return tuple(event for event in telling.EVENTS if settings.get(f"on_{event}"))


SETTINGS = (
    *(
        Setting(f"on_{event}", hook, (), f"The command for this: {text}.")
        for event, text in telling.EVENTS.items()
    ),
    Setting("run", hook, (), "The command for each event that has none of its own."),
)
