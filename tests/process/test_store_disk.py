"""The embedded store on a disk that is busy, full, damaged or read-only: closed for the lock."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.lab import Lab
from tests.process.witness import TTL, Guarded, holder, wait_for_renewal

SOON = ("--store-timeout", "2s")


def attempt(lab: Lab, *options: str) -> tuple[int, bytes]:
    """Try to run something; return the status and stderr. It must not have run."""
    touched = lab.folder / "ran"
    done = lab.call("run", "-n", "job", *TTL, *SOON, *options, "--", "touch", str(touched))
    assert not touched.exists(), done.stderr
    return done.returncode, done.stderr


def database(lab: Lab) -> Path:
    """Return the file of a store that has been used once."""
    assert lab.call("run", "-n", "job", "--", "true").returncode == 0
    return lab.state / "cronguard.db"


def test_r26_a_database_that_others_keep_locked_is_waited_for(local: Lab) -> None:
    """R26: busy: 122 at the start; while it runs, a warning; at the end, the record is kept."""
    db = sqlite3.connect(database(local), isolation_level=None)
    try:
        run = Guarded(local, "--ttl", "30s").ready()
        db.execute("BEGIN IMMEDIATE")
        status, said = attempt(local, "--namespace", "elsewhere")
        assert (status, b"kept it locked" in said) == (122, True), said
        run.says("cannot renew the lock")
        db.execute("COMMIT")
        run.says("renews the lock again")
        db.execute("BEGIN IMMEDIATE")
        assert run.end() == 7
        assert "could not give the lock back" in run.said
        db.execute("COMMIT")
    finally:
        db.close()
    assert local.call("run", "-n", "other", "--", "true").returncode == 0
    assert holder(local) == ""
    [record, _] = local.records("job")
    assert (record["outcome"], record["exit_status"]) == ("failed", 7)


def test_r26_a_damaged_database_starts_nothing(local: Lab) -> None:
    """R26: 125, which file it is and what to do; the file is left as it was."""
    path = database(local)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with path.open("r+b") as file:
        file.write(b"\xff" * 4096)
    before = path.read_bytes()
    status, said = attempt(local)
    assert (status, b"damaged" in said, str(path).encode() in said) == (125, True, True), said
    assert path.read_bytes() == before


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "disk", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte on the disk."""
    path = disk / "filler"
    number = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(number, b"x" * 4096)
    except OSError:
        os.close(number)
    return path


@pytest.mark.root
def test_r26_a_disk_that_fills_up_harms_no_run(local: Lab, disk: Path) -> None:
    """R26: a run that is under way is renewed, kept apart from others, and given back."""
    local.env["CRONGUARD_STATE_DIR"] = str(disk / "state")
    local.state = disk / "state"
    local.store = local.env["CRONGUARD_STORE"] = f"sqlite://{disk}/state/cronguard.db"
    run = Guarded(local, *TTL).ready()
    wait_for_renewal(local)
    filler = fill(disk)
    wait_for_renewal(local)
    status, said = attempt(local, "-E", "9")
    assert status in (9, 122), said
    assert run.end() == 7
    assert holder(local) == ""
    filler.unlink()
    assert local.call("run", "-n", "job", "--", "true").returncode == 0
    assert local.records("job")[1]["exit_status"] == 7


@pytest.mark.root
def test_r26_a_disk_that_is_full_from_the_start_starts_nothing(local: Lab, disk: Path) -> None:
    """R26: 122, and what to do about it."""
    fill(disk)
    url = f"sqlite://{disk}/state/cronguard.db"
    status, said = attempt(local, "--store", url)
    assert status == 122, said
    assert b"free some space there" in said


@pytest.mark.root
def test_r26_a_read_only_disk_is_refused(local: Lab, disk: Path) -> None:
    """R26: with and without a database on it: 125, without trying on."""
    empty = attempt_read_only(local, disk, f"sqlite://{disk}/new/cronguard.db")
    assert b"read-only" in empty
    url = f"sqlite://{disk}/state/cronguard.db"
    assert local.call("run", "-n", "job", "--store", url, "--", "true").returncode == 0
    assert b"read-only" in attempt_read_only(local, disk, url)


def attempt_read_only(lab: Lab, disk: Path, url: str) -> bytes:
    """Try to run on the disk while it is read-only; return stderr."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        status, said = attempt(lab, "--store", url)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert status == 125, said
    return said
