"""`--log`: the output of runs in a file, as core/logline.py has it.

Written by the threads that pump the output, so that no disk holds up the keeper. Every write is one
or more whole lines, and appends (O_APPEND): runs that write at a time do not break each other's
lines, also while the file is renamed (runtime/logfile.py).

What cannot be written, as the disk is full, is counted, and said in the file as soon as it can be.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from cronguard.core import logline
from cronguard.runtime.clock import wall_now
from cronguard.runtime.lines import Lines
from cronguard.runtime.logfile import LogFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import JobSpec


class Log:
    """The log of one run.

    `file` its descriptor · `trouble` why something is missing in it; empty if nothing is ·
    `is_told` whether that was said.
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

    def tell(self, told: logline.Told) -> None:
        """Say whose lines they are, before any comes."""
        self._told = told

    def add(self, stream: int, data: bytes) -> None:
        """Log what a stream said."""
        with self._lock:
            self._log(stream, *self._lines[stream].add(data))

    def end(self, outcome: str, reason: str, exit_status: int, took: int) -> None:
        """Log how the run has ended; nothing of one that never began."""
        with self._lock:
            if self._told is None:
                return
            for stream, lines in self._lines.items():
                self._log(stream, b"", lines.end())
            facts = (outcome, reason, exit_status, took)
            self._begin(self._told)
            self._file.stay()  # its end stands in the file that has its output
            self._put(logline.end(self._told, wall_now(), *facts, as_json=self._as_json))
            self._file.prune()

    def _log(self, stream: int, lines: bytes, piece: bytes) -> None:
        """Log whole *lines*, and a *piece* of one."""
        if self._told is None or not (lines or piece):
            return
        self._begin(self._told)
        data = lines + piece
        if self._as_json:
            now = wall_now()
            texts = lines[:-1].split(b"\n") if lines else []
            data = logline.objects(self._told, now, stream, texts)
            data += logline.objects(self._told, now, stream, [piece] if piece else [], is_cut=True)
        self._put(data, stream)

    def _begin(self, told: logline.Told) -> None:
        """Write the line that the run begins with, once."""
        if not self._has_begun:
            self._has_begun = True
            now = wall_now()
            if self._file.is_old(now):
                self._turn(now)
            self._is_cut = not self._file.ends_a_line()
            self._put(logline.begin(told, now, as_json=self._as_json))

    def _put(self, data: bytes, stream: int = 0) -> None:
        """Write *data* of a *stream*, behind what must be said of what is missing."""
        assert self._told is not None
        if self._file.is_full():
            self._turn(wall_now())
        if self._lost:
            about = (wall_now(), self._lost, self.trouble)
            note = logline.lost(self._told, *about, as_json=self._as_json)
            missing = self._lost + len(data)
            if not self._write(b"\n" + note if self._is_cut else note, 0):
                self._lost = missing
                return
            self._lost = 0
        goes_on = stream and stream == self._stream and not self._as_json
        self._write(b"\n" + data if self._is_cut and not goes_on else data, stream)

    def _turn(self, now: int) -> None:
        if self._file.turn(now):
            self._is_cut = False

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
