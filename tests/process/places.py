"""Places of a special kind to run in: an ordinary user's folder, a control group, a small disk."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.lab import ROOT, Lab, until

GROUPS = Path("/sys/fs/cgroup")
needs_root = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can set this up"),
]


def root(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that only root can set up."""
    for mark in needs_root:
        test = mark(test)
    return test


@contextmanager
def user_lab(user: int) -> Iterator[Lab]:
    """A lab on the embedded store where everything is done by the ordinary user *user*."""
    interpreter = interpreter_for(user)
    if interpreter is None:
        pytest.skip(f"uid {user} can execute no Python here, or not read this folder")
    folder = Path(tempfile.mkdtemp(prefix="cgu", dir="/tmp"))
    lab = Lab(folder, f"sqlite://{folder}/state/cronguard.db", user=user)
    lab.interpreter = interpreter
    lab.env["PYTHONDONTWRITEBYTECODE"] = "1"
    lab.env["TMPDIR"] = str(folder)
    try:
        yield lab
        left = lab.clear()
        assert not left, f"processes left behind: {left}"
    finally:
        lab.clear()
        shutil.rmtree(folder)


@functools.cache
def interpreter_for(user: int) -> str | None:
    """Return a Python that *user* can execute, with cronguard readable for it."""
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            done = subprocess.run(
                [
                    path,
                    "-B",
                    "-c",
                    "import sys, cronguard.runtime.main; assert sys.version_info >= (3, 11)",
                ],
                env={"PYTHONPATH": str(ROOT)},
                user=user,
                group=user,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                timeout=30,
                check=False,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return path
    return None


class ControlGroup:
    """One control group; `join` in a preexec_fn puts a process and all below it there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def join(self) -> None:
        """Move the calling process in."""
        (self.folder / "cgroup.procs").write_text("0")

    def set(self, name: str, value: object) -> None:
        """Write one of the group's files."""
        (self.folder / name).write_text(str(value))

    def get(self, name: str) -> str:
        """Read one of the group's files."""
        return (self.folder / name).read_text()

    def processes(self) -> list[int]:
        """Return who is in it."""
        return [int(word) for word in self.get("cgroup.procs").split()]


@contextmanager
def control_group(controller: str) -> Iterator[ControlGroup]:
    """A new group of the version 1 *controller*, or of version 2 (`unified`); skips without one."""
    if controller == "unified":
        places = [GROUPS / "unified", GROUPS]
        base = next((place for place in places if (place / "cgroup.controllers").exists()), None)
    else:
        base = GROUPS / controller
    if base is None or not (base / "cgroup.procs").exists() or not os.access(base, os.W_OK):
        pytest.skip(f"there is no writable control group hierarchy `{controller}` here")
    folder = base / f"cgt-{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    group = ControlGroup(folder)
    try:
        yield group
    finally:
        until("the control group to be empty", lambda: _removed(folder))


def _removed(folder: Path) -> bool:
    """Remove a control group, which works once the last process in it was reaped."""
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


@contextmanager
def small_disk(folder: Path, size: str = "64k", *options: str) -> Iterator[Path]:
    """A file system of its own at *folder*, of that size."""
    folder.mkdir(mode=0o700, exist_ok=True)
    words = ",".join([f"size={size}", "mode=700", *options])
    subprocess.run(["mount", "-t", "tmpfs", "-o", words, "cgt", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no block free on the file system of *folder*."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (1 << 16, 4096, 512):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass
