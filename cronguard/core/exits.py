"""Every exit status that is cronguard's own word. Their meanings never change.

Everything else that `cronguard run` returns is the child's: 0-255 as it exited, or 128+N when
signal N ended it.
"""

SKIPPED = 0
"""Another run holds the lock; `--skip-exit-code` replaces it."""
LEASE_LOST = 121
"""The lock was lost while the command ran, and the run was stopped."""
STORE_UNAVAILABLE = 122
"""The store could not be reached in time, and the command was not started."""
COUNTS_AS_FAILED = 123
"""The command ended with 0, but the run counts as failed, by what was asked for."""
TIMED_OUT = 124
"""The command ran longer than `--timeout`, and was stopped."""
OWN_FAILURE = 125
"""cronguard itself failed, or its options or configuration are wrong."""
NOT_EXECUTABLE = 126
"""The command was found, but cannot be executed."""
NOT_FOUND = 127
"""The command was not found."""

DONE = 0
"""Commands that read or steer: done, or the answer is yes."""
NO = 1
"""Commands that read or steer: the answer is no."""
USAGE = 2
"""Commands that read or steer: wrong usage."""
STORE_DOWN = 69
"""Commands that read or steer: the store could not be reached (EX_UNAVAILABLE)."""

MEANINGS = {
    LEASE_LOST: "the lock was lost while the command ran; the run was stopped",
    STORE_UNAVAILABLE: "the store could not be reached; the command was not started",
    COUNTS_AS_FAILED: "the command ended with 0, but the run counts as failed, as was asked for",
    TIMED_OUT: "the command ran longer than --timeout and was stopped",
    OWN_FAILURE: "cronguard itself failed, or its options or configuration are wrong",
    NOT_EXECUTABLE: "the command was found but cannot be executed",
    NOT_FOUND: "the command was not found",
}


def of_signal(signum: int) -> int:
    """Return the status a shell gives to a death by *signum*."""
    return 128 + signum


def of_wait_status(status: int) -> tuple[int, int | None]:
    """Split what wait(2) reported into (exit status, signal or None)."""
    signum = status & 0x7F
    if signum:
        return of_signal(signum), signum
    return (status >> 8) & 0xFF, None
