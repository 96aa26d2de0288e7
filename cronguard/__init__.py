"""cronguard: one word in front of a scheduled command; it cannot run twice, hang or get lost.

For Python code: `from cronguard import guard`. What that needs is loaded only then.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.library import (
        Guard,
        GuardError,
        Holder,
        Lease,
        LeaseLost,
        NotStarted,
        Skipped,
        Stopped,
        StoreUnavailable,
        TimedOut,
        current_lease,
        guard,
    )

__all__ = [
    "Guard",
    "GuardError",
    "Holder",
    "Lease",
    "LeaseLost",
    "NotStarted",
    "Skipped",
    "Stopped",
    "StoreUnavailable",
    "TimedOut",
    "current_lease",
    "guard",
]


def __getattr__(name: str) -> object:
    """Load the library when something of it is asked for: `cronguard run` never does."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cronguard import library  # noqa: PLC0415 - see above

    return getattr(library, name)
