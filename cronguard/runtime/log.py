"""`--log`: the output of runs in a file, as core/logline.py has it.

Written by the threads that pump the output, so that no disk holds up the keeper. Every write is one
or more whole lines, and appends (O_APPEND): runs that write at a time do not break each other's
lines, also while the file is renamed (runtime/logfile.py).

What cannot be written, as the disk is full, is counted, and said in the file as soon as it can be.
"""

from __future__ import annotations

import os
from _thread import LockType, allocate_lock, start_new_thread

from cronguard.core import logline
from cronguard.core.redact import MASK
from cronguard.runtime.clock import wall_now
from cronguard.runtime.lines import Lines
from cronguard.runtime.logfile import LogFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import JobSpec

END_MS = 2_000
"""How long the end of the run waits until its last lines are written."""
_MASK = MASK.encode()
_AT_A_TIME = 2_000
"""So many objects are made, and written, at a time."""


class Log:
    """The log of one run.

    `trouble` why something is missing in it; empty if nothing is · `is_told` whether that was said.
    """

    def __init__(self, spec: JobSpec) -> None:
        """Open the file. Raises: NoLog."""
        self._file = LogFile(spec)
        self.trouble = ""
        self.is_told = False
        self._as_json = spec.log_format == "json"
        self._lock = allocate_lock()
        self._lines = {1: Lines(), 2: Lines()}
        self._told: logline.Told | None = None
        self._secrets: list[bytes] = []
        self._at = 0
        self._has_begun = False
        self._is_cut = False
        self._stream = 0
        self._lost = 0

    @property
    def file(self) -> int:
        """Its descriptor, which the guardian must not keep open."""
        return self._file.number

    @property
    def path(self) -> str:
        """The name of the file."""
        return self._file.path

    @property
    def stuck(self) -> str:
        """Why a new file could not be begun; empty if that was never so."""
        return self._file.stuck

    def tell(self, told: logline.Told, secrets: tuple[str, ...] = ()) -> None:
        """Say whose lines they are, before any comes, and begin: apart, as a disk may be slow.

        *secrets* are masked in them, by value.
        """
        self._secrets = [secret.encode("utf-8", "surrogateescape") for secret in secrets if secret]
        self._told, self._at = told, wall_now()
        try:
            start_new_thread(self._start, (told,))
        except RuntimeError:
            pass  # no room for a thread: it begins with what the command says first

    def _start(self, told: logline.Told) -> None:
        with self._lock:
            self._begin(told)

    def add(self, stream: int, data: bytes) -> None:
        """Log what a stream said."""
        with self._lock:
            if self._told is not None:
                self._log(self._told, stream, *self._lines[stream].add(data))

    def end(self, outcome: str, reason: str, exit_status: int, took: int) -> None:
        """Log how the run has ended; nothing of one that never began. Waits for END_MS at most."""
        if self._told is None:
            return
        done = allocate_lock()
        done.acquire()
        work = self._told, (outcome, reason, exit_status, took), done
        try:
            start_new_thread(self._end, work)
        except RuntimeError:
            self._end(*work)
        if not done.acquire(timeout=END_MS / 1000):
            self.trouble = self.trouble or f"it did not take the last lines within {END_MS} ms"

    def _end(self, told: logline.Told, facts: tuple[str, str, int, int], done: LockType) -> None:
        try:
            with self._lock:
                for stream, lines in self._lines.items():
                    self._log(told, stream, lines.end(), b"")
                self._begin(told)
                self._file.keep()  # its end stands in the file that has its output
                self._put(told, logline.end(told, wall_now(), *facts, as_json=self._as_json))
        finally:
            done.release()

    def _log(self, told: logline.Told, stream: int, lines: bytes, piece: bytes) -> None:
        """Log *lines*, the last one perhaps without its end, and a *piece* of one."""
        for secret in self._secrets:
            lines, piece = lines.replace(secret, _MASK), piece.replace(secret, _MASK)
        if lines or piece:
            self._begin(told)
        if not self._as_json:
            if lines or piece:
                self._put(told, lines + piece, stream)
            return
        now = wall_now()
        texts = lines.removesuffix(b"\n").split(b"\n") if lines else []
        for at in range(0, len(texts), _AT_A_TIME):
            some = texts[at : at + _AT_A_TIME]
            self._put(told, logline.objects(told, now, stream, some), stream)
        if piece:
            self._put(told, logline.objects(told, now, stream, [piece], is_cut=True), stream)

    def _begin(self, told: logline.Told) -> None:
        """Write the line that the run begins with, once."""
        if not self._has_begun:
            if self._file.is_old(self._at) or self._file.is_over():
                self._file.turn(self._at)
            self._has_begun = True
            self._is_cut = not self._file.ends_a_line()
            self._write(self._apart(logline.begin(told, self._at, as_json=self._as_json)), 0)

    def _put(self, told: logline.Told, data: bytes, stream: int = 0) -> None:
        """Write *data* of a *stream*, behind what must be said of the file and what is missing."""
        if self._file.is_over() and self._file.turn(wall_now()):
            self._is_cut = not self._file.ends_a_line()
            note = logline.goes_on(told, wall_now(), as_json=self._as_json)
            self._write(self._apart(note), self._stream)
        if self._lost:
            about = (wall_now(), self._lost, self.trouble)
            note = logline.lost(told, *about, as_json=self._as_json)
            missing = self._lost + len(data)
            if not self._write(self._apart(note), 0):
                self._lost = missing
                return
            self._lost = 0
        goes_on = stream and stream == self._stream and not self._as_json
        self._write(data if goes_on else self._apart(data), stream)

    def _apart(self, data: bytes) -> bytes:
        """Return *data* as it is written at the begin of a line."""
        return b"\n" + data if self._is_cut else data

    def _write(self, data: bytes, stream: int) -> bool:
        """Write as much of *data* as there is room for; count the rest."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.file, view) :]
        except OSError as error:
            self.trouble = os.strerror(error.errno or 0).lower()
            self._lost += len(view)
        done = len(data) - len(view)
        if done:
            self._is_cut, self._stream = data[done - 1] != 0x0A, stream
        return not view
