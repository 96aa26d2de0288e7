"""What the end-to-end tests share: a place in which `cronguard` is a command."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.lab import Lab
from tests.shape import source

TOOL = """#!/bin/sh
echo "$(basename "$0")" "$@"
"""
TOOLS = (
    *("opt/app/invoices", "opt/app/report", "opt/backup/backup.sh"),
    *("bin/fetch-rates", "bin/load-rates"),
)
"""What the README's examples run."""


class Place(Lab):
    """A lab whose PATH has `cronguard` and the commands of the README's examples."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, f"sqlite://{folder}/state/cronguard.db")
        del self.env["CRONGUARD_STORE"]
        for name in TOOLS:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self.script(name, TOOL if name != "bin/load-rates" else "#!/bin/sh\nexec cat\n")
        self.cronguard = self.script(
            "bin/cronguard",
            f'#!/bin/sh\nPYTHONPATH="{source.ROOT}" exec "{sys.executable}" -m cronguard "$@"\n',
        )
        self.shell = self.script(
            "bin/cronguard-sh",
            f'#!/bin/sh\nPYTHONPATH="{source.ROOT}" exec "{sys.executable}" '
            f'"{source.ROOT}/packaging/bin/cronguard-sh" "$@"\n',
        )
        self.env["PATH"] = f"{folder}/bin:{os.environ['PATH']}"
        del self.env["PYTHONPATH"]

    def argv(self, *args: str) -> list[str]:
        """Return the command line of `cronguard` with *args*: the command, as users have it."""
        return [self.cronguard, *args]

    def local(self, text: str) -> str:
        """Return *text* of the README with this place's paths in it."""
        return text.replace("/opt/", f"{self.folder}/opt/")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place, left as empty of processes as it was."""
    found = Place(tmp_path)
    yield found
    assert not found.clear()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project as a fresh clone has it."""
    folder = tmp_path / "copy"
    for path in source.tracked():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source.ROOT / path, target)
    return folder
