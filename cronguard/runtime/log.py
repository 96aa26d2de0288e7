"""`--log`: the output of runs in a file, as core/logline.py has it.

Written by the threads that pump the output, so that no disk holds up the keeper. Every write is one
or more whole lines, and appends (O_APPEND): runs that write at a time do not break each other's
lines. The file is renamed when it is full or old; who does so has a lock (flock) on the very file,
and looks whether it still has the name. Another run that still writes to the old one goes on there
until it looks: nothing is lost in between.

What cannot be written, as the disk is full, is counted, and said in the file as soon as it can be.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from errno import ENXIO
from fcntl import LOCK_EX, LOCK_UN, flock
from stat import S_ISDIR, S_ISREG

from cronguard.core import logline
from cronguard.core import record as records
from cronguard.runtime.clock import wall_now
from cronguard.runtime.lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import JobSpec

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MODE = 0o600
_MOST_OLD = 10_000
_FIRST_BYTES = 64
_NO_FILE = "it is no file"


class NoLog(Exception):
    """The log cannot be written; the text says why."""


def path_of(spec: JobSpec) -> str:
    """Return the file that the job's runs are logged in: in a folder, it is JOB.log."""
    path = spec.log
    return os.path.join(path, f"{spec.name}.log") if _is_folder(path) else path


def _is_folder(path: str) -> bool:
    try:
        return path.endswith("/") or S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False


class Log:
    """The log of one run.

    `file` its descriptor · `trouble` why something is missing in it; empty if nothing is ·
    `is_told` whether that was said.
    """

    def __init__(self, spec: JobSpec) -> None:
        """Open the file. Raises: NoLog."""
        self.path = path_of(spec)
        self.trouble = ""
        self.is_told = False
        self._as_json = spec.log_format == "json"
        self._size, self._age, self._keep = spec.log_size, spec.log_age, spec.log_keep
        self._lock = allocate_lock()
        self._lines = {1: Lines(), 2: Lines()}
        self._told: logline.Told | None = None
        self._has_begun = False
        self._is_cut = False
        self._stream = 0
        self._lost = 0
        try:
            self.file = self._open()
        except OSError as error:
            is_pipe = error.errno == ENXIO  # that nobody reads
            why = _NO_FILE if is_pipe else os.strerror(error.errno or 0).lower()
            raise NoLog(why) from None

    def _open(self) -> int:
        """Open the file that has the name now. Raises: OSError, NoLog."""
        number = os.open(self.path, _FLAGS, _MODE)
        if not S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise NoLog(_NO_FILE)
        return number

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
            self._size = 0  # its end stands in the file that has its output
            self._put(logline.end(self._told, wall_now(), *facts, as_json=self._as_json))
            self._prune()

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
            if self._age and self._is_old(now):
                self._turn(now)
            self._is_cut = not self._ends_a_line()
            self._put(logline.begin(told, now, as_json=self._as_json))

    def _put(self, data: bytes, stream: int = 0) -> None:
        """Write *data* of a *stream*, behind what must be said of what is missing."""
        assert self._told is not None
        if self._size and os.fstat(self.file).st_size >= self._size:
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

    # -- old files --------------------------------------------------------------------------------

    def _turn(self, now: int) -> None:
        """Begin a new file. Where that cannot be, this run stays with the old one."""
        old = self.file
        try:
            flock(old, LOCK_EX)
            mine = os.fstat(old)
            if _is_same(self.path, mine):
                os.rename(self.path, f"{self.path}.{_stamp(now)}")
            self.file = self._open()
            _make_alike(self.file, mine)
            self._is_cut = False
        except (OSError, NoLog):
            self._size = 0
        finally:
            flock(old, LOCK_UN)
        if self.file != old:
            os.close(old)

    def _ends_a_line(self) -> bool:
        """Tell whether nothing stands before the next byte on its line: who wrote may be dead."""
        try:
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                return not size or os.pread(file.fileno(), 1, size - 1) == b"\n"
        except OSError:
            return True

    def _is_old(self, now: int) -> bool:
        """Tell whether the first line in the file is of a moment too long ago."""
        from cronguard.core.moments import wall_ms  # noqa: PLC0415  (datetime is slow)

        try:
            with open(self.path, "rb") as file:
                first = file.read(_FIRST_BYTES).decode("ascii", "replace")
        except OSError:
            return False
        text = first.removeprefix(logline.MARK).removeprefix('{"time":"')[: len(records.utc(0))]
        at = wall_ms(text)
        return at is not None and now - at >= (self._age or 0)

    def _prune(self) -> None:
        """Remove the oldest of more files than are to be kept."""
        folder, base = os.path.split(self.path)
        try:
            names = os.listdir(folder or ".")[:_MOST_OLD]
        except OSError:
            return
        old = sorted(name for name in names if _is_stamped(name, base))
        for name in old[: max(len(old) - self._keep, 0)]:
            try:
                os.unlink(os.path.join(folder, name))
            except OSError:
                pass


def _is_same(path: str, mine: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), mine)
    except OSError:
        return False


def _make_alike(file: int, old: os.stat_result) -> None:
    """Give a new file the mode and owner of the one before it, as far as we may."""
    try:
        if os.fstat(file).st_size == 0:
            os.fchmod(file, old.st_mode & 0o777)
            os.fchown(file, old.st_uid, old.st_gid)
    except OSError:
        pass


def _stamp(now: int) -> str:
    """Return `20260131T023000.123Z`: names that sort as the moments do."""
    return records.utc(now).replace("-", "").replace(":", "")


def _is_stamped(name: str, base: str) -> bool:
    stamp = name.removeprefix(f"{base}.")
    is_one = stamp != name and len(stamp) == len(_stamp(0)) and stamp[8:9] == "T"
    return is_one and stamp[:8].isdecimal() and stamp.endswith("Z")
