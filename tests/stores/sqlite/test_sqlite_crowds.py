"""Many processes at once: one makes the database, one is granted, and waiters do not storm."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from cronguard.core.events import Event, Granted, Queued, Woken
from tests.contract.harness import JOB, Run, now_ms, until
from tests.stores.sqlite.helpers import open_run, reader

CROWD = 200
ASKER = """
import sys, time
from pathlib import Path
from cronguard.core.events import Unavailable
from tests.stores.sqlite.helpers import open_run
run = open_run(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    event = run.acquire()
    if not isinstance(event, Unavailable):
        break
print(type(event).__name__, getattr(event, "why", ""), flush=True)
sys.stdin.readline()
"""
FORKER = """
import os, sys
from pathlib import Path
from cronguard.core.events import Unavailable
from tests.stores.sqlite.helpers import open_run
path, crowd = Path(sys.argv[1]), int(sys.argv[2])
go_read, go_write = os.pipe()
out_read, out_write = os.pipe()
pids = []
for _ in range(crowd):
    pid = os.fork()
    if pid == 0:
        os.close(go_write)
        os.read(go_read, 1)  # all at once, at the end of the file
        run = open_run(path)
        for _ in range(40):
            event = run.acquire()
            if not isinstance(event, Unavailable):
                break
        os.write(out_write, f"{type(event).__name__} {getattr(event, 'why', '')}\\n".encode())
        os._exit(0)
    pids.append(pid)
os.close(out_write)
os.close(go_write)
answers = b""
while chunk := os.read(out_read, 65536):
    answers += chunk
for pid in pids:
    os.waitpid(pid, 0)
sys.stdout.write(answers.decode())
"""


def test_of_two_hundred_that_make_the_database_one_is_granted(tmp_path: Path) -> None:
    """L1, R26: the first runs of a new host come all in the same minute."""
    path = tmp_path / "state" / "cronguard.db"
    done = subprocess.run(
        [sys.executable, "-c", FORKER, str(path), str(CROWD)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    answers = [line.split()[0] for line in done.stdout.splitlines()]
    assert len(answers) == CROWD, done.stderr[-2000:]
    assert answers.count("Granted") == 1, done.stdout
    assert answers.count("Held") == CROWD - 1, done.stdout
    side = reader(path)
    assert len(side.leases([JOB])[JOB]) == 1
    side.close()


def test_a_killed_maker_leaves_nothing_half_made(tmp_path: Path) -> None:
    """R26: processes are killed while they make the database; the next one makes it whole."""
    for attempt in range(12):
        path = tmp_path / str(attempt) / "cronguard.db"
        process = subprocess.Popen(
            [sys.executable, "-c", ASKER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"go\n")
        process.stdin.flush()
        until(path.exists, "the file to be made")
        time.sleep(attempt / 2000)  # somewhere within the making, each time elsewhere
        process.kill()
        process.communicate()
        run = open_run(path)
        event = run.acquire()
        assert type(event).__name__ in ("Granted", "Held"), event
        run.store.close()


def test_waiters_hear_nothing_of_each_others_asking(tmp_path: Path) -> None:
    """L15: each waiter asks each second; that must not make the others ask."""
    path = tmp_path / "cronguard.db"
    holder, *waiting = [open_run(path) for _ in range(20)]
    holder.granted()
    for one in waiting:
        assert isinstance(one.acquire(queue_for=60_000), Queued)
        one.store.watch_job(now_ms())
        assert one.store.events(now_ms()) == []
    for one in waiting:
        assert isinstance(one.acquire(queue_for=60_000), Queued)
    assert [readable(one) for one in waiting] == [False] * len(waiting)
    holder.close()
    assert isinstance(waiting[0].next(), Woken)
    for one in (holder, *waiting):
        one.store.close()


def test_a_wake_up_comes_at_once_and_in_order(tmp_path: Path) -> None:
    """L15: one after the other runs, and nobody waits for the next poll."""
    path = tmp_path / "cronguard.db"
    holder, *waiting = [open_run(path) for _ in range(20)]
    holder.granted()
    for one in waiting:
        one.acquire(queue_for=60_000)
        one.store.watch_job(now_ms())
        one.store.events(now_ms())
    before = holder
    for one in waiting:
        before.close()
        before.store.close()
        event: Event = one.next()
        assert isinstance(event, Woken)
        assert isinstance(one.acquire(queue_for=60_000), Granted)
        before = one
    before.store.close()


def test_a_missing_inotify_is_no_fault(tmp_path: Path) -> None:
    """R26: no descriptor is left: the waiter polls, as it does anyway."""
    import resource

    path = tmp_path / "cronguard.db"
    holder, waiter = open_run(path), open_run(path)
    holder.granted()
    waiter.acquire(queue_for=60_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = os.open("/dev/null", os.O_RDONLY)
    os.close(used)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
    try:
        waiter.store.watch_job(now_ms())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert waiter.store.watches() == []
    holder.close()
    assert isinstance(waiter.acquire(queue_for=60_000), Granted)
    holder.store.close()
    waiter.store.close()


def test_a_run_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """P19: what is let go of is let go of."""
    path = tmp_path / "cronguard.db"
    before = sorted(os.listdir("/proc/self/fd"))
    one = open_run(path)
    grant = one.granted()
    one.store.watch_job(now_ms())
    one.renew(grant)
    for fd in set(os.listdir("/proc/self/fd")) - set(before):
        if os.path.lexists(f"/proc/self/fd/{fd}"):
            assert not os.get_inheritable(int(fd))
    one.close()
    one.store.close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def readable(one: Run) -> bool:
    """Tell whether the bell was rung for this run."""
    import select

    watched = [fd for fd, _ in one.store.watches()]
    assert watched
    return bool(select.select(watched, [], [], 0)[0])
