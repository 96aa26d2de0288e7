"""What the user reads of the lease while a run has it: renewed, lost, given back (messages.py)."""

from __future__ import annotations

from cronguard.core.words import Context, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.core.spec import Owner


def _store_flawed(c: Context) -> str:
    return (
        f"{c.job}: {c.text('why')}; run {c.run} survives fewer failures than it should.\n"
        "  Check --store / CRONGUARD_STORE; another run does not start with it."
    )


def _lost_resting(c: Context) -> str:
    owner: Owner | None = c.facts.get("holder")  # type: ignore[assignment]
    if owner is not None:
        how = f"{c.store} gave it to {c.holder()}"
    else:
        how = f"{c.store} did not renew it in time{c.because()}"
    return f"{c.job}: lock lost {c.in_the_pause()}: {how}; not trying again."


def _lost_unrenewed(c: Context) -> str:
    return (
        f"{c.job}: lock lost: {c.store} did not renew it for {span(c.ms('since'))}"
        f"{c.because()}; stopping run {c.run} before another may start."
    )


def _lost_continuing(c: Context) -> str:
    return (
        f"{c.job}: lock lost: {c.store} did not renew it for {span(c.ms('since'))}{c.because()}; "
        f"run {c.run} goes on (--on-lease-lost continue), another may start beside it."
    )


def _taken(c: Context) -> str:
    return f"{c.job}: lock lost: {c.store} gave it to {c.holder()}; killing run {c.run} at once."


def _taken_continuing(c: Context) -> str:
    return (
        f"{c.job}: lock lost: {c.store} gave it to {c.holder()}; run {c.run} goes on "
        "(--on-lease-lost continue)."
    )


def _reclaimed(c: Context) -> str:
    return (
        f"{c.job}: the lock had vanished from {c.store} (deleted, evicted or lost in a failover) "
        f"and was taken again by run {c.run}; nobody else had it.\n"
        "  `cronguard doctor` says whether the store may drop keys."
    )


def _renew_failing(c: Context) -> str:
    return (
        f"{c.job}: cannot renew the lock at {c.store}: {c.text('why')}; trying on, run {c.run} is "
        f"stopped in {span(c.ms('left'))} if that fails."
    )


def _clock_stepped(c: Context) -> str:
    by = c.ms("by")
    where = "forward" if by > 0 else "back"
    return (
        f"{c.job}: the clock of {c.store} was set {where} by {span(abs(by))}, and locks end by "
        "that clock; renewing twice as often from here on.\n"
        "  Let NTP slew the clock of that server, and never step it."
    )


def _recovered(c: Context) -> str:
    return f"{c.job}: {c.store} renews the lock again, after {span(c.ms('since'))}."


def _not_closed(c: Context) -> str:
    return (
        f"{c.job}: could not give the lock back to {c.store}: {c.text('why')}; it expires by "
        "itself, and the record is kept on this host until the store can take it."
    )


def _dead_man_refused(c: Context) -> str:
    return (
        f"{c.job}: this kernel or its limits refuse the dead man's timer ({c.text('why')}): a "
        "stopped or starved cronguard would not be killed before its lock ends.\n"
        "  `ulimit -i` must not be 0; silence this with --dead-man off."
    )


def _dead_man_required(c: Context) -> str:
    return (
        f"{c.job}: not started: this kernel or its limits refuse the dead man's timer "
        f"({c.text('why')}), and --dead-man is required.\n  `ulimit -i` must not be 0."
    )


TOPICS: dict[str, Callable[[Context], str]] = {
    text.__name__[1:]: text
    for text in (
        _store_flawed,
        _lost_resting,
        _lost_unrenewed,
        _lost_continuing,
        _taken,
        _taken_continuing,
        _reclaimed,
        _renew_failing,
        _clock_stepped,
        _recovered,
        _not_closed,
        _dead_man_refused,
        _dead_man_required,
    )
}
