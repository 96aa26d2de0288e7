"""Arrows between the packages point down only."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.shape import source

BELOW = {
    "core": set[str](),
    "config": {"core"},
    "stores": {"core"},
    "runtime": {"config", "stores", "core"},
    "reporters": {"config", "core"},
    "web": {"stores", "config", "core"},
    "admin": {"web", "reporters", "stores", "config", "core"},
    "library": {"runtime", "config", "stores", "core"},
    "__main__": {"runtime", "admin", "reporters"},
    "__init__": {"library"},
}
EXCEPTIONS = {
    # Help, usage errors and --dry-run of `run` are click's and rich's: loaded only then.
    ("cronguard.runtime.main", "cronguard.admin.cli"),
    ("cronguard.runtime.main", "cronguard.admin.dry_run"),
}
SHARED_FACTS = ("proof", "identity", "limit_group", "selftest", "outbox", "child")
"""What of the runtime the cold side may ask: who lives here, what this host can do, how to exec."""
MAY_KILL = {"reporters/programs.py"}
"""It starts what a report is told to: in a process of its own, when the run is over."""
ACTING = {"_posixsubprocess", "subprocess", "_signal", "signal", "select", "selectors", "time"}
FREE_OF_THE_WORLD = ACTING | {"os", "sys", "socket", "_socket", "io", "random", "secrets", "pwd"}


def layer(module: str) -> str:
    """Return the package right below `cronguard` that *module* is in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def is_module(name: str) -> bool:
    """Tell whether *name* is a module of the package, not a name within one."""
    path = source.ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def test_imports_go_down_only() -> None:
    """A package imports what is below it, and nothing above or beside; the exceptions are named."""
    wrong = []
    unused = set(EXCEPTIONS)
    for name, tree in source.modules():
        for imported in source.imports(tree):
            if imported.partition(".")[0] != "cronguard" or not imported.partition(".")[2]:
                continue
            target = imported if is_module(imported) else imported.rpartition(".")[0]
            here, there = layer(name), layer(target)
            if here == there or there in BELOW[here] or there == "__init__":
                continue
            if here == "admin" and target.removeprefix("cronguard.runtime.") in SHARED_FACTS:
                continue
            if (name, target) in EXCEPTIONS:
                unused.discard((name, target))
                continue
            wrong.append(f"{name} imports {target}")
    assert not wrong
    assert not unused, "an exception that nobody needs any more"


def test_every_package_has_its_layer() -> None:
    """A package that is new is put into the order first."""
    assert {layer(name) for name, _ in source.modules()} <= set(BELOW)


def test_core_knows_no_clock_process_or_file() -> None:
    """The core decides and nothing else: what happened and what time it is are handed in."""
    for name, tree in source.modules():
        if layer(name) == "core":
            used = {imported.split(".")[0] for imported in source.imports(tree)}
            assert not used & FREE_OF_THE_WORLD, name
            calls = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
            assert not calls & {"open", "print", "input", "exec", "eval"}, name


@pytest.mark.parametrize("call", ["os.fork(", "os.kill(", "os.killpg(", "pidfd_send_signal("])
def test_only_the_runtime_forks_and_kills(call: str) -> None:
    """Whoever else wants a process started or ended asks it."""
    for path in source.PACKAGE.rglob("*.py"):
        is_allowed = path.relative_to(source.PACKAGE).as_posix() in MAY_KILL
        if call in path.read_text() and path.parent.name != "runtime" and not is_allowed:
            pytest.fail(f"{path.relative_to(source.ROOT)} calls {call})")


def test_only_what_is_declared_is_imported() -> None:
    """Each third-party import is a dependency in pyproject.toml, and each dependency has a use."""
    import tomllib

    data = tomllib.loads(source.read("pyproject.toml"))["project"]
    optional = [one for extra in data.get("optional-dependencies", {}).values() for one in extra]
    declared = {_name(text) for text in data["dependencies"]}
    ours = {"cronguard", "__future__"}
    used = {
        _package(name.split(".")[0])
        for _, tree in source.modules()
        for name in source.imports(tree)
    }
    foreign = used - ours - set(sys.stdlib_module_names)
    assert foreign <= declared | {_name(text) for text in optional} | C_CORES


C_CORES = {"_socket", "_signal", "_sqlite3", "_json", "_blake2", "_ssl", "_ctypes", "_struct"}


PACKAGES = {"opentelemetry": "opentelemetry_proto", "google": "protobuf"}
"""Whose modules have another name."""


def _package(module: str) -> str:
    return PACKAGES.get(module, module)


def _name(requirement: str) -> str:
    for index, char in enumerate(requirement):
        if char in "<>=[ ;":
            return requirement[:index].replace("-", "_")
    return requirement.replace("-", "_")
