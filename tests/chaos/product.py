"""What is put under chaos: cronguard as it is installed, or with one of the bugs of broken.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "CHAOS_BROKEN"
"""Names the bug, in the environment of whoever starts runs, and of the runs."""
MODULE = "tests.chaos.broken"


def command(words: list[str]) -> list[str]:
    """Return the command line of `cronguard WORDS`; only `run` is ever broken."""
    if os.environ.get(VARIABLE) and words[0] == "run":
        return [sys.executable, "-m", MODULE, *words]
    return [str(Path(sys.executable).parent / "cronguard"), *words]


def environment() -> dict[str, str]:
    """Return what that command needs in its environment."""
    bug = os.environ.get(VARIABLE)
    return {VARIABLE: bug, "PYTHONPATH": str(Path(__file__).parents[2])} if bug else {}
