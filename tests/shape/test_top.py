"""The top of the project, and its packaging, hold what they should and nothing else."""

from __future__ import annotations

import os
import stat
import tomllib
from fnmatch import fnmatch

from tests.shape import source

TOP = """
    cronguard tests packaging systemd examples pyproject.toml README.md CHANGELOG.md CONTRIBUTING.md
    LICENSE Makefile .ci .gitignore
"""


def test_nothing_else_stands_at_the_top() -> None:
    """Everything has its folder."""
    assert {path.split("/")[0] for path in source.tracked()} == set(TOP.split())


def test_every_file_of_the_package_is_packaged() -> None:
    """What is not Python below cronguard/ is named in pyproject.toml, or users would miss it."""
    data = tomllib.loads(source.read("pyproject.toml"))["tool"]["setuptools"]["package-data"]
    patterns = [
        f"{package.replace('.', '/')}/{pattern}"
        for package, wanted in data.items()
        for pattern in wanted
    ]
    for path in source.tracked():
        if path.startswith("cronguard/") and not path.endswith(".py"):
            assert any(fnmatch(path, pattern) for pattern in patterns), path


def test_every_package_has_an_init() -> None:
    """Setuptools would leave a folder without one out of the wheel."""
    for path in source.PACKAGE.rglob("*.py"):
        assert (path.parent / "__init__.py").exists(), path


def test_what_is_started_can_be_started() -> None:
    """Scripts are executable and begin with `#!`; nothing else is."""
    for path in source.tracked():
        full = source.ROOT / path
        is_executable = bool(full.stat().st_mode & stat.S_IXUSR)
        has_shebang = full.read_bytes()[:2] == b"#!"
        if path.startswith("packaging/bin/"):  # installers make it so
            continue
        assert is_executable == has_shebang, path
        assert not os.path.islink(full), path


def test_most_files_are_short() -> None:
    """One concept a file: none of the package is over 600 lines, nearly all are under 300."""
    lengths = {path: len(path.read_text().splitlines()) for path in source.PACKAGE.rglob("*.py")}
    assert max(lengths.values()) <= 600
    assert sum(length > 300 for length in lengths.values()) <= len(lengths) // 10
