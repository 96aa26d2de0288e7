"""`cronguard-sh`: the shell of a crontab, which guards each line and leaves the rest to /bin/sh.

cron calls `$SHELL -c TEXT`. That form is guarded, whoever uses it, so that a line tried by hand
does what it does under cron. Called in any other way, as `su`, `script` or an editor do for a
person, this is /bin/sh: it is replaced by it. In both cases SHELL names the real shell from then
on, so that what a job starts with $SHELL is not guarded once more, under another name.

Roads not taken: to look whether there is a terminal (a line tried by hand would run unguarded), and
to run a line whose options are wrong without them (nobody would notice that it is not guarded).
"""

from __future__ import annotations

import os

from cronguard.core import exits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from cronguard.config.comment import Line
else:
    import _signal as signal

USUAL = "/bin/sh"
VARIABLE = "CRONGUARD_SHELL"


def main(args: list[str]) -> int:
    """Do what a shell does with *args*; a guarded line's exit status is returned."""
    from cronguard.runtime.main import hold_standard_descriptors, run  # noqa: PLC0415

    hold_standard_descriptors()
    real = os.environ.get(VARIABLE) or USUAL
    if real[0] != "/" or real.rpartition("/")[2] == "cronguard-sh":
        return _refuse(f"{VARIABLE}: it must be the whole path of a shell; write it as {USUAL}")
    if len(args) != 2 or args[0] != "-c" or not args[1].strip():
        _become(real, args)
    from cronguard.config import comment  # noqa: PLC0415
    from cronguard.config.options import ConfigError  # noqa: PLC0415

    try:
        line = comment.read(args[1])
    except ConfigError as error:
        return _refuse(f"not started: {error}")
    if line.is_run:
        _become(real, args)
    return run(_argv(line, real, args[1]), {b"SHELL": os.fsencode(real)})


def _argv(line: Line, real: str, text: str) -> list[str]:
    """Return the arguments of `run` for this line.

    The default name is that of the command alone, so that a change of its options is none of it,
    and the same with any shell. With nothing but a comment, the command is the configuration's.
    """
    if not line.bare:
        return line.options
    is_named = any(word[:7] == "--name=" for word in line.options)
    if is_named or os.environ.get("CRONGUARD_NAME"):
        return [*line.options, "--", real, "-c", text]
    from cronguard.config.resolve import default_name  # noqa: PLC0415

    name = default_name([USUAL, "-c", line.bare])
    return [*line.options, f"--name={name}", "--", real, "-c", text]


def _become(real: str, args: list[str]) -> NoReturn:
    """Be the real shell from now on, with the environment as it was."""
    from cronguard.runtime.child import original_environment  # noqa: PLC0415

    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would keep that
        signal.signal(number, signal.SIG_DFL)
    environment = original_environment() | {b"SHELL": os.fsencode(real)}
    try:
        os.execve(real, [real, *args], environment)
    except OSError as error:
        _say(f"cannot run {real}: {(error.strerror or '').lower()}; check {VARIABLE}")
        is_missing = isinstance(error, FileNotFoundError)
        os._exit(exits.NOT_FOUND if is_missing else exits.NOT_EXECUTABLE)


def _refuse(text: str) -> int:
    _say(text)
    return exits.OWN_FAILURE


def _say(text: str) -> None:
    os.write(2, f"cronguard-sh: {text}\n".encode("utf-8", "replace"))
