"""`python -m tests.chaos`: chaos against every kind of store, and the proof of what then happened.

Each kind runs in a lab of its own (namespaces.py), from a plan that its seed decides (plan.py), and
leaves a history that the checker judges (check.py). 0: all held; 1: something was violated, and
what replays it is said; 2: it cannot be run here; 3: it could not be carried out.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.check import report
from tests.chaos.checker import judge
from tests.chaos.history import read
from tests.chaos.namespaces import INSIDE, missing
from tests.chaos.plan import STORES
from tests.chaos.sorts import FAULTS
from tests.chaos.verdict import Verdict, table
from tests.servers import die_with_us

FULL, SHORT = (10_000, 2_000), (420, 110)
KINDS = sorted({kind for sorts in FAULTS.values() for kind in sorts})
PREFIX = "cgchaos-"
ROOT = Path(__file__).parents[2]


@dataclass
class Trial:
    """One kind of store that is under chaos now."""

    store: str
    seed: int
    runs: int
    faults: int
    only: tuple[str, ...]
    folder: Path
    lab: Path
    cgroup: Path | None
    process: subprocess.Popen[bytes]

    @property
    def replay(self) -> str:
        """Return the command that does it again."""
        return (
            f"python -m tests.chaos --store {self.store} --seed {self.seed} "
            f"--runs {self.runs} --faults {self.faults}"
        ) + (f" --only {shlex.join(self.only)}" if self.only else "")

    def end(self) -> None:
        """Leave nothing of it behind but the history."""
        self.process.kill()
        self.process.wait()
        clear(self.lab, self.cgroup)


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--store", nargs="+", choices=STORES, default=None)
    parser.add_argument("--seed", type=int, default=None, help="a failing one replays")
    parser.add_argument("--runs", type=int, default=None, help="how many are asked for, a store")
    parser.add_argument("--faults", type=int, default=None, help="how many at least, a store")
    parser.add_argument(
        "--only", nargs="+", choices=KINDS, default=[], metavar="KIND", help="no other faults"
    )
    parser.add_argument("--short", action="store_true", help="a few minutes, all stores at a time")
    parser.add_argument("--beside", type=int, default=None, help="so many stores at a time")
    parser.add_argument("--keep", type=Path, default=None, help="leave the histories in FOLDER")
    chosen = parser.parse_args(argv)
    able = [store for store in STORES if not chosen.only or set(chosen.only) & set(FAULTS[store])]
    chosen.store = chosen.store or able
    if unable := set(chosen.store) - set(able):
        parser.error(f"{', '.join(sorted(unable))} has none of these faults")
    runs, faults = SHORT if chosen.short else FULL
    chosen.runs = chosen.runs or runs
    chosen.faults = chosen.faults or faults
    chosen.beside = chosen.beside or (len(STORES) if chosen.short else 1)
    if chosen.seed is None:
        chosen.seed = int.from_bytes(os.urandom(4), "big")
    return chosen


def cgroup_mount() -> Path | None:
    """Return where control groups v2 are, if anywhere."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    return None


def own_cgroup(name: str) -> Path | None:
    """Make a control group for one lab, as runs name theirs by pids that others have as well."""
    mount = cgroup_mount()
    try:
        if mount is not None:
            (mount / name).mkdir()
            return mount / name
    except OSError:
        pass  # then runs cannot have any either
    return None


def clear(lab: Path, cgroup: Path | None) -> None:
    """Remove the folders of a lab whose processes are dead."""
    shutil.rmtree(lab, ignore_errors=True)
    if cgroup is not None and cgroup.is_dir():
        for path in [*cgroup.glob("*/"), cgroup]:
            for _ in range(50):  # the kernel takes a moment to let the last one go
                try:
                    path.rmdir()
                    break
                except OSError:
                    time.sleep(0.01)


def clear_leftovers() -> None:
    """Remove what a killed program of this kind left: folders, named by its pid."""
    mount = cgroup_mount()
    places = [Path(tempfile.gettempdir()), *([mount] if mount is not None else [])]
    for path in [path for place in places for path in place.glob(f"{PREFIX}*")]:
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if not Path(f"/proc/{pid}").exists():
            clear(path, path if path.parent == mount else None)


def begin(store: str, chosen: argparse.Namespace, folder: Path) -> Trial:
    """Start chaos against one kind of store."""
    folder.mkdir(parents=True)
    lab = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    cgroup = own_cgroup(lab.name)
    words = [store, str(chosen.seed), str(chosen.runs), str(chosen.faults), str(folder), str(lab)]
    words += chosen.only
    script = 'test -z "$0" || echo 0 > "$0/cgroup.procs"; exec "$@"'
    inside = [sys.executable, "-m", "tests.chaos.inside", *words]
    process = subprocess.Popen(
        ["/bin/sh", "-c", script, str(cgroup or ""), "unshare", *INSIDE, *inside],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=die_with_us,
        stdin=subprocess.DEVNULL,
    )
    only = tuple(chosen.only)
    return Trial(store, chosen.seed, chosen.runs, chosen.faults, only, folder, lab, cgroup, process)


def verdict_of(trial: Trial) -> Verdict | None:
    """Judge what a trial left, and print what was violated; None if it was not carried out."""
    if trial.process.returncode != 0:
        print(f"{trial.store}: not carried out, status {trial.process.returncode}", flush=True)
        return None
    history = read(trial.folder)
    verdict = judge(history)
    for line in report(history, verdict):
        print(line)
    if not verdict.holds:
        print(f"{trial.store}: do it again with: {trial.replay}", flush=True)
    return verdict


def carry_out(chosen: argparse.Namespace, folder: Path) -> int:
    """Do all kinds, some at a time; print the table."""
    waiting, under_way, verdicts = list(chosen.store), list[Trial](), list[Verdict | None]()
    try:
        while waiting or under_way:
            while waiting and len(under_way) < chosen.beside:
                store = waiting.pop(0)
                under_way.append(begin(store, chosen, folder / store))
            ended = [one for one in under_way if one.process.poll() is not None]
            for trial in ended:
                under_way.remove(trial)
                trial.end()
                verdicts.append(verdict_of(trial))
            time.sleep(0 if ended else 0.1)
    finally:
        for trial in under_way:
            trial.end()
    told = [verdict for verdict in verdicts if verdict is not None]
    print(table(sorted(told, key=lambda verdict: STORES.index(verdict.store))), flush=True)
    if None in verdicts:
        return 3
    return 0 if all(verdict.holds for verdict in told) else 1


def main() -> int:
    """Do what the command line says."""
    chosen = options()
    if lacking := missing():
        print(f"chaos cannot be run here: {lacking}", file=sys.stderr)
        return 2
    clear_leftovers()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell had INT ignored
        signal.signal(number, signal.default_int_handler)
    print(f"seed {chosen.seed}", flush=True)
    if chosen.keep is not None:
        return carry_out(chosen, chosen.keep.absolute())
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as folder:
        return carry_out(chosen, Path(folder))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
