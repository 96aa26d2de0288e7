"""Every kind of fault does something, says so, and undoes it, also if it is ended in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.chaos import __main__ as program
from tests.chaos.kinds import Kind
from tests.chaos.lab import Lab
from tests.chaos.namespaces import INSIDE, missing
from tests.chaos.plan import STORES
from tests.chaos.sorts import FAULTS, ON_RUNS
from tests.process.lab import until

pytestmark = pytest.mark.variant

if TYPE_CHECKING:
    from tests.chaos.events import Events
    from tests.chaos.namespaces import Network

SCENE = "tests.chaos.rehearsal"


def rehearse(store: str, folder: Path) -> dict[str, list[str]]:
    """Have every fault of a store begun and broken off in a lab; return what was wrong."""
    if lacking := missing():
        pytest.skip(lacking)
    (folder / "lab").mkdir()
    done = subprocess.run(
        ["unshare", *INSIDE, sys.executable, "-m", SCENE, store, str(folder)],
        env=os.environ | {"PYTHONPATH": str(program.ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / "rehearsal.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.root
@pytest.mark.parametrize("store", STORES)
def test_every_fault_heals(store: str, tmp_path: Path) -> None:
    """What it changed is as before: rules, queues, disks, clocks, servers that run and answer."""
    found = rehearse(store, tmp_path)
    assert set(found) == set(FAULTS[store]) - set(ON_RUNS)
    assert {kind: wrong for kind, wrong in found.items() if wrong} == {}


def test_what_a_dead_program_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders named by the pid of a program that is gone; those of a living one stay."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f"{gone.pid}-x", f"{os.getpid()}-y"):
        (tmp_path / f"{program.PREFIX}{name}" / "deep").mkdir(parents=True)
    program.clear_leftovers()
    assert [path.name for path in tmp_path.iterdir()] == [f"{program.PREFIX}{os.getpid()}-y"]


def test_a_server_that_two_faults_stopped_goes_on_when_both_are_over(tmp_path: Path) -> None:
    """A slow one that is then frozen for long does not thaw when it is slow no more."""
    kind = Kind(tmp_path, cast("Network", None))
    lab = Lab(kind, [], cast("Events", None), tmp_path, lambda _host, _words: None)
    with subprocess.Popen(["sleep", "60"]) as server:
        outer, inner = lab.frozen([server.pid]), lab.frozen([server.pid])
        with inner:
            outer.__enter__()
        assert kind.frozen == {server.pid: 1}
        until("it to be stopped", lambda: state_of(server.pid) == "T")
        outer.__exit__(None, None, None)
        assert not kind.frozen
        until("it to go on", lambda: state_of(server.pid) == "S")
        server.kill()


def state_of(pid: int) -> str:
    """Return the letter for what a process does."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
