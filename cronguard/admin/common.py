"""What the commands share: the options that say which store, and how a run or job is named."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing, contextmanager
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar

import click

from cronguard.admin import render
from cronguard.admin.output import say_error
from cronguard.config import options as opt
from cronguard.config.options import ConfigError
from cronguard.config.parser import SAID
from cronguard.config.resolve import place
from cronguard.core import exits
from cronguard.core.record import KEPT_FAILURES, KEPT_RUNS
from cronguard.core.words import printable
from cronguard.runtime.identity import user_name
from cronguard.stores.contract import StoreDown
from cronguard.stores.open import open_history

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cronguard.config.options import Option
    from cronguard.stores.contract import History, Lease

ALL_KEPT = KEPT_RUNS + KEPT_FAILURES
T = TypeVar("T")
_PLACE = (opt.STORE, opt.NAMESPACE, opt.CONFIG)


class Here:
    """Which store was asked for, and in which form answers are wanted."""

    def __init__(self, flags: dict[str, list[str]], as_json: bool) -> None:
        self.flags = flags
        self.as_json = as_json

    @contextmanager
    def history(self, job: str = "") -> Iterator[History]:
        """Open the history side of the store; the section of *job* may name its own."""
        found = place(self.flags, os.environ, job)
        try:
            history = open_history(found.url, found.namespace)
        except ValueError as error:
            raise ConfigError(f"{found.sources['store']}: {error}") from None
        with closing(history):
            try:
                yield history
            except StoreDown as error:
                if history.label in str(error):
                    raise
                raise type(error)(f"cannot use {history.label}: {error}") from None


def click_option(option: Option) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return the click option that a row of config/options.py stands for."""
    more = f" [{option.variable}]" if option.variable else ""
    bare: dict[str, Any] = {"flag_value": SAID} if option.may_be_bare else {}
    default = f" [default: {option.default}]" if option.default and option.metavar else ""
    return click.option(
        *option.flags,
        option.name,
        metavar=option.metavar or None,
        # False means: a flag that may take a value
        is_flag=False if option.may_be_bare else option.is_switch or None,
        **bare,
        multiple=not option.is_switch,
        type=None if option.is_switch else click.UNPROCESSED,
        help=option.help + more + default,
    )


def with_store(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command --store, --namespace, --config and --json, as one `Here`."""
    json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    return with_place(json_option(function))


def with_place(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command --store, --namespace and --config, as one `Here`."""

    @wraps(function)
    def command(*, as_json: bool = False, **given: object) -> int:
        texts = {option.name: given.pop(option.name) for option in _PLACE}
        flags = {
            name: [str(t) for t in said] for name, said in texts.items() if isinstance(said, tuple)
        }
        return function(here=Here({n: t for n, t in flags.items() if t}, as_json), **given)

    wrapped: Callable[..., int] = command
    for option in reversed(_PLACE):
        wrapped = click_option(option)(wrapped)
    return wrapped


def wall_now() -> int:
    """Return the time of day in ms since the epoch."""
    return time.time_ns() // 1_000_000


def is_job(history: History, text: str) -> bool:
    """Tell whether *text* names a job that the store knows."""
    return text in history.jobs()


def no_such_job(history: History, job: str) -> int:
    """Say that the store knows no such job, and which are near."""
    near = get_close_matches(job, history.jobs(), 3)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else "`cronguard status` lists those it knows."
    )
    text = f"{printable(job, 140)}: no job of this name ever ran with {history.label}.\n  {hint}"
    return say_error(text, exits.NO)


def say_damaged(texts: list[str]) -> int:
    """Say of each job that cannot be read why; return the status: no, if there is one."""
    for text in texts:
        say_error(text, exits.NO)
    return exits.NO if texts else exits.DONE


def find_run(history: History, text: str) -> render.Record | int:
    """Return the record of the run that *text* means, or say why not and return the status.

    The first digits of a run id, or the name of a job for its newest run.
    """
    if is_job(history, text):
        newest = history.runs(text, 1)
        if newest:
            return newest[0]
        return say_error(f"{text}: no run of this job is recorded.", exits.NO)
    found = history.find(text) if text.isalnum() else []
    if len(found) == 1:
        return found[0]
    if not found:
        shown = printable(text, 140)
        near = get_close_matches(text, history.jobs(), 3)
        lists = "`cronguard history` lists the runs that are kept."
        hint = f"did you mean the job {' or '.join(near)}?" if near else lists
        return say_error(
            f"no run id begins with {shown}, and no job is named so.\n  {hint}", exits.NO
        )
    lines = [f"  {short_line(record)}" for record in found[:20]]
    return say_error(
        f"{len(found)} runs begin with {text}: give more digits.\n" + "\n".join(lines), exits.NO
    )


def short_line(record: render.Record) -> str:
    """Return one line that tells a run from others."""
    when = render.moment(render.when_of(record), wall_now())
    run_id = printable(record.get("run_id"), 64)
    return f"{run_id}  {render.word(record.get('job'))}  {render.result(record)}  {when}"


def lease_of(history: History, record: render.Record) -> Lease | None:
    """Return the live lease of the record's run, or None."""
    job = str(record.get("job"))
    for lease in history.leases([job]).get(job, []):
        if lease.owner.run_id == record.get("run_id") and not lease.released:
            return lease
    return None


def by() -> str:
    """Return who asks: `user@host`."""
    return f"{user_name(os.environ)}@{os.uname().nodename}"
