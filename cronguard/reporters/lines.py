"""From the configuration to what is needed to tell: for each reporter a Line (telling.py).

Files are read anew, with their secrets, by the process that tells: what a report waited for may
have been a correction.
"""

from __future__ import annotations

import os
from functools import partial

from cronguard.config import paths
from cronguard.config.files import load
from cronguard.config.options import ConfigError
from cronguard.config.reporters import of_job
from cronguard.config.secrets import read_secret
from cronguard.reporters import registry
from cronguard.reporters.contract import NotNow
from cronguard.reporters.telling import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cronguard.config.files import Files
    from cronguard.config.reporters import Target
    from cronguard.reporters.contract import Reporter

_LEAST_SECRET = 6
"""What is shorter is no secret worth masking, and would mask half of a text."""


class Lines:
    """The reporters that some configuration names, made as they are asked for.

    `secrets` what no text may hold that is said of them.
    """

    def __init__(self, config: str | None, environ: Mapping[str, str]) -> None:
        """Read the files, and *config* after them. Raises: ConfigError."""
        self.environ = environ
        self.secrets: list[str] = []
        found = [path for path in paths.config_files(environ) if os.path.lexists(path)]
        self.files: Files = load([*found, config] if config else found)

    def of(self, job: str, names: Iterable[str]) -> tuple[dict[str, Line], dict[str, str]]:
        """Return the lines of these reporters as *job* has them, and why there are not others.

        A reporter that is in neither is not configured any more.
        """
        lines: dict[str, Line] = {}
        wrong: dict[str, str] = {}
        try:
            self.files.refuse_problems(job)
        except ConfigError as error:
            return {}, dict.fromkeys(names, str(error))
        for name in names:
            try:
                target = of_job([name], "", self.files, job)[name]
            except ConfigError as error:
                if self._is_known(job, name):
                    wrong[name] = str(error)
                continue
            lines[name] = self._line(target)
        return lines, wrong

    def _is_known(self, job: str, name: str) -> bool:
        return name in self.files.reporters or name in self.files.job_reporters.get(job, {})

    def _line(self, target: Target) -> Line:
        timeout = target.values.get("timeout")
        return Line(
            target.name,
            target.rule,
            partial(self._make, target),
            timeout=timeout / 1000 if isinstance(timeout, int) else 5.0,
            is_muted=partial(is_muted, target.mute),
        )

    def _make(self, target: Target) -> Reporter:
        """Return the reporter, with its secrets. Raises: NotNow."""
        settings = dict(target.values)
        try:
            for key, (path, source) in target.secret_files.items():
                settings[key] = read_secret(path, source, self.environ)
            self.secrets += _parts(target, settings)
            return registry.make(target.type, settings)
        except (ConfigError, ValueError) as error:
            raise NotNow(str(error)) from None


def is_muted(windows: list[dict[str, object]], at: int) -> bool:
    """Tell whether *at*, in ms since the epoch, lies in one of *windows*."""
    from cronguard.config.schedule import Schedule  # noqa: PLC0415 - only with windows

    for window in windows:
        lasts = window["for_ms"]
        assert isinstance(lasts, int)
        begun = Schedule(str(window["cron"]), str(window["tz"])).until(at, 1)
        if begun and at - begun[-1] < lasts:
            return True
    return False


def _parts(target: Target, settings: Mapping[str, object]) -> list[str]:
    """Return the secrets in *settings*, and of a URL also what names nobody but its owner."""
    rows = target.kind.settings if target.kind is not None else ()
    found: list[str] = []
    for row in rows:
        value = settings.get(row.name)
        if row.is_secret and isinstance(value, dict):
            found += [part for one in value.values() for part in (one, *one.split())]
        if row.is_secret and isinstance(value, str):
            _, mark, rest = value.partition("://")
            path = rest.partition("/")[2] if mark else ""
            user = rest.partition("/")[0].rpartition("@")[0] if mark else ""
            if mark and not (path or user or "?" in rest):  # a host, which messages name
                continue
            found += value.split()
            found += [value, path, user.partition(":")[2], *path.replace("?", "/").split("/")]
    return sorted({one for one in found if len(one) >= _LEAST_SECRET}, key=len, reverse=True)
