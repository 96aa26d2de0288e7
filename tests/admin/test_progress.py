from __future__ import annotations

import os
import pty
import select
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from cronguard.admin.progress import Progress, each, parts

Screen = Callable[[], int]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """Give what puts a terminal in the place of stderr: what it shows is read from the descriptor.

    Called by the test itself: pytest has a stderr of its own for each of its phases.
    """
    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    with os.fdopen(slave, "w") as stderr:

        def begin() -> int:
            monkeypatch.setattr(sys, "stderr", stderr)
            return master

        yield begin
    os.close(master)


def shown(seen: int, text: bytes) -> bytes:
    """Return what is shown up to *text*."""
    found, end = b"", time.monotonic() + 20
    while text not in found:
        assert time.monotonic() < end, found
        if select.select([seen], [], [], 0.1)[0]:
            found += os.read(seen, 65_536)
    return found


def test_what_takes_long_shows_how_far_it_is(screen: Screen) -> None:
    """What is done, and how much of it."""
    seen = screen()
    with Progress("reading jobs", 40, after=0) as progress:
        shown(seen, b"reading jobs")
        progress.step(30)
        shown(seen, b"30/40")


def test_what_is_quick_shows_nothing(screen: Screen) -> None:
    """Not a byte, where it ends before the bar would come."""
    seen = screen()
    assert list(each([1, 2, 3], "x")) == [1, 2, 3]
    assert not select.select([seen], [], [], 0)[0]


def test_a_dumb_terminal_shows_nothing(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot move its cursor would be filled with bars."""
    seen = screen()
    monkeypatch.setenv("TERM", "dumb")
    with Progress("x", 40, after=0) as progress:
        assert progress._timer is not None
        progress._timer.join()
        progress.step()
    assert not select.select([seen], [], [], 0)[0]


def test_what_is_no_terminal_gets_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Not a byte on either stream, however long it takes."""
    with Progress("x", 2, after=0) as progress:
        progress.step()
    assert list(parts(range(5), 2, "x")) == [[0, 1], [2, 3], [4]]
    assert capfd.readouterr() == ("", "")


def test_an_error_takes_the_bar_away(screen: Screen) -> None:
    """And goes on."""
    seen = screen()

    def work() -> None:
        with Progress("reading", None, after=0):
            shown(seen, b"reading")
            raise KeyError("x")

    with pytest.raises(KeyError):
        work()
    shown(seen, b"\x1b[?25h")  # the cursor is back
