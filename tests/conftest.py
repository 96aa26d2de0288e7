"""What all tests share: nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

PATIENCE_S = 10.0
SHARED_MEMORY = Path("/dev/shm")
MUST_RUN_IN_CI = ("root", "debian")
settings.register_profile("busy", deadline=None)  # no test judges by a duration
settings.load_profile("busy")


def pytest_configure() -> None:
    """Undo what `nohup`, or a shell that starts us in the background, does to signals.

    What is ignored here would be ignored in every process that a test starts, and stay so.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits for minutes, or all others would wait for it in the end."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CRONGUARD_CI set, a test that needs root or a Debian package must not be skipped."""
    report = yield
    must_run = any(item.get_closest_marker(name) for name in MUST_RUN_IN_CI)
    in_ci = bool(os.environ.get("CRONGUARD_CI"))
    if in_ci and must_run and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though it must run here: {report.longrepr}"
    return report


@pytest.fixture(autouse=True, scope="session")
def _leftovers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test leaves a process, or a file in the folder for temporary files.

    That folder is this session's own, so that sessions beside this one are not blamed on it.
    """
    tmp_path_factory.getbasetemp()  # stays where it would be
    usual, shared = os.environ.get("TMPDIR"), _shared()
    own = tempfile.mkdtemp(prefix="cgt")
    os.environ["TMPDIR"] = own
    tempfile.tempdir = None
    yield
    tempfile.tempdir = None
    if usual is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = usual
    left = _left(own, shared)
    shutil.rmtree(own)
    assert not left, f"the tests left behind: {left}"


def _left(own: str, shared: set[str]) -> list[str]:
    """Return what is still there after some patience: a killed process takes its time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        left = [repr(child) for child in psutil.Process().children(recursive=True)]
        left += [str(path) for path in Path(own).iterdir()]
        left += sorted(_shared() - shared)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def _shared() -> set[str]:
    return {str(path) for path in SHARED_MEMORY.glob("*cronguard*")}
