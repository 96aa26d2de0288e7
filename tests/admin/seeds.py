"""Jobs and runs in a real SQLite store, put there through its lease side, as the keeper would."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cronguard.admin.cli import main
from cronguard.config.store import folder
from cronguard.core import record as rec
from cronguard.core.events import Event, Granted
from cronguard.core.spec import Claim, Owner
from cronguard.runtime import identity, proof
from cronguard.stores.contract import Acquire, Close, LeaseStore, Request
from cronguard.stores.open import open_lease
from tests.contract.harness import PATIENCE_S, wait

PX = 35_000
Told = tuple[int, str, str]


def now_ms() -> int:
    """Return monotonic ms, as the keeper counts them."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def wall() -> int:
    """Return the time of day in ms."""
    return time.time_ns() // 1_000_000


class Run:
    """One run of a job that asked for the lease."""

    def __init__(self, seeds: Seeds, job: str, **owner: object) -> None:
        facts: dict[str, object] = {
            "host": "web-3",
            "user": "app",
            "pid": 8121,
            "since_wall": wall() - 250_000,
            **owner,
        }
        self.run_id = str(facts.pop("run_id", os.urandom(16).hex()))
        self.job = job
        self.owner = Owner(self.run_id, **facts)  # type: ignore[arg-type]
        self.claim = Claim(job, self.owner, PX, slots=seeds.slots)
        self.store: LeaseStore = open_lease(seeds.url, self.claim, 1000)
        self.facts: dict[str, object] = {
            "job": job,
            "run_id": self.run_id,
            "host": self.owner.host,
            "user": self.owner.user,
            "pid": self.owner.pid,
            "command": ["/opt/job", "--all"],
            "queued_at": rec.utc(self.owner.since_wall),
            "started_at": rec.utc(self.owner.since_wall),
            "outcome": rec.RUNNING,
        }

    def ask(self, request: Request) -> Event:
        """Send a request and return its reply."""
        self.store.send(request, now_ms())
        end = time.monotonic() + PATIENCE_S
        while not (replies := self.store.events(now_ms())):
            assert time.monotonic() < end, f"no reply to {request.name}"
            wait(self.store, 0.2)
        (reply,) = replies
        return reply

    def acquire(self, queue_for: int = 0) -> Event:
        """Ask for the lease."""
        return self.ask(Acquire(rec.encode(rec.complete(self.facts)), queue_for=queue_for))

    def end(self, outcome: str, reason: str = "", at: int = 0, **facts: object) -> None:
        """Close the run with this outcome; *at* is when that was, in ms since the epoch."""
        at = at or wall()
        self.facts |= {"outcome": outcome, "reason": reason or None, "ended_at": rec.utc(at)}
        record = rec.encode(rec.complete({**self.facts, **facts}))
        self.ask(Close(record, outcome=outcome, reason=reason, ended_wall=at))


class Seeds:
    """A store with what a test puts into it, and cronguard's commands on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = f"sqlite://{folder}/state/cronguard.db"
        self.slots = 1
        self._capsys = capsys
        self._runs: list[Run] = []

    def run(self, job: str = "backup", **owner: object) -> Run:
        """Return a run that has not asked for anything yet."""
        self._runs.append(Run(self, job, **owner))
        return self._runs[-1]

    def live(self, job: str = "backup", **owner: object) -> Run:
        """Return a run that holds the lease."""
        run = self.run(job, **owner)
        reply = run.acquire()
        assert isinstance(reply, Granted), reply
        return run

    def ended(
        self, outcome: str, reason: str = "", job: str = "backup", at: int = 0, **facts: object
    ) -> Run:
        """Return a run that held the lease and ended so; a skip never held it."""
        run = self.run(job) if outcome == rec.SKIPPED else self.live(job)
        run.end(outcome, reason, at, **facts)
        return run

    def here(self) -> dict[str, Any]:
        """Return the facts of an owner that is this very process."""
        me = identity.this_run(wall(), ["true"], os.environ)
        return me.facts()

    def dead(self, job: str = "backup") -> Run:
        """Return a run of this host that holds the lease, and whose whole tree is proven dead."""
        run = self.live(job, **{**self.here(), "pid_start": 1})
        proof.leave_mark(folder(os.environ), run.run_id)
        return run

    def vanish(self, job: str = "backup") -> None:
        """Have the lease run out."""
        db = sqlite3.connect(self.url.removeprefix("sqlite://"))
        with db:
            job_id = "(SELECT id FROM jobs WHERE name = ?)"
            db.execute(f"UPDATE leases SET deadline = 1 WHERE job = {job_id}", (job,))
        db.close()

    def say(self, *argv: str) -> Told:
        """Run `cronguard ARGV` on the store; return status, stdout, stderr."""
        status = main(list(argv))
        told = self._capsys.readouterr()
        return status, told.out, told.err

    def started(self, job: str, at: int) -> None:
        """Have the job's last run start at that moment, in ms since the epoch."""
        with closing(sqlite3.connect(self.url.removeprefix("sqlite://"))) as db, db:
            changed = db.execute(
                "UPDATE counters SET value = ? WHERE name = 'last_start' "
                "AND job = (SELECT id FROM jobs WHERE name = ?)",
                (at, job),
            )
            assert changed.rowcount == 1

    def close(self) -> None:
        """Let go of all stores."""
        for run in self._runs:
            run.store.close()
