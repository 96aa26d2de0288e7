"""No two runs of a job, or of a lock that jobs share, live at the same time; tokens rise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tests.chaos.history import History, Run
from tests.chaos.verdict import Violation, moment, numbers, span


def overlaps(history: History) -> Iterator[Violation]:
    """Find runs that began before one of the same job, begun earlier, had shown its last life.

    And before one of another job had that took the same lock.
    """
    for job, runs in history.by_job.items():
        yield from _overlaps(history, f"job {job}", job, runs)
    for lock, runs in history.by_lock.items():
        if len({run.job for run in runs}) > 1:
            yield from _overlaps(history, f"lock {lock}", lock, runs, across=True)


def _overlaps(
    history: History, what: str, name: str, runs: list[Run], *, across: bool = False
) -> Iterator[Violation]:
    """Find those among *runs*; with *across* only of different jobs, as the others are told of."""
    longest = runs[0]
    for run in runs[1:]:
        if run.first_ns <= longest.last_ns and not (across and run.job == longest.job):
            last = max(longest.lives, key=lambda life: life.last_ns)
            yield Violation(
                "overlap",
                name,
                run.first_ns,
                f"{what}: {run} began at {moment(history, run.first_ns)}, and {longest} "
                f"still lived: its {last.role} (pid {last.pid}) until "
                f"{moment(history, last.last_ns)}, {span(last.last_ns - run.first_ns)} later",
                numbers(longest, run),
            )
        longest = max(longest, run, key=lambda one: one.last_ns)


def tokens(history: History) -> Iterator[Violation]:
    """Find tokens that do not rise from each run of a job to the next."""
    for job, runs in history.by_job.items():
        for run in runs:
            if run.token is None:
                sentence = f"job {job}: {run} had no fencing token"
                yield Violation("token", job, run.first_ns, sentence, numbers(run))
        fenced = [run for run in runs if run.token is not None]
        for earlier, later in pairwise(fenced):
            assert earlier.token is not None
            assert later.token is not None
            if later.token <= earlier.token:
                yield Violation(
                    "token",
                    job,
                    later.first_ns,
                    f"job {job}: {later} began at {moment(history, later.first_ns)}, after "
                    f"{earlier} at {moment(history, earlier.first_ns)}, and its token is not "
                    "the higher one",
                    numbers(earlier, later),
                )
