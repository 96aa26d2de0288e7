"""`cronguard stuck`: what is left over, and what `clean` would do about it. Changes nothing."""

from __future__ import annotations

import os

import click

from cronguard.admin.common import Here, say_damaged, wall_now, with_store
from cronguard.admin.leftovers import FOREIGN, HOLDER, KEY, OLD, PROCESS, Leftover, Search
from cronguard.admin.output import say, say_error, say_json
from cronguard.config import values
from cronguard.config.store import folder
from cronguard.core import exits
from cronguard.core.words import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import History

OLDER_THAN = "2h"
_BY_HAND = {
    HOLDER: "`cronguard show {run}` says why; stop it where it runs, should it not end.",
    PROCESS: "End them (kill {pids}) on that host if they are not wanted.",
    KEY: "Whoever wrote it knows; `cronguard clean --foreign` removes it if it is text.",
    OLD: "`cronguard stop {run}` asks it to stop.",
}


def _duration(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    try:
        return values.positive(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


older_than_option = click.option(
    "--older-than",
    callback=_duration,
    default=OLDER_THAN,
    metavar="DUR",
    help="Also tell of runs that are older; they are left alone.",
    show_default=True,
)


def search(history: History, older_than: int) -> Search:
    """Look for all that is stuck, but for keys of others."""
    found = Search(history, folder(os.environ), wall_now(), older_than)
    found.here_and_there()
    return found


def say_trouble(found: Search) -> int:
    """Say what could not be looked at; return the status: no, if a job cannot be read."""
    for note in found.notes:
        say_error(note, exits.DONE)
    return say_damaged(found.trouble)


def told(one: Leftover, now: int) -> str:
    """Return what is stuck, why, and what to do, in two lines."""
    if one.todo:
        more = " --foreign" if one.kind == FOREIGN else ""
        hint = f"`cronguard clean{more}` would {one.todo}."
    else:
        words = {"run": one.run_id[:12], "pids": " ".join(map(str, one.pids))}
        hint = _BY_HAND.get(one.kind, "").format_map({k: printable(v) for k, v in words.items()})
    text = f"{one.name(now)}: {one.why}."
    return f"{text}\n  {hint}" if hint else text


@click.command()
@older_than_option
@with_store
def command(*, here: Here, older_than: int) -> int:
    """Show what is left over: locks, records, processes and keys; `clean` clears what is dead.

    Processes are looked for on this host, and only those that this user may see.
    """
    with here.history() as history:
        found = search(history, older_than)
        found.keys()
    now = wall_now()
    if here.as_json:
        say_json([one.as_json() for one in found.found])
    else:
        say("\n".join([told(one, now) for one in found.found]) or "Nothing is stuck.")
    return say_trouble(found)
