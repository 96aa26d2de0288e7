"""From argv, environment and files to the JobSpec, with the source of each value.

Precedence: flag, variable, job section, `[defaults]`, built-in. For the store see store.py. Files
are read, and tomllib loaded, only where a file exists. An empty variable counts as not set.
"""

from __future__ import annotations

import os
import sys

from cronguard.config import options as opt
from cronguard.config import parser, paths, store
from cronguard.config.options import ConfigError, Option
from cronguard.config.values import AUTO, PLAIN_ONCE
from cronguard.core.lease import ttl_problem
from cronguard.core.spec import NAME_LENGTH, JobSpec, is_job_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.config.files import Files
    from cronguard.config.reporters import Target

BUILT_IN = "default"
_HASH_BYTES = 4
_STEM = NAME_LENGTH - 2 * _HASH_BYTES - 1


class NeedsClick(Exception):
    """Help was asked for, or the command line is wrong: click says it (admin.cli.explain_run)."""


class Settings:
    """What was said about one job, by whom: flags, variables, files.

    `in_public` whether everybody on this host can see the flags, as those of a command line.
    """

    __slots__ = ("environ", "files", "flags", "in_public", "job", "secrets", "sources")

    def __init__(
        self, flags: dict[str, list[str]], environ: Mapping[str, str], *, in_public: bool = True
    ) -> None:
        self.flags = flags
        self.environ = environ
        self.in_public = in_public
        self.job = ""
        self.sources: dict[str, str] = {}
        self.secrets: tuple[str, ...] = ()
        self.files: Files | None = None
        found = self._existing_files()
        if found:
            from cronguard.config.files import load  # noqa: PLC0415 - only where a file is

            self.files = load(found)

    def _existing_files(self) -> list[str]:
        """Return the files to read: those that exist, and the one that was asked for."""
        found = [path for path in paths.config_files(self.environ) if os.path.lexists(path)]
        asked = self.raw(opt.CONFIG)
        return [*found, asked[0]] if asked else found

    def for_job(self, name: str) -> None:
        """From now on the section of this job counts. Raises: ConfigError if it is wrong."""
        self.job = name
        if self.files is not None:
            self.files.refuse_problems(name)

    def raw(self, option: Option) -> tuple[str, str] | None:
        """Return (text, source) of what was said last and strongest, or None."""
        said = self.flags.get(option.name)
        if said:
            return option.between.join(said) if option.is_many else said[-1], option.flags[-1]
        text = self.environ.get(option.variable, "") if option.variable else ""
        if text:
            return text, option.variable
        if self.files is not None and option.in_files:
            return self.files.find(self.job, option.name)
        return None

    def value(self, option: Option) -> object:
        """Return the value of *option*, or None if nothing was said. Notes the source."""
        said = self.raw(option)
        if said is None:
            self.sources[option.name] = BUILT_IN
            return None
        text, self.sources[option.name] = said
        try:
            return option.read(text)
        except ValueError as error:
            raise ConfigError(f"{said[1]}: {error}") from None

    def store(self) -> str:
        """Return the URL of the store, password and all. Raises: ConfigError."""
        url, source = self._named_store() or store.guessed(self.environ)
        store.check(url, source)
        self.sources["store"] = source
        said = self.raw(opt.PASSWORD_FILE)
        if said and store.with_password(url, "x") != url:
            password = self._secret(said)
            self.secrets = (password,)
            self.sources["password"] = said[1]
            return store.with_password(url, password)
        self.secrets = store.secrets_of(url)
        return url

    def _named_store(self) -> tuple[str, str] | None:
        """Return (URL, source) of the store that was named, directly or by a file."""
        if "store" in self.flags:
            urls = self.flags["store"]
            url = store.from_flags(urls) if self.in_public else " ".join(urls)
            return url, opt.STORE.flags[-1]
        direct, by_file = self.raw(opt.STORE), self.raw(opt.STORE_FILE)
        if direct and by_file:
            here, there = self._strength(opt.STORE), self._strength(opt.STORE_FILE)
            if here == there:
                raise ConfigError(
                    f"both {direct[1]} and {by_file[1]} name the store; remove one of the two"
                )
            direct, by_file = (direct, None) if here < there else (None, by_file)
        if by_file:
            return self._secret(by_file), by_file[1]
        return direct

    def _strength(self, option: Option) -> int:
        """Return on which level *option* was said: 0 variable, 1 job section, 2 defaults."""
        if self.environ.get(option.variable, ""):
            return 0
        return 1 if self.files is not None and self.files.is_in_job(self.job, option.name) else 2

    def _secret(self, said: tuple[str, str]) -> str:
        from cronguard.config.secrets import read_secret  # noqa: PLC0415 - only with a file

        return read_secret(said[0], said[1], self.environ)


class Resolved:
    """What `run` is to do. `sources` names, for each option, who said its value.

    `auto_timeout` the timeout is to be found out (spec.timeout is None until then) · `config` the
    further file that was named, None without · `period` that of --once in ms, 0 where only the
    switch was said · `secrets` what no record or message may hold · `state` the state folder, None
    if there is none · `targets` the reporters that may be told.
    """

    __slots__ = (
        "auto_timeout",
        "config",
        "debug",
        "dry_run",
        "period",
        "secrets",
        "sources",
        "spec",
        "state",
        "targets",
    )

    def __init__(self, spec: JobSpec, settings: Settings, *, auto_timeout: bool = False) -> None:
        self.spec = spec
        self.auto_timeout = auto_timeout
        self.sources = settings.sources
        self.secrets = settings.secrets
        self.state = store.folder(settings.environ)
        once = settings.raw(opt.ONCE)
        self.period = spec.once if once and once[0] not in PLAIN_ONCE else 0
        self.debug = bool(settings.value(opt.DEBUG))
        self.dry_run = bool(settings.value(opt.DRY_RUN))
        config = settings.raw(opt.CONFIG)
        self.config = os.path.abspath(config[0]) if config else None
        self.targets: dict[str, Target] = {}
        if spec.report:
            from cronguard.config.reporters import of_job  # noqa: PLC0415 - only with reporters

            names, source = spec.report.split(), settings.sources[opt.REPORT.name]
            self.targets = of_job(names, source, settings.files, spec.name)


def from_argv(argv: list[str], environ: Mapping[str, str]) -> Resolved:
    """Return what *argv* (after `run`) asks for. Raises: NeedsClick, ConfigError."""
    parsed = parser.parse(argv)
    if parsed is None:
        raise NeedsClick
    settings = Settings(parsed.flags, environ)
    name = settings.value(opt.NAME)
    if isinstance(name, str):
        settings.for_job(name)
    command = _command(parsed, settings)
    if not isinstance(name, str):
        name = default_name(command)
        settings.for_job(name)
    return _resolved(name, command, settings, opt.IN_SPEC)


def from_code(flags: dict[str, list[str]], environ: Mapping[str, str], dead_man: str) -> Resolved:
    """Return what Python code asks for; *flags* are options as text, `name` among them.

    Whether the kernel may kill the process (*dead_man*) is for the code alone to say; what is
    configured of that is about commands. Raises: ConfigError.
    """
    settings = Settings(flags, environ, in_public=False)
    name = str(settings.value(opt.NAME))
    settings.for_job(name)
    return _resolved(name, list(sys.orig_argv), settings, opt.OF_CODE, dead_man=dead_man)


def _resolved(
    name: str,
    command: list[str],
    settings: Settings,
    options: tuple[Option, ...],
    **fixed: object,
) -> Resolved:
    """Return what was said of *options*, with what is *fixed*. Raises: ConfigError."""
    given = {option.name: settings.value(option) for option in options}
    said = {key: value for key, value in given.items() if settings.sources[key] != BUILT_IN}
    auto_timeout = said.get(opt.TIMEOUT.name) == AUTO
    if auto_timeout:
        del said[opt.TIMEOUT.name]
    said |= fixed
    if settings.value(opt.NO_REPORT):
        said.pop(opt.REPORT.name, None)
        refuse_report_and_none(settings)
        settings.sources[opt.REPORT.name] = opt.NO_REPORT.flags[-1]
    spec = JobSpec(name=name, command=command, store=settings.store(), **said)  # type: ignore[arg-type]
    _refuse_contradictions(spec, settings.sources)
    refuse_two_rules(settings)
    if not spec.log:
        _refuse_log_of_nothing(settings)
    return Resolved(spec, settings, auto_timeout=auto_timeout)


def _command(parsed: parser.Parsed, settings: Settings) -> list[str]:
    """Return the argv to run: after `--`, of --shell, or of the job's section."""
    text = settings.value(opt.SHELL)
    if text is not None and parsed.command is not None:
        raise ConfigError(
            "two commands: --shell and one after `--`; leave one of the two out, or put both in "
            "the text of --shell"
        )
    if text is not None:
        return ["/bin/sh", "-c", str(text)]
    if parsed.command is not None:
        if not parsed.command[0]:
            raise ConfigError(
                "no command: the first word after `--` is empty (an unset variable?); write "
                "`cronguard run [OPTIONS] -- COMMAND`"
            )
        settings.sources["command"] = "--"
        return parsed.command
    found = settings.files.command(settings.job) if settings.files is not None else None
    if found is None:
        section = f", or set `command` in [jobs.{settings.job}]" if settings.job else ""
        raise ConfigError(
            "no command: nothing follows the options; write "
            f"`cronguard run [OPTIONS] -- COMMAND`{section}"
        )
    settings.sources["command"] = found[1]
    return found[0]


def default_name(command: list[str]) -> str:
    """Return the command's name and a hash of its argv, which tells nothing of its secrets."""
    try:
        from _blake2 import blake2s  # noqa: PLC0415 - the C core: hashlib costs 2 ms
    except ImportError:
        from hashlib import blake2s  # noqa: PLC0415
    raw = "\0".join(command).encode("utf-8", "surrogateescape")
    digest = blake2s(raw, digest_size=_HASH_BYTES).hexdigest()
    word = command[0]
    if command[:2] == ["/bin/sh", "-c"] and len(command) == 3:
        words = [part for part in command[2].split() if "=" not in part]
        word = words[0] if words else "sh"
    base = word.rstrip("/").rpartition("/")[2]
    stem = "".join([char if is_job_name("x" + char) else "-" for char in base]).strip("-._:")
    return f"{stem[:_STEM] or 'job'}-{digest}"


def _refuse_contradictions(spec: JobSpec, sources: dict[str, str]) -> None:
    """Refuse what each value allows and all together do not. Raises: ConfigError."""
    problem = ttl_problem(spec.ttl)
    if problem:
        raise ConfigError(f"{sources['ttl']}: {problem}")
    if spec.dead_man == "required" and spec.on_lease_lost == "continue":
        raise ConfigError(
            f"dead_man required ({sources['dead_man']}) and on_lease_lost continue "
            f"({sources['on_lease_lost']}) contradict each other: the one kills a run whose lock "
            "is lost, the other lets it go on; leave one of the two out"
        )
    if spec.retries and spec.stragglers == "leave":
        raise ConfigError(
            f"retries ({sources['retries']}) and stragglers leave ({sources['stragglers']}) "
            "contradict each other: what an attempt leaves behind would run beside the next one; "
            "write --stragglers kill or wait, or leave the retries out"
        )
    if spec.timeout is not None and spec.min_runtime >= spec.timeout:
        raise ConfigError(
            f"min_runtime ({sources['min_runtime']}) is not shorter than the timeout "
            f"({sources['timeout']}), so no run could ever succeed; make it shorter, or leave it "
            "out"
        )
    if spec.min_replicas and spec.store.startswith("sqlite://"):
        raise ConfigError(
            f"{sources['min_replicas']}: the store is SQLite ({sources['store']}), which has no "
            "replicas; leave min_replicas out, or name a Redis server with --store"
        )


def _refuse_log_of_nothing(settings: Settings) -> None:
    """Refuse to say of a log how it is where there is none. Raises: ConfigError.

    What stands in `[defaults]`, or in a variable, is for those jobs that have one; and `--log none`
    leaves out that of a job's section for once.
    """
    is_unsaid = settings.raw(opt.LOG) is None
    for option in (opt.LOG_FORMAT, opt.LOG_SIZE, opt.LOG_AGE, opt.LOG_KEEP):
        in_job = settings.files is not None and settings.files.is_in_job(settings.job, option.name)
        if option.name in settings.flags or (in_job and is_unsaid):
            raise ConfigError(
                f"{settings.sources[option.name]}: it says how the log is, and there is none; add "
                "--log, or leave it out"
            )


def refuse_two_rules(settings: Settings) -> None:
    """Refuse slots of a period beside those of a schedule, and a zone of nothing.

    Raises: ConfigError, also if one of these values is wrong by itself.
    """
    once, schedule, zone = [settings.raw(option) for option in (opt.ONCE, opt.SCHEDULE, opt.TZ)]
    has_schedule = bool(settings.value(opt.SCHEDULE))
    has_period = once and once[0] not in PLAIN_ONCE and bool(settings.value(opt.ONCE))
    if once and has_period and schedule and has_schedule:
        raise ConfigError(
            f"{once[1]}: the period {once[0]} and a schedule ({schedule[1]}) both say which slots "
            "there are; leave the period out, or the schedule"
        )
    in_job = settings.files is not None and settings.files.is_in_job(settings.job, opt.TZ.name)
    if zone and not has_schedule and (opt.TZ.name in settings.flags or in_job):
        raise ConfigError(
            f"{zone[1]}: a time zone says nothing without a schedule; add --schedule, or leave it "
            "out"
        )


def refuse_report_and_none(settings: Settings) -> None:
    """Refuse to be told of reporters and of none in one breath. Raises: ConfigError."""
    if opt.REPORT.name in settings.flags:
        raise ConfigError(
            "both --report and --no-report are there; leave one of the two out, as the one says "
            "who is told and the other that nobody is"
        )


class Place:
    """Where the commands that read and steer look: the store, and under which prefix."""

    __slots__ = ("namespace", "sources", "url")

    def __init__(self, url: str, namespace: str, sources: dict[str, str]) -> None:
        self.url = url
        self.namespace = namespace
        self.sources = sources


def place(flags: dict[str, list[str]], environ: Mapping[str, str], job: str = "") -> Place:
    """Return where the records of *job* (or of all jobs) are. Raises: ConfigError."""
    settings = Settings(flags, environ)
    settings.for_job(job)
    namespace = settings.value(opt.NAMESPACE)
    return Place(settings.store(), str(namespace or opt.NAMESPACE.default), settings.sources)
