"""Runs on a database of the test's own."""

from __future__ import annotations

from pathlib import Path

from cronguard.stores.sqlite.history import SqliteHistory, open_history
from cronguard.stores.sqlite.lease import open_lease
from tests.contract.harness import JOB, Run, new_claim


def open_run(path: Path, job: str = JOB, **more: object) -> Run:
    """Return a new run that asks the database at *path*; the caller closes its store."""
    claim = new_claim(job, "cg", **more)
    return Run(open_lease(str(path), claim), claim)


def reader(path: Path) -> SqliteHistory:
    """Return the history side; the caller closes it."""
    return open_history(str(path), "cg")
