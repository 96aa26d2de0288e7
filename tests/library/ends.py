"""What tests of guards look at: their threads, and how they end."""

from __future__ import annotations

import threading
from types import TracebackType


def own_threads() -> list[str]:
    """Return the names of our threads that are there."""
    return [thread.name for thread in threading.enumerate() if "cronguard" in thread.name]


class ending:  # noqa: N801 - reads as pytest.raises does, and takes more than one statement
    """What stands below ends by raising that, with these words in it."""

    def __init__(self, kind: type[BaseException], words: str = "") -> None:
        self.kind = kind
        self.words = words

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        """Swallow it if it is what was wanted."""
        assert error is not None, f"it raised no {self.kind.__name__}"
        return isinstance(error, self.kind) and self.words in str(error)
