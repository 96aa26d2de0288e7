"""The hot path loads nothing heavy: looked at in a real run, on each kind of store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from tests import servers
from tests.shape import source

HEAVY = """
    redis click sentry_sdk psutil logging asyncio dataclasses typing subprocess argparse enum re
    json socket selectors signal pathlib contextlib functools collections urllib tomllib hashlib
    rich tomli_w cronsim shlex tempfile shutil inspect threading sqlite3 datetime random
    importlib.metadata pkg_resources
"""
# All modules at the very end of the run, after the last thing that it does. Written from an exit of
# the interpreter's own: `os._exit` is what the door ends with, and the one thing replaced.
DUMP = """
import os, sys
end = os._exit
def dump(status):
    if os.getpid() == keeper:
        with open(os.environ["SEEN"], "w") as file:
            file.write(" ".join(sys.modules))
    end(status)
keeper = os.getpid()
os._exit = dump
sys.argv[0] = "cronguard"
sys.path.append(os.environ["SITE"])  # where hiredis is; without all that `site` loads
from cronguard.__main__ import main, shell
shell() if sys.argv[1] == "-c" else main()
"""


def loaded_by_run(folder: Path, store: str, *args: str) -> set[str]:
    """Return the modules that the keeper had loaded at the end of a run, and not before it."""
    return loaded_by(folder, store, "run", *args, "--", "sh", "-c", "sleep 0.4")


def loaded_by(folder: Path, store: str, *args: str) -> set[str]:
    """Return the modules that a run by these arguments loads; `-c TEXT` is for cronguard-sh."""
    seen = folder / "modules"
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(source.ROOT)}
    env |= {"CRONGUARD_STATE_DIR": str(folder / "state"), "CRONGUARD_STORE": store}
    argv = [sys.executable, "-S", "-c", DUMP, *args]
    env["SEEN"] = str(seen)
    env["SITE"] = str(Path(hiredis.__file__).parents[1])
    done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    empty = [sys.executable, "-S", "-c", "import sys; print(*sys.modules)"]
    before = subprocess.run(empty, capture_output=True, text=True, check=True).stdout.split()
    return set(seen.read_text().split()) - set(before)


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store of each kind."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/state/cronguard.db"
        return
    server = servers.start_server(tmp_path, "redis" if servers.binary("redis") else "valkey")
    yield server.tcp_url
    server.stop()


def test_a_run_of_flags_loads_nothing_heavy(tmp_path: Path, store: str) -> None:
    """No drag: what costs milliseconds at the start is not loaded, from first to last."""
    loaded = loaded_by_run(tmp_path, store, "-n", "job", "--timeout", "1m")
    assert "cronguard.runtime.keeper" in loaded
    assert not loaded & set(HEAVY.split())
    assert not {name for name in loaded if name.startswith("cronguard.runtime.limit")}


def test_a_timeout_that_is_found_out_is_read_elsewhere(tmp_path: Path, store: str) -> None:
    """No drag: neither who asks for it keeps what reading takes, nor does anybody else load it."""
    loaded = loaded_by_run(tmp_path, store, "-q", "-n", "job", "--timeout", "auto")
    assert "cronguard.runtime.auto_timeout" in loaded
    assert not loaded & {*HEAVY.split(), "cronguard.stores.sqlite.history"}
    loaded = loaded_by_run(tmp_path, store, "-n", "job", "--retries", "2")
    assert not loaded & {"cronguard.runtime.auto_timeout", "cronguard.core.durations"}


def test_slots_of_a_period_load_nothing_heavy(tmp_path: Path, store: str) -> None:
    """No drag: only a schedule needs cronsim, and what that needs."""
    options = ("--once", "4d", "--slots", "2", "--min-hold", "1s", "--jitter", "5ms")
    loaded = loaded_by_run(tmp_path, store, "-n", "job", *options)
    assert "cronguard.config.rules" in loaded
    assert not loaded & {*HEAVY.split(), "cronguard.config.schedule", "zoneinfo"}


def test_a_line_of_cronguard_sh_loads_nothing_heavy(tmp_path: Path, store: str) -> None:
    """It is the same run: no drag there, either."""
    loaded = loaded_by(tmp_path, store, "-c", "sleep 0.4 # cronguard: name=job timeout=1m")
    assert {"cronguard.runtime.keeper", "cronguard.config.comment"} <= loaded
    assert not loaded & set(HEAVY.split())
    assert not {name for name in loaded if name.startswith("cronguard.admin")}


def test_a_run_loads_only_the_store_it_uses(tmp_path: Path) -> None:
    """The embedded store needs nothing of Redis."""
    loaded = loaded_by_run(tmp_path, f"sqlite://{tmp_path}/state/c.db", "-n", "job")
    assert not {name for name in loaded if "redis" in name}


def test_the_library_is_loaded_when_it_is_asked_for(tmp_path: Path) -> None:
    """`import cronguard` costs nothing, and a run never loads it; other names are refused."""
    assert not {name for name in loaded_by_run(tmp_path, "", "-n", "job") if ".library" in name}
    script = (
        "import sys, cronguard; before = set(sys.modules)\n"
        "assert not {n for n in before if n.startswith('cronguard.')}, before\n"
        "assert not hasattr(cronguard, 'gard')\n"
        "assert callable(cronguard.guard) and cronguard.guard is cronguard.guard\n"
        "assert not {n for n in sys.modules if n.startswith(('cronguard.admin', 'click', 'redis'))}"
    )
    subprocess.run([sys.executable, "-c", script], cwd=source.ROOT, check=True)


def test_the_cold_side_is_not_loaded(tmp_path: Path, store: str) -> None:
    """The commands that read and steer, and the messages nobody needs, stay on the disk."""
    loaded = loaded_by_run(tmp_path, store, "-n", "job")
    cold = {name for name in loaded if name.startswith("cronguard.admin")}
    assert not cold | (loaded & {"cronguard.core.messages", "cronguard.config.files"})
