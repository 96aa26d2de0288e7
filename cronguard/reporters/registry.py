"""Which class tells to which type of reporter: ours by name, others by their entry points."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from cronguard.reporters.contract import Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "cronguard.reporters"
OURS = {
    "healthchecks": "Healthchecks",
    "webhook": "Webhook",
    "sentry": "Sentry",
    "prometheus": "Prometheus",
    "statsd": "Statsd",
    "mail": "Mail",
    "syslog": "Syslog",
    "otlp": "Otlp",
    "command": "Command",
}
"""The class of each type; its module is named as the type."""


def make(type_: str, settings: Mapping[str, object]) -> Reporter:
    """Return a reporter of that type. Raises: ValueError if there is none, or not with *settings*.

    What a package of somebody else raises when it is loaded, it raises.
    """
    if type_ in OURS:
        found = getattr(import_module(f"cronguard.reporters.{type_}"), OURS[type_])
    else:
        found = _of_others(type_)
    if not (isinstance(found, type) and issubclass(found, Reporter)):
        raise ValueError(f"the type {type_} of another package is no reporter")  # noqa: TRY004
    return found(settings)


def _of_others(type_: str) -> object:
    for entry in entry_points(group=GROUP, name=type_):
        return entry.load()
    known = ", ".join(sorted({*OURS, *names_of_others()}))
    raise ValueError(f"there is no type {type_} of reporters here; known are {known}")


def names_of_others() -> list[str]:
    """Return the types that packages installed beside cronguard bring."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})
