"""Reports that wait on this host: read in order, by one process at a time for each job, bounded.

Whoever tells a job's reports holds a lock on its folder, so that none is told twice and an end
never overtakes its start. What none of ours wrote is set aside, never deleted; what has waited for
too long, or is too much, is let go, the oldest first, and that is said.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from stat import S_ISREG

from cronguard.core import record as records
from cronguard.core import report
from cronguard.core.spec import is_job_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ASIDE = ".aside"
KEPT_SECONDS = 7 * 86_400
KEPT_REPORTS = 1_000
KEPT_BYTES = 32 << 20
_RETRY_SECONDS = 0.02
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Waiting:
    """One report that waits: its file, and what it says. `to` shrinks as it is told.

    One that could not be kept on this host has no file: `path` is empty.
    """

    __slots__ = (
        "at",
        "config",
        "job",
        "kind",
        "namespace",
        "path",
        "record",
        "released_at",
        "streak",
        "to",
        "warning",
    )

    def __init__(self, path: str, said: dict[str, object]) -> None:
        """Take in what a file says. Raises: ValueError if none of ours wrote it."""
        self.path = path
        self.job = _text(said, "job")
        self.kind = _text(said, "kind")
        self.namespace = _text(said, "namespace")
        self.at = _number(said, "at")
        self.streak = None if said.get("streak") is None else _number(said, "streak")
        self.config = None if said.get("config") is None else _text(said, "config")
        self.warning = None if said.get("warning") is None else _text(said, "warning")
        released_at = said.get("released_at")
        self.released_at = None if released_at is None else _number(said, "released_at")
        to, record = said.get("to"), said.get("record")
        if said.get("schema") != report.SCHEMA or self.kind not in report.KINDS:
            raise ValueError("schema")
        if not isinstance(to, list) or not all(
            isinstance(name, str) and is_job_name(name) for name in to
        ):
            raise ValueError("to")
        if not isinstance(record, dict) or not is_job_name(self.job):
            raise ValueError("record")
        self.to: list[str] = to
        self.record: dict[str, object] = record

    def told(self, name: str) -> None:
        """Note that the reporter *name* has been told, or is not to be; gone when all have.

        Raises: OSError.
        """
        self.to = [other for other in self.to if other != name]
        if not self.path:
            return
        if not self.to:
            os.unlink(self.path)
            return
        said = json.loads(_read(self.path))
        said["to"] = self.to
        unfinished = f"{self.path}.{os.getpid()}"
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(unfinished, flags, 0o600), "w", encoding="ascii") as file:
            file.write(records.encode(said))
        os.rename(unfinished, self.path)


class Busy(Exception):
    """Another process tells this job's reports, and went on for longer than we may wait."""


class Folder:
    """The reports of one job, locked from `open` to `close`."""

    def __init__(self, state: str, job: str) -> None:
        self.path = os.path.join(state, report.FOLDER, job)
        self._lock = -1

    def open(self, until: float) -> None:
        """Have the folder for ourselves, by *until* (monotonic seconds). Raises: Busy, OSError."""
        while not self._take():
            if time.monotonic() >= until:
                raise Busy
            time.sleep(_RETRY_SECONDS)

    def _take(self) -> bool:
        """Lock the folder that is there now: an empty one goes, and another takes its place."""
        number = os.open(self.path, _FLAGS)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(number), os.stat(self.path)):
                number, self._lock = -1, number
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if number >= 0:
                os.close(number)
        return self._lock >= 0

    def close(self) -> None:
        """Leave the folder to others; an empty one goes."""
        if self._lock >= 0:
            try:
                os.rmdir(self.path)
            except OSError:
                pass
            os.close(self._lock)
            self._lock = -1

    def waiting(self) -> Iterator[Waiting]:
        """Yield what waits, in the order in which it is to be told; sets aside what is not ours."""
        for name in sorted(os.listdir(self.path)):
            if not name.endswith(report.ENDING):
                continue
            path = os.path.join(self.path, name)
            try:
                found = load(path)
            except OSError:  # a link, or not ours to read; or gone
                continue
            except (ValueError, RecursionError):
                os.rename(path, path + ASIDE)
            else:
                yield found


def look(state: str, job: str) -> list[Waiting]:
    """Return what waits for a job, without a lock and changing nothing."""
    folder = os.path.join(state, report.FOLDER, job)
    found = []
    for entry in _entries(folder):
        try:
            if entry.name.endswith(report.ENDING):
                found.append(load(entry.path))
        except (OSError, ValueError, RecursionError):
            continue
    return found


def load(path: str) -> Waiting:
    """Return the report in a file. Raises: OSError, and ValueError if none of ours wrote it."""
    said = json.loads(_read(path))
    if not isinstance(said, dict):
        raise ValueError(path)  # noqa: TRY004 - the caller's one word for nonsense
    return Waiting(path, said)


def jobs(state: str) -> list[str]:
    """Return the jobs that have a folder in the spool."""
    try:
        found = os.listdir(os.path.join(state, report.FOLDER))
    except OSError:
        return []
    return sorted(name for name in found if is_job_name(name))


def let_go(state: str, now: float) -> int:
    """Let go of what is too old or too much, the oldest first; return how many reports.

    *now* is in seconds since the epoch.
    """
    found = []
    for job in jobs(state):
        folder = os.path.join(state, report.FOLDER, job)
        for entry in _entries(folder):
            facts = entry.stat(follow_symlinks=False)
            found.append((facts.st_mtime, facts.st_size, entry.path))
    found.sort(reverse=True)
    gone, total = 0, 0
    for number, (written, size, path) in enumerate(found):
        total += size
        if number >= KEPT_REPORTS or total > KEPT_BYTES or written < now - KEPT_SECONDS:
            try:
                os.unlink(path)
            except OSError:
                continue
            gone += path.endswith(report.ENDING)
    return gone


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []


def _read(path: str) -> str:
    """Return the text of a report. Raises: OSError, ValueError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as file:
        facts = os.fstat(file.fileno())
        if not S_ISREG(facts.st_mode) or facts.st_size > report.MOST_BYTES:
            raise ValueError(path)
        return file.read(report.MOST_BYTES).decode("ascii")


def _text(said: dict[str, object], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str):
        raise ValueError(key)  # noqa: TRY004 - the caller's one word for nonsense
    return value


def _number(said: dict[str, object], key: str) -> int:
    value = said.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(key)  # noqa: TRY004 - the caller's one word for nonsense
    return value
