"""The proof: every invariant over one history. Knows nothing of cronguard but what it promises."""

from __future__ import annotations

from collections import Counter

from tests.chaos.history import History
from tests.chaos.invariants.overlap import overlaps, tokens
from tests.chaos.invariants.progress import stalled
from tests.chaos.invariants.records import is_forgotten, is_skip, outcomes, records
from tests.chaos.invariants.survivors import survivors
from tests.chaos.verdict import Invariant, Verdict

INVARIANTS: tuple[Invariant, ...] = (overlaps, tokens, survivors, records, outcomes, stalled)
DONE_TO_RUNS = ("killed", "stopped", "termed")


def judge(history: History) -> Verdict:
    """Return what was counted in *history*, and all that must not be and was."""
    found = [violation for invariant in INVARIANTS for violation in invariant(history)]
    found.sort(key=lambda violation: violation.at)
    started = {run.asked.number for run in history.runs if run.asked is not None}
    gaps = [record.get("longest_gap_ms") for record in history.records]
    return Verdict(
        store=history.plan.word("store"),
        seed=history.plan.word("seed"),
        violations=tuple(found),
        asked=len(history.asked),
        runs=len(history.runs),
        skips=sum(is_skip(a) and a.number not in started for a in history.asked.values()),
        forgotten=sum(
            run.run_id not in history.records_of and is_forgotten(history, run.first_ns, run.asked)
            for run in history.runs
        ),
        longest_gap_ms=max((gap for gap in gaps if isinstance(gap, int)), default=0),
        faults=faults_by_kind(history),
    )


def faults_by_kind(history: History) -> Counter[str]:
    """Count what was done: faults by their kind, and what was done to runs by whom it hit."""
    kinds = Counter(event.word("kind") for event in history.of("fault"))
    for event in history.events:
        if event.what in DONE_TO_RUNS:
            kinds[f"{event.what} {event.word('whom') or 'keeper'}"] += 1
    return kinds
