"""Starts a process of our own beside the run: one that tells, redacts, or searches.

Each does what could block, load much, or never end, and can be killed for it. It is an interpreter
of its own, isolated from what its environment and its folder say, with our import path: a fork of
the keeper would hold what the guardian watches the keeper's death by. Its stderr is nowhere.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
else:
    import _signal as signal

_PASSED_ON = ("LD_LIBRARY_PATH", "PATH")


def start(
    function: str,
    words: list[str],
    *,
    stdin: int,
    stdout: int,
    environ: Mapping[str, str] | None = None,
    leads_group: bool = False,
) -> int:
    """Start a process that calls *function* (`package.module:name`); return its pid.

    *words* are its arguments, *environ* its environment, by default next to nothing; then it needs
    no site-packages of its own either. Raises: OSError, ValueError.
    """
    module, _, name = function.partition(":")
    code = (
        "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); "
        f"from {module} import {name}; {name}()"
    )
    path = "\n".join([entry for entry in sys.path if entry and "\n" not in entry])
    bare = [] if environ is not None else ["-S"]
    if environ is None:
        environ = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    group = {"setpgroup": 0} if leads_group else {}
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", *bare, "-c", code, path, *words],
        environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ],
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGTTOU, signal.SIGINT, signal.SIGTERM],
        **group,  # type: ignore[arg-type]
    )


def end(pid: int) -> None:
    """Kill a process that `start` has started, and leave no zombie.

    If others have reaped it (a keeper that has taken over a guardian's orphans does), its number
    may be a stranger's, who is left alone.
    """
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # is it our child?
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except OSError:  # reaped with others, by who takes care of orphans
        pass


def memory_file(data: bytes) -> int:
    """Return a descriptor to read *data* from, which no name leads to. Raises: OSError."""
    number = os.memfd_create("cronguard")
    try:
        while data:
            data = data[os.write(number, data) :]
        os.lseek(number, 0, os.SEEK_SET)
    except OSError:
        os.close(number)
        raise
    return number
