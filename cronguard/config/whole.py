"""A file that is replaced whole, or not at all: who reads it meanwhile has the old one."""

from __future__ import annotations

import os
import tempfile

EVERYBODY = 0o644


def replace(path: str, raw: bytes, *, is_new: bool = False) -> None:
    """Put *raw* in the place of the file, for everybody to read whatever the umask.

    The unfinished file is beside it, and its name begins with a dot. With *is_new* nothing is
    replaced. Raises: OSError; FileExistsError with *is_new*, if something is there.
    """
    folder, name = os.path.split(path)
    number, new = tempfile.mkstemp(prefix=unfinished(name), dir=folder or ".")
    try:
        with open(number, "wb") as file:
            file.write(raw)
            file.flush()
            os.fchmod(number, EVERYBODY)
            os.fsync(number)
        if not is_new or not _link(new, path):
            os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise


def unfinished(name: str) -> str:
    """Return what the names of unfinished files begin with."""
    return f".{name[:200]}."


def _link(new: str, path: str) -> bool:
    """Give *new* its name if nobody has it; tell whether this file system can do that at all."""
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:
        return False
    os.unlink(new)
    return True
