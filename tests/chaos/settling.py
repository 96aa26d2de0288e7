"""The end of a chaos run: all is healed, what hosts kept is delivered, the records are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.driver import Driver
from tests.chaos.lab import now_ms
from tests.chaos.plan import SKIP, TAKEOVER_MS, TTL_MS, Start
from tests.servers import Server

PATIENCE_MS = 60_000
DEAD_MS = TTL_MS + TAKEOVER_MS + 1_500
"""So long after the death of a keeper its lease has expired."""
AT_A_TIME = 8
DELIVERIES = 40
OPEN = ("running", "abandoned")
ALL = ["history", "--json", "--skips", "--limit", "1000000"]


def settle(driver: Driver, ours: set[int]) -> dict[str, list[dict[str, object]]]:
    """Bring all to its end, and return the records of each job; *ours* are processes to stay."""
    lab = driver.lab
    assert driver.until(lab.kind.is_well, PATIENCE_MS), "the servers are not well again"
    driver.events.tell("healthy")
    driver.until(lambda: not lab.running and not driver.tools, PATIENCE_MS)
    hung = set(lab.running)
    for one in list(lab.running.values()):
        driver.events.tell("survivor", run=one.start.run, pid=one.pid)
        lab.signal(one.pid, 9)
    driver.until(lambda: not lab.running, PATIENCE_MS)
    driver.until(lambda: now_ms() > lab.killed_at + DEAD_MS, DEAD_MS)
    _deliver(driver)
    _run_each(driver)
    _deliver(driver)
    for pid in _left(ours):
        driver.events.tell("survivor", run=None, pid=pid, command=_command(pid))
    records = _records(driver)
    driver.events.tell("settled", hung=sorted(hung))
    return records


def _run_each(driver: Driver) -> None:
    """Run each job once more, so that the runs that were abandoned are closed."""
    for number, job in enumerate(driver.plan.jobs):
        _closing_run(driver, job, number)
        driver.until(lambda: len(driver.lab.running) < AT_A_TIME, PATIENCE_MS)
    driver.until(lambda: not driver.lab.running, PATIENCE_MS)


def _closing_run(driver: Driver, job: str, host: int) -> None:
    options = ["-E", str(SKIP), "--ttl", "10s"]
    if driver.plan.store in ("sentinel", "cluster"):
        options += ["--min-replicas", "1"]
    driver.start(Start(0, driver.number, job, host, tuple(options), "plain", 20, "0"))
    driver.number += 1


def _deliver(driver: Driver) -> None:
    """Let each host deliver the records that it could not deliver when they were made."""
    lab = driver.lab
    for number, host in enumerate(lab.hosts):
        for _ in range(DELIVERIES):
            if not list((host.state / "outbox").glob("*.json")):
                break
            _closing_run(driver, driver.plan.jobs[0], number)
            driver.until(lambda: not lab.running, PATIENCE_MS)


def _left(ours: set[int]) -> Iterator[int]:
    """Yield who lives in this PID namespace and should not."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in ours:
            try:
                state = (entry / "stat").read_text("latin-1").rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state not in "ZX":
                yield int(entry.name)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1")
    except OSError:
        return ""


def _records(driver: Driver) -> dict[str, list[dict[str, object]]]:
    """Return what `cronguard history` tells, and what it told of data that was lost.

    A run that was open when its server's data went, and is on no other record, is left out: with
    the data went what was known of it, as the fault says (`loses`).
    """
    now = _history(driver, driver.environment(driver.lab.hosts[0]))
    known = {str(record["run_id"]) for record in now}
    lost: dict[str, dict[str, object]] = {}
    for folder in driver.lab.archives:
        for record in _archived(driver, folder):
            if record["outcome"] not in OPEN:
                lost[str(record["run_id"])] = record
    told = [
        record for record in now if record["outcome"] not in OPEN or record["run_id"] not in lost
    ]
    known = {str(record["run_id"]) for record in told}
    told += [record for run_id, record in lost.items() if run_id not in known]
    by_job: dict[str, list[dict[str, object]]] = {}
    for record in told:
        by_job.setdefault(str(record["job"]), []).append(record)
    return by_job


def _archived(driver: Driver, folder: Path) -> list[dict[str, object]]:
    """Return the records in a dead server's data."""
    server = Server(folder, driver.lab.kind.flavour, ("--appendonly", "yes"))
    try:
        server.start()
        env = driver.environment(driver.lab.hosts[0]) | {"CRONGUARD_STORE": server.url}
        return _history(driver, env)
    finally:
        server.stop()


def _history(driver: Driver, env: dict[str, str]) -> list[dict[str, object]]:
    program = str(Path(sys.executable).parent / "cronguard")
    with driver.lab.hosts[0].entered():
        done = subprocess.run([program, *ALL], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)
    assert isinstance(records, list)
    return records


def write(records: dict[str, list[dict[str, object]]], folder: Path) -> None:
    """Write them where the checker reads them, whole or not at all."""
    draft = folder / "records.new"
    draft.write_text(json.dumps(records))
    os.replace(draft, folder / "records.json")
