"""`cronguard config`: what holds and why, what is wrong, and a first file."""

from __future__ import annotations

import os

import click

from cronguard.admin import check_config, first_config
from cronguard.admin.common import Here, with_store
from cronguard.admin.dry_run import spell
from cronguard.admin.groups import Group
from cronguard.admin.output import say, say_error, say_json, say_table
from cronguard.config import options as opt
from cronguard.config import paths
from cronguard.config.resolve import Settings
from cronguard.config.store import folder, mask
from cronguard.core import exits
from cronguard.core.words import printable

_USUAL = f"{paths.SYSTEM_CONFIG} for root, else ~/.config/cronguard/cronguard.toml"


@click.group(cls=Group, no_args_is_help=True)
def command() -> None:
    """Show, check or begin the configuration."""


@command.command(short_help="Show every value that holds, and where it comes from.")
@click.argument("job", required=False, default="")
@with_store
def show(*, here: Here, job: str) -> int:
    """Show every value that holds (for JOB), and where it comes from. Secrets are masked."""
    settings = Settings(here.flags, os.environ)
    settings.for_job(job)
    found = rows(settings)
    files = settings.files.read if settings.files is not None else []
    if here.as_json:
        values = {name: {"value": value, "source": source} for name, value, source in found}
        say_json({"job": job or None, "files": files, "values": values})
        return exits.DONE
    say_table(["OPTION", "VALUE", "FROM"], [[printable(cell) for cell in row] for row in found], "")
    say("\nFiles read: " + (", ".join(printable(path) for path in files) or "none"))
    if job and (settings.files is None or job not in settings.files.jobs):
        say(f"No file has a section [jobs.{printable(job, 140)}]: this is what holds for any job.")
    return exits.DONE


def rows(settings: Settings) -> list[tuple[str, str, str]]:
    """Return (option, value, source) of everything that holds."""
    found = [("store", mask(settings.store()), settings.sources["store"])]
    if "password" in settings.sources:
        found.append(("password", "***", settings.sources["password"]))
    for option in opt.IN_SPEC:
        value = settings.value(option)
        source = settings.sources[option.name]
        shown = spell(option, value) if settings.raw(option) else option.default
        found.append((option.name, shown, source))
    given = settings.environ.get("CRONGUARD_STATE_DIR")
    state = folder(settings.environ) or "none"
    return [*found, ("state folder", state, "CRONGUARD_STATE_DIR" if given else "default")]


@command.command(short_help="Find what is wrong in the files and the environment.")
@with_store
def check(*, here: Here) -> int:
    """Find what is wrong in the files and the environment, with file and line; status 1 if so."""
    files, problems = check_config.check(here.flags, os.environ)
    if here.as_json:
        say_json([{"where": where, "problem": text} for where, text in problems])
        return exits.NO if problems else exits.DONE
    for where, text in problems:
        say(printable(f"{where}: {text}", 2000))
    if not problems:
        count = "no file" if not files else ", ".join(printable(path) for path in files)
        say(f"Nothing is wrong ({count}).")
    return exits.NO if problems else exits.DONE


@command.command(short_help="Write a first file, with every option explained.")
@click.option("--file", "path", metavar="FILE", help=f"Write to this file. Default: {_USUAL}.")
@click.option("--stdout", is_flag=True, help="Print it instead of writing it.")
@click.option("--store", metavar="URL", help="Set this store in it.")
@click.option("--namespace", metavar="PREFIX", help="Set this key prefix in it.")
def init(*, path: str | None, stdout: bool, store: str | None, namespace: str | None) -> int:
    """Write a first configuration file, with every option explained. Never over another."""
    text = first_config.text(store, namespace)
    if stdout:
        say(text.rstrip("\n"))
        return exits.DONE
    usual = paths.config_files(os.environ)
    target = path or (usual[0] if os.geteuid() == 0 else usual[-1])
    try:
        first_config.make_folder(target, is_usual=path is None)
        first_config.write(target, text)
    except FileExistsError:
        hint = "Edit it, or name another place with --file."
        return say_error(
            f"{printable(target)} exists, and is not written over.\n  {hint}", exits.NO
        )
    except OSError as error:
        why = f"cannot write {printable(target)}: {error.strerror}"
        return say_error(f"{why}.\n  Name another place with --file, or use --stdout.", exits.NO)
    say(f"Wrote {printable(target)}. Try it with `cronguard config check`.")
    return exits.DONE
