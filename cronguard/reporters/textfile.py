"""One file of metrics that several may write: a run here, another host that shares the folder.

Whoever adds to it holds a lock on the file that is there, reads it, and puts a new file in its
place; a lock on a file that is there no more is worth nothing and is sought anew. So nobody's count
is lost, and no second file is left behind. What it counts on from stands in the file itself, as a
comment: it can never differ from what is shown.

The folder is read by other users, and any of them can lock what he can read. A lock that is held
for longer than writing takes is therefore passed over: at worst a count is lost, never the report.
"""

from __future__ import annotations

import fcntl
import os
import time
from stat import S_ISREG

from cronguard.config import whole
from cronguard.reporters import tally
from cronguard.reporters.tally import Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 1 << 20
KEPT = b"# To count on from, by cronguard: "
_PATIENCE_SECONDS = 1.0
_RETRY_SECONDS = 0.01
_OLD_SECONDS = 3600


def change(path: str, make: Callable[[Tally], bytes | None], timeout: float) -> None:
    """Have *make* change what the file counts, and return its new metrics; None leaves it.

    Raises: OSError.
    """
    until = time.monotonic() + timeout
    patience = time.monotonic() + min(_PATIENCE_SECONDS, timeout / 2)
    while True:
        there = _open(path, patience, until)
        try:
            kept = _load(there) if there >= 0 else Tally()
            raw = make(kept)
            if raw is None:
                return
            raw += KEPT + tally.encode(kept).encode("ascii") + b"\n"
            whole.replace(path, raw, is_new=there == _NOTHING)
        except FileExistsError:  # another was the first to write it
            if time.monotonic() >= until:
                raise
        else:
            _tidy(path)
            return
        finally:
            if there >= 0:
                os.close(there)


_NOTHING, _NO_FILE = -1, -2


def _open(path: str, patience: float, until: float) -> int:
    """Return the file, locked if it can be; _NOTHING if there is none, _NO_FILE if it is no file.

    Waits for the lock until *patience*, and for the newest file until *until* (monotonic seconds).
    """
    while True:
        there = _open_once(path)
        if there < 0:
            return there
        try:
            while not _lock(there) and time.monotonic() < patience:
                time.sleep(_RETRY_SECONDS)
            if _is_at(there, path) or time.monotonic() >= until:
                return there
        except BaseException:
            os.close(there)
            raise
        os.close(there)


def _open_once(path: str) -> int:
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for way in (os.O_RDWR, os.O_RDONLY):  # a lock over NFS needs the first, another's file the last
        try:
            return os.open(path, way | flags)
        except FileNotFoundError:
            return _NOTHING
        except OSError:
            continue
    return _NO_FILE


def _lock(there: int) -> bool:
    """Lock it, and tell whether to go on: where no lock can be had at all, too."""
    try:
        fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_at(there: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(there), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _load(there: int) -> Tally:
    """Return what the file counts; nothing, if it is not as we write it."""
    try:
        facts = os.fstat(there)
        if not S_ISREG(facts.st_mode) or facts.st_size > MOST_BYTES:
            return Tally()
        with open(there, "rb", closefd=False) as file:
            lines = file.read(MOST_BYTES).splitlines()
        last = lines[-1] if lines else b""
        return tally.decode(last.removeprefix(KEPT).decode("ascii"))
    except (OSError, ValueError):
        return Tally()


def _tidy(path: str) -> None:
    """Remove what somebody could not finish who was killed."""
    folder, name = os.path.split(path)
    begin, old = whole.unfinished(name), time.time() - _OLD_SECONDS
    try:
        for other in os.listdir(folder):
            left = os.path.join(folder, other)
            if other.startswith(begin) and os.lstat(left).st_mtime < old:
                os.unlink(left)
    except OSError:
        pass
