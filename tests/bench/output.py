"""How fast output comes through cronguard, beside `cat`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from tests.bench.bench import Bench, Row, interleaved

SIZE_MB = 1024
ROUNDS = 5
PRODUCER = f"head -c {SIZE_MB}M /dev/zero"


def rows(bench: Bench) -> Iterator[Row]:
    """Send the same bytes both ways into a reader that only reads."""
    store = bench.stores["SQLite"]
    guarded = f"{bench.cronguard} run -n output -- {PRODUCER}"
    taken = interleaved(
        {
            "cat": lambda: _seconds(bench, store, f"{PRODUCER} | cat"),
            "cronguard": lambda: _seconds(bench, store, guarded),
        },
        ROUNDS,
    )
    yield Row("`cat`", SIZE_MB / taken["cat"], unit=" MB/s")
    ratio = taken["cat"] / taken["cronguard"]
    yield Row("output through cronguard / through `cat`", ratio, must=0.7, aim=1, at_least=True)


def _seconds(bench: Bench, store: str, text: str) -> float:
    begun = time.perf_counter()
    subprocess.run(["sh", "-c", f"{text} | cat > /dev/null"], env=bench.env(store), check=True)
    return time.perf_counter() - begun
