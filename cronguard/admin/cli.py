"""The click group: every command but `run`, each loaded when it is used; and `run`'s help."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from traceback import format_exception

import click

from cronguard import __version__
from cronguard.admin.groups import Group
from cronguard.admin.output import say_error
from cronguard.config.options import ConfigError
from cronguard.config.resolve import Settings
from cronguard.core import exits
from cronguard.core.words import printable
from cronguard.stores.contract import Damaged, StoreDown

_COMMANDS = {
    "run": "Guard one run of a command.",
    "status": "Show each job: running or not, by whom, and how the last run ended.",
    "ps": "Show the runs that are under way.",
    "top": "Show what runs, and who waits, as it changes.",
    "history": "Show the runs that were.",
    "show": "Show everything about one run.",
    "logs": "Show the output that was kept of a run.",
    "why": "Explain the last skip or failure of a job, and what to do.",
    "stats": "Show how often jobs succeed, how long they take, and a timeout that fits.",
    "health": "Tell in JSON whether jobs are healthy, and why not.",
    "check": "Check jobs for a monitoring system (plugin convention).",
    "stop": "Ask a run to stop, wherever it is.",
    "pause": "Let no run of a job start until it is resumed, or for a while.",
    "resume": "Let a paused job run again.",
    "unlock": "Take the lock of a job away from a run that is gone.",
    "stuck": "Show what is left over: locks, records, processes and keys.",
    "clean": "Clear what is left over and proven dead.",
    "prune": "Forget old records.",
    "reset": "Forget all about a job, or about all jobs.",
    "fence": "Run a command, if no newer run has touched what it writes to.",
    "report": "Show the reporters, and try one.",
    "flush": "Tell the reporters what waits for them on this host.",
    "export": "Write what is recorded, for other programs.",
    "doctor": "Check store, timing and kernel: can runs be guarded here?",
    "crontab": "Show, guard and check the lines of crontabs.",
    "config": "Show, check or begin the configuration.",
    "version": "Show the version.",
}
"""Name and first line of help. The command stands in the module of its name, as `command`."""


class Commands(Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command, or return None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        found = import_module(f"cronguard.admin.{cmd_name}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, so that help loads none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True
)
@click.version_option(__version__, message="cronguard %(version)s")
def group() -> None:
    """One word in front of a scheduled command: it cannot run twice, hang or get lost."""


def main(argv: list[str]) -> int:
    """Do one command, and return its exit status."""
    try:
        status = group.main(argv, prog_name="cronguard", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return exits.USAGE
    except click.UsageError as error:
        return say_error(_usage_text(error, "cronguard"), _usage_status(error))
    except ConfigError as error:
        return say_error(str(error), exits.USAGE)
    except (KeyboardInterrupt, click.Abort):
        return exits.of_signal(2)
    except (BrokenPipeError, SystemExit):  # the latter is click's answer to the former
        return _reader_gone()
    except Damaged as error:
        return say_error(str(error), exits.STORE_DOWN)
    except StoreDown as error:
        return say_error(f"{error}\n{_CHECK_STORE}", exits.STORE_DOWN)
    except Exception as error:  # noqa: BLE001  the one place where a bug becomes a message
        return say_error(_bug_text(error), exits.OWN_FAILURE)
    return status if isinstance(status, int) else exits.DONE


def _bug_text(error: Exception) -> str:
    """Return what to say of an error of our own; the store's password is in no line of it."""
    from cronguard.core import redact  # noqa: PLC0415  - errors only

    settings = Settings({}, os.environ)
    with suppress(Exception):  # whatever is wrong with it: this is about another error
        settings.store()
    what = redact.text(f"{type(error).__name__}: {error}", settings.secrets)
    said = f"internal error: {printable(what)}\n"
    if os.environ.get("CRONGUARD_DEBUG"):
        return said + redact.text("".join(format_exception(error)).rstrip(), settings.secrets)
    return said + "  Set CRONGUARD_DEBUG=1 for the details, and report them."


def _usage_status(error: click.UsageError) -> int:
    """Return the status of wrong usage: commands that stand before another have their own."""
    return int(getattr(error.ctx.command if error.ctx else None, "usage_status", exits.USAGE))


_CHECK_STORE = (
    "  Check --store / CRONGUARD_STORE; `cronguard config show` says which is used and why."
)


def explain_run(argv: list[str]) -> int:
    """Give the help of `run`, or say what is wrong with *argv*."""
    from cronguard.admin.run import command  # noqa: PLC0415 - click commands load one another

    try:
        found = command.main(list(argv), prog_name="cronguard run", standalone_mode=False)
    except click.UsageError as error:
        return say_error(_usage_text(error, "cronguard run"), exits.OWN_FAILURE)
    except (BrokenPipeError, SystemExit):
        return _reader_gone()
    if isinstance(found, int):  # help was asked for, and given
        return found
    text = "internal error: this command line is understood in one way only; please report it"
    return say_error(text, exits.OWN_FAILURE)


def _reader_gone() -> int:
    """Return what a shell shows for `cronguard ... | head -1`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains once more at its end
    return exits.of_signal(13)


def _usage_text(error: click.UsageError, path: str) -> str:
    """Return one message of what, why and what to do from what click found."""
    path = error.ctx.command_path if error.ctx else path
    text = error.format_message().rstrip(".")
    if "; did you mean" in text:
        return text
    if isinstance(error, click.MissingParameter) and error.param is not None and error.ctx:
        is_option = isinstance(error.param, click.Option)
        what = error.param.opts[-1] if is_option else error.param.make_metavar(error.ctx)
        return f"{what} is missing; see `{path} --help`"
    if isinstance(error, click.BadParameter) and error.param is not None:
        return (
            f"{error.param.opts[-1]}: {printable(error.message.rstrip('.'))}; see `{path} --help`"
        )
    if isinstance(error, click.NoSuchOption):
        text = f"there is no option {printable(error.option_name)}"
        near = sorted(error.possibilities or [])
        if near:
            return f"{text}; did you mean {' or '.join(near)}?"
    if isinstance(error, click.BadOptionUsage) and "requires an argument" in text:
        text = f"{error.option_name} needs a value"
    return f"{text[:1].lower()}{printable(text[1:])}; see `{path} --help`"
