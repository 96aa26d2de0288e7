"""Which test proves which row of tests/FAULTS.md: `make faults` writes them into its last column.

A test names its rows at the start of its docstring (`L7: ...`, `L17, P22: ...`) or in its name
(`test_l7_...`). The rows, and what must happen, are written by hand.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.shape.source import ROOT

TABLE = ROOT / "tests" / "FAULTS.md"
ROW = r"[LRPHOCS]\d{1,2}"
_IN_DOCSTRING = re.compile(rf"({ROW}(?:, {ROW})*)(?: \([^)]*\))?: ")
_IN_NAME = re.compile(r"test_((?:[lrphocs]\d{1,2}_)+)")
_LINE = re.compile(rf"\| ({ROW}) \|")
NOT_PROVEN = "## Not proven by a test"


def collected() -> dict[str, list[str]]:
    """Return for each row the tests that name it, as `folder/test_file.py::test_name`."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        place = path.relative_to(ROOT / "tests").as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for row in rows_of(node.name, ast.get_docstring(node) or ""):
                    found.setdefault(row, []).append(f"{place}::{node.name}")
    return found


def rows_of(name: str, docstring: str) -> list[str]:
    """Return the rows that a test names, each once."""
    rows: list[str] = []
    if match := _IN_DOCSTRING.match(docstring):
        rows += match[1].split(", ")
    if match := _IN_NAME.match(name):
        rows += match[1].upper().strip("_").split("_")
    return list(dict.fromkeys(rows))


def claimed(text: str) -> dict[str, list[str]]:
    """Return for each row that the table claims to be proven the tests it lists."""
    rows = {}
    for line in text.partition(NOT_PROVEN)[0].splitlines():
        if match := _LINE.match(line):
            rows[match[1]] = re.findall(r"`([^`]+::[^`]+)`", line.rsplit("|", 2)[1])
    return rows


def not_proven(text: str) -> list[str]:
    """Return the rows that the table admits to have no test."""
    lines = text.partition(NOT_PROVEN)[2].splitlines()
    return [match[1] for line in lines if (match := _LINE.match(line))]


def renewed(text: str) -> str:
    """Return the table with its last column as the tests are now."""
    tests = collected()
    head, mark, tail = text.partition(NOT_PROVEN)
    lines = []
    for line in head.splitlines():
        if match := _LINE.match(line):
            shown = "<br>".join(f"`{test}`" for test in tests.get(match[1], []))
            line = f"{line.rsplit('|', 2)[0]}| {shown} |"  # noqa: PLW2901
        lines.append(line)
    return "\n".join(lines) + "\n" + mark + tail


def write(path: Path = TABLE) -> None:
    """Write the last column anew."""
    path.write_text(renewed(path.read_text()))


if __name__ == "__main__":
    write()
