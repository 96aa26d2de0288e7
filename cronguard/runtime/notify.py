"""Tells systemd how a run stands: sd_notify(3), spoken by ourselves. Loaded with NOTIFY_SOCKET.

All is sent from the keeper's loop, so that a keeper that hangs is noticed by the watchdog. Nothing
waits for systemd: what a full socket does not take is sent a little later, and a socket that is not
there is not asked again.

Only the process that systemd started speaks. One that is started by a service's script, with that
service's socket in its environment, would stop the service with its STOPPING: `SYSTEMD_EXEC_PID`
(systemd 248) tells. The command keeps its environment as it was, so it could speak as well, and
with `NotifyAccess=main`, the usual, is not heard.

Roads not taken: libsystemd (a library for one datagram), a thread that pings (it would ping for a
loop that hangs).
"""

from __future__ import annotations

import _socket
import os
from errno import EAGAIN, ENOBUFS
from time import sleep

from cronguard.core import notices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.core.machine import Run

AGAIN_MS = 100
STATUS_EVERY_MS = 5_000
_LONGEST = 1_000
_LAST_TRIES = 20


def notifier(environ: Mapping[str, str], run_id: str) -> Notifier | None:
    """Return who tells systemd, if it wants to be told, and by us."""
    address = environ.get("NOTIFY_SOCKET", "")
    me = str(os.getpid())
    if address[:1] not in ("/", "@") or environ.get("SYSTEMD_EXEC_PID", me) != me:
        return None
    watched = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", me) != me or not (watched.isascii() and watched.isdecimal()):
        watched = "0"
    return Notifier(address, run_id, int(watched) // 1000)


class Notifier:
    """Tells of one run. *watchdog_ms*: how often systemd wants to hear of it; 0 for never."""

    def __init__(self, address: str, run_id: str, watchdog_ms: int) -> None:
        self._address = "\0" + address[1:] if address[0] == "@" else address
        self._run_id = run_id
        self._ping_every = max(watchdog_ms // 2, 1) if watchdog_ms else 0
        self._ping_at = 0
        self._again_at: int | None = None
        self._extend_at: int | None = None
        self._status_at = 0
        self._stage = ""
        self._said: set[str] = set()
        self._socket: _socket.socket | None = None
        self._is_deaf = False

    def wake_at(self) -> int | None:
        """Return when `look` wants to be called though nothing has happened."""
        if self._is_deaf:
            return None
        ping_at = self._ping_at if self._ping_every else None
        moments = (self._again_at, self._extend_at, ping_at)
        return min([at for at in moments if at is not None], default=None)

    def look(self, run: Run, now: int) -> None:
        """Tell what is new; from the loop, each time that it goes round."""
        if self._is_deaf or (self._again_at is not None and now < self._again_at):
            return
        self._again_at = None
        # systemd takes the last of READY and STOPPING in a message alone, so each has its own
        if notices.is_ready(run):
            self._once("READY=1", now)
        if notices.is_stopping(run):
            self._once("STOPPING=1", now)
        lines = self._lines(run, now)
        if lines and self._again_at is None and self._delivered("\n".join(lines), now):
            self._note(lines, run, now)

    def last(self, run: Run, now: int) -> None:
        """Tell how the run has ended, with some patience for a socket that is full."""
        for _ in range(_LAST_TRIES):
            self._again_at = None
            self.look(run, now)
            if not self._is_held_up():
                return
            sleep(AGAIN_MS / 10_000)

    def _is_held_up(self) -> bool:
        return self._again_at is not None

    def _once(self, word: str, now: int) -> None:
        if word not in self._said and self._again_at is None and self._delivered(word, now):
            self._said.add(word)

    def _lines(self, run: Run, now: int) -> list[str]:
        """Return what else is due."""
        lines = []
        is_new = notices.stage(run) != self._stage
        if is_new or now >= self._status_at:
            lines.append(f"STATUS={notices.status(run, self._run_id, now)[:_LONGEST]}")
        patience = notices.patience(run, now)
        if patience and (is_new or self._extend_at is None or now >= self._extend_at):
            lines.append(f"EXTEND_TIMEOUT_USEC={patience * 1000}")
        if self._ping_every and now >= self._ping_at:
            lines.append("WATCHDOG=1")
        return lines

    def _note(self, lines: list[str], run: Run, now: int) -> None:
        """Note what was sent, and when more is due."""
        self._stage = notices.stage(run)
        for line in lines:
            if line.startswith("STATUS="):
                self._status_at = now + STATUS_EVERY_MS
        is_waited_for = bool(notices.patience(run, now))
        self._extend_at = now + notices.EXTEND_EVERY_MS if is_waited_for else None
        if lines[-1] == "WATCHDOG=1":
            self._ping_at = now + self._ping_every

    def _delivered(self, text: str, now: int) -> bool:
        """Send it; where it cannot be sent now, it is tried again a little later."""
        is_sent = self._send(text)
        self._again_at = None if is_sent else now + AGAIN_MS
        return is_sent

    def _send(self, text: str) -> bool:
        """Send a datagram; False if it is to be tried again."""
        try:
            if self._socket is None:
                self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(text.encode("utf-8", "replace"), self._address)
        except OSError as error:
            if error.errno in (EAGAIN, ENOBUFS):
                return False
            self._is_deaf = True
        return True
