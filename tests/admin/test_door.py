from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cronguard
from cronguard.admin.cli import explain_run

HOME = Path(cronguard.__file__).parent.parent
EVIL = "import os, sys; os.write(2, b'EVIL ' + __name__.encode()); raise SystemExit(99)\n"
NAMES = ("redis", "signal", "click", "json", "tomllib", "hiredis", "rich", "_json", "zlib", "shlex")


def door(argv: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the door as a user would, in that folder."""
    base = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "CRONGUARD_STATE_DIR": str(cwd / "state")}
    return subprocess.run(
        [sys.executable, *argv],
        cwd=cwd,
        env={**base, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def evil_folder(folder: Path) -> Path:
    """Return a folder full of modules that must never be imported."""
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(EVIL)
    return folder


@pytest.mark.parametrize(
    "command", [["version"], ["config", "show"], ["run", "--dry-run", "--", "x"]]
)
def test_modules_in_the_way_are_not_imported(tmp_path: Path, command: list[str]) -> None:
    """S8: not from the current folder, not from PYTHONPATH, not from the script's own folder."""
    evil = evil_folder(tmp_path / "evil")
    (evil / "c.toml").write_text("[defaults]\n")
    (evil / "c.toml").chmod(0o600)
    script = evil / "cronguard-script"
    script.write_text("import sys\nfrom cronguard.__main__ import main\nsys.exit(main())\n")
    path = f"{HOME}{os.pathsep}{evil}{os.pathsep}"
    for argv in (["-P", "-m", "cronguard"], [str(script)], ["-P", str(script)]):
        done = door([*argv, *command], evil, PYTHONPATH=path, CRONGUARD_CONFIG=str(evil / "c.toml"))
        assert "EVIL" not in done.stderr, (argv, done.stderr)
        assert done.returncode == 0, done.stderr


def test_the_door_works_from_a_checkout(tmp_path: Path) -> None:
    """PYTHONPATH=/checkout python -m cronguard: our own place stays importable, as the last."""
    done = door(["-m", "cronguard", "version"], tmp_path, PYTHONPATH=str(HOME))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"cronguard {cronguard.__version__} ")


def test_the_library_itself_on_pythonpath_does_no_harm(tmp_path: Path) -> None:
    """S8: what PYTHONPATH shadowed of the installation stays importable."""
    library = os.path.dirname(os.__file__)
    for extra in (library, f"{library}/lib-dynload", f"{library}/site-packages", "", "."):
        path = os.pathsep.join([str(HOME), extra])
        done = door(["-m", "cronguard", "status"], Path(library), PYTHONPATH=path,
                    CRONGUARD_STATE_DIR=str(tmp_path / "state"))  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), extra


USAGE = [
    (["-n", "x", "true"], "`--` is missing before the command: write `cronguard run -n x -- true`"),
    (["--store", "redis://u:canary@h", "true"], "redis://u:***@h"),
    (["--nmae", "x", "--", "true"], "no option --nmae; did you mean --name or --nice or --once?"),
    (["--wat", "--", "true"], "--wait"),
    (["-z", "--", "true"], "there is no option -z"),
    (["-n"], "-n needs a value"),
    (["--wait", "--", "true"], "--wait has no value before `--`"),
    (["--quiet=1", "--", "true"], "--quiet"),
    (["--"], "no command: nothing follows `--`"),
]


@pytest.mark.parametrize(("argv", "said"), USAGE)
def test_wrong_usage_of_run_is_125_with_one_message(
    capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    """C4: what, why and what to do on one line; status 125; no password."""
    assert explain_run(argv) == 125
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("cronguard: ")
    assert told.err.count("\n") == 1
    assert said in told.err
    assert "canary" not in told.err


def test_help_of_run_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """--help is on stdout, with status 0, and complete."""
    from cronguard.config.options import OPTIONS

    for flag in ("-h", "--help"):
        assert explain_run([flag]) == 0
        told = capsys.readouterr()
        assert told.err == ""
        assert all(option.flags[-1] in told.out for option in OPTIONS if option.flags)


HOT = (
    "import sys; from cronguard.config.resolve import from_argv; "
    "from_argv(sys.argv[1:], {'HOME': '/x'}); "
)
FORBIDDEN = (
    "redis click sentry_sdk psutil logging asyncio dataclasses typing subprocess argparse enum re "
    "json socket selectors signal pathlib contextlib functools collections urllib tomllib hashlib"
)


def test_resolving_a_run_of_flags_loads_nothing_heavy(tmp_path: Path) -> None:
    """No drag: a flags-only `run` is resolved without any of the slow modules."""
    code = f"{HOT}print([m for m in '{FORBIDDEN}'.split() if m in sys.modules])"
    done = door(["-S", "-c", code, "-t", "5m", "--", "true"], tmp_path, PYTHONPATH=str(HOME))
    assert (done.stdout, done.stderr) == ("[]\n", "")
