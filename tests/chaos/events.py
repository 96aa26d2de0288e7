"""What the driver did and saw, a JSON object a line, for the checker (history.py has the words)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tests.chaos.testimony import boot_ns

COUNTED = ("fault", "killed", "stopped", "termed")


class Events:
    """The file `events.jsonl`, and how many faults it tells of."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self.counts: Counter[str] = Counter()

    @property
    def faults(self) -> int:
        """Return how many faults were told of."""
        return sum(self.counts[what] for what in COUNTED)

    def tell(self, what: str, at: int | None = None, **facts: object) -> None:
        """Write one event, of now if not told otherwise."""
        said = {"at": boot_ns() if at is None else at, "what": what} | facts
        self.counts[what] += 1
        self._file.write(json.dumps(said) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
