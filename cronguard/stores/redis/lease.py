"""The lease side on Redis: one connection, one script a request, pushes on the same connection."""

from __future__ import annotations

from cronguard.core.events import (
    Closed,
    Denied,
    Gone,
    Granted,
    Held,
    OffSchedule,
    Queued,
    Renewed,
    StopAsked,
    Taken,
    Unavailable,
    Woken,
)
from cronguard.stores import contract
from cronguard.stores.address import parse
from cronguard.stores.redis import calls
from cronguard.stores.redis.keys import channel
from cronguard.stores.redis.restart import Restart
from cronguard.stores.redis.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.events import Event
    from cronguard.core.spec import Claim
    from cronguard.stores.contract import Acquire, Close, Met, Reclaim, Renew, Request
    from cronguard.stores.redis.asked import Answer
    from cronguard.stores.redis.census import Census

ATTEMPT_MS = 2_000
_ANSWERS = {
    "acquire": (b"granted", b"held", b"queued", b"refused", b"off", b"late"),
    "renew": (b"renewed", b"gone", b"taken"),
    "reclaim": (b"renewed", b"taken", b"late"),
    "release": (b"closed", b"unstored"),
}
"""What each script may say; anything else is not from it, and grants nothing."""
_DIGITS = 18


def open_lease(
    url: str,
    claim: Claim,
    attempt: int = ATTEMPT_MS,
    met: Met | None = None,
    *,
    census: Census | None = None,
) -> RedisLease:
    """Return the lease side of the store at *url*; *attempt* is the longest one try may take, ms.

    Connects with the first request. For *met* and *census* see restart.py. Raises: ValueError if
    the URL is wrong.
    """
    return RedisLease(url, claim, attempt, Restart(claim.px, met, census))


class RedisLease:
    """A `LeaseStore` (see stores/contract.py) on one Redis or Valkey server."""

    def __init__(self, url: str, claim: Claim, attempt: int, restart: Restart) -> None:
        address = parse(url)
        self.label = address.label
        self._claim = claim
        self._wire = Wire(address, attempt, restart)
        self._indexed = address.kind != "cluster" and not claim.is_lock
        self._channel = channel(claim.namespace, claim.job)
        self._watching = False
        self._early: dict[type, Event] = {}  # pushed before anybody wanted to know: by its kind
        self._granted: int | None = None  # when, by the store's clock
        self._asks = 0
        self.slot = 0  # that the run is for, once the server has said so
        self._now = 0

    def send(self, request: Request, now: int) -> None:
        """Begin one attempt of *request*."""
        self._now = now
        until = request.until if isinstance(request, contract.Acquire) else None
        self._wire.send(self._call(request), request, now, until)

    def watches(self) -> list[tuple[int, int]]:
        """Return (descriptor, poll(2) events) pairs to wait for."""
        return self._wire.watches()

    def wake_at(self) -> int | None:
        """Return when `events` wants to be called though no descriptor is ready, or None."""
        if self._wire.answers or (self._watching and self._early):
            return self._now
        return self._wire.wake_at()

    def events(self, now: int) -> list[Event]:
        """Do what can be done without waiting, and return the replies that are complete."""
        self._now = now
        self._wire.advance(now)
        found: list[Event] = []
        if self._watching and self._early:
            found = list(self._early.values())
            self._early = {}
        if self._wire.dropped:
            self._wire.dropped = False
            found += [Woken()] if self._watching else []
        answers, self._wire.answers = self._wire.answers, []
        for answer in answers:
            event = self._event(answer, now)
            if event is not None:
                found.append(event)
        return found

    def watch_job(self, now: int) -> None:
        """Report Woken and StopAsked as they happen, where the server speaks RESP3."""
        self._now = now
        self._watching = True
        self._wire.subscribe(self._channel)
        self._wire.advance(now)

    def close(self) -> None:
        """Let go of the connection."""
        self._wire.close()

    def _call(self, request: Request) -> calls.Call:
        """Return the script call that *request* is."""
        if request.name == "acquire":
            asked: Acquire = request  # type: ignore[assignment]
            if asked.queue_for:
                # Before the script itself: what is given back right after it is not missed.
                self._wire.subscribe(self._channel)
            self._asks += 1
            return calls.acquire(self._claim, asked, self._indexed, self._asks, self.slot)
        if request.name == "renew":
            renew: Renew = request  # type: ignore[assignment]
            return calls.renew(self._claim, renew)
        if request.name == "reclaim":
            reclaim: Reclaim = request  # type: ignore[assignment]
            return calls.reclaim(self._claim, reclaim, self._granted, self.slot)
        close: Close = request  # type: ignore[assignment]
        return calls.close(self._claim, close, self._indexed, self._asks, self.slot)

    def _event(self, answer: Answer, now: int) -> Event | None:
        """Turn what the wire brought into an event of the machine."""
        if answer.asked is None:
            return self._push(answer.reply)
        request = answer.asked.tag
        if request is None:
            return None  # nobody waits for it
        assert hasattr(request, "name")
        if answer.why:
            if answer.denied:
                return Denied(answer.why)
            if answer.reply and request.name == "acquire":
                self._give_back(now)
            return Unavailable(request.name, answer.why)
        try:
            return self._replied(request.name, answer.asked.sent_at, answer.reply, now)
        except (ValueError, IndexError):
            return Denied("it answered a script with what is no answer")

    def _give_back(self, now: int) -> None:
        """Let go of a grant that must not count, as if it had never been."""
        undo = contract.Close(None, outcome="", ended_wall=0, forget_slot=True)
        self._wire.send(
            calls.close(self._claim, undo, self._indexed, self._asks, self.slot), None, now
        )

    def _replied(self, name: str, sent_at: int, raw: list[object], now: int) -> Event:
        """Turn what a script returned into an event. Raises: ValueError, IndexError on nonsense."""
        reply = [part if isinstance(part, bytes) else b"" for part in raw]
        numbers = [part if isinstance(part, int) else 0 for part in raw]
        word = reply[0]
        if word not in _ANSWERS[name]:
            raise ValueError("no answer to this request")
        clock = _number(reply[1])
        self._wire.note_clock(clock, now)
        if word == b"renewed":
            return Renewed(sent_at, clock, _words(reply[2]) or None)
        if word == b"granted":
            self._granted = clock if self._granted is None else self._granted
            slot = self._note_slot(reply[4])
            return Granted(sent_at, _number(reply[2]), numbers[3], clock, slot, numbers[5])
        if word == b"closed":
            return Closed()
        if word == b"gone":
            return Gone(sent_at)
        if word == b"late":
            return Unavailable(name, "it was stalled, and answered too late")
        return self._not_ours(name, sent_at, reply, numbers)

    def _note_slot(self, text: bytes) -> int:
        """Remember which slot the run is for; return 0 for none. Raises: ValueError."""
        slot = _number(text) if text else 0
        self.slot = slot or self.slot
        return slot

    def _not_ours(self, name: str, sent_at: int, reply: list[bytes], numbers: list[int]) -> Event:
        """Return the event for the rarer answers."""
        from cronguard.stores.redis import answers  # noqa: PLC0415  not needed by most runs

        word = reply[0]
        if word == b"unstored":
            return Unavailable(name, f"the record was refused ({_words(reply[2])})")
        if word == b"taken":
            return Taken(answers.Held(reply[2]).owner if reply[2] else None)
        if word == b"refused":
            refused = answers.refused(_words(reply[2]), reply[3:], self._claim)
            self.slot = refused.slot or self.slot
            return refused
        if word == b"off":
            return OffSchedule(_number(reply[1]))
        holder = answers.Held(reply[2]).owner
        self._note_slot(reply[-1])
        if word == b"queued":
            return Queued(sent_at, holder, numbers[3], numbers[4])
        return Held(sent_at, holder, numbers[3], over=numbers[4] == 1)

    def _push(self, push: list[object]) -> Event | None:
        """Turn a push on the job's channel into an event, if it is for this run."""
        text = push[2] if len(push) == 3 else None
        words = _words(text).split(" ") if isinstance(text, bytes) else [""]
        event: Event | None = None
        run_id = self._claim.owner.run_id
        if words[0] == "free" and run_id in words:
            event = Woken()
        elif words[0] == "stop" and words[1:2] == [run_id]:
            event = StopAsked(" ".join(words[2:]))
        if event is not None and not self._watching:
            self._early.setdefault(type(event), event)  # a second would say no more
            return None
        return event


def _number(text: bytes) -> int:
    """Return a number as our scripts write it. Raises: ValueError."""
    if not text.isdigit() or len(text) > _DIGITS:
        raise ValueError("no number")
    return int(text)


def _words(text: bytes) -> str:
    return text.decode("utf-8", "replace")
