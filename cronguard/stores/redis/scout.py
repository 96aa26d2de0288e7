"""One Sentinel, asked who the master is: a connection that is kept, and a question at a time."""

from __future__ import annotations

from cronguard.stores.redis.link import Broken, Link
from cronguard.stores.redis.places import Places
from cronguard.stores.redis.resp import ReplyError, pack
from cronguard.stores.redis.route import is_host, is_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address

Node = tuple[str, int]
HELLO, MASTER = "HELLO", "master"


class Scout:
    """Asks one Sentinel. `done` when the question has its answer: `said`, or `unknown`, or `why`.

    `said` the master's host and port · `unknown` it knows no such master · `why` there is no
    answer, `denied` if there will never be one.
    """

    __slots__ = (
        "_address",
        "_awaited",
        "_link",
        "_name",
        "_places",
        "denied",
        "done",
        "said",
        "unknown",
        "why",
    )

    def __init__(self, address: Address, name: str) -> None:
        self._address = address
        self._name = name
        self._link: Link | None = None
        self._places = Places()
        self._awaited: list[str] = []
        self._reset(done=True)

    def _reset(self, *, done: bool) -> None:
        self.done = done
        self.said: Node | None = None
        self.unknown = False
        self.why = ""
        self.denied = False

    def ask(self) -> None:
        """Begin to ask, over the connection that stands or a new one."""
        waiting = not self.done
        self._reset(done=False)
        if self._link is not None and not waiting:
            self._awaited.append(MASTER)
            self._link.write(self._question())
        self.advance()

    def advance(self) -> None:
        """Do what can be done without waiting."""
        while not self.done:
            if self._link is None and not self._connect():
                return
            link = self._link
            if link is None:
                continue
            for reply in link.advance():
                self._take(reply)
            if link.broken is None or self.done:
                return
            self._broke(link.broken.why, link.broken.denied)

    def watch(self) -> tuple[int, int] | None:
        """Return (descriptor, poll(2) events) to wait for, while there is something to wait for."""
        if self.done:
            return None
        if self._link is not None:
            return self._link.watch()
        return self._places.watch()

    def close(self) -> None:
        """Let go of descriptors."""
        self._drop()
        self._places.close()

    def _question(self) -> bytes:
        return pack("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)

    def _connect(self) -> bool:
        """Begin a connection; False while the name is being resolved, or when there is none."""
        try:
            if not self._places.find(self._address):
                return False
            self._link = Link(self._address, self._places.left[0])
        except Broken as broken:
            self._fail(broken.why)
            return False
        except OSError as error:
            self._fail((error.strerror or str(error)).lower())
            return False
        has_login = self._address.has_password
        login = ["AUTH", self._address.user or "default", self._address.password]
        self._link.write(pack(HELLO, "3", *(login if has_login else ())) + self._question())
        self._awaited = [HELLO, MASTER]
        return True

    def _take(self, reply: object) -> None:
        """Take the next reply."""
        if not self._awaited:
            return
        word = self._awaited.pop(0)
        if isinstance(reply, ReplyError):
            self._refused(str(reply))
        elif word == HELLO:
            if not isinstance(reply, dict) or reply.get(b"mode") != b"sentinel":
                self._fail("it is no Sentinel", denied=True)
        elif word == MASTER and not self._awaited:
            self._answered(reply)

    def _answered(self, reply: object) -> None:
        self.done = True
        self.unknown = reply is None
        pair = reply if isinstance(reply, list) and len(reply) == 2 else [b"", b""]
        host, port = [word if isinstance(word, bytes) else b"" for word in pair]
        if is_host(host) and is_port(port):
            self.said = host.decode(), int(port)
        elif not self.unknown:
            self._fail("it answered with what is no address", denied=True)

    def _refused(self, text: str) -> None:
        from cronguard.stores.redis.faults import understand  # noqa: PLC0415  errors only

        fault = understand(text, self._address)
        why = fault.why
        if text.startswith("NOAUTH"):
            why = "it wants a password: add ?sentinel_password=... to the store URL"
        self._fail(why, denied=fault.denied)

    def _broke(self, why: str, denied: bool) -> None:
        """Go on after the connection broke: elsewhere, or not at all."""
        self._drop()
        if not self._places.next() or denied:
            self._fail(why, denied)

    def _fail(self, why: str, denied: bool = False) -> None:
        self._drop()
        self._places.forget()
        self.done = True
        self.why = why
        self.denied = denied

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None
        self._awaited = []
