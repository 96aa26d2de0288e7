"""The hot side loads SQLite's C core and little else; what it hides meanwhile works as ever."""

from __future__ import annotations

import subprocess
import sys

BANNED = """
    argparse asyncio click collections contextlib dataclasses enum functools json logging pathlib
    psutil re redis selectors sentry_sdk signal socket sqlite3 subprocess typing urllib
""".split()  # noqa: SIM905 - one name a line would fill a screen
LEASE = "import sys\nfrom cronguard.stores.sqlite import lease\n"


def in_a_fresh_interpreter(script: str) -> str:
    """Return what the script prints."""
    command = [sys.executable, "-S", "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_the_lease_side_loads_nothing_slow() -> None:
    """Every ms before the child counts."""
    script = LEASE + f"print(sorted(set(sys.modules) & set({BANNED!r})))"
    assert in_a_fresh_interpreter(script) == "[]"


def test_functools_is_itself_after_loading() -> None:
    """What was shown to SQLite in its place is gone, before and after."""
    uses = (
        "import functools, sqlite3\n"
        "assert functools.partial(int, '7')() == 7\n"
        "assert functools.lru_cache(8)(len).cache_info().maxsize == 8\n"
        "db = sqlite3.connect(':memory:')\n"
        "print([db.execute('SELECT ?', (x,)).fetchone()[0] for x in range(300)][-1])\n"
        "db.close()\n"
    )
    assert in_a_fresh_interpreter(LEASE + uses) == "299"
    assert in_a_fresh_interpreter("import functools\n" + LEASE + uses) == "299"
