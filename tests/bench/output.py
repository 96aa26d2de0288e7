"""How fast output comes through cronguard, beside `cat`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from functools import partial

from tests.bench.bench import Bench, Row, interleaved

SIZE_MB = 1024
ROUNDS = 5
PRODUCER = f"head -c {SIZE_MB}M /dev/zero"
MORE = {
    "with a log of 100 MB": "--log FOLDER/out.log --log-size 100M --log-keep 0",
    "with a prefix": "--prefix '{time} '",
    "searched": "--fail-on-output 'ERROR: [0-9]+'",
}


def rows(bench: Bench) -> Iterator[Row]:
    """Send the same bytes both ways into a reader that only reads."""
    store = bench.stores["SQLite"]
    run = f"{bench.cronguard} run -n output"
    ways = {"cat": f"{PRODUCER} | cat", "cronguard": f"{run} -- {PRODUCER}"}
    ways |= {f"the same, {more}": f"{run} {words} -- {PRODUCER}" for more, words in MORE.items()}
    ways = {name: text.replace("FOLDER", str(bench.folder)) for name, text in ways.items()}
    taken = interleaved(
        {name: partial(_seconds, bench, store, text) for name, text in ways.items()},
        ROUNDS,
    )
    cat = taken.pop("cat")
    yield Row("`cat`", SIZE_MB / cat, unit=" MB/s")
    ratio = cat / taken.pop("cronguard")
    yield Row("output through cronguard / through `cat`", ratio, must=0.7, aim=1, at_least=True)
    for name, seconds in taken.items():
        yield Row(f"{name} / through `cat`", cat / seconds)


def _seconds(bench: Bench, store: str, text: str) -> float:
    begun = time.perf_counter()
    subprocess.run(["sh", "-c", f"{text} | cat > /dev/null"], env=bench.env(store), check=True)
    return time.perf_counter() - begun
