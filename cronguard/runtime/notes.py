"""Small files of the state folder that spare work, and whose loss costs no more than that."""

from __future__ import annotations

import os

from cronguard.runtime.proof import make_private


def path_of(state: str, folder: str, namespace: str, job: str) -> str:
    """Return the file of a job; `@` is in no name of a job or namespace."""
    return os.path.join(state, folder, f"{namespace}@{job}")


def keep(path: str, text: str) -> None:
    """Replace the file as a whole. Raises: OSError."""
    make_private(os.path.dirname(path))
    unfinished = f"{path}.{os.getpid()}"
    try:
        with open(unfinished, "w", encoding="ascii") as file:
            file.write(text)
        os.rename(unfinished, path)
    except OSError:
        try:
            os.unlink(unfinished)
        except OSError:
            pass  # it was never there, or stays: it is small
        raise
