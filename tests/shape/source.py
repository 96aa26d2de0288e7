"""What the shape tests look at: the project's files, as they are in the checkout."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cronguard"


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield (dotted name, syntax tree) of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def imports(tree: ast.Module) -> set[str]:
    """Return every module that *tree* imports, at its top or within functions.

    What stands under `if TYPE_CHECKING` is for the type checker alone, and does not count.
    """
    found: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        todo += ast.iter_child_nodes(node)
    return found


def tracked() -> list[str]:
    """Return the paths of all files that belong to the project: tracked, or new and not ignored.

    Without git (a source archive), all files but those that tools make.
    """
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(git, capture_output=True, text=True)
    except FileNotFoundError:
        listed = None
    if listed is not None and listed.returncode == 0:
        return sorted(path for path in listed.stdout.splitlines() if (ROOT / path).exists())
    made = [".git", ".venv", "build", "dist", "__pycache__", ".pytest", ".mypy", ".ruff", ".hypo"]
    made += ["cronguard_supervisor.egg-info"]
    return sorted(
        str(Path(folder, name).relative_to(ROOT))
        for folder, folders, names in os.walk(ROOT)
        for name in names
        if not any(part.startswith(tuple(made)) for part in Path(folder).relative_to(ROOT).parts)
    )


def read(path: str) -> str:
    """Return the text of a file of the project."""
    return (ROOT / path).read_text()
