"""Which slot of a schedule a run on this host had last: after it, no run is missing (missed.py).

A note for each job: the slot, and the schedule it is of, as the record announces it. Read and
written by a run that has reporters who want to hear of missing runs, when its lock is given back.
"""

from __future__ import annotations

from cronguard.core import record as records
from cronguard.runtime import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.config.schedule import Schedule

FOLDER = "slots"


class LastSlot:
    """The note of one job. *announced* as in its record, *schedule* where it is a schedule."""

    def __init__(
        self,
        state: str,
        job: str,
        namespace: str,
        announced: dict[str, object],
        schedule: Schedule | None = None,
    ) -> None:
        self._path = notes.path_of(state, FOLDER, namespace, job)
        self._rule = records.encode(announced)
        self._period = announced.get("once_ms")
        self._schedule = schedule

    def is_next(self, slot: int) -> bool:
        """Tell whether *slot* comes right after the one that is noted, or is that one."""
        try:
            with open(self._path, encoding="ascii") as file:
                noted, _, rule = file.read().partition(" ")
            last = int(noted) if rule == self._rule else None
        except (OSError, ValueError):
            last = None
        return last is not None and slot <= self._after(last)

    def _after(self, slot: int) -> int:
        if isinstance(self._period, int):
            return slot + self._period
        return self._schedule.after(slot, 1)[0] if self._schedule is not None else slot

    def note(self, slot: int) -> None:
        """Note that a run had *slot*. Raises: OSError."""
        notes.keep(self._path, f"{slot} {self._rule}")
