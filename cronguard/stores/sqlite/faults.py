"""What SQLite's errors mean for us: may it pass, and what can the reader do about it.

Every text is read after "cannot use sqlite:///path: ". Loaded only when there is an error.
"""

from __future__ import annotations

import os

from cronguard.stores.contract import StoreDown, StoreRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.sqlite.engine import Error

# Result codes of sqlite.org/rescode.html: primary ones, and three extended ones.
PERM, BUSY, LOCKED, NOMEM, READONLY, IOERR, CORRUPT = 3, 5, 6, 7, 8, 10, 11
FULL, CANTOPEN, NOLFS, AUTH, NOTADB = 13, 14, 22, 23, 26
ERROR = 1
IOERR_WRITE, IOERR_SHMSIZE = 778, 4874

_PASSING = {
    BUSY: "other processes kept it locked for longer than 250ms",
    LOCKED: "other processes kept it locked for longer than 250ms",
    NOMEM: "there is no memory left",
    FULL: "its disk is full; free some space there",
    CANTOPEN: "it cannot be opened; is its folder still there, and are there descriptors left?",
}
_FINAL = {
    PERM: "the system refuses access to it; check its owner and mode",
    READONLY: "it is read-only; check its owner, its mode and its mount, or choose another path",
    CORRUPT: "it is damaged",
    NOTADB: "it is damaged, or not a database",
    AUTH: "the system refuses access to it; check its owner and mode",
    NOLFS: "its file system cannot keep large files; choose another path",
}
_DAMAGED = frozenset((CORRUPT, NOTADB))


def code_of(error: Error) -> int:
    """Return the extended result code; 1 (SQLITE_ERROR) when SQLite was not even asked."""
    return getattr(error, "sqlite_errorcode", ERROR)


def is_busy(error: Error) -> bool:
    """Tell whether another process had the database locked."""
    return code_of(error) & 0xFF in (BUSY, LOCKED)


def is_full(error: Error) -> bool:
    """Tell whether there is no room on the disk, or in the user's quota (EDQUOT is IOERR_WRITE)."""
    code = code_of(error)
    return code & 0xFF == FULL or code in (IOERR_WRITE, IOERR_SHMSIZE)


def leaves_connection(error: Error) -> bool:
    """Tell whether the connection can be used on."""
    return is_busy(error) or is_full(error)


def fault_of(error: Error, path: str) -> StoreDown:
    """Say what is wrong with the database, and what to do; StoreRefused if it will not pass."""
    code = code_of(error)
    primary = code & 0xFF
    if code == IOERR_SHMSIZE:
        primary = FULL
    if primary == CANTOPEN and _is_read_only(path):
        primary = READONLY
    if primary in _DAMAGED:
        return StoreRefused(
            f"{_FINAL[primary]} ({error}); when no job runs, move it away: mv {path} {path}.damaged"
        )
    if primary in _FINAL:
        return StoreRefused(f"{_FINAL[primary]} ({error})")
    if primary in _PASSING:
        return StoreDown(f"{_PASSING[primary]} ({error})")
    if primary == IOERR:
        return StoreDown(f"its disk reports an error ({error}); look at `dmesg`")
    return StoreDown(f"SQLite says: {error}")


def _is_read_only(path: str) -> bool:
    """Tell whether SQLite could not make its files beside the database for that reason."""
    try:
        return bool(os.statvfs(os.path.dirname(path)).f_flag & os.ST_RDONLY)
    except OSError:
        return False
