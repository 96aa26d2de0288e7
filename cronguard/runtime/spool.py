"""Reports on their way: written here before anybody is told, so that a cut-off loses none.

A folder for each job in the spool of the state folder, a file for each report (core/report.py),
0600, written whole or not at all. The process that tells (reporters/) takes away what is told.
"""

from __future__ import annotations

import os

from cronguard.core import report
from cronguard.runtime.proof import make_private

_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 3


def put(state: str, job: str, name: str, text: str) -> str:
    """Keep a report, and return its path. Raises: OSError."""
    spool = os.path.join(state, report.FOLDER)
    make_private(spool)
    folder = os.path.join(spool, job)
    path = os.path.join(folder, name)
    unfinished = f"{path}.{os.getpid()}"
    number = _open(folder, unfinished)
    try:
        try:
            data = text.encode("ascii")
            while data:
                data = data[os.write(number, data) :]
        finally:
            os.close(number)
        os.rename(unfinished, path)
    except OSError:
        os.unlink(unfinished)
        raise
    return path


def _open(folder: str, path: str) -> int:
    """Open a new file in a folder that goes whenever it is empty. Raises: OSError."""
    for _ in range(_TRIES):
        os.makedirs(folder, 0o700, exist_ok=True)
        try:
            return os.open(path, _FLAGS, 0o600)
        except FileNotFoundError:
            continue
    return os.open(path, _FLAGS, 0o600)
