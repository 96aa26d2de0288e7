"""The driver, by a plan alone, finds out a store that is broken; and passes the one that is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import __main__ as program
from tests.chaos import product
from tests.chaos.checker import judge
from tests.chaos.history import read
from tests.chaos.namespaces import missing
from tests.chaos.plan import Fault, Start, make
from tests.chaos.sorts import FAULTS, HUNTS, ON_QUEUES
from tests.chaos.verdict import Verdict

pytestmark = pytest.mark.variant

SEED = "7"
EVERY = (*HUNTS, *ON_QUEUES)


def chaos(folder: Path, bug: str, *only: str) -> tuple[int, Verdict]:
    """Run the program against Redis, with only these hunts; return its status, and our verdict."""
    if lacking := missing():
        pytest.skip(lacking)
    words = ["--store", "redis", "--seed", SEED, "--runs", "12", "--faults", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *words, "--keep", folder, "--only", *only],
        env=os.environ | {"PYTHONPATH": str(program.ROOT), product.VARIABLE: bug},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode, judge(read(folder / "redis"))


BUGS = [
    ("deaf", "evict while it lasts", "overlap"),
    ("careless", "lost release", "overlap"),
    ("late", "late reply", "survivor"),
]


@pytest.mark.root
@pytest.mark.parametrize(("bug", "hunt", "wanted"), BUGS)
def test_the_driver_finds_out_a_broken_store(
    tmp_path: Path, bug: str, hunt: str, wanted: str
) -> None:
    """Each hunt is made for one bug, and a single one of them is enough."""
    status, verdict = chaos(tmp_path, bug, hunt)
    assert verdict.faults[hunt] >= 1
    assert status == 1
    assert verdict.count(wanted) >= 1, verdict.violations


@pytest.mark.root
@pytest.mark.parametrize("hunt", [hunt for _, hunt, _ in BUGS])
def test_the_driver_passes_the_real_store_in_the_same_hunt(tmp_path: Path, hunt: str) -> None:
    """The same plan with the product as it is: nothing is violated."""
    status, verdict = chaos(tmp_path, "", hunt)
    assert verdict.faults[hunt] >= 1
    assert (status, verdict.violations) == (0, ())


@pytest.mark.parametrize("store", ["redis", "sentinel", "cluster", "quorum"])
def test_a_hunt_has_its_runs_to_itself(store: str) -> None:
    """Nobody else asks for its job, and it says which of them is the prey."""
    for plan in (make(store, 1, 10_000, 2_000), make(store, 2, 420, 110)):
        starts = {start.run: start for start in plan.starts}
        hunts = [fault for fault in plan.faults if FAULTS[store][fault.kind].prey is not None]
        assert {fault.kind for fault in hunts} == set(FAULTS[store]) & set(EVERY)
        for fault in hunts:
            prey = starts[fault.pick]
            assert (prey.is_prey, prey.hunt) == (True, fault.kind)
            beside = [start for start in plan.starts if start.job == prey.job and start is not prey]
            sort = FAULTS[store][fault.kind].prey
            assert sort is not None
            assert len(beside) == sort.wait + sort.come_after
            assert all(start.hunt == fault.kind and not start.is_prey for start in beside)
            assert prey.host not in {start.host for start in beside}


def test_a_plan_of_some_kinds_has_no_others() -> None:
    """Light, heavy or a hunt: so many as are wanted at the least."""
    for only in (("kill keeper",), ("cut server", "evict"), ("late reply",), ("full disk",)):
        plan = make("redis", 1, 200, 20, only=only)
        assert {fault.kind for fault in plan.faults} == set(only)
        assert [step for step in plan.steps if isinstance(step, Start)]
        if only == ("late reply",):
            assert sum(isinstance(step, Fault) for step in plan.steps) >= 20


def test_faults_that_a_store_does_not_have_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line says which store it is; not named, only those that have them are taken."""
    assert program.options(["--only", "move slot"]).store == ["cluster"]
    with pytest.raises(SystemExit):
        program.options(["--store", "sqlite", "--only", "move slot"])
    assert "sqlite has none of these faults" in capsys.readouterr().err
