"""Secrets from files: read once, into no environment and no argv. Loaded only when one is named.

A file that everybody can read is refused, with two exceptions: what lies in
$CREDENTIALS_DIRECTORY, which systemd guards as a folder, and below /run/secrets, where container
engines put secrets with mode 0444. A group may read (0640), as services often need that.
"""

from __future__ import annotations

import os
import stat

from cronguard.config.options import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MOUNTED = "/run/secrets"
_LARGEST_BYTES = 64 << 10


def read_secret(path: str, source: str, environ: Mapping[str, str]) -> str:
    """Return the text of the file *path*, less one newline at its end. Raises: ConfigError."""
    if "://" in path:  # not shown: it may have the password in it
        raise ConfigError(
            f"{source}: this is a URL, and the name of a file is wanted; write the URL into a file "
            "of mode 0600, and name that"
        )
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    folder = folder if folder[:1] == "/" else ""  # systemd's is absolute; this may be anything
    if path[:1] != "/":
        if not folder:
            raise ConfigError(
                f"{source}: {path!a} is relative, and looked up in $CREDENTIALS_DIRECTORY, "
                "which is not set to a folder; write an absolute path, or use LoadCredential= in "
                "the unit"
            )
        path = f"{folder}/{path}"
    try:
        raw = _read(path, source, guarded=_is_guarded(path, folder))
    except OSError as error:
        raise ConfigError(
            f"{source}: cannot read {path!a}: {error.strerror}; check that it exists and that "
            "this user may read it"
        ) from None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{source}: {path!a} is not text in UTF-8; rewrite it") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or not text.isprintable():
        raise ConfigError(f"{source}: {path!a} does not hold one line of text; rewrite it")
    return text


def _is_guarded(path: str, folder: str) -> bool:
    """Tell whether the folder, not the file's mode, keeps others away."""
    real = os.path.realpath(path)
    roots = [os.path.realpath(root) for root in (_MOUNTED, folder) if root]
    return any(real.startswith(root + "/") for root in roots)


def _read(path: str, source: str, *, guarded: bool) -> bytes:
    with open(path, "rb") as file:
        facts = os.fstat(file.fileno())
        if not guarded:
            _refuse_unguarded(path, source, facts)
        raw = file.read(_LARGEST_BYTES + 1)
    if len(raw) > _LARGEST_BYTES:
        raise ConfigError(f"{source}: {path!a} is too large for a secret; name another file")
    return raw


def _refuse_unguarded(path: str, source: str, facts: os.stat_result) -> None:
    """Refuse a secret that others can read or have written."""
    mode = stat.S_IMODE(facts.st_mode)
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ConfigError(
            f"{source}: {path!a} holds a secret and is open to others (mode {mode:04o}); "
            f"do `chmod 600 {path}`"
        )
    if facts.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{source}: {path!a} belongs to user {facts.st_uid}, who could change it; "
            f"do `chown root {path}`"
        )
