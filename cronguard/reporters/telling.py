"""Tells what waits for one job, to each reporter in order, to all of them side by side.

A reporter that cannot be told now keeps its later reports waiting, too: their order is news itself.
The others are not held up by it.
"""

from __future__ import annotations

import time
from threading import Lock, Thread

from cronguard.core import telling as rules
from cronguard.reporters.contract import Never, NotNow, Report, Told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from cronguard.reporters.contract import Reporter
    from cronguard.reporters.spool import Waiting

_LEAST_SECONDS = 0.05
"""With less time left nothing is begun any more."""


class Line:
    """One reporter with its rule. `make` on use; `is_muted` takes ms since the epoch."""

    __slots__ = ("is_muted", "make", "name", "rule", "timeout")

    def __init__(
        self,
        name: str,
        rule: rules.Rule,
        make: Callable[[], Reporter],
        *,
        timeout: float,
        is_muted: Callable[[int], bool],
    ) -> None:
        self.name = name
        self.rule = rule
        self.make = make
        self.timeout = timeout
        self.is_muted = is_muted


def report_of(rule: rules.Rule, one: Waiting) -> Report | None:
    """Return what *one* is to a reporter with that rule; None if it does not want to hear it."""
    outcome, reason = one.record.get("outcome"), one.record.get("reason")
    event = rules.event_of(
        rule,
        str(outcome),
        str(reason or ""),
        one.streak,
        warns=one.kind if one.kind in rules.WARNINGS else "",
    )
    if not event:
        return None
    is_failed = event == rules.FAILURE
    failures = None if one.streak is None else one.streak + 1 if is_failed else one.streak
    namespace = one.namespace
    return Report(
        event,
        one.record,
        namespace=namespace,
        at=one.at,
        failures=failures,
        warning=one.warning,
        released_at=one.released_at,
    )


def tell_all(
    waiting: list[Waiting],
    lines: Mapping[str, Line],
    until: float,
    not_now: Collection[str] = (),
) -> list[str]:
    """Tell what waits, by *until* (monotonic seconds); return what is to be said of it.

    Reporters of *not_now* are known, and cannot be made: theirs stays.

    What is told, muted, unwanted, or never to be told is taken away; the rest stays.
    """
    lock, said = Lock(), list[str]()
    names = list(dict.fromkeys(name for one in waiting for name in one.to))
    threads = []
    for name in names:
        mine = [one for one in waiting if name in one.to]
        if name in not_now:
            continue
        if name not in lines:
            said.append(f"{name}: there is no such reporter any more; its reports are let go")
            for one in mine:
                _done(one, name, lock)
            continue
        arguments = (lines[name], mine, until, lock, said)
        threads.append(Thread(target=_tell_one, args=arguments, name=name, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))
        if thread.is_alive():
            said.append(f"{thread.name}: no answer in time; it is told with the next run")
    return said


def _tell_one(line: Line, mine: list[Waiting], until: float, lock: Lock, said: list[str]) -> None:
    reporter = None
    for one in mine:
        report = report_of(line.rule, one)
        if report is not None and not line.is_muted(one.at):
            left = min(line.timeout, until - time.monotonic())
            try:
                if left < _LEAST_SECONDS:
                    raise NotNow("there was no time left")  # noqa: TRY301 - as any other delay
                reporter = reporter or line.make()
                reporter.tell(report, left)
            except Told as remark:
                said.append(f"{line.name}: {remark}")
            except Never as error:
                said.append(f"{line.name}: cannot be told: {error}")
            except NotNow as error:
                said.append(f"{line.name}: not told yet: {error}; it is told with the next run")
                return
            except Exception as error:  # noqa: BLE001 - another's code; it may be right next time
                what = f"{type(error).__name__}: {error}"
                said.append(f"{line.name}: not told yet: {what}; it is told with the next run")
                return
        _done(one, line.name, lock)


def _done(one: Waiting, name: str, lock: Lock) -> None:
    with lock:
        try:
            one.told(name)
        except OSError:  # it may be told once more, then; better than never
            pass
