"""How long it takes to list many jobs, and what a job's records take in memory."""

from __future__ import annotations

from collections.abc import Iterator

from cronguard.core import record
from cronguard.core.events import Event
from cronguard.stores.contract import Request
from tests.bench.bench import Bench, Row, interleaved
from tests.bench.footprint import cpu_ns
from tests.bench.swarm import JOB, Member, now_ms
from tests.contract.harness import wait

JOBS = 10_000
FEW = 1_000
ROUNDS = 5
PX = 3_600_000
"""Locks that last while the commands are measured, with nobody to renew them."""
OUTPUT = "2026-01-31 03:15:07 INFO tenant 0001: 1284 rows written, 0 rejected\n"
USUAL_BYTES, MOST_BYTES = 2_000, 16_384
FULL_JOBS = 5


def rows(bench: Bench) -> Iterator[Row]:
    """List jobs that have run, few and many, then the same while all run; on each store."""
    stores = {name: _own(bench, store) for name, store in bench.stores.items()}
    for store in stores.values():
        for number in range(FEW):
            _run(store, JOB.format(number), record.SUCCEEDED, USUAL_BYTES, _schedule(number))
    yield from _listed(bench, stores, "status", "each with a schedule", FEW, must=0.5)
    for name, store in stores.items():
        before = cpu_ns([bench.server.pid])
        for number in range(FEW, JOBS):
            _run(store, JOB.format(number), record.SUCCEEDED, USUAL_BYTES)
        if not store.startswith("sqlite"):
            used = (cpu_ns([bench.server.pid]) - before) / 1e6 / (JOBS - FEW)
            what = f"processor time of {name} for a run, from connecting to its end"
            yield Row(what, used, unit=" ms")
    yield from _listed(bench, stores, "status", "which have run")
    for store in stores.values():
        for number in range(JOBS):
            _begin(store, JOB.format(number)).store.close()
    yield from _listed(bench, stores, "status", "all running")
    yield from _listed(bench, stores, "ps", "all running")
    bench.server.do("FLUSHALL")
    yield from kept(bench)


def kept(bench: Bench) -> Iterator[Row]:
    """Fill jobs with all that is ever kept of one."""
    number = record.KEPT_RUNS + record.KEPT_FAILURES + record.KEPT_SKIPS
    for size in (USUAL_BYTES, MOST_BYTES):
        before = _used(bench)
        for job in range(FULL_JOBS):
            for outcome, count in (
                (record.FAILED, record.KEPT_FAILURES),
                (record.SUCCEEDED, record.KEPT_RUNS),
                (record.SKIPPED, record.KEPT_SKIPS),
            ):
                for _ in range(count):
                    _run(bench.server.tcp_url, JOB.format(job), outcome, size)
        each = (_used(bench) - before) / FULL_JOBS / 1e6
        yield Row(f"memory of a job, {number} records with {size:,} bytes of output", each,
                  unit=" MB")  # fmt: skip
        bench.server.do("FLUSHALL")


def _own(bench: Bench, store: str) -> str:
    """Return where the jobs are kept: in SQLite a file of its own, in Redis an empty server."""
    if store.startswith("sqlite"):
        return f"sqlite://{bench.state}/many.db"
    bench.server.do("FLUSHALL")
    return store


def _schedule(number: int) -> dict[str, object]:
    """Return what a daily job announces; no two have the same."""
    cron = f"{number % 60} {number // 60} * * *"
    return {"schedule": {"once_ms": None, "cron": cron, "tz": "Europe/Berlin"}}


def _begin(store: str, job: str) -> Member:
    member = Member(store, job, PX)
    _ask(member, member.start())
    return member


def _run(
    store: str, job: str, outcome: str, size: int, more: dict[str, object] | None = None
) -> None:
    """Put a run on record that ended so, and wrote so many bytes; a skip wrote none."""
    if outcome == record.SKIPPED:
        member = Member(store, job, PX)
        _ask(member, member.end(outcome, reason="held"))
    else:
        member = _begin(store, job)
        text = (OUTPUT * (size // len(OUTPUT) + 1))[:size]
        facts: dict[str, object] = {"exit_status": 0, "output_bytes": size, "output_tail": text}
        _ask(member, member.end(outcome, **facts, **(more or {})))
    member.store.close()


def _ask(member: Member, request: Request) -> Event:
    member.store.send(request, now_ms())
    while not (events := member.store.events(now_ms())):
        wait(member.store, 1)
    return events[0]


def _listed(
    bench: Bench,
    stores: dict[str, str],
    command: str,
    how: str,
    jobs: int = JOBS,
    must: float = 1.5,
) -> Iterator[Row]:
    argv = [bench.cronguard, command]
    ways = {
        name: lambda store=store: bench.seconds(argv, bench.env(store))
        for name, store in stores.items()
    }
    for name, seconds in interleaved(ways, ROUNDS).items():  # type: ignore[arg-type]
        yield Row(f"`{command}` over {jobs:,} jobs {how}, {name}", seconds, must=must, unit=" s")


def _used(bench: Bench) -> int:
    with bench.server.client() as client:
        return int(client.info("memory")["used_memory"])
