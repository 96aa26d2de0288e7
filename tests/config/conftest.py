"""A world of one's own for configuration: home, state folder and environment in tmp_path."""

from __future__ import annotations

from pathlib import Path

import pytest

from cronguard.config import paths


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return an environment whose home and state folder are this test's own."""
    monkeypatch.setattr(paths, "SYSTEM_CONFIG", str(tmp_path / "etc.toml"))
    return {"HOME": str(tmp_path / "home"), "CRONGUARD_STATE_DIR": str(tmp_path / "state")}
