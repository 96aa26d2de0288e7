"""What one server carries: locks held at once, contenders at one instant, jobs to list."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from tests.bench import held, instant, listing
from tests.bench.bench import Bench, Row


def rows(bench: Bench) -> Iterator[Row]:
    """Measure one after the other."""
    return chain(held.rows(bench), instant.rows(bench), listing.rows(bench))
