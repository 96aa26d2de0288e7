"""The job's conversation with one Redis server: scripts out, answers in, and never a wait.

One script is under way at a time. Pipelining would save nothing (a run sends one at a time), and
a script that must be sent again with its text would then run after one that was asked later: a
grant after its own release.

Each request has one attempt with one deadline, for everything: resolving, connecting, TLS, the
greeting, and the script itself. Within it, every address is tried; a connection that broke after
the greeting is replaced once (all scripts are idempotent by run id). No script is sent before the
server has accepted the user and the database, so none runs as another or elsewhere.

A stalled server runs what its sockets hold when it wakes up, though nobody waits for it any more.
So requests that create a lease carry the moment of their deadline by the server's own clock,
which the greeting asks for, and come to nothing after it.
"""

from __future__ import annotations

from _socket import AF_UNIX

from cronguard.stores.redis.greeting import Greeting, NoHello
from cronguard.stores.redis.link import POLLIN, Broken, Link
from cronguard.stores.redis.resp import PushNotification, ReplyError, pack
from cronguard.stores.redis.scripts import SHA1, source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address
    from cronguard.stores.redis.calls import Call
    from cronguard.stores.redis.resolve import Place, Resolution

NOT_YET, ASKED, SETTLED = 0, 1, 2  # whether this connection listens to the channel


class Asked:
    """One request under way; `tag` is the caller's. `deadline` ends its only attempt."""

    __slots__ = ("call", "deadline", "in_full", "resent", "sent_at", "tag")

    def __init__(self, call: Call, tag: object, sent_at: int, deadline: int) -> None:
        self.call = call
        self.tag = tag
        self.sent_at = sent_at
        self.deadline = deadline
        self.in_full = False  # with the script's text, as the server does not know it
        self.resent = False  # on a second connection, as the first one broke


class Answer:
    """What became of a request (`asked`), or a push of the server (`asked` is None).

    `reply` what the script returned, when `why` is empty; else why there is none.
    """

    __slots__ = ("asked", "denied", "reply", "why")

    def __init__(
        self, asked: Asked | None, reply: list[object], why: str = "", denied: bool = False
    ) -> None:
        self.asked = asked
        self.reply = reply
        self.why = why
        self.denied = denied


class Wire:
    """Asks one server, one script at a time. `answers` is for the caller to empty."""

    def __init__(self, address: Address, attempt: int) -> None:
        self.answers: list[Answer] = []
        self._address = address
        self._attempt = attempt
        self._asked: list[Asked] = []
        self._flying = False  # the first of them is sent
        self._link: Link | None = None
        self._greeting: Greeting | None = None  # under way on this connection
        self._hello = True
        self._places: list[Place] = []  # to try, beginning with the one being tried
        self._place_until = 0
        self._resolution: Resolution | None = None
        self._offset: int | None = None  # the server's clock less ours
        self._channel = ""
        self._listening = NOT_YET

    def send(self, call: Call, tag: object, now: int) -> None:
        """Begin one attempt."""
        self._asked.append(Asked(call, tag, now, now + self._attempt))
        self.advance(now)

    def subscribe(self, channel: str) -> None:
        """With the next `advance`, and on every new connection, listen to *channel*."""
        self._channel = channel

    def watches(self) -> list[tuple[int, int]]:
        """Return (descriptor, poll(2) events) pairs to wait for."""
        if self._link is not None:
            return [self._link.watch()]
        if self._resolution is not None and self._asked:
            return [(self._resolution.fd, POLLIN)]
        return []

    def wake_at(self) -> int | None:
        """Return when `advance` is to be called though nothing came, or None."""
        if not self._asked:
            return None
        deadline = self._asked[0].deadline
        return min(self._place_until, deadline) if self._has_other_places() else deadline

    def note_clock(self, clock: int, now: int) -> None:
        """Learn the server's clock from a reply that came *now*."""
        self._offset = clock - now

    def advance(self, now: int) -> None:
        """Do all that can be done without waiting.

        What came is taken before time is looked at: a reply is no worse because we were stopped.
        """
        while True:
            try:
                self._work(now)
            except Broken as broken:
                self._lost(broken)
                continue
            if not self._asked or now < self._asked[0].deadline:
                return
            self._time_out()

    def close(self) -> None:
        """Let go of descriptors."""
        self._drop()
        if self._resolution is not None:
            self._resolution.close()
            self._resolution = None

    def _work(self, now: int) -> None:
        """Take and send what can be, on a new connection if need be. Raises: Broken."""
        if self._link is None:
            wanted = bool(self._asked) and now < self._asked[0].deadline
            self._link = self._connect(now) if wanted else None
            if self._link is None:
                return
        link = self._link
        for reply in link.advance():
            self._take(reply, now)
        if link.broken:
            raise link.broken
        if self._greeting is not None:
            if self._has_other_places() and now >= self._place_until:
                raise Broken("no answer")
            return
        self._talk(link, now)

    def _connect(self, now: int) -> Link | None:
        """Return a connection to the first place; None while its name is being resolved."""
        if not self._places and not self._find_places():
            return None
        self._place_until = now + (self._asked[0].deadline - now) // len(self._places)
        try:
            link = Link(self._address, self._places[0])
        except OSError as error:  # no descriptor left, no such address family
            raise Broken((error.strerror or str(error)).lower()) from error
        self._greeting = Greeting(self._address, self._hello)
        link.write(self._greeting.text)
        return link

    def _find_places(self) -> bool:
        """Learn where the server is; False while its name is being resolved."""
        if self._address.path:
            self._places = [(AF_UNIX, self._address.path)]
            return True
        from cronguard.stores.redis.resolve import Resolution, in_figures  # noqa: PLC0415  TCP only

        host, port = self._address.host, self._address.port
        if self._resolution is None:
            self._places = in_figures(host, port)
            if self._places:
                return True
            self._resolution = Resolution(host, port)
        if not self._resolution.done:
            return False
        found, self._resolution = self._resolution, None
        found.close()
        if not found.places:
            raise Broken(f"the name {host!r} cannot be resolved ({found.why})")
        self._places = found.places
        return True

    def _has_other_places(self) -> bool:
        return self._greeting is not None and len(self._places) > 1

    def _talk(self, link: Link, now: int) -> None:
        """Send what is next, if nothing is under way; before it, listen to the channel.

        Only then: an error that comes first is then surely the answer to SUBSCRIBE.
        """
        if self._flying:
            return
        if self._channel and self._hello and self._listening == NOT_YET:
            self._listening = ASKED
            link.write(pack("SUBSCRIBE", self._channel))
        if self._asked and now < self._asked[0].deadline:
            self._fly(link)

    def _fly(self, link: Link) -> None:
        """Send the first request: by its script's SHA1, or with the script's text."""
        first = self._asked[0]
        call = first.call
        head = ("EVAL", source(call.name)) if first.in_full else ("EVALSHA", SHA1[call.name])
        bound = []
        if call.bounded:
            bound = [0 if self._offset is None else first.deadline + self._offset]
        self._flying = True
        link.write(pack(*head, len(call.keys), *call.keys, *call.args, *bound))

    def _take(self, reply: object, now: int) -> None:
        """Take one reply for what it is. Raises: Broken."""
        if isinstance(reply, PushNotification):
            if reply[0] == b"subscribe":
                self._listening = SETTLED
            elif reply[0] == b"message":
                self.answers.append(Answer(None, reply))
        elif self._greeting is not None:
            self._greeting.take(reply)
            if self._greeting.done:
                if self._greeting.clock is not None:
                    self.note_clock(self._greeting.clock, now)
                self._greeting = None
                self._places = []
        elif self._listening == ASKED and isinstance(reply, ReplyError):
            self._listening = SETTLED  # it may not: the machine asks in time
        elif not self._flying:
            raise Broken("it answered what nobody asked")
        else:
            self._answered(reply)

    def _answered(self, reply: object) -> None:
        """Take the reply to the request under way. Raises: Broken, where a new link is wanted."""
        self._flying = False
        if isinstance(reply, list):
            self.answers.append(Answer(self._asked.pop(0), reply))
            return
        if not isinstance(reply, ReplyError):
            self._give_up("it answered a script with what is no answer", denied=True)
            return
        if str(reply).startswith("NOSCRIPT") and not self._asked[0].in_full:
            self._asked[0].in_full = True
            return
        from cronguard.stores.redis.faults import understand  # noqa: PLC0415  errors only

        fault = understand(str(reply), self._address)
        self._give_up(fault.why, fault.denied)
        if fault.drop:
            raise Broken(fault.why)

    def _lost(self, broken: Broken) -> None:
        """Go on after a connection broke: once again, elsewhere, or by giving the request up."""
        greeted = self._link is not None and self._greeting is None
        self._drop()
        if not self._asked:
            return  # an idle connection may go at any time
        if isinstance(broken, NoHello) and self._hello:
            self._hello = False  # the same place again, as of old
            return
        if greeted and not broken.denied and not self._asked[0].resent:
            self._asked[0].resent = True
            return
        del self._places[:1]
        if broken.denied or not self._places:
            self._give_up(broken.why, broken.denied)

    def _time_out(self) -> None:
        """Give up the first request: its attempt took too long."""
        what = "no answer"
        if self._link is None and self._resolution is not None:
            what = f"the name {self._address.host!r} was not resolved"
        self._drop()
        self._give_up(f"{what} within {self._attempt / 1000:g}s")

    def _give_up(self, why: str, denied: bool = False) -> None:
        self._places = []
        self.answers.append(Answer(self._asked.pop(0), [], why, denied))

    def _drop(self) -> None:
        """Let go of the connection, whatever was under way on it."""
        if self._link is not None:
            self._link.close()
        self._link = None
        self._greeting = None
        self._flying = False
        self._listening = NOT_YET
