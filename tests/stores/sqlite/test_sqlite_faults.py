"""Whatever happens to the file, the lease side answers with an event that says what to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cronguard.core.events import Closed, Denied, Gone, Granted, Held, Renewed, Taken, Unavailable
from cronguard.stores.contract import Renew, StoreDown, StoreRefused
from cronguard.stores.sqlite.schema import BUSY_MS, VERSION
from tests.contract.harness import JOB, PX, Run, now_ms, shown
from tests.stores.sqlite.helpers import open_run, reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "cronguard.db"


@pytest.fixture
def one(path: Path) -> Iterator[Run]:
    """A run, on a store that another run has used before."""
    before = open_run(path)
    before.granted()
    before.close()
    before.store.close()
    run = open_run(path)
    yield run
    run.store.close()


def why(run: Run, kind: type[Denied | Unavailable]) -> str:
    """Ask, and return what the store says is wrong."""
    event = run.acquire()
    assert isinstance(event, kind), shown(event)
    assert "\n" not in event.why
    return event.why


def test_a_damaged_header_is_denied_with_what_to_do(one: Run, path: Path) -> None:
    """R26: dd over the header: the file is to be moved away, by a person."""
    with path.open("r+b") as file:
        file.write(os.urandom(4096))
    assert f"mv {path} {path}.damaged" in why(one, Denied)
    side = reader(path)
    with pytest.raises(StoreRefused, match="damaged"):
        side.jobs()
    side.close()


def test_damaged_pages_are_denied(one: Run, path: Path) -> None:
    """R26: also what is found out only when a table is read; nothing is granted then."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    assert "damaged" in why(one, Denied)


def test_a_locked_database_is_unavailable_within_bounds(one: Run, path: Path) -> None:
    """R26: somebody holds the write lock; we wait for a moment, never longer."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    before = now_ms()
    assert "locked" in why(one, Unavailable)
    assert now_ms() - before >= BUSY_MS - 50
    other.execute("ROLLBACK")
    other.close()
    one.granted()


def test_who_is_held_need_not_write(one: Run, path: Path) -> None:
    """L1: a skip does not stand in line for the write lock."""
    one.granted()
    two = open_run(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert isinstance(two.acquire(), Held)
    other.execute("ROLLBACK")
    other.close()
    two.store.close()


def test_a_newer_schema_is_denied(one: Run, path: Path) -> None:
    """R26: what a newer version wrote is not touched by an older one."""
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version={VERSION + 1}")
    db.close()
    assert "newer cronguard" in why(one, Denied)


@pytest.mark.parametrize("version", [0, VERSION, 7])
def test_another_programs_database_is_denied(tmp_path: Path, version: int) -> None:
    """R26: a mistyped path must not cost somebody else's data."""
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs(x)")
    db.execute(f"PRAGMA user_version={version}")
    db.close()
    run = open_run(path)
    assert "another program" in why(run, Denied)
    run.store.close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    db.close()


def test_a_text_file_is_denied(tmp_path: Path) -> None:
    """R26: a file that is no database is left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database\n" * 100)
    run = open_run(path)
    assert "not a database" in why(run, Denied)
    run.store.close()
    assert path.read_text().startswith("not a database")


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """R26: whoever made it died right then, or used `touch`."""
    path = tmp_path / "cronguard.db"
    path.touch()
    run = open_run(path)
    run.granted()
    run.store.close()


def test_a_removed_file_is_noticed(one: Run, path: Path) -> None:
    """L6: an operator removed the database: the holder takes its lease again in the new one."""
    grant = one.granted()
    for file in path.parent.iterdir():
        file.unlink()
    assert isinstance(one.renew(grant), Gone)
    assert isinstance(one.reclaim(grant), Renewed)
    two = open_run(path)
    assert isinstance(two.acquire(), Held)
    two.store.close()
    assert isinstance(one.close(), Closed)


def test_a_replaced_file_does_not_let_two_run(one: Run, path: Path) -> None:
    """L7: the database was removed, and another run was granted the lease in the new one."""
    grant = one.granted()
    for file in path.parent.iterdir():
        file.unlink()
    two = open_run(path)
    second = two.granted()
    assert isinstance(one.renew(grant), Taken)
    assert isinstance(one.close("lease_lost"), Closed)
    assert isinstance(two.renew(second), Renewed)
    two.store.close()


def test_a_removed_folder_is_made_again(one: Run, path: Path) -> None:
    """L6: as above, with its folder."""
    grant = one.granted()
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    assert isinstance(one.renew(grant), Gone)
    assert isinstance(one.reclaim(grant), Renewed)


def test_a_reboot_frees_every_lease(one: Run, path: Path) -> None:
    """H12: the boot id is another one: no lease, no queue; and what ran is abandoned."""
    one.granted()
    waiter = open_run(path)
    waiter.acquire(queue_for=600_000)
    waiter.store.close()
    execute(path, "UPDATE leases SET boot_id = 'before', deadline = deadline + 100000000")
    execute(path, "UPDATE waiters SET boot_id = 'before', deadline = deadline + 100000000")
    two = open_run(path)
    two.granted()
    side = reader(path)
    assert side.waiters(JOB) == []
    outcomes = {record["run_id"]: record["outcome"] for record in side.runs(JOB, 10)}
    assert (outcomes[one.id], outcomes[two.id]) == ("abandoned", "running")
    side.close()
    two.store.close()


def test_a_used_slot_is_remembered_over_a_reboot(path: Path) -> None:
    """H12, L13: a reboot within the period does not run the job a second time."""
    first = open_run(path, rule="29000000", slot_px=600_000)
    first.granted()
    first.close()
    first.store.close()
    execute(path, "UPDATE leases SET boot_id = 'before'")
    second = open_run(path, rule="29000000", slot_px=600_000)
    assert type(second.acquire()).__name__ == "Refused"
    second.store.close()


def test_a_lease_ends_by_the_monotonic_clock_alone(one: Run, path: Path) -> None:
    """L21: the moments are those handed in; the wall clock has no part in it."""
    grant = one.granted()
    start = grant.sent_at
    two = open_run(path)
    request = Renew(grant.token, grant.index)
    one.store.send(request, start + PX - 1)
    assert isinstance(one.store.events(0)[0], Renewed)
    one.store.send(request, start + 2 * PX - 1)
    assert isinstance(one.store.events(0)[0], Gone)
    two.store.close()


def test_a_request_from_before_never_shortens_a_lease(one: Run, path: Path) -> None:
    """L3: a Renew that was sent earlier and is executed later leaves the later end alone."""
    grant = one.granted()
    one.store.send(Renew(grant.token, grant.index), grant.sent_at - 10_000)
    assert isinstance(one.store.events(0)[0], Renewed)
    one.store.send(Renew(grant.token, grant.index), grant.sent_at + PX - 1)
    assert isinstance(one.store.events(0)[0], Renewed)


def test_the_token_rises_though_the_wall_clock_went_back(one: Run, path: Path) -> None:
    """L20, L21: it counts on from the last one, however far ahead that is."""
    execute(path, "UPDATE jobs SET token = token + 1000000000")
    first = one.granted()
    one.close()
    two = open_run(path)
    assert two.granted().token == first.token + 1
    two.store.close()


def test_a_reader_of_a_damaged_store_is_told(one: Run, path: Path) -> None:
    """R26: the history side raises, with the same words."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    side = reader(path)
    with pytest.raises(StoreDown, match="locked"):
        side.ask_stop(JOB, one.id, "alice")
    other.execute("ROLLBACK")
    other.close()
    side.close()


def test_a_host_name_that_is_not_utf8_is_kept_readable(path: Path) -> None:
    """O2: names of hosts and users are bytes."""
    run = open_run(path)
    run.claim.owner.host = "web\udcff\0"
    run.claim.owner.user = "jürgen"
    assert isinstance(run.acquire(), Granted)
    two = open_run(path)
    held = two.acquire()
    assert isinstance(held, Held), shown(held)
    assert held.holder.host.startswith("web\\udcff")
    assert held.holder.user == "jürgen"
    run.store.close()
    two.store.close()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a read-only file system as root")
def test_a_read_only_file_system_is_denied(tmp_path: Path) -> None:
    """R26, H6: the text says so, and what to do."""
    import subprocess
    import sys

    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.contract.harness import shown\n"
        "from tests.stores.sqlite.helpers import open_run\n"
        "for name in ('there/cronguard.db', 'new/cronguard.db', 'there/new.db'):\n"
        "    run = open_run(Path(sys.argv[1]) / name)\n"
        "    print(shown(run.acquire()))\n"
        "    run.store.close()\n"
    )
    run = open_run(tmp_path / "there" / "cronguard.db")
    run.granted()
    run.close()
    run.store.close()
    command = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$0" -c "$2" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, sys.executable, str(tmp_path), script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done
    for line in lines:
        assert line.startswith("Denied"), line
        assert "read-only" in line


def execute(path: Path, statement: str) -> None:
    """Change the tables behind the store's back."""
    db = sqlite3.connect(path)
    with db:
        db.execute(statement)
    db.close()
