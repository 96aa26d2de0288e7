"""On a full disk leases are extended and given back; what needs room is refused as a whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HELPER = Path(__file__).with_name("full_disk.py")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounts a small disk as root"
    ),
]
FULL = "Unavailable its disk is full; free some space there"


def on_a_small_disk(case: str, folder: Path) -> dict[str, object]:
    """Run one case of the helper on a disk of its own."""
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, str(HELPER), case, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert isinstance(seen, dict)
    return seen


@pytest.mark.parametrize("case", ["early", "late"])
def test_a_run_goes_on_and_ends_on_a_full_disk(case: str, tmp_path: Path) -> None:
    """R26, H5: the disk fills up while a job runs, before its first heartbeat or after."""
    assert on_a_small_disk(case, tmp_path) == {"beats": ["Renewed"], "end": "Closed", "leases": 0}


def test_a_record_without_room_does_not_keep_the_lease(tmp_path: Path) -> None:
    """R26, H5: the lease is given back; the record is refused, and taken when there is room."""
    seen = on_a_small_disk("large_record", tmp_path)
    assert str(seen["first"]).startswith(FULL)
    assert seen["leases"] == 0
    assert seen["again"] == "Closed"


def test_a_store_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """R26: the lock fails closed; it works when there is room."""
    seen = on_a_small_disk("new_store", tmp_path)
    assert str(seen["first"]).startswith(FULL)
    assert seen["again"] == "Granted"


def test_a_start_on_a_full_disk_is_granted_or_not_but_never_half(tmp_path: Path) -> None:
    """R26: a refused start leaves no lease."""
    starts = on_a_small_disk("many_runs", tmp_path)["starts"]
    assert isinstance(starts, list)
    assert all(start == "Granted" or start.startswith(FULL) for start in starts)
