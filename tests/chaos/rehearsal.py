"""Every fault of one kind of store, begun and broken off: what is then not as it was before?

`python -m tests.chaos.rehearsal STORE FOLDER`, in namespaces as `inside.py` wants them.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.chaos.driver import FAULT_KINDS, Driver
from tests.chaos.events import Events
from tests.chaos.inside import first, make_hosts, warm_up
from tests.chaos.kinds import MAKERS, Kind
from tests.chaos.lab import Lab
from tests.chaos.namespaces import Network, must
from tests.chaos.plan import Plan, Start, hunting, make
from tests.chaos.sorts import FAULTS, ON_RUNS

STEPS = 3
"""So far each fault is let go on before it is broken off."""
PATIENCE_MS = 60_000
SETTLES_MS = 1_200
"""Whoever was started so long ago has the job, or is in its queue."""
PICK = 4
"""The first of four hosts: on it is the run that holds a lease, and so a connection."""


def state(lab: Lab) -> dict[str, object]:
    """Return all that a fault may change, in words."""
    found: dict[str, object] = {
        "frozen": sorted(lab.kind.frozen),
        "running": [server.running for server in lab.kind.servers],
        "watching": [one.running for one in lab.kind.sentinels],
        "stepped": sorted(lab.stepped),
        "fragile": sorted(lab.fragile_jobs),
        "steady": lab.kind.steady,
        "rules": _rules(),
    }
    for host in lab.hosts:
        with host.entered():
            queues = os.popen("tc qdisc show dev eth0").read().replace("noqueue", "")
            found[host.name] = (_rules(), "netem" in queues or "tbf" in queues, host.troubled)
        found[f"{host.name} disk"] = (host.disk / "filler").exists()
    return found


def _rules() -> str:
    return os.popen("iptables -S").read()


def one_that_holds(driver: Driver) -> None:
    """Have a run that may lose its lease, for faults that need one."""
    job = driver.plan.jobs[-1]
    options = ("--ttl", "10s", "-k", "600ms")
    driver.start(Start(0, driver.number, job, 0, options, "plain", 60_000, "0"))
    driver.number += 1
    started = driver.out / "testimony" / job
    driver.until(lambda: started.is_dir() and any(started.iterdir()), PATIENCE_MS)


def have_prey(driver: Driver, kind: str) -> int:
    """Start the runs that a hunt is for and those that wait beside; return the prey's number."""
    steps = hunting(random.Random(1), driver.plan.store, kind, f"hunted-{kind[:4]}", 0, 0)
    first = driver.number
    for step in [step for step in steps if isinstance(step, Start)]:
        if step.is_prey or "--wait" in step.options:
            driver.start(replace(step, run=driver.number, hunt=kind))
            driver.number += 1
            driver.until(lambda: False, SETTLES_MS)
    return first


def rehearse(driver: Driver) -> dict[str, list[str]]:
    """Begin and break off each fault; return what was wrong, by kind."""
    lab, found = driver.lab, dict[str, list[str]]()
    for kind in sorted(set(FAULTS[driver.plan.store]) - set(ON_RUNS)):
        for run in list(lab.running.values()):
            run.hit = False
        if not lab.running:
            one_that_holds(driver)
        driver.until(lab.kind.is_well, PATIENCE_MS)
        hunted = FAULTS[driver.plan.store][kind].prey is not None
        pick = have_prey(driver, kind) if hunted else PICK
        before, told = state(lab), driver.events.counts["fault"]
        steps = FAULT_KINDS[kind](lab, pick, 120)
        for _ in range(STEPS):
            wanted = next(steps, None)
            if wanted is None:
                break
            driver.until(lambda: False, min(wanted, 150))
        steps.close()
        found[kind] = _wrong(driver, before, told)
    return found


def _wrong(driver: Driver, before: dict[str, object], told: int) -> list[str]:
    after = state(driver.lab)
    wrong = [
        f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]
    ]
    if driver.events.counts["fault"] != told + 1:
        wrong.append("it did not say once that it began")
    if driver.events.counts["healed"] != driver.events.counts["fault"]:
        wrong.append("it did not say that it is over")
    if not driver.until(driver.lab.kind.is_well, PATIENCE_MS):
        wrong.append("the servers are not well again")
    return wrong


def main(store: str, place: str) -> int:
    """Do it, in the lab below FOLDER, and leave what was wrong in rehearsal.json."""
    first()
    folder, lab = Path(place), Path(place) / "lab"
    must("mount", "--make-rprivate", "/")
    must("mount", "-t", "tmpfs", "-o", "mode=755", "lab", str(lab))
    tempfile.tempdir = str(lab)
    plan: Plan = make(store, 1, 20, 1)
    (folder / "testimony").mkdir()
    events = Events(folder / "events.jsonl")
    kind: Kind | None = None
    try:
        network = Network()
        (lab / "servers").mkdir()
        kind = MAKERS[store](lab / "servers", network)
        kind.be_impatient()
        driver = Driver(plan, kind, make_hosts(plan, network, lab), events, folder, lab)
        warm_up(driver)
        (folder / "rehearsal.json").write_text(json.dumps(rehearse(driver)))
    finally:
        events.close()
        if kind is not None:
            kind.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
