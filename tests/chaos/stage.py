"""One small, exact scene: real runs on a real server, and a history of them as the driver's are.

For what a scene is to show, every step waits for the one before it; the driver leaves that to
chance.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.chaos import product, testimony
from tests.chaos.checker import judge
from tests.chaos.history import read
from tests.chaos.lives import Life
from tests.chaos.lives import read as read_lives
from tests.chaos.testimony import boot_ns
from tests.chaos.verdict import Verdict
from tests.process.lab import Lab, until

TTL_MS = {"10s": 10_000, "30s": 30_000}
SKIPPED = 75
ENDS_S = 60.0


class BrokenLab(Lab):
    """A lab whose cronguard has one of the bugs of broken.py; or none."""

    def __init__(self, folder: Path, store: str, bug: str | None) -> None:
        super().__init__(folder, store)
        self.bug = bug
        if bug is not None:
            self.env[product.VARIABLE] = bug

    def argv(self, *args: str) -> list[str]:
        """Return the command line of `cronguard`; what only reads is never broken."""
        if self.bug is None or args[0] != "run":
            return super().argv(*args)
        return [self.interpreter, "-m", product.MODULE, *args]


class Stage:
    """Starts runs of testimony, and writes down what it does to them."""

    def __init__(self, lab: Lab, ttl: str) -> None:
        self.lab = lab
        self.ttl = ttl
        self.folder = lab.folder / "history"
        self.host = os.uname().nodename
        self._events: list[dict[str, object]] = []
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        self._jobs: set[str] = set()
        (self.folder / "testimony").mkdir(parents=True)
        times = {"ttl_ms": TTL_MS[ttl], "takeover_ms": 5_000}
        self.event("plan", store="redis", seed=0, **times, hosts=[self.host], jobs=["job"])

    def event(self, what: str, at: int | None = None, **facts: object) -> None:
        """Write down what is about to be done, or *at* which moment something was seen."""
        self._events.append({"at": boot_ns() if at is None else at, "what": what, **facts})

    def saw_renewal(self, run_id: str, at: int) -> None:
        """Write down a renewal that the store agreed to; for a Watch."""
        self.event("renewal", at, run_id=run_id)

    def start(
        self,
        job: str,
        lasts_ms: int,
        *options: str,
        kind: str = "plain",
        ending: int = 0,
        store: str | None = None,
    ) -> int:
        """Start a run of *job*; return its number."""
        number = len(self._started) + 1
        given = ["--ttl", self.ttl, "-E", str(SKIPPED), *options]
        command = [sys.executable, "-I", "-S", "-E", testimony.__file__]
        command += [str(self.folder / "testimony"), kind, str(lasts_ms), str(ending)]
        env = {"CHAOS_RUN": str(number), "CRONGUARD_STORE": store or self.lab.store}
        at = boot_ns()
        process = self.lab.start("run", "-n", job, *given, "--", *command, env=env)
        facts = {"run": number, "host": self.host, "job": job, "keeper": process.pid}
        self.event("start", at, **facts, options=given)
        self._started[number] = process
        self._jobs.add(job)
        return number

    def lives(self, number: int) -> list[Life]:
        """Return the processes of a run that have shown life by now."""
        lives = read_lives(self.folder / "testimony").lives
        return [life for life in lives if life.run == number]

    def begun(self, number: int, processes: int = 1) -> list[Life]:
        """Wait until the run's processes testify."""
        until(f"life of run {number}", lambda: len(self.lives(number)) == processes)
        return self.lives(number)

    def signal(self, number: int, what: str, signum: int) -> None:
        """Send the keeper a signal; *what* it is to be called."""
        self.event(what, run=number, whom="keeper", signal=signum)
        self._started[number].send_signal(signum)

    def stop(self, number: int) -> None:
        """Stop the keeper, as a debugger or a frozen host does."""
        self.signal(number, "stopped", signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """Let the keeper go on."""
        self.signal(number, "continued", signal.SIGCONT)

    def ended(self, number: int) -> int:
        """Wait for the keeper's end; return how it ended."""
        status = self._started[number].wait(ENDS_S)
        self.event("exit", run=number, status=status)
        return status

    def verdict(self) -> Verdict:
        """End the history, write it, and judge what is read of it."""
        self.event("settled")
        self._events.sort(key=lambda event: str(event["at"]).zfill(24))
        lines = [json.dumps(event) for event in self._events]
        (self.folder / "events.jsonl").write_text("\n".join(lines) + "\n")
        records = {job: self.lab.records(job) + self.lab.skips(job) for job in self._jobs}
        (self.folder / "records.json").write_text(json.dumps(records))
        return judge(read(self.folder))
