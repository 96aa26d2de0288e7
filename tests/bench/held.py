"""Many locks held at once on one server: what it takes there, and how long renewing lasts."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.bench.bench import Bench, Row, percentile
from tests.bench.footprint import cpu_ns
from tests.bench.swarms import Workers
from tests.servers import Server, start_server

LEVELS = (100, 1_000, 10_000)
SPARE = 200
"""Connections that others need."""
WATCH_S = 20.0
"""Four heartbeats of each run."""
WORKERS = 2


def rows(bench: Bench) -> Iterator[Row]:
    """Watch so many held locks, each level with fresh holders on an empty server."""
    wanted = max(LEVELS) + SPARE
    server = start_server(bench.folder, bench.server.flavour, "--maxclients", str(wanted))
    try:
        most = min(int(_info(server, "clients")["maxclients"]), _descriptors()) - SPARE
        for count in LEVELS:
            if count > most:
                print(f" no {count:,} locks: `ulimit -Hn` is too low ...", file=sys.stderr, end="")
                continue
            server.do("FLUSHALL")
            yield from _level(server, count)
    finally:
        server.stop()


def _descriptors() -> int:
    """Return how many connections all holders together may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else most * WORKERS


def _level(server: Server, count: int) -> Iterator[Row]:
    before = _info(server, "memory")
    share = [count // WORKERS] * WORKERS
    firsts = [sum(share[:i]) for i in range(WORKERS)]
    argvs = [["hold", server.tcp_url, str(a), str(n)] for a, n in zip(firsts, share, strict=True)]
    with Workers(argvs) as workers:
        workers.expect("holding")
        workers.ask()  # what was measured while they settled does not count
        cpu, begun = cpu_ns([server.pid]), time.monotonic()
        time.sleep(WATCH_S)
        busy = (cpu_ns([server.pid]) - cpu) / 1e9 / (time.monotonic() - begun)
        memory = _info(server, "memory")
        reports = workers.ask()
        seconds = time.monotonic() - begun
    taken = [ms for report in reports for ms in report["taken"]]
    failed: Counter[str] = sum([Counter(report["failed"]) for report in reports], Counter())
    what = f"{count:,} locks held"
    yield Row(f"{what}: renewals in a second", len(taken) / seconds)
    yield Row(f"{what}: processor time of the server, of one core", busy * 100, unit=" %")
    yield Row(
        f"{what}: its memory (used_memory)", _grown(before, memory, "used_memory"), unit=" MB"
    )
    yield Row(f"{what}: its resident memory", _grown(before, memory, "used_memory_rss"), unit=" MB")
    yield Row(f"{what}: a renewal takes, p50", percentile(taken, 50), unit=" ms")
    yield Row(f"{what}: the same, p99", percentile(taken, 99), unit=" ms")
    why = f" ({', '.join(failed)})" if failed else ""
    yield Row(f"{what}: renewals that failed{why}", failed.total(), must=0)


def _grown(before: dict[str, int], after: dict[str, int], name: str) -> float:
    """Return by how many MB a number of the server grew."""
    return (int(after[name]) - int(before[name])) / 1e6


def _info(server: Server, section: str) -> dict[str, int]:
    with server.client() as client:
        return dict(client.info(section))
