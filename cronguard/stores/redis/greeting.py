"""The first round trip on every connection: who we are, which database, and what is the time.

`HELLO 3` gives the version, the role and RESP3, whose pushes reach us on the same connection.
A server or proxy without HELLO is greeted as of old: AUTH and SELECT, RESP2, no pushes.
"""

from __future__ import annotations

from cronguard.stores.redis.link import Broken
from cronguard.stores.redis.resp import ReplyError, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address

OLDEST = (6, 2)


class NoHello(Broken):
    """The server does not know HELLO: greet it as of old, on a new connection."""


class Greeting:
    """Says who we are, and takes the answers. `done` when the server has accepted us."""

    __slots__ = ("_address", "_words", "clock", "hello", "text")

    def __init__(self, address: Address, hello: bool) -> None:
        self._address = address
        self._words: list[str] = []
        self.hello = hello
        self.clock: int | None = None
        self.text = b""
        login = [address.user or "default", address.password] if address.has_password else []
        if hello:
            self._say("HELLO", "3", *(["AUTH", *login] if login else []), "SETNAME", "cronguard")
        elif login:
            self._say("AUTH", *(login if address.user else login[1:]))
        if address.db:
            self._say("SELECT", str(address.db))
        self._say("TIME")

    def _say(self, *words: str) -> None:
        self._words.append(words[0])
        self.text += pack(*words)

    @property
    def done(self) -> bool:
        """Tell whether all has been answered."""
        return not self._words

    def take(self, reply: object) -> None:
        """Take the next answer. Raises: NoHello, or Broken with why the server is of no use."""
        word = self._words.pop(0)
        if isinstance(reply, ReplyError):
            self._refused(word, str(reply))
        elif word == "HELLO":
            _check_server(reply)
        elif word == "TIME" and isinstance(reply, list) and len(reply) == 2:
            self.clock = int(reply[0]) * 1000 + int(reply[1]) // 1000

    def _refused(self, word: str, text: str) -> None:
        if word == "HELLO" and ("unknown command" in text or text.startswith("NOPROTO")):
            raise NoHello("it does not know HELLO")
        if word == "TIME" and text.startswith("NOPERM"):
            return  # the scripts need it too, and will say so
        from cronguard.stores.redis.faults import understand  # noqa: PLC0415  errors only

        fault = understand(text, self._address)
        raise Broken(fault.why, fault.denied)


def _check_server(reply: object) -> None:
    """Refuse what no lease may be kept in."""
    if not isinstance(reply, dict):
        raise Broken("it is not a Redis server (it answered HELLO with no map)", denied=True)
    mode, role = reply.get(b"mode"), reply.get(b"role")
    if mode == b"sentinel":
        raise Broken("it is a Sentinel, not a server that keeps data", denied=True)
    version = reply.get(b"version", b"")
    numbers = version.split(b".")[:2] if isinstance(version, bytes) else []
    known = len(numbers) == 2 and b"".join(numbers).isdigit()
    if known and (int(numbers[0]), int(numbers[1])) < OLDEST:
        shown = version.decode("ascii", "replace")
        raise Broken(f"it is Redis {shown}, and 6.2 or later is needed", denied=True)
    if role in (b"replica", b"slave"):
        raise Broken("it is a read-only replica: name the master")
