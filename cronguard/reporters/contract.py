"""What every reporter is: one method. And what it is given.

A reporter of another package is a class like these, named in the entry-point group
`cronguard.reporters` under its type; it gets all that its section says.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FIELD = re.compile(r"\{([a-z_]+)\}")
EXTRA = ("event", "namespace", "failures", "warning")
"""What texts may use beside the fields of the record."""


class NotNow(Exception):
    """It could not be told now, and may be later; the text says why. The report stays.

    `after` how many seconds the other side asks us to leave it alone, at least.
    """

    def __init__(self, text: str, after: float = 0.0) -> None:
        super().__init__(text)
        self.after = after


class Never(Exception):
    """It will never be told in this way; the text says why, and what to do. The report goes."""


class Told(Exception):
    """It was told, and something is to be said of that: the text. The report goes."""


class Report:
    """What is told of a run.

    `event` one of core/telling.py's EVENTS · `record` the run's, as in core/record.py, of its start
    for `start` · `failures` how many in a row have failed, this one among them; None if nobody
    knows · `at` when it was written, in ms since the epoch · `warning` the text of a warning ·
    `released_at` when the lock had been given back, in ms since the epoch; None if it was not.
    """

    __slots__ = ("at", "event", "failures", "namespace", "record", "released_at", "warning")

    def __init__(
        self,
        event: str,
        record: Mapping[str, object],
        *,
        namespace: str,
        at: int,
        failures: int | None,
        warning: str | None = None,
        released_at: int | None = None,
    ) -> None:
        self.event = event
        self.record = record
        self.namespace = namespace
        self.at = at
        self.failures = failures
        self.warning = warning
        self.released_at = released_at

    @property
    def job(self) -> str:
        """The job's name."""
        return self.text("job")

    @property
    def run_id(self) -> str:
        """The run's id: 32 hexadecimal digits, the same for its start and its end."""
        return self.text("run_id")

    def number(self, field: str) -> int | None:
        """Return a field of the record that is a number, or None."""
        value = self.record.get(field)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def text(self, field: str) -> str:
        """Return a field of the record as text; "" where it has none."""
        value = self.record.get(field)
        return "" if value is None else str(value)

    def fill(self, template: str, escape: Callable[[str], str] = str) -> str:
        """Return *template* with each `{field}` replaced; what is no field stays as it is.

        *escape* makes of a field's text what its target takes for text alone.
        """

        def field(found: re.Match[str]) -> str:
            known, value = self.field(found[1])
            if not known:
                return found[0]
            return escape("" if value is None else str(value))

        return _FIELD.sub(field, template)

    def field(self, name: str) -> tuple[bool, object]:
        """Return whether texts may use a field of that name, and its value."""
        if name in EXTRA:
            return True, getattr(self, name)
        return name in self.record, self.record.get(name)


class Reporter(ABC):
    """Tells reports to one target."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Take *settings* by key, secrets among them. Raises: ValueError if they cannot be used."""
        self.settings = settings

    @abstractmethod
    def tell(self, report: Report, timeout: float) -> None:
        """Tell one report, in *timeout* seconds at most.

        The same report may come twice, if it is not known whether it got through; what can be done
        so that it counts once is done here. Raises: NotNow, Never, Told.
        """
