"""Reading many jobs costs as many queries as reading one."""

from __future__ import annotations

from pathlib import Path

from cronguard.stores.sqlite.history import open_history
from tests.contract.harness import Run as ContractRun
from tests.contract.harness import SqliteHarness, new_claim


def test_many_jobs_are_read_with_the_queries_of_one(tmp_path: Path) -> None:
    """Else `status` over thousands of jobs would take as many times longer."""
    harness = SqliteHarness(tmp_path)
    jobs = [f"job-{number}" for number in range(40)]
    for job in jobs:
        claim = new_claim(job)
        one = ContractRun(harness.open(claim), claim)
        one.granted()
        one.store.close()
    side = open_history(harness.path, harness.namespace)
    side.jobs()  # opens the file
    db = side._db
    assert db is not None
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    counts = []
    for wanted in (jobs[:1], jobs):
        statements.clear()
        for live in (False, True):
            assert len(side.overview(wanted, live=live)) == len(wanted)
        for read in (side.leases, side.last, side.counters):
            assert len(read(wanted)) == len(wanted)
        counts.append(len(statements))
    side.close()
    assert counts[0] == counts[1]
