"""Which process answered as which store server when this host last used it.

One small file a server in the state folder. A server that restarted without its data is told from
a new one by it; without a state folder there is no telling.
"""

from __future__ import annotations

import os

from cronguard.runtime.proof import make_private

SERVERS = "servers"
_LONGEST = 64
_HASH_BYTES = 8


class MetServers:
    """A `Met` (see stores/contract.py) in the state folder. Its troubles are nobody's."""

    __slots__ = ("_folder",)

    def __init__(self, state: str) -> None:
        self._folder = os.path.join(state, SERVERS)

    def known(self, server: str) -> str:
        """Return the run id of the process that last answered as *server*, or nothing."""
        try:
            file = os.open(self._path(server), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            return os.read(file, _LONGEST).decode("ascii", "replace")
        except OSError:
            return ""
        finally:
            os.close(file)

    def learn(self, server: str, run_id: str) -> None:
        """Note which process answers as *server* now."""
        path = self._path(server)
        draft = f"{path}.{os.getpid()}"
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            make_private(self._folder)
            file = os.open(draft, flags, 0o600)
            try:
                os.write(file, run_id[:_LONGEST].encode("ascii", "replace"))
            finally:
                os.close(file)
            os.rename(draft, path)
        except OSError:
            pass  # then the next run meets it for the first time, too

    def _path(self, server: str) -> str:
        from _blake2 import blake2s  # noqa: PLC0415  - the C core: hashlib costs 2 ms

        digest = blake2s(server.encode("utf-8", "replace"), digest_size=_HASH_BYTES)
        return os.path.join(self._folder, digest.hexdigest())
