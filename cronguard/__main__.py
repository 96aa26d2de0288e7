"""The door: `run` goes to the runtime, all else to the commands; each is imported only then.

Before that, what a stranger may have put in our way is taken off the path: the current folder, the
script's own folder and every entry of PYTHONPATH, where a `redis.py` or `signal.py` would be
imported in place of the real one. The entry that holds this very package stays, as the last.
`python -I`, as packages start us, does the same and more; this is for those who do not. What
Python imported before us, such as a `sitecustomize.py`, is beyond us.
"""

import sys


def main() -> int:
    """Do what the command line says, and return the exit status."""
    guard_path()
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"]:
        from cronguard.runtime.main import run  # noqa: PLC0415 - one of the two

        _leave(run(arguments[1:]))
    from cronguard.admin.cli import main as admin  # noqa: PLC0415

    return admin(arguments)


def shell() -> None:
    """Be the shell of a crontab: the command `cronguard-sh`."""
    guard_path()
    from cronguard.runtime.shell import main as be_shell  # noqa: PLC0415

    _leave(be_shell(sys.argv[1:]))


def tell() -> None:
    """Tell the reporters of a run: what `run` starts at its end, if there are any."""
    guard_path()
    from cronguard.reporters.process import main as tell_all  # noqa: PLC0415
    from cronguard.runtime.handed import take  # noqa: PLC0415

    handed = take(sys.argv[1])
    _leave(tell_all(sys.argv[1:], handed.unkept, handed.said, handed.ask))


def _leave(status: int) -> None:
    """End at once: the interpreter need not be taken down (3 ms)."""
    import os  # noqa: PLC0415

    if sys.stdout is not None:
        sys.stdout.flush()  # of --help and --dry-run; a run itself has left nothing there
    os._exit(status)


def guard_path() -> None:
    """Take what stands before the standard library off the import path. Our own place goes last.

    Python always puts its `python311.zip` first of its own entries, existing or not: what comes
    before it is the script's folder, the current one, and PYTHONPATH; what comes after it is the
    installation's. An entry of PYTHONPATH that lies in the library itself has replaced the
    installation's own, and stays.
    """
    own = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    start = next((at for at, entry in enumerate(sys.path) if entry.endswith("/" + own)), 0)
    if not start:
        return
    import os  # noqa: PLC0415 - loaded by `site` already, and frozen: nothing can stand in for it

    library = os.path.dirname(os.__file__)
    kept = [e for e in sys.path[:start] if e == library or e.startswith(library + "/")]
    path = [*sys.path[start:], *kept]
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = path if home in path else [*path, home]


if __name__ == "__main__":
    sys.exit(main())
