"""Faults from a seed, in a world of servers and hosts; then calm, in which all must go on."""

from __future__ import annotations

from collections.abc import Callable

from tests.stores.sim.host import Host, Lab
from tests.stores.sim.world import Line, Site, World

DELAYS = (1, 3, 3, 30, 300, 900)
PAUSES = (100, 700, 2_000, 4_000, 12_000, 20_000, 40_000)
TTLS = (10_000, 10_000, 30_000)
CALM_MS = 150_000
POLICIES = (("",), ("everysec",), ("always",), ("", "everysec", "always"))


class Walk:
    """One world and its faults. `lab.starts`, `world.steps` say how far it came."""

    def __init__(self, seed: int, servers: int, hosts: int, minutes: int) -> None:
        self.world = World(seed)
        self.dice = self.world.dice
        self.until = minutes * 60_000
        Line.world = self.world
        durable = self.dice.choice(POLICIES)
        self.sites = [
            Site(self.world, f"/sim/{number}", self.dice.choice(durable))
            for number in range(servers)
        ]
        self.world.places = {site.path: site for site in self.sites}
        for site in self.sites[: len(self.sites) // 2] if self.dice.random() < 0.2 else []:
            site.model.may_info = site.may_info = False
        url = " ".join([f"unix://{site.path}" for site in self.sites])
        self.lab = Lab(self.world, url, self.dice.choice(TTLS))
        self.lab.hosts = [Host(self.lab, f"host{number}") for number in range(hosts)]
        self._faults = self._mood()
        self._every = self.dice.choice((300, 2_000, 8_000))

    def _mood(self) -> list[Callable[[], None]]:
        """Choose what goes wrong in this world: everything, or a few things all the time."""
        every = [
            self._slow,
            self._cut,
            self._freeze_site,
            self._crash_site,
            self._freeze_host,
            self._crash_host,
            self._besiege,
            self._power_cut,
        ]
        return every if self.dice.random() < 0.4 else self.dice.sample(every, 2)

    def run(self) -> None:
        """Walk. Raises: Overlap; AssertionError, if a calm world does not get on."""
        for host in self.lab.hosts:
            self.world.at(self.dice.randint(0, 1_000), host.begin)
        for site in self.sites:
            self._save(site)
        self.world.at(1_000, self._fault)
        self.world.run(self.until)
        self._heal()
        self.world.run(self.until + CALM_MS // 2)
        before = self.lab.starts + self.lab.renewals
        self.world.run(self.until + CALM_MS)
        assert self.lab.starts + self.lab.renewals > before, "nothing gets on in a calm world"
        self.lab.quiet = True
        for _ in range(20):
            self.world.run(self.world.now + CALM_MS)
            if not any(host.busy for host in self.lab.hosts):
                break
        left = [site.path for site in self.sites if site.lease_left() > 0]
        assert not left, f"nobody runs, and {left} are locked"

    def _save(self, site: Site) -> None:
        site.save()
        every = 1_000 if site.fsync else self.dice.choice((1_000, 10_000, 60_000))
        self.world.at(self.world.now + every, lambda: self._save(site))

    def _fault(self) -> None:
        if self.world.now < self.until - max(PAUSES):
            self.dice.choice(self._faults)()
            self.world.at(self.world.now + self.dice.randint(1, self._every), self._fault)

    def _later(self) -> int:
        return self.world.now + self.dice.choice(PAUSES)

    def _slow(self) -> None:
        self.dice.choice(self.sites).delay = self.dice.choice(DELAYS)

    def _cut(self) -> None:
        site = self.dice.choice(self.sites)
        number = self.dice.choice((0, 1, 1, 2))
        site.apart = set(self.dice.sample(self.lab.hosts, number))
        site.cut_until = self._later()

    def _freeze_site(self) -> None:
        site = self.dice.choice(self.sites)
        if site.up and not site.frozen:
            site.freeze()
            self.world.at(self._later(), site.thaw)

    def _crash_site(self) -> None:
        self._restart(
            self.dice.choice(self.sites), self.dice.choice(PAUSES), self.dice.random() < 0.5
        )

    def _freeze_host(self) -> None:
        self.dice.choice(self.lab.hosts).freeze(self._later())

    def _crash_host(self) -> None:
        self.dice.choice(self.lab.hosts).crash()

    def _besiege(self) -> None:
        """Part whoever has the lease from all servers but a few, and have some of these forget."""
        holders = [host for host in self.lab.hosts if host.trusts]
        if not holders:
            return
        until = self._later()
        for site in self.dice.sample(self.sites, self.dice.randint(1, len(self.sites))):
            site.apart, site.cut_until = set(holders), until
        for site in self.dice.sample(self.sites, self.dice.randint(0, len(self.sites) // 2)):
            self._restart(site, self.dice.choice((10, 100, 1_000)))

    def _power_cut(self) -> None:
        for site in self.dice.sample(self.sites, self.dice.randint(1, len(self.sites))):
            self._restart(site, self.dice.choice((10, 100, 1_000, 10_000)))

    def _restart(self, site: Site, down: int, power_cut: bool = True) -> None:
        if site.up:
            site.crash()
            self.world.at(self.world.now + down, lambda: site.start(power_cut=power_cut))

    def _heal(self) -> None:
        self.world.late = self.world.naps = 0
        for site in self.sites:
            site.delay = 3
            site.cut_until = 0
            assert site.up
            site.thaw()
