"""What this host met before: which process answers as which server, which commands a job had.

One small file for each in the state folder. A server that restarted without its data is told from
a new one by it, and two jobs that share a name from one whose command changed. Without a state
folder there is no telling.
"""

from __future__ import annotations

import os

from cronguard.runtime.proof import make_private

SERVERS = "servers"
COMMANDS = "commands"
_LONGEST = 80
_HASH_BYTES = 8
_TURNS = 8


class MetServers:
    """A `Met` (see stores/contract.py) in the state folder. Its troubles are nobody's."""

    __slots__ = ("_folder",)

    def __init__(self, state: str) -> None:
        self._folder = os.path.join(state, SERVERS)

    def known(self, server: str) -> str:
        """Return the run id of the process that last answered as *server*, or nothing."""
        return _recall(_path(self._folder, server))

    def learn(self, server: str, run_id: str) -> None:
        """Note which process answers as *server* now."""
        _note(_path(self._folder, server), run_id)


def takes_turns(state: str, job: str, command: str) -> bool:
    """Note that *command* (its hash) ran as *job* here; tell whether it takes turns with others.

    It does when it comes back after another that had come back as well. So a command that changed
    does not, nor one that was run by hand in between, nor one that is new each time.
    """
    path = _path(os.path.join(state, COMMANDS), job)
    before = _recall(path).split()
    if before[:1] == [command]:
        return False
    _note(path, " ".join([command, *before[: _TURNS - 1]]))
    return command in before and before[0] in before[1:]


def _recall(path: str) -> str:
    """Return what was noted there, or nothing."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(file, _LONGEST).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(file)


def _note(path: str, text: str) -> None:
    draft = f"{path}.{os.getpid()}"
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        make_private(os.path.dirname(path))
        file = os.open(draft, flags, 0o600)
        try:
            os.write(file, text[:_LONGEST].encode("ascii", "replace"))
        finally:
            os.close(file)
        os.rename(draft, path)
    except OSError:
        pass  # then the next run meets it for the first time, too


def _path(folder: str, name: str) -> str:
    from _blake2 import blake2s  # noqa: PLC0415  - the C core: hashlib costs 2 ms

    digest = blake2s(name.encode("utf-8", "replace"), digest_size=_HASH_BYTES)
    return os.path.join(folder, digest.hexdigest())
