"""Servers, connections and clocks that are none: a world with one true time, and many faults.

The product's own client runs in it, on `Line` in the place of a socket. What TCP promises holds,
and no more: bytes of one connection come in order, however late, or not at all. What was sent on a
connection that our side has given up may still arrive, after what was sent on the next one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

from hiredis.hiredis import Reader

from cronguard.stores.address import Address
from cronguard.stores.redis.link import Broken
from tests.stores.sim.model import Data, Model

WALL = 1_790_000_000_000
HOSTS, SERVERS = (965, 990, 1_000, 1_000, 1_010, 1_035), (990, 1_000, 1_000, 1_010)
"""The rates of clocks, in permille: those of a host and a server differ by 5 % at the most."""
SKEW_MS = 2_000
"""With their rates, the clocks of servers come to differ by less than a lease time in a walk: if
one of them is further ahead, and loses its data, tokens may fall."""


class World:
    """True time in ms, what is to happen, and the dice. `steps` what has happened so far."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.now = 0
        self.steps = 0
        self.late = self.dice.choice((0, 0, 0.02, 0.15))  # messages that are lost and sent again
        self.naps = self.dice.choice((0, 0, 0.01, 0.05))  # requests after which a host is frozen
        self.places: dict[str, Site] = {}
        self.current: object = None  # the host whose client is running
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []

    def at(self, moment: int, what: Callable[[], None]) -> None:
        """Have *what* happen at *moment*, or now if that has passed."""
        self.steps += 1
        heapq.heappush(self._agenda, (max(moment, self.now), self.steps, what))

    def run(self, until: int) -> None:
        """Let all happen that happens before *until*."""
        while self._agenda and self._agenda[0][0] <= until:
            self.now, _, what = heapq.heappop(self._agenda)
            what()
        self.now = until


class Site:
    """Where a server is: it may be up, frozen or down, far away or out of reach.

    `delay` the longest that a message to or from it usually takes · `cut_until` from when on it can
    be reached again · `apart` the hosts that cannot reach it until then.
    """

    def __init__(self, world: World, path: str, fsync: str) -> None:
        self.world = world
        self.path = path
        self.fsync = fsync
        self.delay = 3
        self.up = True
        self.frozen = False
        self.cut_until = 0
        self.apart: set[object] = set()
        self.may_info = True
        self._rate = world.dice.choice(SERVERS)
        self._skew = world.dice.randint(-SKEW_MS, SKEW_MS)
        self._started = -1_000_000
        self._waiting: list[tuple[Line, list[bytes]]] = []
        self._saved = [Data()]
        self.lives = 0
        self.lines: list[Line] = []
        self.model = self._new(Data())

    def _new(self, data: Data) -> Model:
        self.lives += 1
        started = self._started
        return Model(
            self.clock,
            lambda: (self.world.now - started) * self._rate // 1_000_000,
            data=data,
            fsync=self.fsync,
            may_info=self.may_info,
            name=f"{self.path.rpartition('/')[2]:>020}{self.lives:020}",
        )

    def clock(self) -> int:
        """Return its wall clock."""
        return WALL + self._skew + self.world.now * self._rate // 1000

    def lag(self, host: object) -> int:
        """Return how long a message takes that is sent now."""
        usual = self.world.dice.randint(0, self.delay)
        if self.world.dice.random() < self.world.late:
            return usual + self.world.dice.choice((200, 400, 1_000, 3_000))
        if self.world.now < self.cut_until and (not self.apart or host in self.apart):
            # Sent again and again, with pauses that double: it comes some time after the end.
            return self.cut_until - self.world.now + self.world.dice.choice((0, 200, 1_000, 3_000))
        return usual

    def take(self, line: Line, words: list[bytes]) -> None:
        """A command has arrived."""
        if not self.up or line.life != self.lives:
            line.reset()
        elif self.frozen:
            self._waiting.append((line, words))
        else:
            line.answer(self.model.do(words))

    def lease_left(self) -> int:
        """Return for how long it keeps a lease, or less than nothing."""
        lease = self.model.data.lease
        return -1 if lease is None else lease.ends_at - self.clock()

    def freeze(self) -> None:
        """Stop, as SIGSTOP does; what arrives waits in the sockets."""
        self.frozen = True

    def thaw(self) -> None:
        """Go on; whose socket is looked at first is chance, the order within each is not."""
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        while waiting and self.up:
            first = self.world.dice.choice(waiting)[0]
            place = next(i for i, (line, _) in enumerate(waiting) if line is first)
            line, words = waiting.pop(place)
            self.take(line, words)

    def save(self) -> None:
        """Write to the disk what there is, as a snapshot does, or fsync; so it may come back."""
        self._saved = [*self._saved[-1:], self.model.data.copy()]

    def crash(self) -> None:
        """End, with all connections."""
        self.up = self.frozen = False
        self._waiting = []
        for line in self.lines:
            line.reset()
        self.lines = []

    def start(self, *, power_cut: bool) -> None:
        """Start again with what is on the disk.

        A process that just ended leaves all that it wrote to its append-only file; a host that lost
        its power all that was synced: the last second or two are not, unless each write is.
        """
        self.up = True
        self._started = self.world.now
        data = self.world.dice.choice((Data(), self._saved[0].copy()))
        if self.fsync == "always" or (self.fsync and not power_cut):
            data = self.model.data
        elif self.fsync:
            data = self.world.dice.choice(self._saved).copy()
        self.model = self._new(data)


class Line:
    """In the place of link.Link: a connection of a host to a site."""

    world: World

    def __init__(self, address: Address, place: object) -> None:
        del place
        self.site = self.world.places[address.path]
        self.life = self.site.lives
        self.host = self.world.current
        self.broken: Broken | None = None
        self.greeted = self.securing = False
        self.open = True
        self._reader = Reader()
        self._there_at = 0
        self._back_at = 0
        self._come: list[object] = []
        self._reset = False
        if self.site.up:
            self.site.lines = [line for line in self.site.lines if line.open]
            self.site.lines.append(self)
        else:
            self.reset()

    def write(self, data: bytes) -> None:
        """Send commands; they arrive in order, some time."""
        self._reader.feed(data)
        while (words := self._reader.gets()) is not False:
            self._send(list(words))

    def _send(self, words: list[bytes]) -> None:
        world = self.world
        self._there_at = max(self._there_at, world.now + self.site.lag(self.host))
        lost = world.dice.random() < 0.3  # should it be on its way when our side closes

        def arrive() -> None:
            if self.open or not lost:
                self.site.take(self, words)

        world.at(self._there_at, arrive)

    def answer(self, reply: object) -> None:
        """Send a reply; it arrives in order, if there is still somebody."""
        self._bring(lambda: self._come.append(reply))

    def reset(self) -> None:
        """Tell our side that there is nobody."""

        def become() -> None:
            self._reset = True

        self._bring(become)

    def _bring(self, what: Callable[[], None]) -> None:
        self._back_at = max(self._back_at, self.world.now + self.site.lag(self.host))

        def arrive() -> None:
            if self.open:
                what()
                self.host.wake()  # type: ignore[attr-defined]

        self.world.at(self._back_at, arrive)

    def advance(self) -> list[object]:
        """Return the replies that have come."""
        come, self._come = self._come, []
        if self._reset:
            self.broken = Broken("it closed the connection")
        return come

    def watch(self) -> tuple[int, int]:
        """Return nothing that could be waited for: the world wakes us."""
        return 0, 0

    def close(self) -> None:
        """Let go of our side."""
        self.open = False
