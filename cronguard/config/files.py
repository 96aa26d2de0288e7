"""Configuration files: TOML, read in order, later keys over earlier ones. Loaded when one exists.

    [defaults]                  # for every job
    store_file = "/etc/cronguard/store"
    [jobs.backup]               # for this one, and stronger
    command = ["/opt/backup", "--all"]
    timeout = "2h"
    [reporters.slack]           # see reporters.py
    url_file = "/etc/cronguard/slack"

What is wrong in `[defaults]`, or not TOML at all, stops every job. What is wrong in the section of
one job stops that job alone: one typo must not silence a whole host. `config check` tells all.
"""

from __future__ import annotations

import os
import stat
import tomllib
from difflib import get_close_matches

from cronguard.config.lines import Lines
from cronguard.config.options import OPTIONS, ConfigError, Option
from cronguard.config.values import shown
from cronguard.core.spec import is_job_name

_LARGEST_BYTES = 1 << 20
_KEYS = {option.name: option for option in OPTIONS if option.in_files}
_EXCLUSIVE = {"store": "store_file", "store_file": "store"}
COMMAND = "command"
DEFAULTS = "defaults"
JOBS = "jobs"
REPORTERS = "reporters"
SHELL = ["/bin/sh", "-c"]


class Problem:
    """Something wrong in a file. `job` is whose section it is in, or None when it concerns all."""

    __slots__ = ("job", "text", "where")

    def __init__(self, where: str, text: str, job: str | None = None) -> None:
        self.where = where
        self.text = text
        self.job = job

    def __str__(self) -> str:
        """Return it as messages show it."""
        return f"{self.where}: {self.text}"


class Files:
    """What all files together say: for each key its text and its source.

    `reporters` name -> its section, and `job_reporters` job -> name -> what it changes; these have
    the values as TOML has them.
    """

    __slots__ = (
        "commands",
        "defaults",
        "job_reporters",
        "jobs",
        "problems",
        "read",
        "reporters",
    )

    def __init__(self) -> None:
        self.read: list[str] = []
        self.defaults: dict[str, tuple[str, str]] = {}
        self.jobs: dict[str, dict[str, tuple[str, str]]] = {}
        self.commands: dict[str, tuple[list[str], str]] = {}
        self.reporters: dict[str, dict[str, tuple[object, str]]] = {}
        self.job_reporters: dict[str, dict[str, dict[str, tuple[object, str]]]] = {}
        self.problems: list[Problem] = []

    def find(self, job: str, key: str) -> tuple[str, str] | None:
        """Return (text, source) of *key* for *job*."""
        return self.jobs.get(job, {}).get(key) or self.defaults.get(key)

    def is_in_job(self, job: str, key: str) -> bool:
        """Tell whether the job's own section has *key*."""
        return key in self.jobs.get(job, {})

    def command(self, job: str) -> tuple[list[str], str] | None:
        """Return (argv, source) of the job's command."""
        return self.commands.get(job)

    def refuse_problems(self, job: str) -> None:
        """Raise ConfigError for the first problem that concerns *job*."""
        for problem in self.problems:
            if problem.job is None or problem.job == job:
                raise ConfigError(str(problem))


def load(paths: list[str]) -> Files:
    """Return what the files say, with what is wrong in them kept as problems."""
    files = Files()
    for path in paths:
        _Reader(path, files).read()
    return files


class _Reader:
    """Reads one file into what the earlier ones gave."""

    def __init__(self, path: str, files: Files) -> None:
        self.path = path
        self.files = files
        self.shown = path if path.isprintable() and "://" not in path else shown(path)
        self.lines = Lines("")

    def read(self) -> None:
        """Read the file; what is wrong becomes a problem."""
        self.files.read.append(self.path)
        try:
            text = _read(self.path).decode()
            self.lines = Lines(text)
            data = tomllib.loads(text)
        except UnicodeDecodeError:
            self._note("is not text in UTF-8; rewrite it")
        except tomllib.TOMLDecodeError as error:
            self._syntax(str(error))
        except IsADirectoryError:
            self._note("is a folder; name the file in it")
        except FileNotFoundError:
            self._note("cannot be read: No such file; check --config / CRONGUARD_CONFIG")
        except RecursionError:
            self._note("is nested too deeply for a configuration; write it plainly")
        except ValueError:  # what tomllib lets through: a number beyond all bounds
            self._note("holds a number that is too long; correct it")
        except OSError as error:
            self._note(f"cannot be read: {error.strerror}; check that this user may read it")
        except ConfigError as error:
            self._note(str(error))
        else:
            self._tables(data)

    def _syntax(self, text: str) -> None:
        what, mark, place = text.partition(" (at line ")
        line = place.split(",", maxsplit=1)[0] if mark else ""
        where = f"{self.shown}:{line}" if line else self.shown
        what = what[:1].lower() + what[1:]
        self.files.problems.append(Problem(where, f"is not TOML: {what}; correct that line"))

    def _tables(self, data: dict[str, object]) -> None:
        for name, table in data.items():
            if name not in (DEFAULTS, JOBS, REPORTERS):
                known = "tables are [defaults], [jobs.NAME] and [reporters.NAME]"
                hint = "; move it into [defaults]" if name in _KEYS else _guess(name)
                self._note(f"{_quoted(name)} is unknown: {known}{hint}", (), name)
            elif not isinstance(table, dict):
                self._note(f"{_quoted(name)} is not a table; write [{name}]", (), name)
            elif name == DEFAULTS:
                self._section(table, (DEFAULTS,), self.files.defaults, None)
            elif name == REPORTERS:
                self._reporters(table, (REPORTERS,), self.files.reporters, None)
            else:
                self._jobs(table)

    def _jobs(self, table: dict[str, object]) -> None:
        for name, section in table.items():
            if not is_job_name(name):
                text = f"{_quoted(name)} is not a job name: A-Z a-z 0-9 . _ : - and at most 128"
                self._note(text + "; rename it", (JOBS, name))
            elif not isinstance(section, dict):
                self._note(f"{_quoted(name)} is not a table; write [jobs.{name}]", (JOBS,), name)
            else:
                values = self.files.jobs.setdefault(name, {})
                self._section(section, (JOBS, name), values, name)

    def _reporters(
        self,
        table: dict[str, object],
        section: tuple[str, ...],
        into: dict[str, dict[str, tuple[object, str]]],
        job: str | None,
    ) -> None:
        """Take the sections as they are: what they may say depends on their type."""
        for name, settings in table.items():
            here = (*section, name)
            if not is_job_name(name):
                text = f"{_quoted(name)} is no name for a reporter: A-Z a-z 0-9 . _ : - ; rename it"
                self._note(text, here, job=job)
            elif not isinstance(settings, dict):
                text = f"{_quoted(name)} is not a table; write [{'.'.join(here)}]"
                self._note(text, section, name, job)
            else:
                said = into.setdefault(name, {})
                for key, value in settings.items():
                    rival = key[:-5] if key.endswith("_file") else f"{key}_file"
                    if rival not in settings:  # the later file's way to say it counts
                        said.pop(rival, None)
                    said[key] = (value, self._source(here, key))

    def _section(
        self,
        table: dict[str, object],
        section: tuple[str, ...],
        into: dict[str, tuple[str, str]],
        job: str | None,
    ) -> None:
        if "store" in table and "store_file" in table:
            self._note("both store and store_file; remove one", section, "store_file", job)
        for key, value in table.items():
            if key == COMMAND and job is not None:
                self._command(value, section, job)
            elif key == REPORTERS and job is not None and isinstance(value, dict):
                into_job = self.files.job_reporters.setdefault(job, {})
                self._reporters(value, (*section, REPORTERS), into_job, job)
            elif key not in _KEYS:
                self._note(self._unknown(key), section, key, job)
            else:
                into.pop(_EXCLUSIVE.get(key, ""), None)
                self._value(_KEYS[key], value, section, into, job)

    @staticmethod
    def _unknown(key: str) -> str:
        if key == COMMAND:
            return "command belongs in [jobs.NAME]: every job has its own; move it there"
        return f"{_quoted(key)} is no option{_guess(key)}"

    def _value(
        self,
        option: Option,
        value: object,
        section: tuple[str, ...],
        into: dict[str, tuple[str, str]],
        job: str | None,
    ) -> None:
        try:
            text = _as_text(option, value)
            option.read(text)
        except ValueError as error:
            self._note(f"{option.name}: {error}", section, option.name, job)
        else:
            into[option.name] = (text, self._source(section, option.name))

    def _command(self, value: object, section: tuple[str, ...], job: str) -> None:
        given = [*SHELL, value] if isinstance(value, str) else value
        all_words = isinstance(given, list) and all(isinstance(word, str) for word in given)
        words: list[str] = given if isinstance(given, list) and all_words else []
        if not words or not (words[0] and value) or "\0" in "".join(words):
            text = "command is an array of words, or a text for the shell; write it as one of both"
            self._note(text, section, COMMAND, job)
            return
        self.files.commands[job] = (words, self._source(section, COMMAND))

    def _source(self, section: tuple[str, ...], key: str) -> str:
        return f"{self._where(section, key)} [{'.'.join(section)}]"

    def _where(self, section: tuple[str, ...], key: str) -> str:
        line = self.lines.line_of(section, key)
        return f"{self.shown}:{line}" if line else self.shown

    def _note(
        self, text: str, section: tuple[str, ...] = (), key: str = "", job: str | None = None
    ) -> None:
        where = self._where(section, key) if section or key else self.shown
        if section:
            where += (
                f" [{'.'.join([name if name.isprintable() else shown(name) for name in section])}]"
            )
        self.files.problems.append(Problem(where, text, job))


def _read(path: str) -> bytes:
    """Return the file's bytes, if nobody else could have written them."""
    with open(path, "rb") as file:
        facts = os.fstat(file.fileno())
        if stat.S_ISDIR(facts.st_mode):
            raise ConfigError("is a folder; name the file in it")
        if os.geteuid() == 0:
            _refuse_writable(path, facts)
        raw = file.read(_LARGEST_BYTES + 1)
    if len(raw) > _LARGEST_BYTES:
        raise ConfigError("is larger than 1 MiB, which is no configuration; name another file")
    return raw


def _refuse_writable(path: str, facts: os.stat_result) -> None:
    """Refuse a file that could make root run what another user wrote."""
    mode = stat.S_IMODE(facts.st_mode)
    if facts.st_uid:
        raise ConfigError(
            f"belongs to user {facts.st_uid}, and root would do what it says; "
            f"do `chown root {path}` if you trust it"
        )
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"can be written by others (mode {mode:04o}), and root would do what it says; "
            f"do `chmod go-w {path}`"
        )


def _as_text(option: Option, value: object) -> str:
    """Return a TOML value as it would stand on the command line."""
    if isinstance(value, bool):
        if option.is_switch or option.may_be_bare:
            return "true" if value else "false"
    elif option.is_many and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return option.between.join([_as_text(option, one) for one in value]) or option.default
    elif isinstance(value, str) and not option.is_switch:
        if value.isprintable():
            return value
        what = "this" if "://" in value else shown(value)  # it may have a password in it
        raise ValueError(f"{what} holds control characters; remove them")
    elif isinstance(value, int | float) and not option.is_switch:
        return repr(value).removesuffix(".0") if isinstance(value, float) else _digits(value)
    wanted = "true or false" if option.is_switch else f"a text like {option.metavar}, in quotes"
    raise ValueError(f"{_seen(value)} is not what it takes; write {wanted}")


def _digits(number: int) -> str:
    """Return *number* as text, unless no option could take it. Raises: ValueError."""
    if abs(number) >= 10**18:
        raise ValueError("the number is too long; correct it")
    return str(number)


def _seen(value: object) -> str:
    """Return what was written in place of a text, as a message may show it."""
    try:
        text = str(value)
        if "://" in text:
            return "this"  # a store, and no telling where in it a password ends
        return shown(text)
    except (ValueError, RecursionError):  # a number of thousands of digits, tables in tables
        return f"this {type(value).__name__}"


def _guess(word: str) -> str:
    """Return `; did you mean X?`, or the way to find out."""
    near = get_close_matches(word.replace("-", "_"), [*_KEYS, DEFAULTS, JOBS, COMMAND], 1)
    return f"; did you mean {near[0]}?" if near else "; see `cronguard run --help`"


def _quoted(name: str) -> str:
    return shown(name)
