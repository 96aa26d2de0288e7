"""The state folder and its files are ours alone, on a disk of this host, or are refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cronguard.stores.contract import StoreRefused
from cronguard.stores.sqlite import files
from cronguard.stores.sqlite.files import path_of, prepare
from tests.contract.harness import Run, new_claim
from tests.stores.sqlite.helpers import open_run

NOBODY = 65534


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A umask as bad as it gets."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_and_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """S5: 0700 and 0600, and the umask is the child's to inherit, as it was."""
    one = open_run(tmp_path / "a" / "b" / "cronguard.db")
    one.granted()
    found = {path.name: mode(path) for path in (tmp_path / "a" / "b").iterdir()}
    assert found == {"cronguard.db": 0o600, "cronguard.db-wal": 0o600, "cronguard.db-shm": 0o600}
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    one.store.close()
    assert os.umask(umask) == umask


def test_a_file_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    """S5: also one that was there before."""
    path = tmp_path / "cronguard.db"
    path.touch(0o644)
    prepare(str(path))
    assert mode(path) == 0o600


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_a_symbolic_link_is_refused(tmp_path: Path, suffix: str) -> None:
    """S4: SQLite would follow it, and write to what it points to."""
    victim = tmp_path / "passwd"
    victim.write_text("root:x:0:0")
    path = tmp_path / "cronguard.db"
    Path(str(path) + suffix).symlink_to(victim)
    with pytest.raises(StoreRefused, match="symbolic link"):
        prepare(str(path))
    assert victim.read_text() == "root:x:0:0"


def test_a_symbolic_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    """S4: nothing is created where it points to."""
    (tmp_path / "cronguard.db").symlink_to(tmp_path / "created")
    with pytest.raises(StoreRefused, match="symbolic link"):
        prepare(str(tmp_path / "cronguard.db"))
    assert not (tmp_path / "created").exists()


def test_a_folder_that_is_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    """S4: nor is the folder one that somebody else chose."""
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "real")
    with pytest.raises(StoreRefused, match="symbolic link"):
        prepare(str(tmp_path / "state" / "cronguard.db"))


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    """S4: they could put a link there between looking and opening; the text says what to do."""
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StoreRefused, match=f"chmod 700 {folder}"):
        prepare(str(folder / "cronguard.db"))
    folder.chmod(0o1777)  # as /tmp is: there others cannot touch what is ours
    prepare(str(folder / "cronguard.db"))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away as root")
@pytest.mark.parametrize("whose", ["state", "state/cronguard.db", "state/cronguard.db-wal"])
def test_what_belongs_to_another_user_is_refused(tmp_path: Path, whose: str) -> None:
    """S4: who owns the file decides who holds the lock."""
    (tmp_path / "state").mkdir(0o700)
    (tmp_path / "state/cronguard.db").touch(0o600)
    (tmp_path / "state/cronguard.db-wal").touch(0o600)
    os.chown(tmp_path / whose, NOBODY, NOBODY)
    with pytest.raises(StoreRefused, match=f"belongs to uid {NOBODY}"):
        prepare(str(tmp_path / "state/cronguard.db"))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """C3: a folder, or a FIFO, is named as such."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StoreRefused, match="not a regular file"):
        prepare(str(tmp_path / "fifo"))
    (tmp_path / "file").touch()
    with pytest.raises(StoreRefused, match="not a"):
        prepare(str(tmp_path / "file" / "cronguard.db"))


@pytest.mark.parametrize("url", ["sqlite://x.db", "sqlite:///", "sqlite:///a/", "redis:///a", ""])
def test_a_url_without_an_absolute_path_is_refused(url: str) -> None:
    """C1: there is no telling where a relative path would lead under cron."""
    with pytest.raises(ValueError, match="absolute path"):
        path_of(url)


def test_a_url_names_the_path_as_it_is() -> None:
    """C1: no decoding, no options: what follows sqlite:// is the path."""
    assert path_of("sqlite:///var/lib/a%20b?c#d.db") == "/var/lib/a%20b?c#d.db"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "ceph", "virtiofs"])
def test_network_file_systems_are_on_the_list(kind: str) -> None:
    """R26: locks and shared memory do not reach other hosts."""
    assert f" {kind} " in files._REMOTE


def test_the_file_system_of_a_folder_is_known() -> None:
    """R26: by the kernel's own list of mounts."""
    assert files.file_system("/proc", os.stat("/proc").st_dev) == "proc"
    shared = Path("/dev/shm")
    assert files.file_system(str(shared), shared.stat().st_dev) == "tmpfs"


def test_a_path_through_an_unknown_mount_is_that_of_its_parent(tmp_path: Path) -> None:
    """R26: a btrfs subvolume has a device number that is in no list."""
    known = files.file_system(str(tmp_path), tmp_path.stat().st_dev)
    assert files.file_system(str(tmp_path), 0) == known


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system as root")
def test_a_remote_file_system_is_refused(tmp_path: Path) -> None:
    """R26: the text names the file system, and what to use instead."""
    script = (
        "import os, sys\n"
        "from cronguard.stores.sqlite import files\n"
        "files._REMOTE = files._REMOTE + 'ramfs '\n"  # one that is no block device and is at hand
        "try:\n    files.prepare(sys.argv[1] + '/state/cronguard.db')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    command = 'mount -t ramfs none "$1" && exec "$0" -c "$2" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, sys.executable, str(tmp_path), script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("StoreRefused"), done
    assert "is on ramfs" in done.stdout
    assert "redis://" in done.stdout


def test_an_unusable_folder_is_denied_not_raised() -> None:
    """H6: the lease side answers with an event."""
    claim = new_claim()
    from cronguard.stores.sqlite.lease import open_lease

    event = Run(open_lease("/proc/cronguard/cronguard.db", claim), claim).acquire()
    assert type(event).__name__ in ("Denied", "Unavailable")
    assert "/proc" in event.why  # type: ignore[attr-defined]
