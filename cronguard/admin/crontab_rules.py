"""The rules of jobs that `crontab wrap` was given: as flags on the lines, or as TOML in a file."""

from __future__ import annotations

import os
import re
import tomllib

import tomli_w

from cronguard.admin.crontab_lines import Entry
from cronguard.admin.crontab_times import Impossible, expression
from cronguard.config.options import OPTIONS, ConfigError, Option
from cronguard.config.values import shown

_SAFE = re.compile(r"[A-Za-z0-9_./:,@+-]+", re.ASCII)
_OPTIONS = {option.name: option for option in OPTIONS if option.flags and option.in_files}


def flags_of(given: tuple[str, ...]) -> list[str]:
    """Return KEY=VALUE texts as flags of `run`. Raises: ConfigError."""
    flags = []
    for option, value in _read(given):
        if not option.is_switch:
            flags.append(f"{option.flags[-1]}={value}")
        elif option.read(value):
            flags.append(option.flags[-1])
    return flags


def rules_of(
    done: dict[int, str], entries: list[Entry], given: tuple[str, ...]
) -> dict[str, dict[str, object]]:
    """Return the section of each job that was wrapped, by its name."""
    options = {
        option.name: option.read(value) if option.is_switch else value
        for option, value in _read(given)
    }
    jobs: dict[str, dict[str, object]] = {}
    for entry in entries:
        if entry.number in done:
            section = jobs.setdefault(done[entry.number], dict(options))
            schedule = _schedule(entry)
            if schedule and "schedule" in _OPTIONS:  # only if `run` knows it
                section["schedule"] = schedule
    return jobs


def add_rules(path: str, jobs: dict[str, dict[str, object]]) -> None:
    """Add sections to the file, which may exist; what stands in it stays. Raises: ConfigError."""
    try:
        with open(path, encoding="utf-8") as file:
            old = file.read()
    except FileNotFoundError:
        old = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--rules: cannot read {shown(path)}: {error}") from None
    text = old + ("\n" if old else "") + tomli_w.dumps({"jobs": jobs})
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why = f"--rules: {shown(path)} cannot take the sections: {error}"
        raise ConfigError(f"{why}; name another file") from None
    new = f"{path}.new"
    try:
        mode = os.stat(path).st_mode & 0o7777 if old else 0o600
        number = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, mode)
        with open(number, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(new, path)
    except OSError as error:
        raise ConfigError(f"--rules: cannot write {shown(path)}: {error.strerror}") from None


def _read(given: tuple[str, ...]) -> list[tuple[Option, str]]:
    found = []
    for text in given:
        key, _, value = text.partition("=")
        option = _OPTIONS.get(key.replace("-", "_"))
        if option is None:
            raise ConfigError(f"--option: {shown(key)} is no option; see `cronguard run --help`")
        value = value or ("true" if option.is_switch else "")
        if not _SAFE.fullmatch(value):
            raise ConfigError(
                f"--option: {key} needs a plain value without blanks; put it in a file"
            )
        try:
            option.read(value)
        except ValueError as error:
            raise ConfigError(f"--option: {key}: {error}") from None
        found.append((option, value))
    return found


def _schedule(entry: Entry) -> str:
    try:
        return expression(entry.schedule) or ""
    except Impossible:
        return ""
