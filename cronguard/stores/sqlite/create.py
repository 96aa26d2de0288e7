"""A new database is made once, whole, however many processes find it missing at the same time.

Turning a new file into WAL needs the file to oneself, and SQLite gives up at once rather than wait
for it. So whoever makes the database holds flock(2) on the folder meanwhile, and the others look
again. All tables come with one commit: a killed maker leaves an empty file, and the next one
begins anew.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock
from time import monotonic, sleep

from cronguard.stores.contract import StoreDown, StoreRefused
from cronguard.stores.sqlite.engine import Error
from cronguard.stores.sqlite.faults import is_busy
from cronguard.stores.sqlite.schema import APPLICATION, VERSION, number, transact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.sqlite.engine import Connection

PATIENCE_S = 1.0
PAUSE_S = 0.005
SPARE_BYTES = 128 * 1024
"""Pages that are written and freed again: records find room in them when the disk is full."""

# `job` is jobs.id. Moments end in _at or are called deadline: ms on CLOCK_BOOTTIME, of use only
# together with boot_id; moments ending in _wall are ms since the epoch.
TABLES = """
CREATE TABLE jobs(
    id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    paused_until_wall INTEGER, paused_reason TEXT, paused_by TEXT,
    UNIQUE(namespace, name));
CREATE TABLE leases(
    job INTEGER NOT NULL, idx INTEGER NOT NULL, run_id TEXT NOT NULL, token INTEGER NOT NULL,
    px INTEGER NOT NULL, granted_at INTEGER NOT NULL, deadline INTEGER NOT NULL,
    boot_id TEXT NOT NULL, released INTEGER NOT NULL DEFAULT 0, settings TEXT NOT NULL,
    facts TEXT NOT NULL, unlocked_by TEXT,
    PRIMARY KEY(job, idx)) WITHOUT ROWID;
CREATE TABLE waiters(
    ticket INTEGER PRIMARY KEY, job INTEGER NOT NULL, run_id TEXT NOT NULL,
    deadline INTEGER NOT NULL, boot_id TEXT NOT NULL, facts TEXT NOT NULL,
    UNIQUE(job, run_id));
CREATE INDEX waiters_of_job ON waiters(job, ticket, boot_id, deadline);
CREATE TABLE slots(
    job INTEGER NOT NULL, slot_id TEXT NOT NULL, run_id TEXT NOT NULL,
    until_wall INTEGER NOT NULL,
    PRIMARY KEY(job, slot_id)) WITHOUT ROWID;
CREATE TABLE stops(
    job INTEGER NOT NULL, run_id TEXT NOT NULL, asked_by TEXT NOT NULL,
    asked_wall INTEGER NOT NULL,
    PRIMARY KEY(job, run_id)) WITHOUT ROWID;
CREATE TABLE records(
    seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, run_id TEXT NOT NULL,
    is_skip INTEGER NOT NULL, outcome TEXT NOT NULL, ended_wall INTEGER, text TEXT NOT NULL,
    UNIQUE(run_id, job));
CREATE INDEX records_of_job ON records(job, is_skip);
CREATE INDEX open_records ON records(job) WHERE outcome = 'running';
CREATE TABLE counters(
    job INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY(job, name)) WITHOUT ROWID;
CREATE TABLE spare(room BLOB)
"""
FENCES = """
CREATE TABLE IF NOT EXISTS fences(
    namespace TEXT NOT NULL, resource TEXT NOT NULL, token INTEGER NOT NULL,
    PRIMARY KEY(namespace, resource)) WITHOUT ROWID
"""
"""Made by who needs it: files of earlier versions are without, and few need it."""


def create(db: Connection, path: str) -> None:
    """Make the tables, unless another process just did.

    Raises: StoreDown if another process does not get ready, StoreRefused if this is not our file.
    """
    until = monotonic() + PATIENCE_S
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _locked(folder):
            if number(db, "user_version") == VERSION:
                return
            if monotonic() > until:
                raise StoreDown("another process is setting it up and does not get ready")
            sleep(PAUSE_S)
        if number(db, "user_version") == VERSION:
            return
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreRefused(f"{path} is the database of another program; choose another path")
        _use_log(db, path, until)
        _make_tables(db)
    finally:
        os.close(folder)


def _locked(folder: int) -> bool:
    try:
        flock(folder, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _use_log(db: Connection, path: str, until: float) -> None:
    """Turn the new file into WAL, which lasts. Those who look at its version are in the way."""
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except Error as error:
            if not is_busy(error) or monotonic() > until:
                raise
            sleep(PAUSE_S)
        else:
            break
    if mode != "wal":
        raise StoreRefused(
            f"{path}: SQLite cannot keep a write-ahead log on this file system (it offers "
            f"{mode}); choose a folder on a disk of this host"
        )


def _make_tables(db: Connection) -> None:
    def make() -> None:
        for statement in TABLES.split(";"):
            db.execute(statement)
        db.execute("INSERT INTO spare VALUES(zeroblob(?))", (SPARE_BYTES,))
        db.execute(f"PRAGMA application_id={APPLICATION}")
        db.execute(f"PRAGMA user_version={VERSION}")

    transact(db, "BEGIN IMMEDIATE", make)
    db.execute("DELETE FROM spare")
    # From here on the file has all pages that a few runs need: see lease.py on full disks.
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
