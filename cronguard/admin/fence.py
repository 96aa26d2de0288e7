"""`cronguard fence`: run a command only if no newer run of the job has touched the resource.

What no lease can cover (a virtual machine that was paused, a failover that lost the lock) the
fencing token does: the store keeps the highest token that was seen for each resource, and who
comes with a lower one has lost its lock. This is a check before the act; a resource that compares
tokens itself, with each write, needs none. Like `run` it stands before another command, and has
its statuses.
"""

from __future__ import annotations

import os
import signal

import click

from cronguard.admin.common import Here, with_place
from cronguard.admin.output import say_error
from cronguard.config.options import ConfigError
from cronguard.core import exits
from cronguard.core.spec import is_job_name
from cronguard.core.words import printable
from cronguard.runtime import child
from cronguard.stores.contract import StoreDown

_MOST = 1 << 53
"""Beyond it Lua's numbers, and JSON's, are no longer exact; tokens are ms since 1970 or so."""
_LONGEST = 200
_JOB = "CRONGUARD_JOB"
_HELP = """Run COMMAND, unless a higher token was seen for the resource: then a newer run has it.

\b
    cronguard run --name report -- sh -c '
        make-report > report.new
        cronguard fence --resource report -- mv report.new /srv/report'

The exit status is the command's own. 121: the token is stale, and nothing was run; 122, 125,
126, 127: as of `cronguard run`.
"""


class FenceCommand(click.Command):
    """A command whose status is that of another one."""

    usage_status = exits.OWN_FAILURE


def _token(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int:
    if not text:
        raise click.UsageError(
            "no fencing token: CRONGUARD_TOKEN is not set, so nothing guards this; start it under "
            "`cronguard run`, or give --token", _ctx,
        )  # fmt: skip
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0
    if not 0 < number < _MOST:
        raise click.BadParameter(
            f"{printable(text, 60)!r} is no fencing token; it is what CRONGUARD_TOKEN says"
        )
    return number


def _resource(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    if not text.isprintable() or not 0 < len(text) <= _LONGEST or text[0] == "-":
        raise click.BadParameter(
            f"{printable(text, 60)!r} names no resource; it is up to {_LONGEST} letters on one "
            "line, and does not begin with a dash"
        )
    return text


@click.command(
    "fence",
    cls=FenceCommand,
    help=_HELP,
    options_metavar="[OPTIONS]",
    context_settings={"allow_interspersed_args": False, "max_content_width": 100},
)
@click.option(
    "-r",
    "--resource",
    required=True,
    callback=_resource,
    metavar="NAME",
    help="What the command writes to; the same name wherever that is written to.",
)
@click.option(
    "--token",
    envvar="CRONGUARD_TOKEN",
    callback=_token,
    metavar="N",
    help="The fencing token. [CRONGUARD_TOKEN, which `cronguard run` sets]",
)
@click.argument(
    "words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND [ARG]..."
)
@with_place
def command(*, here: Here, resource: str, token: int, words: tuple[str, ...]) -> int:
    """Check the token, and become the command."""
    job = os.environ.get(_JOB, "")
    try:
        with here.history(job if is_job_name(job) else "") as history:
            seen = history.fence(resource, token)
    except StoreDown as error:
        return say_error(
            f"{resource}: not started: {error}\n"
            "  Check --store / CRONGUARD_STORE: it is to be the one that the run has.",
            exits.STORE_UNAVAILABLE,
        )
    except ConfigError as error:
        return say_error(str(error), exits.OWN_FAILURE)
    if seen > token:
        return say_error(
            f"{resource}: not started: the fencing token {token} is stale: {seen} was seen for it, "
            "so a newer run has the lock.\n"
            "  End this run. If two jobs write there, give them one lock (--lock).",
            exits.LEASE_LOST,
        )
    return _become(list(words))


def _become(words: list[str]) -> int:
    """Turn this process into the command. Returns only if that fails, with the status."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
        signal.signal(number, signal.SIG_DFL)
    try:
        child.execute([os.fsencode(word) for word in words], child.original_environment())
    except OSError as error:
        status, why = child.explain(error.errno or 0, words[0])
    return say_error(f"not started: {printable(why)}.", status)
