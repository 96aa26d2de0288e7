"""Where crontabs are, and how one is read, kept and replaced.

A user's own is read and written by crontab(1) alone, as its spool is none of ours. A file is
replaced by a rename, with its owner and mode. Backups are in the state folder: some crons run
whatever lies in /etc/cron.d.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass

from cronguard.config.options import ConfigError
from cronguard.config.paths import state_folder
from cronguard.core.words import printable

SYSTEM = "/etc/crontab"
FOLDER = "/etc/cron.d"
_KEPT_SAFE = 0o600


@dataclass(frozen=True)
class Table:
    """One crontab. `path` is empty for that of a user, who is `user` or, if empty, ourselves.

    `has_user`: a user stands before each command.
    """

    path: str = ""
    user: str = ""
    has_user: bool = False

    @property
    def label(self) -> str:
        """Return how messages name it."""
        return self.path or f"crontab of {self.user or 'this user'}"

    def read(self) -> bytes:
        """Return its bytes; none where the user has no crontab. Raises: ConfigError."""
        if self.path:
            try:
                with open(self.path, "rb") as file:
                    return file.read()
            except OSError as error:
                raise self._trouble("read", error.strerror) from None
        done = self._crontab("-l")
        if done.returncode:
            why = done.stderr.decode("utf-8", "replace").strip()
            if "no crontab for" in why:
                return b""
            raise self._trouble("read", why)
        return done.stdout

    def write(self, raw: bytes) -> None:
        """Replace it. Raises: ConfigError."""
        if not self.path:
            done = self._crontab("-", raw)
            if done.returncode:
                raise self._trouble("replace", done.stderr.decode("utf-8", "replace").strip())
            return
        try:
            _replace(os.path.realpath(self.path), raw)
        except OSError as error:
            raise self._trouble("replace", error.strerror) from None

    def keep(self, raw: bytes) -> str:
        """Write a backup of *raw*, and return its path. Raises: ConfigError."""
        state = state_folder()
        if state is None:
            raise ConfigError("there is no folder for the backup; set CRONGUARD_STATE_DIR")
        folder = f"{state}/crontabs"
        stem = (self.path or f"crontab-{self.user or os.geteuid()}").strip("/").replace("/", "-")
        stem = f"{folder}/{stem}.{time.strftime('%Y%m%dT%H%M%S')}"
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
            path, count = stem, 0
            while os.path.lexists(path):
                count += 1
                path = f"{stem}.{count}"
            number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _KEPT_SAFE)
            with open(number, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(number)
        except OSError as error:
            why = f"cannot keep a backup in {folder}: {error.strerror}"
            raise ConfigError(f"{why}; set CRONGUARD_STATE_DIR to a folder of yours") from None
        return path

    def _crontab(self, what: str, raw: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        whose = ["-u", self.user] if self.user else []
        try:
            return subprocess.run(
                ["crontab", *whose, what], input=raw, capture_output=True, check=False
            )
        except OSError as error:
            raise self._trouble("read", f"crontab: {error.strerror}") from None

    def _trouble(self, what: str, why: str | None) -> ConfigError:
        hint = "check the name and that this user may" if self.path else "try `crontab -l`"
        return ConfigError(f"cannot {what} {self.label}: {printable(why or 'unknown')}; {hint}")


def _replace(path: str, raw: bytes) -> None:
    """Put *raw* in the place of the file, whole or not at all. No cron runs `.names`."""
    facts = os.stat(path)
    number, new = tempfile.mkstemp(prefix=".cronguard-", dir=os.path.dirname(path))
    try:
        with open(number, "wb") as file:
            file.write(raw)
            file.flush()
            if os.geteuid() == 0:
                os.fchown(number, facts.st_uid, facts.st_gid)
            os.fchmod(number, facts.st_mode & 0o7777)
            os.fsync(number)
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise


def tables(paths: tuple[str, ...], user: str, has_user: bool | None) -> list[Table]:
    """Return the crontabs that were asked for; with nothing said, our own."""
    if user and paths:
        raise ConfigError("both --user and FILE; leave one of the two out")
    if not paths:
        return [Table(user=user)]
    return [
        Table(path, has_user=_has_user(path) if has_user is None else has_user) for path in paths
    ]


def everywhere() -> list[Table]:
    """Return our own crontab, if there is such a thing here, and the system's that we may read."""
    own = [Table()] if shutil.which("crontab") else []
    files = [SYSTEM]
    try:
        names = sorted(os.listdir(FOLDER))
    except OSError:
        names = []
    files += [
        f"{FOLDER}/{name}" for name in names if name.replace("-", "").replace("_", "").isalnum()
    ]
    return [*own, *[Table(p, has_user=True) for p in files if os.access(p, os.R_OK)]]


def _has_user(path: str) -> bool:
    full = os.path.abspath(path)
    return full == SYSTEM or os.path.dirname(full) == FOLDER
