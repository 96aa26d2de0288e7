"""The sections of reporters, and what each of them may say. Loaded only by runs that report.

    [defaults]
    report = ["slack"]                  # which reporters hear of a job
    [reporters.slack]
    type = "webhook"                    # without it, the section's name says the type
    url_file = "/etc/cronguard/slack"   # any secret may stand in a file
    on = ["failure", "recovery"]
    after = 3
    mute = [{ cron = "0 2 * * sun", for = "4h", tz = "Europe/Berlin" }]
    [jobs.backup.reporters.slack]       # for one job: stronger, key by key
    after = 1

The types that come with cronguard have their rows in reporter_kinds.py, so that a typo is found
before a run starts, without loading what sends. Other types are of packages that were installed
beside it; what their sections say, they check themselves.
"""

from __future__ import annotations

from difflib import get_close_matches

from cronguard.config.options import ConfigError
from cronguard.config.reporter_kinds import COMMON, KINDS
from cronguard.config.values import shown
from cronguard.core import telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cronguard.config.files import Files
    from cronguard.config.reporter_rows import Kind, Setting

    Table = Mapping[str, tuple[object, str]]

TYPE = "type"
_FILE = "_file"


class Target:
    """One reporter of a job, as configured.

    `values` by key · `secret_files` key -> (path, source), to be read by who sends · `kind` is None
    for a type that is not ours, and `values` then hold all that its section says.
    """

    __slots__ = ("kind", "mute", "name", "rule", "secret_files", "type", "values")

    def __init__(self, name: str, type_: str, kind: Kind | None) -> None:
        self.name = name
        self.type = type_
        self.kind = kind
        self.rule = telling.Rule(())
        self.mute: list[dict[str, object]] = []
        self.values: dict[str, object] = {}
        self.secret_files: dict[str, tuple[str, str]] = {}


# -- sections --------------------------------------------------------------------------------------


def of_job(names: Iterable[str], source: str, files: Files | None, job: str) -> dict[str, Target]:
    """Return the reporters *names* as *job* has them. *source* is who named them.

    A type of ours needs no section. Raises: ConfigError.
    """
    sections = files.reporters if files is not None else {}
    changes = files.job_reporters.get(job, {}) if files is not None else {}
    found = {}
    for name in names:
        if name not in sections and name not in changes and name not in KINDS:
            near = get_close_matches(name, [*sections, *KINDS], 1)
            hint = f"did you mean {near[0]}?" if near else f"write a section [reporters.{name}]"
            raise ConfigError(f"{source}: there is no reporter {name}; {hint}")
        found[name] = target(name, sections.get(name, {}), changes.get(name, {}))
    return found


def target(name: str, section: Table, of_job: Table) -> Target:
    """Return the reporter *name*; *of_job* is stronger, key by key. Raises: ConfigError.

    A table has (value, source) by key.
    """
    said = {**_without_rivals(section, of_job), **of_job}
    type_, source = said.pop(TYPE, (name, ""))
    if not isinstance(type_, str):
        raise ConfigError(f"{source}: the type is a text in quotes; known are {_known()}")
    found = Target(name, type_, KINDS.get(type_))
    rows = {row.name: row for row in (*COMMON, *(found.kind.settings if found.kind else ()))}
    settings = {row.name: row.default for row in rows.values()}
    for key, (value, where) in said.items():
        row = rows.get(key)
        secret = rows.get(key.removesuffix(_FILE)) if key.endswith(_FILE) else None
        if row is not None:
            settings[key] = _read(row, value, where)
        elif secret is not None and secret.is_secret:
            found.secret_files[secret.name] = (_path(value, where), where)
        elif found.kind is None:
            settings[key] = value
        else:
            raise ConfigError(f"{where}: {shown(key)} is no setting of {type_}{_guess(key, rows)}")
    _refuse_both(found, said)
    usual = found.kind.on if found.kind else (telling.FAILURE, telling.RECOVERY, telling.MISSED)
    if callable(usual):
        usual = usual(settings)
    on = settings.pop("on") if "on" in said else usual
    found.rule = telling.Rule(
        on,  # type: ignore[arg-type]
        settings.pop("after"),  # type: ignore[arg-type]
        changes=bool(settings.pop("changes")),
    )
    settings.pop("on", None)
    found.mute = list(settings.pop("mute"))  # type: ignore[call-overload]
    found.values = settings
    return found


def _without_rivals(section: Table, of_job: Table) -> Table:
    """Return *section* without the keys whose file, or whose plain form, *of_job* has."""
    rivals = {key.removesuffix(_FILE) for key in of_job} | {key + _FILE for key in of_job}
    return {key: said for key, said in section.items() if key not in rivals}


def _refuse_both(found: Target, said: Table) -> None:
    for key, (_, where) in found.secret_files.items():
        if key in said:
            raise ConfigError(f"{where}: both {key} and {key}_file are there; remove one")


def _read(row: Setting, value: object, where: str) -> object:
    try:
        return row.read(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {row.name}: {error}") from None


def _path(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: it takes the name of a file, in quotes")
    return value


def _known() -> str:
    return ", ".join(sorted(KINDS))


def _guess(key: str, rows: Mapping[str, Setting]) -> str:
    names = [*rows, *[name + _FILE for name, row in rows.items() if row.is_secret], TYPE]
    near = get_close_matches(key, names, 1)
    return f"; did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(names))}"
