from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from cronguard.core import exits


def test_the_numbers_never_change() -> None:
    """Scripts and monitors rely on them: DESIGN says which they are."""
    assert exits.SKIPPED == 0
    assert (exits.LEASE_LOST, exits.STORE_UNAVAILABLE, exits.TIMED_OUT) == (121, 122, 124)
    assert exits.COUNTS_AS_FAILED == 123
    assert (exits.OWN_FAILURE, exits.NOT_EXECUTABLE, exits.NOT_FOUND) == (125, 126, 127)
    assert (exits.DONE, exits.NO, exits.USAGE, exits.STORE_DOWN) == (0, 1, 2, 69)


def test_every_status_of_our_own_has_a_meaning() -> None:
    """What is between 121 and 127 and ours is explained, and says something."""
    own = {exits.LEASE_LOST, exits.STORE_UNAVAILABLE, exits.COUNTS_AS_FAILED, exits.TIMED_OUT,
           exits.OWN_FAILURE, exits.NOT_EXECUTABLE, exits.NOT_FOUND}  # fmt: skip
    assert set(exits.MEANINGS) == own
    assert all(len(text) > 10 for text in exits.MEANINGS.values())


@pytest.mark.parametrize("status", range(256))
def test_an_exit_status_stays_what_it_is(status: int) -> None:
    """Nothing lost: 0-255, without a signal."""
    assert exits.of_wait_status(status << 8) == (status, None)


@pytest.mark.parametrize("signum", sorted(signal.valid_signals()))
def test_a_death_by_signal_is_128_and_its_number(signum: int) -> None:
    """As a shell says it, with or without a core dump."""
    assert exits.of_wait_status(signum) == (128 + signum, signum)
    assert exits.of_wait_status(signum | 0x80) == (128 + signum, signum)
    assert exits.of_signal(signum) == 128 + signum


@pytest.mark.parametrize("code", ["import os; os._exit(37)", "import os; os.abort()"])
def test_the_kernel_means_the_same(code: str) -> None:
    """What wait(2) reports of a real process is split as Python itself splits it."""
    process = subprocess.Popen([sys.executable, "-S", "-c", code], stderr=subprocess.DEVNULL)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    shown, signum = exits.of_wait_status(status)
    expected = process.returncode
    assert (shown, signum) == ((expected, None) if expected >= 0 else (128 - expected, -expected))
