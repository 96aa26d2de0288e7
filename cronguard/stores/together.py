"""The lease side of a job with further locks (`--lock`): the job's lease and theirs, or none.

A further lock is a lease like a job's, under a name that no job can have, and without records. So
it works in every kind of store, and in a Cluster each is where its own name belongs.

They are asked for one after the other, the locks in the order of their names and the job last:
two runs that want the same locks never wait for each other in a circle, and nothing of the job
(its slot, its counters) is touched by a run that cannot start. As soon as one is not to be had,
those that were got are given back, and only then is the run told so. With a queue it waits in that
of the lock that was in the way, and in no other lock's: nobody who waits holds anything, and a lock
that is free is not kept from others by who could not use it yet. What may have been got, as the
reply is missing, is given back as well.

A lock that another job's run has may be on its way back, as that run did not get all of its own.
So it is asked for a few times before the run is told that it is held.

Renewals go to all at once, and count from the first that was sent. A lock that the store has lost
is reclaimed here; the job's own lease by the machine, as ever.
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
    Queued,
    Refused,
    Renewed,
    StopAsked,
    Taken,
    Unavailable,
    Woken,
)
from cronguard.core.spec import LOCK_MARK, Claim
from cronguard.stores.contract import Acquire, Close, Reclaim, Renew

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.core.events import Event
    from cronguard.stores.contract import LeaseStore, Request

AGAIN_MS = 50
"""How soon a lock that may be on its way back is asked for again."""
PATIENCE_MS = 500
"""For how long it is, before it counts as held."""
GIVE_BACK_MS = 300
"""How long before the run gives up the store it stops collecting, to give back what it has got."""


def open_together(claim: Claim, locks: str, open_one: Callable[[Claim], LeaseStore]) -> Together:
    """Return the lease side of the job with its further *locks* (their names, in order)."""
    claim.owner.job = claim.job
    parts = [Part(name, open_one(_claim_of(name, claim))) for name in locks.split(" ")]
    return Together(parts, Part("", open_one(claim)), claim)


def _claim_of(name: str, claim: Claim) -> Claim:
    """Return what a run of the job claims of the lock *name*."""
    return Claim(
        LOCK_MARK + name,
        claim.owner,
        claim.px,
        namespace=claim.namespace,
        replicas=claim.replicas,
    )


class Part:
    """One of the leases: `name` of the lock, nothing for the job's own; ours while it has a token.

    `is_clear` nothing of ours is there, also where a reply was lost: no lease, no place in the
    queue · `waiting` the rounds whose replies are still to come, in order; None for nobody's.
    """

    __slots__ = ("index", "is_clear", "name", "store", "token", "waiting")

    def __init__(self, name: str, store: LeaseStore) -> None:
        self.name = name
        self.store = store
        self.token: int | None = None
        self.index = 0
        self.is_clear = True
        self.waiting: list[Round | None] = []

    def send(self, request: Request, asker: Round | None, now: int) -> None:
        """Ask for *asker*."""
        if isinstance(request, Acquire):
            self.is_clear = False
        self.waiting.append(asker)
        self.store.send(request, now)

    def give_back(self, asker: Round | None, now: int) -> None:
        """Undo a grant, as if it had never been, and leave the queue."""
        self.token = None
        self.send(Close(None, outcome="", ended_wall=0, forget_slot=True), asker, now)

    def take(self, event: Event) -> None:
        """Note what a reply says of the lease."""
        if isinstance(event, Granted):
            self.token, self.index = event.token, event.index
        elif isinstance(event, Taken | Held | Queued | Closed):
            self.token = None
        if isinstance(event, Held | Refused | OffSchedule | Closed | Denied):
            self.is_clear = True


class Round:
    """One request, until it is answered."""

    def __init__(self, request: Request, now: int) -> None:
        self.request = request
        self.sent_at = now  # the first request that counts
        self.patient_until = now + PATIENCE_MS
        self.collect_until: int | None = None
        if isinstance(request, Acquire) and request.until is not None:
            self.collect_until = request.until - min(GIVE_BACK_MS, (request.until - now) // 3)
        self.at = 0  # of an Acquire: which part is asked
        self.again_at: int | None = None
        self.verdict: Event | None = None  # what it will be, once what was got is given back
        self.pending = 0  # replies that it still waits for
        self.votes: dict[Part, Event] = {}
        self.is_over = False  # the run has ended
        self.answer: Event | None = None


class Together:
    """A `LeaseStore` (see stores/contract.py) over several."""

    def __init__(self, locks: list[Part], job: Part, claim: Claim) -> None:
        self.label = job.store.label
        self._locks = locks
        self._job = job
        self._parts = [*locks, job]
        self._claim = claim
        self._rounds: list[Round] = []  # not answered yet, in the order of their requests
        self._told: list[str] = []  # flaws of the store
        self._is_lock_lost = False  # and not the job's own lease

    # -- what the loop asks -----------------------------------------------------------------------

    def send(self, request: Request, now: int) -> None:
        """Begin one attempt of *request*."""
        asked = Round(request, now)
        if isinstance(request, Acquire):
            self._rounds.append(asked)
            self._ask(asked, now)
        elif isinstance(request, Close):
            self._cut_short()
            self._rounds.append(asked)
            self._close_all(asked, request, now)
        else:
            assert isinstance(request, Renew | Reclaim)
            self._rounds.append(asked)
            for part in self._parts:
                asked.pending += 1
                mine = part is self._job or part.token is None
                part.send(request if mine else Renew(part.token or 0, part.index), asked, now)

    def watches(self) -> list[tuple[int, int]]:
        """Return (descriptor, poll(2) events) pairs to wait for."""
        return [pair for part in self._parts for pair in part.store.watches()]

    def wake_at(self) -> int | None:
        """Return when `events` wants to be called though no descriptor is ready, or None."""
        moments = [part.store.wake_at() for part in self._parts]
        moments += [asked.again_at for asked in self._rounds]
        return min([moment for moment in moments if moment is not None], default=None)

    def events(self, now: int) -> list[Event]:
        """Do what can be done without waiting, and return the replies that are complete."""
        found: list[Event] = []
        for part in self._parts:
            for event in part.store.events(now):
                if not isinstance(event, Woken | StopAsked | Flawed):
                    self._take(part, event, now)
                elif not isinstance(event, Flawed) or event.why not in self._told:
                    self._told += [event.why] if isinstance(event, Flawed) else []
                    found.append(event)
        for asked in self._rounds:
            if asked.again_at is not None and now >= asked.again_at:
                asked.again_at = None
                self._ask(asked, now)
        while self._rounds and (answer := self._rounds[0].answer) is not None:
            del self._rounds[0]
            found.append(answer)
        return found

    def watch_job(self, now: int) -> None:
        """Report Woken and StopAsked as they happen, to the job or to one of the locks."""
        for part in self._parts:
            part.store.watch_job(now)

    def close(self) -> None:
        """Let go of descriptors."""
        for part in self._parts:
            part.store.close()

    # -- replies ----------------------------------------------------------------------------------

    def _take(self, part: Part, event: Event, now: int) -> None:
        """Note what became of *part*, and go on with whom it was asked for."""
        asked = part.waiting.pop(0)
        part.take(event)
        if asked is None or asked.answer is not None:
            return
        if isinstance(asked.request, Acquire):
            self._acquired(asked, part, event, now)
        elif isinstance(asked.request, Close):
            self._closed(asked, part, event)
        else:
            self._kept(asked, part, event, now)

    # -- all or none ------------------------------------------------------------------------------

    def _ask(self, asked: Round, now: int) -> None:
        """Ask for the next one; the job itself with all that was asked for, a lock with less."""
        request = asked.request
        assert isinstance(request, Acquire)
        part, until = self._parts[asked.at], asked.collect_until
        if asked.at:
            if until is not None and now >= until:
                self._give_back(asked, part, Unavailable(request.name, "it was too slow"), now)
                return
            request.until = until
        if part is not self._job:
            request = Acquire(
                "", queue_for=request.queue_for, evict=request.evict, until=request.until
            )
        part.send(request, asked, now)

    def _acquired(self, asked: Round, part: Part, event: Event, now: int) -> None:
        if asked.verdict is not None:
            self._given_back(asked, part, event, now)
        elif isinstance(event, Granted):
            asked.sent_at = min(asked.sent_at, event.sent_at) if asked.at else event.sent_at
            if part is self._job:
                event.sent_at = asked.sent_at
                asked.answer = event
                return
            asked.at += 1
            self._ask(asked, now)
        elif isinstance(event, Held) and self._may_come_back(event, part, asked, now):
            asked.again_at = now + AGAIN_MS
        else:
            if isinstance(event, Held | Queued):
                event.lock = part.name
            self._give_back(asked, part, event, now)

    def _may_come_back(self, held: Held, part: Part, asked: Round, now: int) -> bool:
        """Tell whether the lock is held by a run that may not get all of its own."""
        is_other = part is not self._job and held.holder.job != self._claim.job
        until = asked.patient_until
        if asked.collect_until is not None:
            until = min(until, asked.collect_until - AGAIN_MS)
        return is_other and now < until

    def _give_back(self, asked: Round, failed: Part, event: Event, now: int) -> None:
        """Give back what was got, or may have been; but for the place in the queue of *failed*."""
        asked.verdict = event
        request = asked.request
        assert isinstance(request, Acquire)
        for part in self._parts:
            keeps_place = part is failed and isinstance(event, Queued)
            keeps_place |= part is self._job and bool(request.replace)
            if part.token is not None or not (part.is_clear or keeps_place):
                asked.pending += 1
                part.give_back(asked, now)
        is_ours = isinstance(event, Held | Queued) and event.holder.job == self._claim.job
        if is_ours and failed is not self._job and (request.replace or self._claim.rule):
            # Another run of the job has our lock. If it is to be replaced, the job's own queue
            # brings it the word; and if it is the one for our slot, there is nothing to wait for.
            request.queue_for = request.queue_for if request.replace else 0
            asked.pending += 1
            self._job.send(request, asked, now)
        if not asked.pending:
            asked.answer = event

    def _given_back(self, asked: Round, part: Part, event: Event, now: int) -> None:
        asked.pending -= 1
        if isinstance(event, Granted):  # the run of our job ended just now
            asked.pending += 1
            part.give_back(asked, now)
        elif isinstance(event, Refused | OffSchedule):
            asked.verdict = event
        if not asked.pending:
            asked.answer = asked.verdict

    # -- while it runs ----------------------------------------------------------------------------

    def _kept(self, asked: Round, part: Part, event: Event, now: int) -> None:
        is_lost = isinstance(event, Gone) and part is not self._job and not asked.is_over
        if is_lost and part.token is not None:
            part.send(Reclaim(part.token, part.index), asked, now)
            return
        asked.pending -= 1
        asked.votes[part] = event
        if isinstance(event, Taken):
            self._is_lock_lost = part is not self._job
            asked.answer = event
        elif not asked.pending:
            asked.answer = self._renewal(asked)

    def _renewal(self, asked: Round) -> Event:
        """Return what all of them say together; the worst counts."""
        votes = list(asked.votes.values())
        for kind in (Denied, Unavailable):
            for vote in votes:
                if isinstance(vote, kind):
                    return vote
        own = asked.votes[self._job]
        renewed = [vote for vote in votes if isinstance(vote, Renewed)]
        if not isinstance(own, Renewed) or len(renewed) < len(votes):
            return own if isinstance(own, Gone) else Unavailable("renew", "a lock of it is gone")
        stops = [vote.stop_by for vote in renewed if vote.stop_by is not None]
        sent_at = min([vote.sent_at for vote in renewed])
        return Renewed(sent_at, own.clock, stops[0] if stops else None)

    # -- the end ----------------------------------------------------------------------------------

    def _cut_short(self) -> None:
        """The run ends: nothing is asked for or taken back any more."""
        for asked in self._rounds:
            asked.is_over = True
            if asked.answer is None and isinstance(asked.request, Acquire):
                asked.again_at = None
                asked.answer = Unavailable(asked.request.name, "the run has ended")

    def _close_all(self, asked: Round, request: Close, now: int) -> None:
        """Give all back, also what a request that is under way may get yet; and the job's record.

        The tree is dead by then, so the locks are given back also where the job's lease is not, and
        that, too, if it was a lock that was lost.
        """
        request.release = request.release or (self._is_lock_lost and self._job.token is not None)
        bare = Close("", outcome=request.outcome, ended_wall=request.ended_wall)
        if not request.release and self._is_in_doubt():
            self._job.give_back(None, now)
        for part in self._parts:
            asked.pending += 1
            part.send(request if part is self._job else bare, asked, now)

    def _is_in_doubt(self) -> bool:
        """Tell whether the job's lease may have been granted though nobody heard of it."""
        return self._job.token is None and not self._job.is_clear

    def _closed(self, asked: Round, part: Part, event: Event) -> None:
        asked.pending -= 1
        asked.votes[part] = event
        if not asked.pending:
            wrong = [vote for vote in asked.votes.values() if not isinstance(vote, Closed)]
            asked.answer = wrong[0] if wrong else Closed()
