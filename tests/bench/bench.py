"""What the measurements share: where things are, how to start them, how to count."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from cronguard.stores.contract import History
from cronguard.stores.open import open_history
from tests import servers

PATIENCE_S = 60.0


class Bench:
    """One bench: a folder, one Redis server of its own, and the installed command."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cgb"))
        self.python = sys.executable
        self.cronguard = str(Path(sys.executable).with_name("cronguard"))
        self.state = self.folder / "state"
        flavour = "redis" if servers.binary("redis") else "valkey"
        self.server = servers.start_server(self.folder, flavour)
        self.stores = {
            "SQLite": f"sqlite://{self.state}/cronguard.db",
            self.server.flavour.capitalize(): self.server.tcp_url,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.stop()
        shutil.rmtree(self.folder)

    def env(self, store: str) -> dict[str, str]:
        """Return an environment in which cronguard uses *store*."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return kept | {
            "HOME": str(self.folder),
            "CRONGUARD_STATE_DIR": str(self.state),
            "CRONGUARD_STORE": store,
        }

    def run(self, store: str, *args: str, **options: object) -> subprocess.Popen[bytes]:
        """Start `cronguard run ARGS` on *store*."""
        settings: dict[str, object] = {"env": self.env(store), "cwd": self.folder}
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [self.cronguard, "run", *args], **(settings | options)
        )

    def history(self, store: str) -> History:
        """Return the side of *store* that answers questions; the caller closes it."""
        return open_history(store, "cg")

    def seconds(self, argv: list[str], env: dict[str, str]) -> float:
        """Return how long *argv* takes from its start to its end."""
        begun = time.perf_counter()
        done = subprocess.run(argv, env=env, cwd=self.folder, stdout=subprocess.DEVNULL)
        taken = time.perf_counter() - begun
        if done.returncode:
            raise RuntimeError(f"{argv} ended with status {done.returncode}")
        return taken


def interleaved(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Measure each way in turn, so often; return the medians.

    In turn, since the machine is not equally fast all the time.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, measure in ways.items():
            taken[name].append(measure())
    return {name: statistics.median(values) for name, values in taken.items()}


def percentile(values: list[float], percent: int) -> float:
    """Return the value below which so many of *values* lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


def until(what: str, holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {PATIENCE_S:g} s for: {what}")
        time.sleep(0.002)


class Row:
    """One line of the table. `must` and `aim` are None where there is no budget."""

    __slots__ = ("aim", "at_least", "measured", "must", "unit", "what")

    def __init__(
        self,
        what: str,
        measured: float,
        *,
        must: float | None = None,
        aim: float | None = None,
        unit: str = "",
        at_least: bool = False,
    ) -> None:
        self.what = what
        self.measured = measured
        self.must = must
        self.aim = aim
        self.unit = unit
        self.at_least = at_least

    def _meets(self, budget: float) -> bool:
        return self.measured >= budget if self.at_least else self.measured <= budget

    @property
    def verdict(self) -> str:
        """Return how it stands to its budget."""
        if self.must is None:
            return ""
        if not self._meets(self.must):
            return "MISSED"
        return "aim" if self.aim is not None and self._meets(self.aim) else "must"

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return the line as text."""
        sign = "≥ " if self.at_least else "≤ "
        must = "" if self.must is None else f"{sign}{_number(self.must)}{self.unit}"
        aim = "" if self.aim is None else f"{_number(self.aim)}{self.unit}"
        return self.what, must, aim, f"{_number(self.measured)}{self.unit}", self.verdict


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
