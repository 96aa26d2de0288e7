"""One request to the servers of a quorum: who is asked, what each said, and what most refuse."""

from __future__ import annotations

from cronguard.core.events import (
    Closed,
    Denied,
    Granted,
    Held,
    OffSchedule,
    Queued,
    Refused,
    Renewed,
    Taken,
    Unavailable,
)
from cronguard.stores.contract import Acquire, Close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.events import Event
    from cronguard.core.spec import Owner
    from cronguard.stores.address import Address
    from cronguard.stores.contract import Request
    from cronguard.stores.redis.lease import RedisLease


class Server:
    """One of the servers, and our lease there: `token` and `index`, or None.

    `place` what the census calls it · `waiting` the rounds whose replies are still to come from it,
    in order; None for a reply that is nobody's.
    """

    __slots__ = ("index", "label", "place", "store", "token", "waiting")

    def __init__(self, store: RedisLease, address: Address) -> None:
        self.store = store
        self.label = address.label
        self.place = address.server
        self.token: int | None = None
        self.index = 0
        self.waiting: list[Round | None] = []

    def send(self, request: Request, asker: Round | None, now: int) -> None:
        """Ask for *asker*."""
        self.waiting.append(asker)
        self.store.send(request, now)

    def give_back(self, now: int) -> None:
        """Let go of what it granted, or is going to, as if it had never been.

        WARNING: before the lease is asked for again, never after: it would take that, too.
        """
        self.token = None
        self.send(Close(None, outcome="", ended_wall=0, forget_slot=True), None, now)


class Round:
    """One request to all servers, until it is decided: `votes` are the replies so far."""

    def __init__(self, request: Request, sent_at: int, deadline: int) -> None:
        self.request = request
        self.sent_at = sent_at
        self.deadline = deadline
        self.votes: dict[Server, Event] = {}
        self.tries = 0
        self.again_at: int | None = None  # of an Acquire: when to ask again
        self.until: int | None = None  # when to wait no longer for the slow ones
        self.denied = False  # of an Acquire: it is to be refused, whatever comes
        self.answer: Event | None = None

    def count(self, *kinds: type[Event]) -> int:
        """Return how many replies are of these kinds."""
        return sum([isinstance(vote, kinds) for vote in self.votes.values()])

    def silent(self, asked: int) -> str:
        """Say which of the *asked* servers did not do it, and why."""
        reasons: dict[str, list[str]] = {}
        for server, vote in self.votes.items():
            if not isinstance(vote, Renewed | Granted | Closed):
                why = vote.why if isinstance(vote, Unavailable | Denied) else "not ours"
                reasons.setdefault(why, []).append(server.label)
        said = "; ".join([f"{', '.join(labels)}: {why}" for why, labels in reasons.items()])
        count = sum(map(len, reasons.values()))
        return f"only {asked - count} of {asked} servers do ({said})"


def why_not(asked: Round, most: int, servers: int) -> Event | None:
    """Return the answer that *most* of the servers agree on, or that too few gave one, or None."""
    votes = list(asked.votes.values())
    if asked.count(Denied) >= most:
        return Denied(asked.silent(servers))
    if servers - asked.count(Unavailable, Denied) < most:
        return Unavailable(asked.request.name, asked.silent(servers))
    refusals = [vote for vote in votes if isinstance(vote, Refused)]
    for refusal in refusals:
        if [one.reason for one in refusals].count(refusal.reason) >= most:
            return refusal
    if asked.count(OffSchedule) >= most:
        return next(vote for vote in votes if isinstance(vote, OffSchedule))
    held = [vote for vote in votes if isinstance(vote, Held)]
    holders = [vote.holder.run_id for vote in held]
    for vote in held:
        if holders.count(vote.holder.run_id) >= most:
            queued = isinstance(asked.request, Acquire) and asked.request.queue_for
            if queued:
                return Queued(asked.sent_at, vote.holder, vote.left, 0)
            return Held(asked.sent_at, vote.holder, vote.left, over=vote.over)
    return None


def taker(vote: Event) -> Owner | None:
    """Return who has the lease, if it is somebody else."""
    return vote.holder if isinstance(vote, Taken | Held | Queued) else None


def is_for_another(vote: Event, slot: int) -> bool:
    """Tell whether *vote* speaks of another slot than this one, or of a clock far from any."""
    if isinstance(vote, Granted | Refused):
        return vote.slot not in (0, slot)
    return isinstance(vote, OffSchedule)
