"""When systemd is told again, and how often: with real sockets, and no clock."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cronguard.core import notices
from cronguard.runtime.notify import AGAIN_MS, LATER_MS, RAREST_MS, Notifier, notifier
from tests.core.test_machine import CLOSED, UP, WELL, play
from tests.process.test_notify import fill

RUN_ID = "0a1b2c3d4e5f" + "0" * 20
ENDED = [*UP, (100, WELL, "disarm, close release"), (110, CLOSED, "exit 0")]


@contextmanager
def manager_in(folder: Path) -> Iterator[socket.socket]:
    """What a service manager has."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(folder / "s"))
        found.setblocking(False)
        yield found


@contextmanager
def told_in(folder: Path, watchdog_ms: int) -> Iterator[Notifier]:
    """Who tells the manager that is in *folder*, or is to come."""
    found = Notifier(str(folder / "s"), RUN_ID, watchdog_ms)
    yield found
    found.close()


def heard(manager: socket.socket) -> list[str]:
    """Return the messages that have come."""
    found = []
    try:
        while True:
            found.append(manager.recv(4096).decode())
    except BlockingIOError:
        return found


def test_a_full_socket_is_asked_again_a_little_later_and_not_at_once(tmp_path: Path) -> None:
    """However much is due: the loop sleeps until then."""
    run = play({}, UP)
    with manager_in(tmp_path) as manager, told_in(tmp_path, 10) as told:
        fill(str(tmp_path / "s"))
        told.look(run, 1_000)
        assert told.wake_at() == 1_000 + AGAIN_MS
        heard(manager)
        told.look(run, 1_000 + AGAIN_MS - 1)
        assert heard(manager) == []
        told.look(run, 1_000 + AGAIN_MS)
        assert [text.split("=")[0] for text in heard(manager)] == ["READY", "STATUS"]


@pytest.mark.parametrize(("watchdog", "later"), [(0, LATER_MS), (2_000, 1_000), (60_000, LATER_MS)])
def test_what_cannot_be_told_is_told_when_somebody_is_there(
    tmp_path: Path, watchdog: int, later: int
) -> None:
    """Or a watchdog would stop a run that nothing is wrong with. It is said once, if at all."""
    said: list[tuple[str, dict[str, object]]] = []
    run = play({}, UP)
    with told_in(tmp_path, watchdog) as told:
        told.say = lambda topic, facts: said.append((topic, facts))
        told.look(run, 1_000)
        told.look(run, 1_000 + later)
        assert told.wake_at() == 1_000 + 2 * later
        assert said == [("notify_failed", {"why": "no such file or directory"})]
        with manager_in(tmp_path) as manager:
            told.look(run, 1_000 + 2 * later)
            first, second = heard(manager)
    assert first == "READY=1"
    assert ("WATCHDOG=1" in second) == bool(watchdog)


def test_no_ping_follows_the_end(tmp_path: Path) -> None:
    """A ping would begin systemd's watchdog anew, and nothing feeds it any more."""
    ended = play({"report_timeout": 60_000}, ENDED)
    with manager_in(tmp_path) as manager, told_in(tmp_path, 1_000) as told:
        told.look(play({}, UP), 1_000)
        assert "WATCHDOG=1" in heard(manager)[-1]
        told.last(ended, 1_000_000)
        stopping, last = heard(manager)
        assert stopping == "STOPPING=1"
        patience = (60_000 + notices.PATIENCE_MS) * 1000
        status = f"STATUS=succeeded, run {RUN_ID[:12]}"
        assert last.split("\n") == [status, f"EXTEND_TIMEOUT_USEC={patience}"]
        told.look(ended, 1_000_000 + notices.EXTEND_EVERY_MS)
        assert f"EXTEND_TIMEOUT_USEC={patience}" in heard(manager)[-1]


@pytest.mark.parametrize("watched", ["9" * 20, "9" * 5_000, str(90 * 86_400 * 10**6)])
def test_a_watchdog_of_ages_is_no_trouble(tmp_path: Path, watched: str) -> None:
    """poll(2) takes 24 days at the most, and int() 4,300 digits."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "s"), "WATCHDOG_USEC": watched}
    told = notifier(environ, RUN_ID)
    assert told is not None
    with manager_in(tmp_path):
        told.look(play({}, UP), 1_000)
        told.close()
    assert (told.wake_at() or 0) <= 1_000 + RAREST_MS


def test_who_was_not_started_by_systemd_does_not_speak() -> None:
    """Nor one that is to speak to what is no socket's address."""
    assert notifier({"NOTIFY_SOCKET": "/s", "SYSTEMD_EXEC_PID": "1"}, RUN_ID) is None
    assert notifier({"NOTIFY_SOCKET": "vsock:2:9"}, RUN_ID) is None
    assert notifier({"NOTIFY_SOCKET": "/s", "SYSTEMD_EXEC_PID": str(os.getpid())}, RUN_ID)
