"""A host that runs one job again and again, with the product's own machine and client.

What it is for is `trusts_until`: until when, by its own clock, its run may be alive. That is longer
than any run of the product: its timer kills it a margin earlier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cronguard.core import actions as do
from cronguard.core import events as ev
from cronguard.core.lease import LeaseTimes
from cronguard.core.machine import Run
from cronguard.core.spec import Claim, JobSpec, Owner
from cronguard.stores import contract
from cronguard.stores.quorum import QuorumLease, open_lease
from tests.stores.sim.world import HOSTS

if TYPE_CHECKING:
    from cronguard.core.events import Event
    from tests.stores.sim.world import World

RECORD = '{"token":null,"outcome":"running"}'


class Overlap(AssertionError):
    """Two runs trusted the lease at one time, or a token did not rise."""


class Lab:
    """The hosts of one job, and what must be true of their runs.

    `starts` how many commands were started · `tokens` the highest one that a run was given.
    """

    def __init__(self, world: World, url: str, ttl: int) -> None:
        self.world = world
        self.url = url
        self.ttl = ttl
        self.hosts: list[Host] = []
        self.starts = 0
        self.renewals = 0
        self.highest = 0
        self.quiet = False  # no new run begins
        self.lengths = world.dice.choice(
            ((30, 300), (30, 300, 3_000), (300, 3_000, 15_000, 90_000))
        )

    def check(self, host: Host) -> None:
        """See that nobody else trusts the lease. Raises: Overlap."""
        if not host.trusts:
            return
        others = [other for other in self.hosts if other is not host and other.trusts]
        if others:
            raise Overlap(f"{host} and {others} at {self.world.now}")

    def started(self, host: Host, token: int) -> None:
        """Note a start. Raises: Overlap."""
        self.starts += 1
        if token <= self.highest:
            raise Overlap(f"{host} has token {token} after {self.highest}")
        self.highest = token


class Host:
    """One host: a clock, and one run at a time."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.world = lab.world
        self.name = name
        self.dice = lab.world.dice
        self.frozen_until = 0
        self.store: QuorumLease | None = None
        self.dead: set[str] = set()  # run ids of ours whose tree is gone
        self._rate = self.dice.choice(HOSTS)
        self._base = self.dice.randint(0, 1_000_000)
        self._run: Run | None = None
        self._ready: list[Event] = []
        self._alive = False
        self._ends_at = 0
        self._kill_at: int | None = None
        self._life = 0
        self._wake_at = -1
        self._was = 0

    def __repr__(self) -> str:
        return self.name

    def clock(self) -> int:
        """Return its CLOCK_BOOTTIME."""
        return self._base + self.world.now * self._rate // 1000

    def _true(self, moment: int) -> int:
        """Return the first true moment at which its clock says *moment*."""
        return -(-(moment - self._base) * 1000 // self._rate)

    @property
    def trusts(self) -> bool:
        """Tell whether its run may be alive."""
        return self._alive and self.clock() < self._ends_at

    @property
    def busy(self) -> bool:
        """Tell whether a `cronguard run` is under way."""
        return self._run is not None

    # -- the run ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start `cronguard run`."""
        if self._run is not None or self.lab.quiet:
            return
        self._life += 1
        run_id = f"{self.dice.getrandbits(128):032x}"
        times = LeaseTimes(self.lab.ttl)
        wait = self.dice.choice((0, 20_000, None, None))
        spec = JobSpec(name="job", command=["true"], store="x", ttl=self.lab.ttl, wait=wait)
        claim = Claim("job", Owner(run_id, host=self.name), times.px)
        self._alive = False
        self._run = Run(spec, times, seed=self.dice.getrandbits(30))
        self.world.current = self
        self.store = open_lease(self.lab.url, claim, times.attempt)
        self.run_id = run_id
        self._ready = [ev.Begin()]
        self.wake()

    def _leave(self) -> None:
        """The process is gone."""
        self._run = None
        self._life += 1
        self._kill_at = None
        if self.store is not None:
            self.store.close()
        self.world.at(self.world.now + self.dice.choice((10, 500, 4_000)), self.begin)

    def crash(self) -> None:
        """`kill -9` of the keeper: its tree dies with it."""
        if self._run is not None:
            self._alive = False
            self.dead.add(self.run_id)
            self._leave()

    def freeze(self, until: int) -> None:
        """Stop all processes for a while; the kernel's timer goes on."""
        if self.world.now >= self.frozen_until:
            self._was = self.clock()
        self.frozen_until = max(self.frozen_until, until)

    def after(self, delay: int, event: Event) -> None:
        """Have the run see *event*, if it is still this one."""
        life = self._life

        def come() -> None:
            if life == self._life:
                self._ready.append(event)
                self.wake()

        self.world.at(self.world.now + delay, come)

    def wake(self) -> None:
        """Look at what came, as soon as the process runs."""
        moment = max(self.world.now, self.frozen_until)
        if self._wake_at == moment:
            return
        self._wake_at = moment
        self.world.at(moment, self._serve)

    def _serve(self) -> None:
        self._wake_at = -1
        if self._run is None:
            return
        if self.world.now < self.frozen_until:
            self.wake()
            return
        self.world.current = self
        # Stopped between a look at the clock and at what came: time is not what we take it for.
        now = self._was or self.clock()
        self._was = 0
        ready, self._ready = self._ready, []
        for event in ready:
            self._feed(event, now)
        self._tick(now)
        self._take_replies(now)
        self._plan()

    def _tick(self, now: int) -> None:
        if self._run is not None:
            due = self._run.wake_at()
            if due is not None and now >= due:
                self._feed(ev.Tick(), now)

    def _take_replies(self, now: int) -> None:
        while self._run is not None:
            assert self.store is not None
            replies = self.store.events(now)
            if not replies:
                return
            for event in replies:
                if isinstance(event, ev.Held | ev.Queued):
                    event.gone = event.holder.run_id in self.dead
                self._feed(event, now)

    def _plan(self) -> None:
        """Wake when the machine or the store wants it, or the kernel kills."""
        if self._run is None or self.store is None:
            return
        moments = [self._run.wake_at(), self.store.wake_at()]
        due = min([moment for moment in moments if moment is not None], default=None)
        life = self._life

        def look() -> None:
            if life == self._life:
                self.wake()

        if due is not None:
            self.world.at(max(self._true(due), self.world.now + 1), look)

    def _feed(self, event: Event, now: int) -> None:
        if self._run is None:
            return
        life = self._life
        for action in self._run.step(event, now):
            if life == self._life:  # else the timer that it set was due, and has killed it
                self._perform(action, now)
        lease = self._run.lease if self._run is not None else None
        if lease is not None and self._alive:
            self._ends_at = lease.ends_at
            self.lab.check(self)

    def _perform(self, action: do.Action, now: int) -> None:
        assert self.store is not None
        match action:
            case do.Acquire():
                self._send(contract.Acquire(RECORD, queue_for=0, evict=action.evict), now)
            case do.Renew():
                self.lab.renewals += 1
                self._send(contract.Renew(action.token, action.index), now)
            case do.Reclaim():
                self._send(contract.Reclaim(action.token, action.index), now)
            case do.Close():
                self._alive = False
                end = contract.Close(
                    "{}", outcome="succeeded", ended_wall=0, release=action.release
                )
                self._send(end, now)
            case do.Watch():
                self.store.watch_job(now)
            case do.Arm():
                self._arm(action.at)
            case do.Disarm():
                self._kill_at = None
            case do.Spawn():
                self._spawn()
            case do.Signal():
                self.after(self.dice.choice((1, 500, 2_000, 60_000)), ev.Exited(15, 0))
            case do.Kill():
                self.after(self.dice.randint(1, 50), ev.TreeDead())
            case do.Exit():
                self._alive = False
                self._leave()

    def _send(self, request: contract.Request, now: int) -> None:
        assert self.store is not None
        self.store.send(request, now)
        if not self.lab.quiet and self.dice.random() < self.world.naps:
            self.freeze(self.world.now + self.dice.choice((500, 3_000, 20_000, 45_000)))

    def _spawn(self) -> None:
        assert self._run is not None
        assert self._run.lease is not None
        self._alive = True
        self.lab.started(self, self._run.lease.token)
        self.after(self.dice.randint(1, 20), ev.Spawned(1))
        length = self.dice.choice(self.lab.lengths)
        self.after(length + 20, ev.Exited(0, 0))

    def _arm(self, moment: int) -> None:
        """Have the kernel kill the keeper at *moment*; its tree is gone when the lease ends.

        At once, if that is over: it was stopped since it looked at the clock.
        """
        if moment <= self.clock():
            self._leave()
            return
        self._kill_at = moment
        life = self._life

        def kill() -> None:
            if life == self._life and self._kill_at == moment:
                self._leave()

        self.world.at(self._true(moment), kill)
