"""The process that tells: started by `run` at a run's start and end, gone within its deadline.

    STATE JOB DEADLINE others|alone         (DEADLINE on CLOCK_BOOTTIME, in ms; STATE may be `-`)

It tells what waits for the job, in order; with `others`, and while time is left, what waits for
other jobs of this host as well. What is to be said of it goes to stdout, a line each: `run` says
it.
"""

from __future__ import annotations

import json
import os
import time

from cronguard.config.options import ConfigError
from cronguard.core import redact
from cronguard.core.words import printable
from cronguard.reporters import spool
from cronguard.reporters.lines import Lines
from cronguard.reporters.spool import Busy, Folder, Waiting
from cronguard.reporters.telling import tell_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NICER = 5
_MOST_LINES = 20
_LONGEST = 500
_AWAY_SECONDS = 0.1
"""How long before the deadline waiting ends, so that what came of it is noted and said."""
_NOT_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")


def main(
    arguments: list[str], unkept: list[str], said: list[str], ask: Callable[[list[str]], bool]
) -> int:
    """Tell what the arguments at the head of this file say; return an exit status.

    *unkept* are reports that wait nowhere; *said* is to be said beside what comes of all this.
    *ask* looks for more to tell of the job; it keeps that, tells whether there is any, and adds
    what is to be said of it.
    """
    state, job, deadline, whose = arguments
    ours = _be_modest()
    left = int(deadline) / 1000 - time.clock_gettime(time.CLOCK_BOOTTIME)
    until = time.monotonic() + left - _AWAY_SECONDS
    teller = Teller(os.environ)
    teller.said += said
    if unkept:
        teller.tell(_loaded(unkept), until)
    if state != "-":
        teller.tell_folder(state, job, until, is_patient=True)
        if ask(teller.said):
            teller.tell_folder(state, job, until, is_patient=True)
        if whose == "others":
            teller.tell_others(state, job, until)
    lines = [printable(line, _LONGEST) for line in teller.said[:_MOST_LINES]]
    os.write(ours, "".join([f"{line}\n" for line in lines]).encode("utf-8", "replace"))
    return 0


class Teller:
    """Tells what waits, by whatever configuration each report names.

    `said` what is to be said of it · `told` how many reports have gone, `kept` how many stay.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.said: list[str] = []
        self.told = 0
        self.kept = 0
        self._lines: dict[str | None, Lines | str] = {}

    def tell_others(self, state: str, job: str, until: float) -> None:
        """Tell what waits for jobs other than *job*, while time is left; let go of the oldest."""
        for other in spool.jobs(state):
            if other != job and time.monotonic() < until:
                self.tell_folder(state, other, until)
        gone = spool.let_go(state, time.time())
        if gone:
            self.said.append(
                f"{gone} reports that nobody could be told for days were let go; "
                "`cronguard report list` shows what waits"
            )

    def tell_folder(self, state: str, job: str, until: float, *, is_patient: bool = False) -> None:
        """Tell what waits for *job*; *is_patient* waits for another process that does so."""
        folder = Folder(state, job)
        try:
            folder.open(until if is_patient else time.monotonic())
        except FileNotFoundError:
            return
        except Busy:
            if is_patient:
                self.said.append("another process still tells earlier reports; this one waits")
            return
        except OSError as error:
            self.said.append(f"{folder.path} cannot be read: {error.strerror}")
            return
        try:
            self.tell(list(folder.waiting()), until)
        except OSError as error:
            self.said.append(f"{folder.path} cannot be read: {error.strerror}")
        finally:
            folder.close()

    def tell(self, waiting: list[Waiting], until: float) -> None:
        """Tell reports of one job, in order."""
        for config in dict.fromkeys(one.config for one in waiting):
            self._tell(config, [one for one in waiting if one.config == config], until)
        self.told += sum(not one.to for one in waiting)
        self.kept += sum(bool(one.to) for one in waiting)

    def _tell(self, config: str | None, waiting: list[Waiting], until: float) -> None:
        lines = self._lines_of(config)
        if isinstance(lines, str):
            self.said.append(f"not told yet: {lines}")
            return
        names = dict.fromkeys(name for one in waiting for name in one.to)
        known, wrong = lines.of(waiting[0].job, names)
        self.said += [f"{name}: not told yet: {why}" for name, why in wrong.items()]
        said = tell_all(waiting, known, until, wrong)
        self.said += [redact.text(one, tuple(lines.secrets)) for one in said]

    def _lines_of(self, config: str | None) -> Lines | str:
        """Return the reporters that a configuration names, or why it cannot be read."""
        if config not in self._lines:
            try:
                self._lines[config] = Lines(config, self.environ)
            except ConfigError as error:
                self._lines[config] = str(error)
        return self._lines[config]


def _be_modest() -> int:
    """Stand behind the jobs of this host; hold nothing open, and be no part of a service.

    Returns the descriptor that stdout was: what a reporter prints is for nobody.
    """
    try:
        os.nice(_NICER)
    except OSError:
        pass
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    ours = os.dup(1)
    os.dup2(2, 1)  # which is /dev/null
    return ours


def _loaded(lines: list[str]) -> list[Waiting]:
    """Return the reports in these lines."""
    return [Waiting("", json.loads(line)) for line in lines]
