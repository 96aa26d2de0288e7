"""One connection to the store's database, ready to use: right file, right version, right modes.

Why these settings:

* WAL: readers and the writer do not block each other, and a commit is one append.
* synchronous=NORMAL: no fsync at a commit, only at a checkpoint. A killed process loses nothing. A
  power cut may cost the records of the last moments, never the database's consistency, and the
  leases in it are void after a reboot anyway (their boot id is another).
* A busy timeout of 250 ms bounds what a request can wait; then it is Unavailable, and the run's
  machine asks again until its own time is up.
* The log is checkpointed at 1 MB, so that opening after a crash reads at most about so much.
"""

from __future__ import annotations

from cronguard.stores.contract import StoreRefused
from cronguard.stores.sqlite.engine import Connection
from cronguard.stores.sqlite.engine import connect as _connect
from cronguard.stores.sqlite.files import prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

VERSION = 1
APPLICATION = 0x63726F6E
"""`cron` in ASCII: tells our databases from those of other programs that count versions too."""
BUSY_MS = 250
CHECKPOINT_PAGES = 256
LOG_BYTES = 320 * 4120
"""What the log may grow to: the pages above, one large record, and 24 bytes of header each."""


def connect(path: str) -> Connection:
    """Return a connection to the database at *path*, which is made if it is not there.

    Raises: StoreDown or StoreRefused for a file we cannot use, `_sqlite3.Error` for the rest.
    """
    prepare(path)
    db = _connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        _settle(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _settle(db: Connection, path: str) -> None:
    """Set what each connection sets, and make or refuse what is in the file."""
    db.text_factory = _text
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    version = number(db, "user_version")
    if version == 0:
        from cronguard.stores.sqlite.create import create  # noqa: PLC0415 - once in its life

        create(db, path)
        return
    if number(db, "application_id") != APPLICATION:
        raise StoreRefused(f"{path} is the database of another program; choose another path")
    if version > VERSION:
        raise StoreRefused(
            f"{path} was made by a newer cronguard (schema {version}, this one knows {VERSION}); "
            "update cronguard on this host, or choose another path"
        )


def _text(stored: bytes) -> str:
    """Return text as it is stored; bytes that are none would make an error of the whole query."""
    return stored.decode("utf-8", "replace")


def transact(db: Connection, begin: str, step: Callable[[], T]) -> T:
    """Do *step* as a whole, or not at all."""
    db.execute(begin)
    try:
        result = step()
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.rollback()
    return result


def number(db: Connection, pragma: str) -> int:
    """Return the value of a PRAGMA that is a number."""
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])
