"""`run` for click: its help, and what is wrong where the light parser cannot say."""

from __future__ import annotations

import shlex

import click

from cronguard.admin.common import click_option
from cronguard.config.options import OPTIONS
from cronguard.config.parser import SAID, Parsed
from cronguard.core import redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_END = "--"


class RunCommand(click.Command):
    """`run`, which wants `--` before the command: without it a forgotten value would be one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; refuse what click allows and the light parser does not."""
        given = list(args)
        rest = super().parse_args(ctx, args)
        words: tuple[str, ...] = ctx.params["words"]
        for option in OPTIONS:
            value = ctx.params.get(option.name)
            if isinstance(value, tuple) and _END in value:
                raise click.UsageError(f"{option.flags[-1]} has no value before `--`", ctx)
        before = given[: len(given) - len(words)]
        if words and before[-1:] != [_END]:
            raise click.UsageError(_missing_end(given, words), ctx)
        if not words and given[-1:] == [_END]:
            raise click.UsageError("no command: nothing follows `--`", ctx)
        return rest


def _missing_end(given: list[str], words: tuple[str, ...]) -> str:
    """Say where `--` belongs."""
    options = given[: len(given) - len(words)]
    shown = shlex.join(["cronguard", "run", *redact.command([*options, _END, *words])])
    if len(shown) > 160:
        return "`--` is missing before the command"
    return f"`--` is missing before the command: write `{shown}`"


def read(ctx: click.Context) -> Parsed:
    """Return what click found in the form of the light parser. For the test that compares them."""
    flags: dict[str, list[str]] = {}
    for option in OPTIONS:
        value = ctx.params.get(option.name)
        if option.is_switch and value:
            flags[option.name] = [SAID]
        elif isinstance(value, tuple) and value:
            flags[option.name] = [str(text) for text in value]
    words = ctx.params["words"]
    return Parsed(flags, list(words) or None)


def _build() -> click.Command:
    def callback(**_given: object) -> Parsed:
        return read(click.get_current_context())

    words = click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND [ARG]...")
    built: Callable[..., Parsed] = words(callback)
    for option in reversed(OPTIONS):
        if option.flags:
            built = click_option(option)(built)
    return click.command(
        "run",
        cls=RunCommand,
        options_metavar="[OPTIONS]",
        context_settings={
            "help_option_names": ["-h", "--help"],
            "allow_interspersed_args": False,
            "max_content_width": 100,
        },
        help=_HELP,
        epilog="Durations: 250ms 30s 5m 1h30m 2d; a bare number is seconds.",
    )(built)


_HELP = """Run COMMAND under guard: at most one run of a job in the whole fleet, and no survivors.

\b
    cronguard run --name backup --timeout 2h -- /opt/backup --all
    cronguard run --shell 'dump | gzip > /srv/dump.gz'
    cronguard run --name backup        the command comes from [jobs.backup] in the configuration

The exit status is the command's own. 121: the lock was lost; 122: the store could not be reached;
124: timed out; 125: cronguard failed or is used wrongly; 126, 127: the command cannot be run.
"""

command = _build()
