"""The lease side on several independent servers: what most of them say counts.

Every request goes to all servers at once, and is decided as soon as most of them (of all there
are, not of those that answer) agree, or cannot any more:

    Acquire   granted by most                          -> Granted, once they have one token
              held, for most, by one and the same run  -> Held (or Queued: see below)
              refused by most, for one reason          -> Refused
              denied by most                           -> Denied
              answered by too few                      -> Unavailable
              anything else: several runs ask at once  -> all give back what they got, and ask
                                                          again after a random pause
    Renew     renewed, reclaimed or granted by most    -> Renewed
              taken from most, or held, for most, by
              one and the same other run               -> Taken
              anything else                            -> Unavailable
    Close     done by most                             -> Closed; the others have a moment more
              anything else                            -> Unavailable

Any two majorities have a server in common, which is why no two runs have one at a time: that
server has one lease. A lease counts from before the first of the requests that made it up.

Tokens: servers number grants by their own clocks. After most have granted, and not most of them
with one number, the highest is imposed on the others (`at_least`), and only then is the lease
granted to the run. Any later majority has a server that knows it, and grants a higher one.

A server that lost the lease, or was away when it was granted, is given it again with the next
renewal, so a run outlives the servers that it began with, one after the other. This counts as a
vote: a reclaim and a grant both say that the server has our lease now, and nobody else's. A server
that came back empty grants nothing to others until a lease time has passed (redis/restart.py), so
no other run can have been given the vote that it owes to us.

Two addresses that lead to one server have one vote (redis/census.py). Seen before the grant, this
refuses the run, and the grant waits a moment for who has not been greeted yet; a server that was
away then, and turns out to be another one's twin, is not asked for anything, and that is told once.

Slots: at the border between two, servers may choose differently. The first answer that names one
fixes it for the run: who granted another one is asked again, before its vote counts.

There is no fair queue: each server would have its own, with another order. Runs that wait ask now
and then. A semaphore cannot be had, either: of 3 servers with 2 slots each, 3 runs have a majority.
"""

from __future__ import annotations

from cronguard.core.events import (
    Closed,
    Denied,
    Flawed,
    Gone,
    Granted,
    Held,
    OffSchedule,
    Refused,
    Renewed,
    StopAsked,
    Taken,
    Unavailable,
    Woken,
)
from cronguard.core.holding import Jitter
from cronguard.stores.address import parse_all
from cronguard.stores.ballot import Round, Server, is_for_another, taker, why_not
from cronguard.stores.contract import Acquire, Close, Reclaim, Renew
from cronguard.stores.redis.census import Census
from cronguard.stores.redis.lease import open_lease as open_one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.events import Event
    from cronguard.core.spec import Claim
    from cronguard.stores.contract import Met, Request

PAUSE_MS = 40
"""The longest first pause of runs that asked at once; it doubles with each time, up to:"""
LONGEST_PAUSE_MS = 600
_SPLIT = "no run has got the lock on most of its servers"
GREETING_MS = 100
"""How long after its request a grant waits for servers that have not said yet who they are."""
LAST_MOMENT_MS = 300
"""How long the end of a run is still brought to servers that are slower than most."""


def open_lease(url: str, claim: Claim, attempt: int, met: Met | None = None) -> QuorumLease:
    """Return the lease side of the servers in *url*. Raises: ValueError if they are no quorum."""
    if claim.slots > 1:
        raise ValueError(
            "a quorum of servers cannot count to more than one: majorities of 2 slots each would "
            "let 3 runs in; use one server, Sentinel or a Cluster for --slots"
        )
    addresses = parse_all(url)
    words = [word for word in url.split(" ") if word]
    census = Census()
    stores = [open_one(word, claim, attempt, met, census=census) for word in words]
    return QuorumLease(list(map(Server, stores, addresses)), claim, attempt, census)


class QuorumLease:
    """A `LeaseStore` (see stores/contract.py) on a quorum of servers."""

    def __init__(self, servers: list[Server], claim: Claim, attempt: int, census: Census) -> None:
        self.label = "quorum of " + ", ".join([server.label for server in servers])
        self._servers = servers
        self._most = len(servers) // 2 + 1
        self._census = census
        self._claim = claim
        self._told = False  # of a flaw of these servers
        self._attempt = attempt
        self._jitter = Jitter(int(claim.owner.run_id[:8], 16))
        self._rounds: list[Round] = []  # not answered yet, in the order of their requests
        self._joining: Acquire | None = None  # what a server is asked that lacks our lease
        self._slot = 0  # that the run is for: by the first server that said so
        self._ended = False  # a Close was asked for: nothing is taken or given back after it
        self._stopped = False

    # -- what the loop asks -----------------------------------------------------------------------

    def send(self, request: Request, now: int) -> None:
        """Begin one attempt of *request* at all servers."""
        deadline = now + self._attempt
        if isinstance(request, Acquire):
            self._joining = request
            self._ended = False  # what was given back before (together.py) was not the end
            deadline = min(deadline, request.until or deadline)
        elif isinstance(request, Close):
            self._end()
        asked = Round(request, now, deadline)
        self._rounds.append(asked)
        for server in self._servers:
            self._ask(server, asked, now)

    def watches(self) -> list[tuple[int, int]]:
        """Return (descriptor, poll(2) events) pairs to wait for."""
        return [pair for server in self._servers for pair in server.store.watches()]

    def wake_at(self) -> int | None:
        """Return when `events` wants to be called though no descriptor is ready, or None."""
        moments = [server.store.wake_at() for server in self._servers]
        moments += [moment for asked in self._rounds for moment in (asked.again_at, asked.until)]
        return min([moment for moment in moments if moment is not None], default=None)

    def events(self, now: int) -> list[Event]:
        """Do what can be done without waiting, and return the replies that are complete."""
        found: list[Event] = []
        for server in self._servers:
            for event in server.store.events(now):
                if isinstance(event, Woken):
                    found.append(event)
                elif isinstance(event, StopAsked):
                    found += [] if self._stopped else [event]
                    self._stopped = True
                else:
                    self._take(server, event, now)
        for asked in self._rounds:
            if asked.again_at is not None and now >= asked.again_at:
                asked.again_at = None
                for server in self._servers:
                    self._ask(server, asked, now)
            if asked.until is not None and now >= asked.until:
                self._wait_no_longer(asked, now)
        while self._rounds and (answer := self._rounds[0].answer) is not None:
            del self._rounds[0]
            found.append(answer)
        if self._census.flaw and not self._told:
            self._told = True
            found.append(Flawed(self._census.flaw))
        return found

    def watch_job(self, now: int) -> None:
        """Report StopAsked as it happens, by whichever server says it first."""
        for server in self._servers:
            server.store.watch_job(now)

    def close(self) -> None:
        """Let go of descriptors."""
        for server in self._servers:
            server.store.close()

    # -- asking -----------------------------------------------------------------------------------

    def _ask(self, server: Server, asked: Round, now: int) -> None:
        request = asked.request
        if isinstance(request, Acquire):
            # Without a place in its queue: there is none for all.
            record, until = request.record, request.until
            request = Acquire(
                record,
                evict=request.evict,
                replace=request.replace,
                at_least=request.at_least,
                slot=self._slot,
                until=until,
            )
        elif isinstance(request, Renew | Reclaim):
            if server.waiting and not self._ended:
                return  # what it says first may do, and if not, it is asked then
            if server.token is not None and not self._ended:
                request = Renew(server.token, server.index)
            elif self._joining is not None:
                request = Acquire(self._joining.record, at_least=request.token, slot=self._slot)
            else:
                asked.votes[server] = Gone(now)
                self._decide(asked, now)
                return
        server.send(request, asked, now)

    def _end(self) -> None:
        """The run ends: nothing is asked for again, or it would be got after the end."""
        self._joining = None
        self._ended = True
        for asked in self._rounds:
            if asked.answer is None and isinstance(asked.request, Renew | Reclaim):
                asked.answer = Unavailable("renew", "the run has ended")
            elif isinstance(asked.request, Acquire):
                asked.deadline = 0
                if asked.again_at is not None:
                    asked.again_at = None
                    asked.answer = Unavailable("acquire", _SPLIT)

    # -- replies ----------------------------------------------------------------------------------

    def _take(self, server: Server, event: Event, now: int) -> None:
        """Note what *server* said, for whom it was asked, and decide what can be decided."""
        asked = server.waiting.pop(0)
        if isinstance(event, Granted):
            server.token, server.index = event.token, event.index
        elif isinstance(event, Taken | Held | Refused | Closed):
            server.token = None
        if isinstance(event, Gone) and server.token is not None and not self._ended:
            server.send(Reclaim(server.token, server.index), asked, now)
            return
        if asked is not None and self._is_for_another_slot(server, event, asked, now):
            return
        if asked is not None and asked.answer is None:
            asked.votes[server] = event
            self._decide(asked, now)
        for later in list(self._rounds):
            if (
                later.answer is None
                and isinstance(later.request, Renew | Reclaim)
                and server not in later.votes
            ):
                self._heard_late(server, event, later, now)

    def _is_for_another_slot(self, server: Server, event: Event, asked: Round, now: int) -> bool:
        """Ask again for the slot that is this run's, if *server* spoke of another one, or none."""
        joining = self._joining
        if joining is None or not self._claim.rule:
            return False
        if not self._slot and server.store.slot:
            self._slot = server.store.slot
            for other in [
                one for one, vote in asked.votes.items() if isinstance(vote, OffSchedule)
            ]:
                del asked.votes[other]
                self._ask(other, asked, now)
        if not self._slot or not is_for_another(event, self._slot):
            return False
        at_least = event.token if isinstance(event, Granted) else 0
        again = Acquire(joining.record, at_least=at_least, slot=self._slot, until=joining.until)
        server.send(again, asked, now)
        return True

    def _heard_late(self, server: Server, event: Event, asked: Round, now: int) -> None:
        """Count a reply to an earlier renewal as a vote, or ask now that the server is free."""
        if isinstance(event, Renewed):
            asked.votes[server] = event
            self._decide(asked, now)
        elif not server.waiting:
            self._ask(server, asked, now)

    def _decide(self, asked: Round, now: int) -> None:
        if isinstance(asked.request, Acquire):
            self._decide_acquire(asked, now)
        elif isinstance(asked.request, Close):
            self._decide_close(asked, now)
        else:
            self._decide_renew(asked)

    def _wait_no_longer(self, asked: Round, now: int) -> None:
        """Answer without the servers that are slower than most."""
        asked.until = None
        if isinstance(asked.request, Close):
            asked.answer = Closed()
        elif self._census.flaw:
            asked.answer = Denied(self._census.flaw)
        elif asked.answer is None:
            self._decide(asked, now)

    def _deny(self, asked: Round, now: int) -> None:
        """Refuse servers that are fewer than they seem, once what they granted is given back."""
        if not asked.denied:
            asked.denied = self._told = True
            asked.until = now + LAST_MOMENT_MS
            self._give_back_all(asked, now)

    def _decide_acquire(self, asked: Round, now: int) -> None:
        if self._census.flaw:
            self._deny(asked, now)
            return
        granted = {
            server: vote for server, vote in asked.votes.items() if isinstance(vote, Granted)
        }
        pending = len(self._servers) - len(asked.votes)
        if len(granted) >= self._most:
            self._agree(asked, granted, now)
        elif len(granted) + pending >= self._most:
            return
        elif granted or not pending or why_not(asked, self._most, len(self._servers)) is not None:
            self._fail(asked, now)

    def _agree(self, asked: Round, granted: dict[Server, Granted], now: int) -> None:
        """Grant, if most servers have one token; else impose the highest on the others."""
        tokens = [vote.token for vote in granted.values()]
        common = max(tokens, key=tokens.count)
        if tokens.count(common) >= self._most:
            same = [vote for vote in granted.values() if vote.token == common]
            if self._waits_for_a_greeting(asked, now):
                return
            sent_at = min([asked.sent_at, *[vote.sent_at for vote in same]])
            index, clock = same[0].index, same[0].clock
            failures = sorted([vote.failures for vote in same])[len(same) // 2]
            asked.answer = Granted(sent_at, common, index, clock, self._slot, failures)
            return
        if self._joining is None:  # the run has ended: what it got is given back already
            asked.answer = Unavailable("acquire", _SPLIT)
            return
        highest = max(tokens)
        assert isinstance(asked.request, Acquire)
        for server, vote in granted.items():
            if vote.token < highest:
                del asked.votes[server]
                record = asked.request.record
                until = asked.request.until
                server.send(
                    Acquire(record, at_least=highest, slot=self._slot, until=until), asked, now
                )

    def _waits_for_a_greeting(self, asked: Round, now: int) -> bool:
        """Tell whether a server may yet turn out to be one of those that have granted."""
        until = min(asked.sent_at + GREETING_MS, asked.deadline)
        unknown = [
            server
            for server in self._servers
            if server not in asked.votes and not self._census.has_seen(server.place)
        ]
        waits = bool(unknown) and now < until
        asked.until = until if waits else None
        return waits

    def _fail(self, asked: Round, now: int) -> None:
        """No majority is to be had: give back what was got, and say why or ask again.

        A server that did not answer may have granted it, too, or may be going to: what it is asked
        next follows that. At the end of the run this is for its Close to do, which keeps a record.
        """
        self._give_back_all(asked, now)
        answer = why_not(asked, self._most, len(self._servers))
        asked.tries += 1
        pause = min(PAUSE_MS << min(asked.tries, 8), LONGEST_PAUSE_MS)
        again_at = now + self._jitter.shorten(pause, 90)
        if answer is None and again_at < asked.deadline:
            for server in self._servers:
                server.waiting = [None if one is asked else one for one in server.waiting]
            asked.votes = {}
            asked.sent_at = asked.again_at = again_at
            return
        asked.answer = answer or Unavailable("acquire", _SPLIT)

    def _give_back_all(self, asked: Round, now: int) -> None:
        for server in [] if self._ended else self._servers:
            vote = asked.votes.get(server)
            # Refused: what it had granted for another slot is gone, but not its record.
            if vote is None or isinstance(vote, Granted | Unavailable | Refused):
                server.give_back(now)

    def _decide_renew(self, asked: Round) -> None:
        good = [
            vote
            for server, vote in asked.votes.items()
            if isinstance(vote, Renewed | Granted) and server.token is not None
        ]
        if len(good) >= self._most:
            stops = [vote.stop_by for vote in good if isinstance(vote, Renewed) and vote.stop_by]
            sent_at = min([vote.sent_at for vote in good])
            asked.answer = Renewed(sent_at, 0, stops[0] if stops else None)
            return
        if asked.count(Taken) >= self._most:  # by another run, or by an operator's `unlock`
            taken = [vote for vote in asked.votes.values() if isinstance(vote, Taken)]
            asked.answer = next((vote for vote in taken if vote.holder is not None), taken[0])
            self._joining = None
            return
        others = [taker(vote) for vote in asked.votes.values()]
        for owner in others:
            runs = [other.run_id for other in others if other is not None]
            if owner is not None and runs.count(owner.run_id) >= self._most:
                asked.answer = Taken(owner)
                return
        if len(asked.votes) == len(self._servers):
            asked.answer = Unavailable("renew", asked.silent(len(self._servers)))

    def _decide_close(self, asked: Round, now: int) -> None:
        done = asked.count(Closed)
        if done == len(self._servers):
            asked.until, asked.answer = None, Closed()
        elif done >= self._most and asked.until is None:
            asked.until = now + LAST_MOMENT_MS
        if len(asked.votes) == len(self._servers) and asked.answer is None:
            asked.until = None
            denied = asked.count(Denied) >= self._most
            why = asked.silent(len(self._servers))
            if done >= self._most:
                asked.answer = Closed()
            else:
                asked.answer = Denied(why) if denied else Unavailable("release", why)
