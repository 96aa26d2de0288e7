"""The file of a log: opened, turned when it is full or old, and the old ones of it.

The file is renamed when it is full or old; who does so has a lock (flock) on the very file, and
looks whether it still has the name. Before each write a run looks for that, too, and goes on in the
new file; what it wrote to the old one in between is not lost. So does who was told nothing of it,
as logrotate renames, or somebody removes the file.
"""

from __future__ import annotations

import os
from errno import ENXIO
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from stat import S_ISDIR, S_ISREG
from time import sleep

from cronguard.core import logline
from cronguard.core import record as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import JobSpec

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MODE = 0o600
_TRIES = 10
_PAUSES = (0.001, 0.005, 0.02)
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


class LogFile:
    """The file that has the log's name, and how it is turned.

    `number` its descriptor · `path` its name as it was given · `stuck` why a new one could not be
    begun when it should; empty if that was never so.
    """

    __slots__ = ("_age", "_is_kept", "_keep", "_real", "_size", "number", "path", "stuck")

    def __init__(self, spec: JobSpec) -> None:
        """Open it. Raises: NoLog."""
        self.path = path_of(spec)
        self._real = os.path.realpath(self.path) if os.path.islink(self.path) else self.path
        self._size, self._age, self._keep = spec.log_size, spec.log_age, spec.log_keep
        self._is_kept = False
        self.stuck = ""
        try:
            self.number = self._open(_FLAGS | os.O_CREAT)
        except OSError as error:
            is_pipe = error.errno == ENXIO  # that nobody reads
            why = _NO_FILE if is_pipe else os.strerror(error.errno or 0).lower()
            raise NoLog(why) from None

    def _open(self, flags: int) -> int:
        """Open the file that has the name now. Raises: OSError, NoLog."""
        number = os.open(self._real, flags, _MODE)
        if not S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise NoLog(_NO_FILE)
        return number

    def is_over(self) -> bool:
        """Tell whether another one is to be written to: it is full, or has lost its name."""
        if self._is_kept:
            return False
        mine = os.fstat(self.number)
        return bool(self._size and mine.st_size >= self._size) or not _is_same(self._real, mine)

    def keep(self) -> None:
        """Stay with this one to the end."""
        self._is_kept = True

    def turn(self, now: int) -> bool:
        """Go on in a new file, or in the one that another run has begun; tell whether we do.

        Where that cannot be, we stay with this one, and try it again.
        """
        old = self.number
        mine = os.fstat(old)
        try:
            if _is_same(self._real, mine) and not self._rename(mine, now):
                return False
            self.number = self._next(mine)
        except OSError as error:
            self.stuck = os.strerror(error.errno or 0).lower()
            return False
        except NoLog as error:
            self.stuck = str(error)
            return False
        os.close(old)
        return True

    def _next(self, old: os.stat_result) -> int:
        """Make the next file, or open that of another run. Raises: OSError, NoLog.

        WARNING: root may log into a folder of somebody who puts a link there now.
        """
        for _ in range(_TRIES):
            try:
                number = self._open(_FLAGS | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                try:
                    return self._open(_FLAGS | os.O_NOFOLLOW)
                except FileNotFoundError:  # it is full already, and was renamed in between
                    continue
            _make_alike(number, old)
            return number
        return self._open(_FLAGS | os.O_NOFOLLOW)

    def _rename(self, mine: os.stat_result, now: int) -> bool:
        """Give the file the name of an old one; False if another has its lock. Raises: OSError.

        WARNING: nobody is waited for. Whoever can read the file can lock it, for ever.
        """
        try:
            flock(self.number, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        try:
            if _is_same(self._real, mine):
                while os.path.lexists(name := f"{self._real}.{_stamp(now)}"):
                    now += 1  # several in a millisecond
                os.rename(self._real, name)
                self._prune()
        finally:
            flock(self.number, LOCK_UN)
        return True

    def ends_a_line(self) -> bool:
        """Tell whether nothing stands before the next byte on its line: who wrote may be dead.

        Or in the middle of writing: half of what another writes can be seen. So it is looked twice.
        """
        try:
            with open(self._real, "rb") as file:
                for pause in (*_PAUSES, 0):
                    size = os.fstat(file.fileno()).st_size
                    if not size or os.pread(file.fileno(), 1, size - 1) == b"\n":
                        return True
                    sleep(pause)
        except OSError:
            return True
        return False

    def is_old(self, now: int) -> bool:
        """Tell whether the first line in the file is of a moment too long ago."""
        if not self._age:
            return False
        from cronguard.core.moments import wall_ms  # noqa: PLC0415  (datetime is slow)

        try:
            with open(self._real, "rb") as file:
                first = file.read(_FIRST_BYTES).decode("ascii", "replace")
        except OSError:
            return False
        text = first.removeprefix(logline.MARK).removeprefix('{"time":"')[: len(records.utc(0))]
        at = wall_ms(text)
        return at is not None and now - at >= self._age

    def _prune(self) -> None:
        """Remove the oldest of more files than are to be kept."""
        folder, base = os.path.split(self._real)
        try:
            names = os.listdir(folder or ".")
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
    """Give a new file the mode and group of the one before it, if that was ours to set."""
    if old.st_uid != os.geteuid():
        return
    try:
        os.fchmod(file, old.st_mode & 0o777)
        os.fchown(file, -1, old.st_gid)
    except OSError:
        pass


def _stamp(now: int) -> str:
    """Return `20260131T023000.123Z`: names that sort as the moments do."""
    return records.utc(now).replace("-", "").replace(":", "")


def _is_stamped(name: str, base: str) -> bool:
    stamp = name.removeprefix(f"{base}.")
    is_one = stamp != name and len(stamp) == len(_stamp(0)) and stamp[8:9] == "T"
    return is_one and stamp[:8].isdecimal() and stamp.endswith("Z")
