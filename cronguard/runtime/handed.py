"""What the keeper hands to the process that tells, taken over there: reports, and questions.

While the command runs the keeper keeps no report itself: a disk that is busy, as with a backup, can
hold it up for longer than its lease allows. So they come on stdin, a line each, and are kept here.
What cannot be kept is told all the same, and has this one chance.

    {"schema": 1, …}        a report, as in core/report.py
    {"found_dead": {…}}     whether runs before this one were abandoned; see found_dead.py
    {"unusual": {…}}        whether this run took unusually long or short; see unusual.py
    {"missed": {…}}         whether runs before this one never came; see missed.py
"""

from __future__ import annotations

import json
import os
import sys

from cronguard.core import redact, report
from cronguard.runtime import spool

FIRST = "found_dead"
"""What is found in answer to this is told before the run's own end; all else may come later."""


class Handed:
    """What was handed over.

    `unkept` reports that cannot be kept · `said` what is to be said · `later` questions that are
    still to be asked.
    """

    def __init__(self, state: str) -> None:
        self.state = state
        self.unkept: list[str] = []
        self.said: list[str] = []
        self.later: list[dict[str, dict[str, object]]] = []

    def ask(self, said: list[str]) -> bool:
        """Keep reports of what is found in the job's history; tell whether there are any.

        What is to be said is added to *said*.
        """
        later, self.later = self.later, []
        found = [_look(question, self.state, said) for question in later]
        return any(found)


def take(state: str) -> Handed:
    """Keep what comes on stdin. *state* is the state folder, `-` without one."""
    handed = Handed(state)
    unkept, said = handed.unkept, handed.said
    for line in sys.stdin.buffer.read().decode("ascii").splitlines():
        try:
            found = json.loads(line)
            if FIRST in found:
                _look(found, state, said)
            elif "run_id" not in found:
                handed.later.append(found)
            elif state == "-":
                unkept.append(line)
            else:
                name = report.file_name(found["at"], found["run_id"], found["kind"])
                spool.put(state, found["job"], name, line)
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            said.append(f"a report cannot be kept on this host ({why}); it is tried once")
            unkept.append(line)
    return handed


def _look(found: dict[str, dict[str, object]], state: str, said: list[str]) -> bool:
    """Keep reports of what is found in the job's history; add what is to be said."""
    from cronguard.runtime import found_dead, missed, unusual  # noqa: PLC0415 - on use
    from cronguard.runtime.asked import Asked  # noqa: PLC0415

    ((what, asked),) = found.items()
    look, sought = {
        "found_dead": (found_dead.keep_reports, "any were abandoned"),
        "unusual": (unusual.keep_report, "this one took unusually long"),
        "missed": (missed.keep_report, "any are missing"),
    }[what]
    try:
        return look(Asked(asked, state))
    except Exception as error:  # noqa: BLE001 - what waits is told all the same
        secrets = asked["secrets"]
        assert isinstance(secrets, list)
        why = redact.text(f"{type(error).__name__}: {error}", tuple(secrets))
        said.append(f"the runs before cannot be read, so nobody knows whether {sought}: {why}")
        return False
