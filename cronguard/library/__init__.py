"""The same lease for Python code: `from cronguard import guard`.

The block runs in the caller's own thread; a thread beside it keeps the lease, with the machine and
the stores of `cronguard run`. Nobody can kill Python code from outside, so what ends a command
here only asks: `check()` raises, `on_lost` is called, and what the block writes is fenced by its
token. `dead_man=True` has the kernel kill the whole process before its lease ends.

Roads not taken: raising in the caller's thread (PyThreadState_SetAsyncExc leaves locks held and
files half written, and does not reach C code); signals (they are the program's own); a process
beside ours (it could kill this one, but knows less of it than the kernel's timer does).
"""

from cronguard.library.context import Guard, guard
from cronguard.library.errors import (
    GuardError,
    Holder,
    LeaseLost,
    NotStarted,
    Skipped,
    Stopped,
    StoreUnavailable,
    TimedOut,
)
from cronguard.library.lease import Lease, current_lease

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
