"""An empty store for each test of a command."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .seeds import Seeds


@pytest.fixture
def seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Seeds]:
    """Give an empty store, which the environment names, at home in tmp_path."""
    for name in [name for name in os.environ if name.startswith(("CRONGUARD_", "REDIS_", "XDG_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CRONGUARD_STATE_DIR", f"{tmp_path}/state")
    made = Seeds(tmp_path, capsys)
    monkeypatch.setenv("CRONGUARD_STORE", made.url)
    yield made
    made.close()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Put a terminal in the place of stdin; what is written to the descriptor is typed there."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield master
    os.close(master)
