"""Runs in a mount namespace of its own: a small disk, filled up. Prints what happened, as JSON.

Arguments: the case, and a folder to mount the disk on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from cronguard.core.events import Event, Granted
from cronguard.stores.contract import Acquire, Close
from cronguard.stores.sqlite.history import open_history
from cronguard.stores.sqlite.lease import open_lease
from tests.contract.harness import JOB, Run, new_claim, wall_ms

BEATS = 700
Seen = dict[str, object]


def new_run(folder: str) -> Run:
    claim = new_claim()
    return Run(open_lease(folder + "/cg/cronguard.db", claim), claim)


def warm_up(folder: str) -> None:
    """Let the store be one that was used before, and is used by nobody."""
    one = new_run(folder)
    one.granted()
    one.close()
    one.store.close()


def fill(folder: str) -> None:
    """Leave not one byte on the disk."""
    fd = os.open(folder + "/ballast", os.O_WRONLY | os.O_CREAT)
    for size in (1 << 20, 4096, 1):
        while True:
            try:
                os.write(fd, b"x" * size)
            except OSError:
                break
    os.close(fd)


def told(event: Event) -> str:
    """Return what kind of event it is, and what it says."""
    return f"{type(event).__name__} {getattr(event, 'why', '')}".strip()


def leases(folder: str) -> int:
    side = open_history(folder + "/cg/cronguard.db", "cg")
    try:
        return len(side.leases([JOB])[JOB])
    finally:
        side.close()


def holding(folder: str, *, beats_before: int) -> Seen:
    """Hold a lease while the disk fills up, and end."""
    warm_up(folder)
    one = new_run(folder)
    grant = one.granted()
    for _ in range(beats_before):
        one.renew(grant)
    fill(folder)
    beats = {told(one.renew(grant)) for _ in range(BEATS)}
    end = told(one.close())
    left = leases(folder)
    one.store.close()
    return {"beats": sorted(beats), "end": end, "leases": left}


def large_record(folder: str) -> Seen:
    """End with a record that has no room, and once more when there is room again."""
    warm_up(folder)
    one = new_run(folder)
    one.granted()
    fill(folder)
    text = one.record(outcome="failed", output_tail="x" * 4_000_000)
    close = Close(text, outcome="failed", ended_wall=wall_ms())
    first = told(one.ask(close))
    left = leases(folder)
    os.unlink(folder + "/ballast")
    again = told(one.ask(close))
    one.store.close()
    return {"first": first, "leases": left, "again": again}


def new_store(folder: str) -> Seen:
    """Ask for a lease in a store that cannot be made, and again when there is room."""
    fill(folder)
    one = new_run(folder)
    first = told(one.acquire())
    os.unlink(folder + "/ballast")
    again = told(one.acquire())
    one.store.close()
    return {"first": first, "again": again}


def many_runs(folder: str) -> Seen:
    """Go on running jobs on a full disk: each start is granted or refused, never half."""
    warm_up(folder)
    first = new_run(folder)
    first.granted()  # another job's keeper: it keeps the log open
    first.close()
    fill(folder)
    starts = set()
    for _ in range(50):
        one = new_run(folder)
        start = one.ask(Acquire(one.record(output_tail="x" * 20_000)))
        starts.add(told(start))
        assert leases(folder) == int(isinstance(start, Granted))
        one.close("failed")
        assert leases(folder) == 0
        one.store.close()
    first.store.close()
    return {"starts": sorted(starts)}


CASES = {
    "early": lambda folder: holding(folder, beats_before=0),
    "late": lambda folder: holding(folder, beats_before=3),
    "large_record": large_record,
    "new_store": new_store,
    "many_runs": many_runs,
}


if __name__ == "__main__":
    case, place = sys.argv[1:]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", place], check=True)
    print(json.dumps(CASES[case](place)))
