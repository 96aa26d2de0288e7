"""Fixtures for tests of the real command on real stores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.process import reporting
from tests.process.lab import Lab
from tests.process.networks import Network
from tests.process.reporting import Diary

NOBODY = 65534


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """One server for all tests that do no harm to it."""
    flavour = "redis" if servers.binary("redis") else "valkey"
    server = servers.start_server(tmp_path_factory.mktemp("server"), flavour)
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[servers.Server]:
    """A server that a test may stop, fill, cut off or kill."""
    flavour = "redis" if servers.binary("redis") else "valkey"
    folder = tmp_path / "server"
    folder.mkdir()
    server = servers.start_server(folder, flavour)
    yield server
    server.stop()


def finish(lab: Lab) -> None:
    """End what is left, and fail if cronguard left it."""
    left = lab.clear()
    assert not left, f"processes left behind: {left}"


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.variant), "redis"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A lab on each kind of store; tests with `local` have SQLite as well."""
    if request.param == "sqlite":
        place = Lab(tmp_path, f"sqlite://{tmp_path}/state/cronguard.db")
    else:
        server = request.getfixturevalue("shared_server")
        server.client().flushall()
        place = Lab(tmp_path, server.url)
    yield place
    finish(place)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Lab]:
    """A lab on the embedded store, for what does not depend on the store."""
    place = Lab(tmp_path, f"sqlite://{tmp_path}/state/cronguard.db")
    yield place
    finish(place)


@pytest.fixture
def remote(tmp_path: Path, own_server: servers.Server) -> Iterator[Lab]:
    """A lab on a server of its own, reached by its unix socket."""
    place = Lab(tmp_path, own_server.url)
    yield place
    own_server.resume()
    finish(place)


@pytest.fixture(params=["root", "user"])
def any_user(request: pytest.FixtureRequest) -> int | None:
    """None for whoever runs the tests, and an ordinary user where root can become one."""
    if request.param == "root":
        return None
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return NOBODY


@pytest.fixture
def interpreter(any_user: int | None, roomy: Path) -> str:
    """An interpreter with our dependencies that the user may execute."""
    if any_user is None:
        return sys.executable
    for program in (sys.executable, _shared_interpreter(roomy)):
        if program is not None and _can_use(any_user, program):
            return program
    pytest.skip(f"uid {any_user} may execute no Python that has our dependencies")


@pytest.fixture
def roomy() -> Iterator[Path]:
    """A folder that every user can reach, unlike those of pytest."""
    usual = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp" if os.geteuid() == 0 else usual))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _shared_interpreter(folder: Path) -> str | None:
    """Make an environment of the system's Python, if it has our version, and our packages."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    program = shutil.which(version, path="/usr/local/bin:/usr/bin")
    if program is None:
        return None
    place = folder / "python"
    (place / "bin").mkdir(parents=True)
    (place / "lib" / version).mkdir(parents=True)
    (place / "pyvenv.cfg").write_text(f"home = {Path(program).parent}\n")
    (place / "bin" / "python").symlink_to(program)
    (place / "lib" / version / "site-packages").symlink_to(sysconfig.get_path("purelib"))
    return str(place / "bin" / "python")


def _can_use(user: int, program: str) -> bool:
    """Tell whether *user* can run *program*, and whether it finds what the hot path needs."""
    try:
        tried = subprocess.run(
            [program, "-I", "-c", "import hiredis, _sqlite3, _ctypes"],
            user=user,
            group=user,
            extra_groups=[],
            capture_output=True,
            timeout=30,
        )
    except OSError:
        return False
    return tried.returncode == 0


@pytest.fixture
def network() -> Iterator[Network]:
    """A network, with the tools to disturb it."""
    yield from _network()


@pytest.fixture
def other_network() -> Iterator[Network]:
    """Another one."""
    yield from _network()


def _network() -> Iterator[Network]:
    missing = [name for name in ("ip", "iptables") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    made = Network()
    yield made
    made.close()


@pytest.fixture(scope="session")
def python_with_plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has the plugin."""
    return reporting.interpreter(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def diary(local: Lab, python_with_plugin: str) -> Diary:
    """The plugin, told of everything."""
    found = Diary(local, python_with_plugin)
    found.configure(on=["start", "success", "recovery", "failure", "stop", "skip"])
    return found
