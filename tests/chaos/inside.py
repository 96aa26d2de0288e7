"""One chaos run, in namespaces of its own: STORE SEED RUNS FAULTS FOLDER LAB [KIND...].

Started by __main__.py with `unshare`. The first process of the PID namespace does nothing but reap
orphans; the second one is the driver.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.chaos.driver import Driver
from tests.chaos.events import Events
from tests.chaos.kinds import MAKERS, Kind
from tests.chaos.namespaces import Host, Network, must
from tests.chaos.plan import HOSTS, SKIP, TAKEOVER_MS, TTL_MS, Plan, Start, make
from tests.chaos.settling import settle, write

STATE, DATABASE = "2m", "96m"
"""The disk of a host: small, to be filled in no time; larger where the database is on it."""


def first() -> None:
    """Be the first process of the PID namespace, until the driver ends; only the driver returns."""
    driver = os.fork()
    if driver == 0:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == driver:
            os._exit(max(os.waitstatus_to_exitcode(status), 0) if os.WIFEXITED(status) else 70)


def make_hosts(plan: Plan, network: Network, folder: Path) -> list[Host]:
    """Make the hosts: one with several crontabs where the store is its own file."""
    embedded = plan.store == "sqlite"
    names = ("db-1",) if embedded else HOSTS
    disk = DATABASE if embedded else STATE
    return [network.host(name, folder / "hosts" / name, disk) for name in names]


def tell_plan(plan: Plan, hosts: list[Host], events: Events) -> None:
    """Say what is planned; a server that forgot is not trusted for another lease time."""
    events.tell(
        "plan",
        store=plan.store,
        seed=plan.seed,
        ttl_ms=TTL_MS,
        takeover_ms=TAKEOVER_MS,
        hosts=[host.name for host in hosts],
        jobs=list(plan.jobs),
        progress_ms=TTL_MS + TAKEOVER_MS + 2_000,
    )


def warm_up(driver: Driver) -> None:
    """Have each host run something, so that it has met the servers before any of them forgets."""
    more = ("--min-replicas", "1") if driver.plan.store in ("sentinel", "cluster") else ()
    options = ("-E", str(SKIP), "--ttl", "10s", *more)
    for number, _ in enumerate(driver.lab.hosts):
        job = driver.plan.jobs[number]
        driver.start(Start(0, driver.number, job, number, options, "plain", 20, "0"))
        driver.number += 1
        assert driver.until(lambda: not driver.lab.running, 30_000), "the first run does not end"


def run(plan: Plan, folder: Path, lab: Path) -> None:
    """Carry out *plan*; leave the history in *folder*. What is in *lab* goes with the lab."""
    (folder / "testimony").mkdir(parents=True, exist_ok=True)
    must("mount", "--make-rprivate", "/")
    must("mount", "-t", "tmpfs", "-o", "mode=755", "lab", str(lab))
    tempfile.tempdir = str(lab)  # the sockets of the servers
    kind: Kind | None = None
    events = Events(folder / "events.jsonl")
    try:
        network = Network()
        (lab / "servers").mkdir()
        kind = MAKERS[plan.store](lab / "servers", network)
        kind.be_impatient()
        hosts = make_hosts(plan, network, lab)
        tell_plan(plan, hosts, events)
        driver = Driver(plan, kind, hosts, events, folder, lab)
        warm_up(driver)
        driver.carry_out()
        ours = {1, os.getpid(), *[one.pid for one in (*kind.servers, *kind.sentinels)]}
        write(settle(driver, ours), folder)
    finally:
        events.close()
        if kind is not None:
            kind.stop()


def main(store: str, seed: str, runs: str, faults: str, folder: str, lab: str, *only: str) -> int:
    """Do it, with *only* these kinds of fault if any are named."""
    first()
    os.chdir("/")
    try:
        plan = make(store, int(seed), int(runs), int(faults), only=only)
        run(plan, Path(folder), Path(lab))
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001  (what went wrong is for whoever reads the folder)
        traceback.print_exc()
        return 70
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
