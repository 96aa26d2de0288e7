"""Faults of single runs: keepers and guardians killed, stopped, asked to end.

Each run is hit once at most. What is promised is that the death of either keeper or guardian ends
the run, and that both at one moment are more than can be held if a daemon has left the process
group. So both together, killed or stopped, are hit only where there is no daemon, or where it is
in a PID namespace. A guardian alone is stopped for less time than lies between the timer and
the end of the lease, as its keeper may die in the meantime.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.chaos.lab import Lab, Running, Steps, chosen


def anybody(_: Running) -> bool:
    """Any run will do."""
    return True


def holdable(one: Running) -> bool:
    """Tell whether its tree is held without both of keeper and guardian."""
    return not one.has_daemon


def _kill(whom: str, fits: Callable[[Running], bool]) -> Callable[[Lab, int, int], Steps]:
    def kill(lab: Lab, pick: int, for_ms: int) -> Steps:
        one = chosen(lab.live(fits), pick)
        guardian = one.guardian() if one is not None else None
        if one is None or guardian is None:
            return
        one.hit = True
        pids = {"keeper": [one.pid], "guardian": [guardian], "both": [guardian, one.pid]}
        lab.kill(one, whom, pids[whom])
        yield 0

    return kill


def _stop(whom: str, fits: Callable[[Running], bool]) -> Callable[[Lab, int, int], Steps]:
    def stop(lab: Lab, pick: int, for_ms: int) -> Steps:
        one = chosen(lab.live(fits), pick)
        guardian = one.guardian() if one is not None else None
        if one is None or guardian is None:
            return
        one.hit = True
        pids = {"keeper": [one.pid], "guardian": [guardian], "both": [guardian, one.pid]}[whom]
        lab.events.tell("stopped", run=one.start.run, whom=whom)
        for pid in pids:
            lab.signal(pid, signal.SIGSTOP)
        try:
            yield for_ms
        finally:
            lab.events.tell("continued", run=one.start.run, whom=whom)
            for pid in pids:
                if pid == one.pid and one.over:
                    continue  # reaped: the number may be somebody else's
                lab.signal(pid, signal.SIGCONT)

    return stop


def term_keeper(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Ask a run to end.

    One that has its guardian: before, it is an interpreter that starts, deaf or dead by TERM.
    """
    one = chosen(lab.live(anybody), pick)
    if one is None or one.guardian() is None:
        return
    one.hit = True
    lab.events.tell("termed", run=one.start.run, whom="keeper", signal=int(signal.SIGTERM))
    lab.signal(one.pid, signal.SIGTERM)
    yield 0


def cronguard_stop(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Have an operator stop a job's run from any host.

    It may reach the next run of the job as well, so all that are asked for by now may be stopped.
    """
    one = chosen(lab.live(lambda run: run.start.for_ms > 2_000), pick)
    if one is None:
        return
    one.hit = True
    lab.events.tell("termed", run=one.start.run, whom="operator", signal=int(signal.SIGTERM))
    lab.run_tool(lab.hosts[pick % len(lab.hosts)], ["stop", one.start.job])
    yield 0


KINDS = {
    "kill keeper": _kill("keeper", anybody),
    "kill guardian": _kill("guardian", anybody),
    "kill both": _kill("both", holdable),
    "stop keeper": _stop("keeper", anybody),
    "stop keeper for long": _stop("keeper", anybody),
    "stop guardian": _stop("guardian", anybody),
    "stop both": _stop("both", holdable),
    "term keeper": term_keeper,
    "cronguard stop": cronguard_stop,
}
