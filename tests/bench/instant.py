"""A thousand hosts that ask for one lock at the same instant, as cron has it at midnight."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.bench import Bench, Row, percentile
from tests.bench.swarm import now_ms
from tests.bench.swarms import Workers

CONTENDERS = 1_000
WORKERS = 2
SOON_MS = 300


def rows(bench: Bench) -> Iterator[Row]:
    """Simulated runs, each with a connection of its own, which it makes first."""
    argv = ["contend", bench.server.tcp_url, str(CONTENDERS // WORKERS)]
    with Workers([argv] * WORKERS) as workers:
        workers.expect("ready")
        reports = workers.ask(str(now_ms() + SOON_MS))
    started = sum(report["words"].get("Granted", 0) for report in reports)
    skipped = sum(report["words"].get("Held", 0) for report in reports)
    answered = [ms for report in reports for ms in report["answered"]]
    recorded = [ms for report in reports for ms in report["recorded"]]
    what = f"{CONTENDERS:,} contenders at one instant"
    yield Row(f"{what}: runs that start", started, must=1, at_least=started < 1)
    yield Row(f"{what}: runs that are skipped, on record", len(recorded),
              must=CONTENDERS - 1, at_least=True)  # fmt: skip
    yield Row(f"{what}: runs without an answer", CONTENDERS - started - skipped, must=0)
    yield Row(f"{what}: answered after, p50", percentile(answered, 50), unit=" ms")
    yield Row(f"{what}: all answered after", max(answered), unit=" ms")
    yield Row(f"{what}: all on record after", max(recorded), unit=" ms")
