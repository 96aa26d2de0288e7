"""`python -m tests.chaos.check FOLDER...`: judge what chaos runs left, and show the proof."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.chaos.checker import judge
from tests.chaos.history import History, read
from tests.chaos.verdict import Verdict, around, table

SHOWN = 20
"""Violations shown in full; one cause often has many."""


def report(history: History, verdict: Verdict) -> list[str]:
    """Return each violation as its sentence, with the events around it below."""
    lines = []
    for violation in verdict.violations[:SHOWN]:
        lines += [f"{violation.kind}: {violation.sentence}"]
        lines += [f"    {line}" for line in around(history, violation)]
    more = len(verdict.violations) - SHOWN
    return [*lines, f"and {more} more"] if more > 0 else lines


def main(folders: list[str]) -> int:
    """Print the verdict on each folder, then the table; 1 if anything was violated, 2 for usage."""
    if not folders:
        print("usage: python -m tests.chaos.check FOLDER...", file=sys.stderr)
        return 2
    verdicts = []
    for folder in folders:
        history = read(Path(folder))
        verdicts.append(judge(history))
        for line in report(history, verdicts[-1]):
            print(line)
    print(table(verdicts))
    return 0 if all(verdict.holds for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
