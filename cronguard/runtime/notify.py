"""Tells systemd how a run stands: sd_notify(3), spoken by ourselves. Loaded with NOTIFY_SOCKET.

All is sent from the keeper's loop, so that a keeper that hangs is noticed by the watchdog. Nothing
waits for systemd: what a full socket does not take is sent a little later. Where sending fails it
is tried again more rarely, and not given up: the watchdog would stop a run that is well.

When the loop is over it pings no more. systemd's watchdog ends with STOPPING, a ping would begin it
anew, and what follows (reports, a slow reader of the output) is covered by EXTEND_TIMEOUT_USEC.

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
    from collections.abc import Callable, Mapping

    from cronguard.core.machine import Run

AGAIN_MS = 100
LATER_MS = 5_000
RAREST_MS = 3_600_000
STATUS_EVERY_MS = 5_000
_LAST_TRIES = 20
_DIGITS = 20
"""What a 64-bit number has at the most."""


def notifier(environ: Mapping[str, str], run_id: str) -> Notifier | None:
    """Return who tells systemd, if it wants to be told, and by us."""
    address = environ.get("NOTIFY_SOCKET", "")
    me = str(os.getpid())
    if address[:1] not in ("/", "@") or environ.get("SYSTEMD_EXEC_PID", me) != me:
        return None
    watched = environ.get("WATCHDOG_USEC", "")
    is_number = watched.isascii() and watched.isdecimal() and len(watched) <= _DIGITS
    if environ.get("WATCHDOG_PID", me) != me or not is_number:
        watched = "0"
    return Notifier(address, run_id, int(watched) // 1000)


class Notifier:
    """Tells of one run. *watchdog_ms*: how often systemd wants to hear of it; 0 for never.

    `say`, if there is one, is told once that sending fails.
    """

    def __init__(self, address: str, run_id: str, watchdog_ms: int) -> None:
        self._address = "\0" + address[1:] if address[0] == "@" else address
        self._run_id = run_id
        self._ping_every = min(max(watchdog_ms // 2, 1), RAREST_MS) if watchdog_ms else 0
        self._ping_at = 0
        self._again_at: int | None = None
        self._extend_at: int | None = None
        self._status_at = 0
        self._stage = ""
        self._said: set[str] = set()
        self._socket: _socket.socket | None = None
        self._is_full = False
        self.say: Callable[[str, dict[str, object]], None] | None = None

    def wake_at(self) -> int | None:
        """Return when `look` wants to be called though nothing has happened."""
        if self._again_at is not None:
            return self._again_at
        ping_at = self._ping_at if self._ping_every else None
        moments = (self._extend_at, ping_at)
        return min([at for at in moments if at is not None], default=None)

    def look(self, run: Run, now: int) -> None:
        """Tell what is new; from the loop, each time that it goes round."""
        if self._again_at is not None and now < self._again_at:
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
            if not self._is_full:
                return
            sleep(AGAIN_MS / 10_000)

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()

    def _once(self, word: str, now: int) -> None:
        if word not in self._said and self._again_at is None and self._delivered(word, now):
            self._said.add(word)

    def _lines(self, run: Run, now: int) -> list[str]:
        """Return what else is due."""
        lines = []
        is_new = notices.stage(run) != self._stage
        if is_new or now >= self._status_at:
            lines.append(f"STATUS={notices.status(run, self._run_id, now)}")
        patience = notices.patience(run, now)
        if patience and (is_new or self._extend_at is None or now >= self._extend_at):
            lines.append(f"EXTEND_TIMEOUT_USEC={patience * 1000}")
        if self._ping_every and now >= self._ping_at and not notices.is_over(run):
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
        """Send it; where it cannot be sent now, it is tried again later."""
        why = self._send(text)
        self._is_full = why in (EAGAIN, ENOBUFS)
        if why is None:
            self._again_at = None
        elif self._is_full:
            self._again_at = now + AGAIN_MS
        else:
            self._again_at = now + max(min(self._ping_every or LATER_MS, LATER_MS), AGAIN_MS)
            self._say_once(why)
        return why is None

    def _say_once(self, why: int) -> None:
        say, self.say = self.say, None
        if say is not None:
            say("notify_failed", {"why": os.strerror(why).lower() if why else "no such address"})

    def _send(self, text: str) -> int | None:
        """Send a datagram; returns the errno if that failed, 0 for an impossible address."""
        try:
            if self._socket is None:
                self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(text.encode("utf-8", "replace"), self._address)
        except OSError as error:
            return error.errno or 0
        return None
