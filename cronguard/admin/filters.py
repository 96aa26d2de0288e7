"""Which records are wanted: the options that `history` and `export history` share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps

import click

from cronguard.admin import render
from cronguard.admin.common import wall_now
from cronguard.config import values
from cronguard.core.moments import wall_ms
from cronguard.core.record import OUTCOMES, SKIPPED

_HOW = "write a duration back from now, like 2h, or a moment, like 2026-01-31T23:59"


class Filter:
    """What a record must be like; empty or None: anything. Moments in ms since the epoch."""

    def __init__(
        self,
        outcomes: tuple[str, ...] = (),
        hosts: tuple[str, ...] = (),
        since: int | None = None,
        until: int | None = None,
    ) -> None:
        self.outcomes = outcomes
        self.hosts = hosts
        self.since = since
        self.until = until

    @property
    def narrows(self) -> bool:
        """Tell whether there are records that it does not want."""
        return bool(self.outcomes or self.hosts) or (self.since, self.until) != (None, None)

    @property
    def only_skips(self) -> bool:
        """Tell whether it wants no run that had the lock."""
        return set(self.outcomes) == {SKIPPED}

    def wants(self, record: render.Record) -> bool:
        """Tell whether *record* is one of those that are asked for."""
        if self.outcomes and record.get("outcome") not in self.outcomes:
            return False
        if self.hosts and record.get("host") not in self.hosts:
            return False
        begun = begun_at(record)
        return (self.since is None or begun >= self.since) and (
            self.until is None or begun <= self.until
        )


def begun_at(record: render.Record) -> int:
    """Return when the run started or, where it did not, asked to; 0 if that is not known."""
    started, queued = (wall_ms(record.get(key)) for key in ("started_at", "queued_at"))
    return started or queued or 0


def moment(text: str, now: int) -> int:
    """Return the moment of `2h` before *now*, or of an ISO date and time; local without a zone.

    A bare number is refused: it may be a year, a date or seconds. Raises: ValueError.
    """
    if text.strip().isdigit():
        raise ValueError(f"{values.shown(text)} may mean many things; {_HOW}")
    try:
        return now - values.duration(text)
    except ValueError:
        pass
    try:
        local = datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{values.shown(text)} is no moment; {_HOW}") from None
    return wall_ms(local.isoformat()) or 0


def _moment(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return moment(text, wall_now())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_OPTIONS = (
    click.option(
        "--outcome",
        "outcomes",
        multiple=True,
        type=click.Choice(list(OUTCOMES)),
        metavar="OUTCOME",
        help="Only runs that ended so; can be given several times.",
    ),
    click.option(
        "--host",
        "hosts",
        multiple=True,
        metavar="HOST",
        help="Only runs on this host; can be given several times.",
    ),
    click.option(
        "--since",
        callback=_moment,
        metavar="WHEN",
        help="Only runs that began since: 2h (back from now), or 2026-01-31T23:59.",
    ),
    click.option(
        "--until",
        callback=_moment,
        metavar="WHEN",
        help="Only runs that began until then; a date alone is its first moment.",
    ),
)


def with_filters(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command --outcome, --host, --since and --until, as one `Filter`."""

    @wraps(function)
    def command(
        *,
        outcomes: tuple[str, ...],
        hosts: tuple[str, ...],
        since: int | None,
        until: int | None,
        **given: object,
    ) -> int:
        if since is not None and until is not None and since > until:
            raise click.UsageError("--since is later than --until, so nothing is between them")
        return function(wanted=Filter(outcomes, hosts, since, until), **given)

    wrapped: Callable[..., int] = command
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
