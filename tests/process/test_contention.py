"""Two hundred processes want one lock: an update that is not atomic is never lost."""

from __future__ import annotations

import subprocess
from collections import deque

import pytest

from tests.process.lab import Lab, until

RUNS = 200
AT_ONCE = 40
UPDATE = (
    'n=$(cat count); t=$(cat count); echo $((n + 1)) > count; echo "$CRONGUARD_TOKEN" >> tokens'
)
"""Reads, dawdles, writes: loses an update as soon as two do it at once."""


def test_no_update_is_lost_by_two_hundred_contenders(lab: Lab) -> None:
    """Each waits for its turn; each turn's fencing token is above those before."""
    (lab.folder / "count").write_text("0\n")
    args = ("run", "-n", "job", "--ttl", "1m", "--wait", "forever", "--", "sh", "-c", UPDATE)
    open_: deque[subprocess.Popen[bytes]] = deque()
    for number in range(RUNS + AT_ONCE):
        if number >= AT_ONCE:
            process = open_.popleft()
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        if number < RUNS:
            open_.append(lab.start(*args))
    assert lab.said("count") == f"{RUNS}\n"
    tokens = [int(word) for word in lab.said("tokens").split()]
    assert len(tokens) == RUNS
    assert tokens == sorted(set(tokens))
    outcomes = [record["outcome"] for record in lab.records("job")]
    assert outcomes == ["succeeded"] * RUNS


@pytest.mark.parametrize("count", [5, pytest.param(500, marks=pytest.mark.variant)])
def test_of_many_that_do_not_wait_exactly_one_starts(lab: Lab, count: int) -> None:
    """The others are skipped with the status asked for, and each skip is counted."""
    command = "echo started >> starts; until [ -e go ]; do sleep 0.05; done"
    args = ("run", "-n", "job", "--ttl", "1m", "-E", "9", "--", "sh", "-c", command)
    crowd = [lab.start(*args) for _ in range(count)]
    until("all but one to be over", lambda: _running(crowd) == 1, 180)
    (lab.folder / "go").touch()
    statuses = []
    for process in crowd:
        process.communicate(timeout=60)
        statuses.append(process.returncode)
    assert sorted(statuses) == [0] + [9] * (count - 1)
    assert lab.said("starts") == "started\n"
    counters = lab.ask(lambda history: history.counters(["job"])["job"])
    assert counters["skipped:held"] == count - 1  # type: ignore[index]


def _running(crowd: list[subprocess.Popen[bytes]]) -> int:
    return sum(process.poll() is None for process in crowd)
