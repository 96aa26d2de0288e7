"""Full disks and read-only ones: the lock decides as ever, and what cannot be kept is said once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.process.conftest import finish
from tests.process.lab import Lab
from tests.process.places import fill, root, small_disk


@pytest.fixture
def with_server(tmp_path: Path, shared_server: servers.Server) -> Iterator[Lab]:
    """A lab on a server, so that only what this host keeps is touched."""
    shared_server.client().flushall()
    lab = Lab(tmp_path, shared_server.url)
    yield lab
    finish(lab)


@root
def test_h5_a_full_state_folder_does_not_touch_the_run(with_server: Lab) -> None:
    """H5: nothing needs to be kept here, so nothing is even said."""
    lab = with_server
    with small_disk(lab.state) as disk:
        fill(disk)
        done = lab.call("run", "-n", "job", "--", "sh", "-c", "echo out; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"")
    assert lab.records("job")[0]["outcome"] == "failed"


@root
@pytest.mark.parametrize("status", [0, 5])
def test_h5_quiet_output_that_fits_nowhere_is_shown(with_server: Lab, status: int) -> None:
    """H5: nothing of it is lost, one warning says why, and the lock is unaffected."""
    lab = with_server
    with small_disk(lab.state):
        text = "i=0; while [ $i -lt 3000 ]; do echo line $i of the output; i=$((i+1)); done; "
        text += f"exit {status}"
        done = lab.call("run", "-q", "-n", "job", "--", "sh", "-c", text)
    assert done.returncode == status
    assert done.stdout == b"".join(b"line %d of the output\n" % i for i in range(3000))
    assert done.stderr.count(b"no space left on device") == 1
    assert lab.records("job")[0]["output_bytes"] == len(done.stdout)


@root
def test_h5_the_spill_that_failed_gives_its_space_back(with_server: Lab) -> None:
    """H5: an unlinked file that nobody needs any more does not keep the disk full."""
    lab = with_server
    with small_disk(lab.state, "256k") as disk:
        text = "head -c 1000000 /dev/zero; echo ready >&2; sleep 600"
        run = lab.start("run", "-q", "-n", "job", "--", "sh", "-c", text)
        assert run.stdout is not None
        assert run.stderr is not None
        assert len(run.stdout.read(1_000_000)) == 1_000_000
        assert run.stderr.readline() == b"ready\n"
        room = os.statvfs(disk)
        assert room.f_bavail * room.f_frsize > 200_000
        run.terminate()
        assert run.wait(20) == 143


@root
def test_h5_a_full_embedded_store_refuses_and_says_so(local: Lab) -> None:
    """H5, R26: where no lock can be written, nothing is started."""
    with small_disk(local.state) as disk:
        fill(disk)
        done = local.call("run", "-n", "job", "--store-timeout", "500ms", "--", "touch", "ran")
    assert done.returncode == 122, done
    assert b"not started" in done.stderr
    assert not (local.folder / "ran").exists()


@root
def test_h5_a_disk_that_fills_while_the_command_runs(local: Lab) -> None:
    """H5: the lease goes on, the status is the command's, and at most the record is lost."""
    with small_disk(local.state, "1m") as disk:
        run = local.start(
            "run", "-n", "job", "--ttl", "10s", "--", "sh", "-c", "echo ready; sleep 4; exit 6"
        )
        assert run.stdout is not None
        run.stdout.readline()
        fill(disk)
        _, err = run.communicate(timeout=30)
        assert run.returncode == 6, err
        assert b"lost" not in err
        assert err.count(b"\n") <= 3, err
        (disk / "filler").unlink()
        assert local.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0


@root
def test_h6_a_read_only_state_folder_matters_only_to_the_embedded_store(with_server: Lab) -> None:
    """H6: with a server the run is as ever; without one it is refused, with what to do."""
    lab = with_server
    with small_disk(lab.state, "64k", "ro"):
        done = lab.call("run", "-n", "job", "--", "sh", "-c", "echo out; exit 3")
        assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"")
        quiet = lab.call("run", "-q", "-n", "job", "--", "sh", "-c", "echo out; exit 3")
        assert (quiet.returncode, quiet.stdout, quiet.stderr) == (3, b"out\n", b"")
        url = f"sqlite://{lab.state}/cronguard.db"
        refused = lab.call("run", "-n", "job", "--store", url, "--", "true")
    assert refused.returncode == 125
    assert b"read-only" in refused.stderr
    assert b"CRONGUARD_STATE_DIR" in refused.stderr


@root
def test_h6_everything_read_only(with_server: Lab) -> None:
    """H6: a container with a read-only root: the whole file system, /tmp too."""
    lab = with_server
    text = 'mount -o remount,ro,bind / && exec "$@"'
    before = ["unshare", "-m", "--propagation", "private", "sh", "-c", text, "sh"]
    done = lab.call_inside(before, "run", "-q", "-n", "job", "--", "sh", "-c", "echo out; exit 3")
    assert (done.returncode, done.stdout) == (3, b"out\n"), done.stderr
