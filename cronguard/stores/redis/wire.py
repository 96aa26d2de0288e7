"""The job's conversation with Redis: scripts out, answers in, and never a wait.

It talks to one server at a time; which one, and whether it is still the right one, is for the
`Route` to say (route.py), and how to get there for the `Way` (way.py).

One script is under way at a time. Pipelining would save nothing (a run sends one at a time), and
a script that must be sent again with its text would then run after one that was asked later: a
grant after its own release.

Each request has one attempt with one deadline, for everything: resolving, connecting, TLS, the
greeting, the script itself, and the word of its replicas where the claim wants that. Within it,
every address is tried; a connection that broke after
the greeting is replaced once (all scripts are idempotent by run id). No script is sent before the
server has accepted the user and the database, so none runs as another or elsewhere.

A stalled server runs what its sockets hold when it wakes up, though nobody waits for it any more.
So requests that create a lease, or undo a grant, carry the moment of their deadline by the server's
own clock, which the greeting asks for, and come to nothing after it.
"""

from __future__ import annotations

from cronguard.stores.redis.asked import Answer, Asked
from cronguard.stores.redis.greeting import Greeting, NoHello
from cronguard.stores.redis.link import Broken, Link
from cronguard.stores.redis.resp import PushNotification, ReplyError, pack
from cronguard.stores.redis.scripts import SHA1, source
from cronguard.stores.redis.way import Way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address
    from cronguard.stores.redis.calls import Call
    from cronguard.stores.redis.restart import Restart

NOT_YET, ASKED, SETTLED = 0, 1, 2  # whether this connection listens to the channel
HOPS = 5
"""Redirects that one request follows."""
ANSWER_MS = 250
"""How long before its deadline a request stops waiting for replicas, so that it is answered: the
server looks ten times a second (its `hz`) whether somebody has waited enough."""
CREATED = (b"granted", b"renewed", b"closed")
BARRED = [b"barred"]


class Elsewhere(Broken):
    """This connection leads to the wrong server: ask the route for another."""


class Wire:
    """Asks one server, one script at a time.

    `answers` is for the caller to empty · `dropped` the connection broke while nothing was asked,
    which is for the caller to note and to reset.
    """

    def __init__(self, address: Address, attempt: int, restart: Restart) -> None:
        self.answers: list[Answer] = []
        self.dropped = False
        self._restart = restart
        self._way = Way(address)
        self._route = self._way.route
        self._attempt = attempt
        self._asked: list[Asked] = []
        self._flying = False  # the first of them is sent
        self._unheard = 0  # replies to what was sent before its script
        self._unconfirmed: list[object] = []  # its reply, while the replicas are asked
        self._link: Link | None = None
        self._greeting: Greeting | None = None  # under way on this connection
        self._hello = True
        self._offset: int | None = None  # the server's clock less ours
        self._channel = ""
        self._listening = NOT_YET

    def send(self, call: Call, tag: object, now: int, until: int | None = None) -> None:
        """Begin one attempt, which ends at *until* if that is earlier than usual."""
        deadline = now + self._attempt
        if until is not None:
            deadline = max(min(deadline, until), now + 1)
        self._asked.append(Asked(call, tag, now, deadline))
        self._route.asked(now, deadline)
        self.advance(now)

    def subscribe(self, channel: str) -> None:
        """With the next `advance`, and on every new connection, listen to *channel*."""
        self._channel = channel

    def watches(self) -> list[tuple[int, int]]:
        """Return (descriptor, poll(2) events) pairs to wait for."""
        watched = self._route.watches()
        if self._link is not None:
            return [*watched, self._link.watch()]
        looked_up = self._way.watch() if self._asked else None
        return watched if looked_up is None else [*watched, looked_up]

    def wake_at(self) -> int | None:
        """Return when `advance` is to be called though nothing came, or None."""
        moments = [self._route.wake_at()]
        if self._asked:
            moments.append(self._asked[0].deadline)
            if self._has_other_places():
                moments.append(self._way.until)
        return min([moment for moment in moments if moment is not None], default=None)

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
        self._way.close()

    def _work(self, now: int) -> None:
        """Take and send what can be, on a new connection if need be. Raises: Broken."""
        misled = self._route.misled(now)
        if self._link is None:
            wanted = bool(self._asked) and now < self._asked[0].deadline
            self._link = self._connect(now) if wanted else None
            if self._link is None:
                return
        elif misled:
            self.dropped = not self._asked
            raise Elsewhere("it is not the master any more")
        link = self._link
        for reply in link.advance():
            self._take(reply, now)
        if link.broken:
            raise link.broken
        if self._greeting is not None:
            if self._has_other_places() and now >= self._way.until:
                raise Broken("no answer")
            return
        self._talk(link, now)

    def _connect(self, now: int) -> Link | None:
        """Return a connection to the first place; None while that is not known yet."""
        place = self._way.find(self._asked[0], now)
        if place is None:
            return None
        address = self._way.address
        try:
            link = Link(address, place)
        except OSError as error:  # no descriptor left, no such address family
            raise Broken((error.strerror or str(error)).lower()) from error
        self._greeting = Greeting(address, self._hello, self._restart.strict)
        link.write(self._greeting.text)
        return link

    def _has_other_places(self) -> bool:
        return self._greeting is not None and self._way.has_others()

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
            self._fly(link, now)

    def _fly(self, link: Link, now: int) -> None:
        """Send the first request: by its script's SHA1, or with the script's text."""
        first = self._asked[0]
        call = first.call
        head = ("EVAL", source(call.name)) if first.in_full else ("EVALSHA", SHA1[call.name])
        bound = self._bound(first, now)
        if self._route.asking:
            self._unheard = 1
            link.write(pack("ASKING"))
        self._flying = True
        link.write(pack(*head, len(call.keys), *call.keys, *call.args, *bound))

    def _bound(self, first: Asked, now: int) -> list[int]:
        """Return the argument that makes nothing of a request out of its time."""
        if not first.call.bounded:
            return []
        first.barred = self._restart.trouble(now) if first.call.name == "acquire" else ""
        if first.barred:
            return [-1]
        return [0 if self._offset is None else first.deadline + self._offset]

    def _take(self, reply: object, now: int) -> None:
        """Take one reply for what it is. Raises: Broken."""
        if isinstance(reply, PushNotification):
            if reply[:1] == [b"subscribe"]:
                self._listening = SETTLED
            elif reply[:1] == [b"message"]:
                self.answers.append(Answer(None, reply))
        elif self._greeting is not None:
            self._greeting.take(reply)
            if self._greeting.done:
                if self._greeting.clock is not None:
                    self.note_clock(self._greeting.clock, now)
                self._restart.greeted(self._way.address.server, self._greeting, now)
                self._greeting = None
                self._way.arrived()
        elif self._listening == ASKED and isinstance(reply, ReplyError):
            self._listening = SETTLED  # it may not: the machine asks in time
        elif not self._flying:
            raise Broken("it answered what nobody asked")
        elif self._unheard:
            self._unheard -= 1
            if isinstance(reply, ReplyError):
                self._may_not_ask(str(reply))
        elif self._unconfirmed:
            self._confirmed(reply)
        else:
            self._answered(reply, now)

    def _answered(self, reply: object, now: int) -> None:
        """Take the reply to the request under way. Raises: Broken, where a new link is wanted."""
        first = self._asked[0]
        if isinstance(reply, ReplyError):
            self._refused(str(reply))
        elif not isinstance(reply, list):
            self._flying = False
            self._give_up("it answered a script with what is no answer", denied=True)
        elif reply[:1] == BARRED:
            self._finish([], first.barred)
        elif first.call.replicas and reply[:1] and reply[0] in CREATED:
            self._unconfirmed = reply
            assert self._link is not None
            patience = max(first.deadline - now - ANSWER_MS, 1)
            self._link.write(pack("WAIT", first.call.replicas, patience))
        else:
            self._finish(reply)

    def _confirmed(self, reply: object) -> None:
        """Take how many replicas have what the request under way did. Raises: as `_answered`."""
        if isinstance(reply, ReplyError):
            self._refused(str(reply))
            return
        wanted = self._asked[0].call.replicas
        have = reply if isinstance(reply, int) else 0
        why = ""
        if have < wanted:
            why = f"only {have} of its replicas took it over, and {wanted} must"
        self._finish(self._unconfirmed, why)

    def _finish(self, reply: list[object], why: str = "") -> None:
        """Answer the request under way. Raises: Elsewhere, if the next one belongs elsewhere."""
        self._flying = False
        self._unconfirmed = []
        self.answers.append(Answer(self._asked.pop(0), reply, why))
        if self._route.answered():
            raise Elsewhere("that was a detour")

    def _refused(self, text: str) -> None:
        """Take an error as the reply to the request under way. Raises: as `_answered`."""
        self._flying = False
        self._unconfirmed = []
        first = self._asked[0]
        if text.startswith("NOSCRIPT") and not first.in_full:
            first.in_full = True
            return
        if first.hops < HOPS and self._route.follow(text):
            first.hops += 1
            raise Elsewhere(text)
        from cronguard.stores.redis.faults import understand  # noqa: PLC0415  errors only

        fault = understand(text, self._way.address)
        self._give_up(fault.why, fault.denied)
        if self._route.answered():
            raise Elsewhere("that was a detour")
        if fault.drop:
            raise Broken(fault.why)

    def _may_not_ask(self, text: str) -> None:
        """Give up a detour that the server refuses: ASKING needs a right. Raises: Elsewhere."""
        from cronguard.stores.redis.faults import understand  # noqa: PLC0415  errors only

        fault = understand(text, self._way.address)
        self._give_up(fault.why, fault.denied)
        raise Elsewhere("its reply to the script is not wanted")

    def _lost(self, broken: Broken) -> None:
        """Go on after a connection broke: once again, elsewhere, or by giving the request up."""
        greeted = self._link is not None and self._greeting is None
        self._drop()
        if isinstance(broken, Elsewhere):
            self._way.leave()
            return
        if isinstance(broken, NoHello) and self._hello:
            self._hello = False  # the same place again, as of old
            return
        if greeted:
            self._way.failed()
        if not self._asked:
            self.dropped = greeted and not self.answers
            return  # an idle connection may go at any time
        if greeted and not broken.denied and not self._asked[0].resent:
            self._asked[0].resent = True
            return
        if self._way.next_place() and not broken.denied:
            return
        if not greeted:
            self._way.failed()
        if broken.denied or not self._route.others:
            self._give_up(broken.why, broken.denied)

    def _time_out(self) -> None:
        """Give up the first request: its attempt took too long."""
        what = "no answer" if self._link is not None else self._way.doing()
        if self._link is not None and self._link.securing:
            what = "no TLS handshake (as from a port without TLS: see rediss:// and the port)"
        granted = self._unconfirmed
        self._drop()
        self._way.failed()
        first = self._asked[0]
        self._give_up(f"{what} within {(first.deadline - first.sent_at) / 1000:g}s", reply=granted)

    def _give_up(
        self, why: str, denied: bool = False, reply: list[object] | tuple[()] = ()
    ) -> None:
        self._way.forget_places()
        self.answers.append(Answer(self._asked.pop(0), [*reply], why, denied))

    def _drop(self) -> None:
        """Let go of the connection, whatever was under way on it."""
        if self._link is not None:
            self._link.close()
        self._link = None
        self._greeting = None
        self._flying = False
        self._unheard = 0
        self._unconfirmed = []
        self._listening = NOT_YET
