"""Measures everything and prints one table. Takes about seven minutes."""

from __future__ import annotations

import os
import platform
import sys
import time

from tests.bench import crowd, footprint, moments, output, scale, trips, wall
from tests.bench.bench import Bench, Row

HEAD = ("what", "must", "aim", "measured", "verdict")
PARTS = {
    "wall": wall.rows,
    "footprint": footprint.rows,
    "trips": trips.rows,
    "moments": moments.rows,
    "output": output.rows,
    "crowd": crowd.rows,
    "scale": scale.rows,
}


def main(chosen: list[str]) -> int:
    """Measure the parts that were named, or all; print the table."""
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        print(f"there is no part {unknown[0]}; the parts are: {' '.join(PARTS)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    load = os.getloadavg()[0]  # of others: what else runs here spoils the numbers
    with Bench() as bench:
        for name in chosen or PARTS:
            begun = time.monotonic()
            print(f"measuring: {name} ...", file=sys.stderr, end="", flush=True)
            rows += PARTS[name](bench)
            print(f" {time.monotonic() - begun:.0f} s", file=sys.stderr)
        server = bench.server.do("INFO", "server")
    print(_machine(server, load))
    print(table([HEAD, *(row.cells() for row in rows)]))
    return 0


def _machine(server: object, load: float) -> str:
    facts = dict(server) if isinstance(server, dict) else {}
    version = facts.get("redis_version", "")
    return (
        f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} CPUs, "
        f"redis_version {version}, load before {load:.2f}\n"
    )


def table(lines: list[tuple[str, ...]]) -> str:
    """Return *lines* with their columns aligned."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
