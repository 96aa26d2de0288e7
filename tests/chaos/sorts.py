"""The kinds of fault: how often each comes, for how long, and against which kind of store.

light   at any time of a storm, so often as its weight says
heavy   one at a time, each when the one before is healed: a server lost, a failover
hunt    at a run of its own, the prey, which lasts and which nothing else is done to: for faults
        that are seen only if more comes together than chance brings together
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prey:
    """The run that a hunt is for, and who else asks for its job, on other hosts.

    `wait` in the queue from the beginning · `come_after` when the hunt is over.
    """

    lasts_ms: int
    tree: str = "plain"
    wait: int = 0
    come_after: int = 0

    @property
    def runs(self) -> int:
        """Return how many runs are asked for."""
        return 1 + self.wait + self.come_after


@dataclass(frozen=True)
class Sort:
    """One kind of fault: how often among the light ones (0: it is none), and for how long."""

    weight: int
    shortest_ms: int = 0
    longest_ms: int = 0
    rest_ms: int = 0
    """What a heavy one needs after it was healed, before the next may come."""
    prey: Prey | None = None

    @property
    def is_heavy(self) -> bool:
        """Tell whether it comes alone."""
        return not self.weight and self.prey is None


ON_RUNS = {
    "kill keeper": Sort(14),
    "kill guardian": Sort(10),
    "kill both": Sort(7),
    "stop keeper": Sort(9, 20, 2_500),
    "stop keeper for long": Sort(1, 9_000, 12_000),
    "stop guardian": Sort(8, 20, 1_400),
    "stop both": Sort(4, 20, 1_400),
    "term keeper": Sort(9),
    "cronguard stop": Sort(2),
}
ON_HOSTS = {
    "cut host": Sort(4, 100, 3_500),
    "cut host for long": Sort(1, 10_500, 14_000),
    "lossy host": Sort(3, 500, 3_000),
    "slow host": Sort(3, 500, 3_000),
    "half-open connections": Sort(4, 500, 4_000),
    "full disk": Sort(0, 1_000, 4_000, 500),
}
ON_SERVERS = {
    "freeze server": Sort(5, 50, 700),
    "slow server": Sort(3, 300, 2_000),
    "kill connections": Sort(6),
    "pause clients": Sort(4, 50, 900),
    "forget scripts": Sort(5),
    "clock forwards": Sort(3, 500, 3_000),
    "clock backwards": Sort(3, 500, 3_000),
    "evict": Sort(5),
}
HUNTS = {
    "late reply": Sort(0, 4_200, 4_800, prey=Prey(22_000, "deaf")),
    "evict while it lasts": Sort(0, prey=Prey(17_000, come_after=2)),
}
ON_QUEUES = {"lost release": Sort(0, prey=Prey(17_000, wait=2))}
"""A quorum has none."""
FAULTS: dict[str, dict[str, Sort]] = {
    "sqlite": ON_RUNS
    | {
        "lock database": Sort(10, 50, 1_500),
        "lock database for long": Sort(0, 9_000, 12_000, 1_000),
        "full disk": Sort(0, 1_000, 4_000, 500),
    },
    "redis": ON_RUNS
    | ON_HOSTS
    | ON_SERVERS
    | HUNTS
    | ON_QUEUES
    | {
        "freeze server for long": Sort(0, 9_000, 13_000, 1_000),
        "restart with data": Sort(0, 100, 3_000, 1_000),
        "restart without data": Sort(0, 50, 1_500, 17_000),
        "cut server": Sort(0, 300, 4_000, 500),
    },
    "sentinel": ON_RUNS
    | ON_HOSTS
    | ON_SERVERS
    | HUNTS
    | ON_QUEUES
    | {
        "ask for a failover": Sort(0, 0, 0, 7_000),
        "kill the master": Sort(0, 3_000, 5_000, 7_000),
        "freeze the master": Sort(0, 3_000, 6_000, 7_000),
        "cut the master": Sort(0, 3_000, 6_000, 7_000),
        "restart replica without data": Sort(0, 100, 1_500, 1_000),
        "kill sentinels": Sort(0, 2_000, 6_000, 2_000),
        "freeze sentinels": Sort(0, 2_000, 6_000, 2_000),
    },
    "cluster": ON_RUNS
    | ON_HOSTS
    | ON_SERVERS
    | HUNTS
    | ON_QUEUES
    | {
        "ask for a failover": Sort(0, 0, 0, 4_000),
        "kill the master": Sort(0, 4_000, 6_000, 4_000),
        "freeze the master": Sort(0, 4_000, 6_000, 4_000),
        "cut the master": Sort(0, 4_000, 6_000, 4_000),
        "restart replica without data": Sort(0, 100, 1_500, 1_000),
        "move slot": Sort(0, 200, 3_000, 1_000),
        "move slot slowly": Sort(0, 3_000, 6_000, 1_000),
    },
    "quorum": ON_RUNS
    | ON_HOSTS
    | ON_SERVERS
    | {
        "late reply": HUNTS["late reply"],
        "evict while it lasts": Sort(0, prey=Prey(48_000, come_after=2)),
        "freeze server for long": Sort(0, 9_000, 16_000, 500),
        "freeze most servers": Sort(0, 1_000, 9_000, 1_000),
        "restart with data": Sort(0, 100, 3_000, 500),
        "restart without data": Sort(0, 50, 1_500, 17_000),
        "cut server": Sort(0, 300, 9_000, 500),
    },
}
