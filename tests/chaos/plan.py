"""What is to happen, as a function of the seed alone: who asks for which job when, and what fails.

Times are ms on the plan's own clock, which stands still while too much is under way: so an
overloaded machine takes longer, and does the same. Which run a fault hits is said as a number
(`pick`): of those that may be hit when its time has come, it is that one, modulo their count.

    |-- storm: faults ----------------|-- calm: none --|-- storm ... --|-- calm --|

In the calm, which is longer than a lease, every job has to run again; the runs go on all along.
Heavy faults (a server lost, a failover) come one at a time, each when the one before is healed.
A hunt (sorts.py) comes with the runs that it needs, of a job that nobody else asks for.

Whoever wants to try some kinds of fault alone gets a short storm of these, and no calm after it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.sorts import FAULTS, Sort

STORES = ("sqlite", "redis", "sentinel", "cluster", "quorum")
HOSTS = ("web-1", "web-2", "web-3", "web-4")
TTL_MS, TAKEOVER_MS = 10_000, 5_000
SKIP = 75
"""What a skip exits with; no command ends so."""
ASKS = ("-E", str(SKIP), "--ttl", "10s", "-k", "600ms")
STARTS_A_JOB = 95
"""The store keeps the last 200 runs of a job, and 50 skips; chance makes some jobs more popular."""
FEWEST_JOBS = 24
STORM_MS, CALM_MS = 75_000, 24_000
SHORT_STORM_MS, TRIAL_STORM_MS = 36_000, 10_000
HUNT_EVERY_MS = 30_000
PREY_AHEAD_MS = 2_500
"""So long before its hunt a prey is asked for; who waits beside it comes half-way."""
HUNT_TAKES_MS = 22_000


@dataclass(frozen=True)
class Start:
    """A host asks for a job."""

    at_ms: int
    run: int
    job: str
    host: int
    options: tuple[str, ...]
    kind: str
    for_ms: int
    ending: str
    hunt: str = ""
    """The kind of fault that it is for; no other is done to it alone."""
    is_prey: bool = False


@dataclass(frozen=True)
class Fault:
    """Something fails, for so long where it is healed again."""

    at_ms: int
    kind: str
    pick: int
    for_ms: int


@dataclass(frozen=True)
class Calm:
    """All is healed, and nothing fails for so long."""

    at_ms: int
    for_ms: int


Step = Start | Fault | Calm
Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Plan:
    """All of it; `steps` in order of time."""

    store: str
    seed: int
    jobs: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def starts(self) -> list[Start]:
        """Return who asks for what."""
        return [step for step in self.steps if isinstance(step, Start)]

    @property
    def faults(self) -> list[Fault]:
        """Return what fails."""
        return [step for step in self.steps if isinstance(step, Fault)]


TREES = ("plain",) * 6 + ("child", "daemon", "deaf", "child,daemon", "child,daemon,deaf")


def make(
    store: str,
    seed: int,
    runs: int,
    faults: int,
    *,
    only: tuple[str, ...] = (),
    rate: float = 17.0,
) -> Plan:
    """Return the plan with at least so many runs asked for, and so many faults, of *only* those."""
    chance = random.Random(f"{store} {seed}")  # the same on every Python: it is hashed by SHA-512
    jobs = tuple(f"job-{number:03}" for number in range(max(FEWEST_JOBS, runs // STARTS_A_JOB)))
    sorts = {kind: sort for kind, sort in FAULTS[store].items() if not only or kind in only}
    calm, steps = _weather(round(runs / rate * 1000), is_trial=bool(only))
    storms = list(
        zip([0, *[c.at_ms + c.for_ms for c in calm]], [c.at_ms for c in calm], strict=False)
    )
    steps += _heavy(chance, sorts, storms)
    hunts = _hunts(chance, store, sorts, storms, faults if only else 0)
    steps += hunts
    light = max(faults - sum(isinstance(step, Fault) for step in steps), 0)
    steps += _light(chance, sorts, storms, light)
    number = sum(isinstance(step, Start) for step in hunts)
    steps += _starts(chance, store, jobs, number, runs, calm[-1].at_ms + calm[-1].for_ms)
    steps.sort(key=lambda step: step.at_ms)
    hunted = dict.fromkeys(step.job for step in hunts if isinstance(step, Start))
    return Plan(store, seed, (*jobs, *hunted), tuple(steps))


def _weather(total_ms: int, *, is_trial: bool) -> tuple[list[Calm], list[Step]]:
    """Return the calms: one after each storm, and as many storms as the time has room for."""
    if is_trial:
        end = [Calm(max(TRIAL_STORM_MS, total_ms), 0)]
        return end, list(end)
    count = max(1, round(total_ms / (STORM_MS + CALM_MS)))
    storm = max(SHORT_STORM_MS, total_ms // count - CALM_MS)
    calm = [Calm(number * (storm + CALM_MS) + storm, CALM_MS) for number in range(count)]
    return calm, list(calm)


def _heavy(chance: random.Random, every: Mapping[str, Sort], storms: Spans) -> list[Step]:
    """Return heavy faults one after another, each kind as often as the others."""
    sorts = {kind: sort for kind, sort in every.items() if sort.is_heavy}
    steps: list[Step] = []
    bag: list[str] = []
    for begin, end in storms if sorts else []:
        at = begin + 2_000
        while True:
            bag = bag or chance.sample(sorted(sorts), len(sorts))
            sort = sorts[bag[-1]]
            for_ms = chance.randint(sort.shortest_ms, sort.longest_ms)
            if at + for_ms + sort.rest_ms > end:
                break
            steps.append(Fault(at, bag.pop(), chance.getrandbits(31), for_ms))
            at += for_ms + sort.rest_ms + chance.randint(500, 3_000)
    return steps


def safely(store: str) -> tuple[str, ...]:
    """Return the options that the store needs, so that its heir knows of each lease."""
    return ("--min-replicas", "1") if store in ("sentinel", "cluster") else ()


def _hunts(
    chance: random.Random, store: str, sorts: Mapping[str, Sort], storms: Spans, least: int
) -> list[Step]:
    """Return hunts and the runs for them: now and then, so that they are over when the calm comes.

    Where nothing else than hunts is wanted, at *least* so many, soon after one another.
    """
    kinds = [kind for kind, sort in sorts.items() if sort.prey is not None]
    least = -(-least // len(kinds)) if len(kinds) == len(sorts) else 0
    steps: list[Step] = []
    jobs, runs = 0, 0
    for begin, end in storms if kinds else []:
        for kind in kinds * max(1, (end - begin) // HUNT_EVERY_MS, least):
            at = begin + 500 + chance.randrange(max(1_500, end - begin - HUNT_TAKES_MS))
            hunt = hunting(chance, store, kind, f"hunt-{jobs:02}", runs, at)
            jobs, runs = jobs + 1, runs + len(hunt) - 1
            steps += hunt
    return steps


def hunting(
    chance: random.Random, store: str, kind: str, job: str, number: int, at_ms: int
) -> list[Step]:
    """Return one hunt: its prey, who asks for *job* beside it, and the fault, which says whom."""
    sort, host = FAULTS[store][kind], chance.randrange(len(HOSTS))
    prey = sort.prey
    assert prey is not None
    # Without any rival no heir needs to know of it, and one reply is all that a renewal waits for.
    options = (*ASKS, *safely(store)) if prey.runs > 1 else ASKS
    steps: list[Step] = [
        Start(at_ms, number, job, host, options, prey.tree, prey.lasts_ms, "0", kind, is_prey=True)
    ]
    for _ in range(prey.wait):
        number, host, waiting = number + 1, host + 1, (*options, "--wait", "30s")
        at = at_ms + PREY_AHEAD_MS // 2
        steps.append(Start(at, number, job, host % len(HOSTS), waiting, "plain", 4_000, "0", kind))
    for _ in range(prey.come_after):
        number, host = number + 1, host + 1
        at = at_ms + PREY_AHEAD_MS
        steps.append(Start(at, number, job, host % len(HOSTS), options, "plain", 300, "0", kind))
    for_ms = chance.randint(sort.shortest_ms, sort.longest_ms)
    steps.append(Fault(at_ms + PREY_AHEAD_MS, kind, number - prey.runs + 1, for_ms))
    return steps


def _light(
    chance: random.Random, every: Mapping[str, Sort], storms: Spans, count: int
) -> list[Step]:
    """Return light faults at any time of the storms, each kind at least once."""
    sorts = {kind: sort for kind, sort in every.items() if sort.weight > 0}
    kinds = sorted(sorts)
    if not kinds:
        return []
    chosen = kinds + chance.choices(kinds, [sorts[kind].weight for kind in kinds], k=count)
    steps: list[Step] = []
    for kind in chosen[: max(count, len(kinds))]:
        begin, end = chance.choice(storms)
        at = chance.randrange(begin + 500, end - 500)
        for_ms = chance.randint(sorts[kind].shortest_ms, sorts[kind].longest_ms)
        steps.append(Fault(at, kind, chance.getrandbits(31), for_ms))
    return steps


def _starts(
    chance: random.Random, store: str, jobs: tuple[str, ...], number: int, count: int, end_ms: int
) -> list[Step]:
    """Return who asks: mostly two or three hosts for the same job, nearly at one moment.

    They have numbers from *number* on, up to *count*.
    """
    steps: list[Step] = []
    moments = sorted(chance.randrange(1_000, end_ms) for _ in range(count))
    order = chance.sample(jobs, len(jobs))
    turn = 0
    while number < count:
        turn += 1
        if turn % len(jobs) == 0:
            order = chance.sample(jobs, len(jobs))
        job = order[turn % len(jobs)]
        for _ in range(min(chance.choice((1, 1, 1, 2, 2, 3)), count - number)):
            late = 0 if chance.random() < 0.5 else chance.randrange(300)
            steps.append(_start(chance, store, number, job, moments[number] + late))
            number += 1
    return steps


def lock_of(job: str) -> str:
    """Return the lock that a job shares with its neighbour; every second pair of jobs has one."""
    pair = int(job.rpartition("-")[2]) // 2
    return f"pair-{pair}" if pair % 2 else ""


def _start(chance: random.Random, store: str, number: int, job: str, at_ms: int) -> Start:
    kind = chance.choice(TREES)
    for_ms = chance.randint(20, 400)
    if chance.random() < 0.04:
        for_ms = chance.randint(3_000, 14_000)
    options = list(ASKS)
    if chance.random() < 0.10:
        options += ["--wait", f"{chance.randint(1, 6)}s"]
    if chance.random() < 0.06:
        timeout_ms = chance.randint(500, 1_500)  # on a busy machine, to start takes a good part
        options += ["--timeout", f"{timeout_ms}ms"]
        for_ms = timeout_ms * chance.choice((0, 2, 4)) + for_ms
    isolation = chance.choice(("",) * 9 + ("group", "cgroup", "pidns"))
    if isolation:
        options += ["--isolation", isolation]
    if lock := lock_of(job):
        options += ["--lock", lock]
    options += safely(store)
    ending = chance.choice(("0",) * 7 + ("1", "7", "signal"))
    return Start(
        at_ms, number, job, chance.randrange(len(HOSTS)), tuple(options), kind, for_ms, ending
    )
