"""The first round trip on every connection: who we are, what is the time, how old is the server.

`HELLO 3` gives the version, the role and RESP3, whose pushes reach us on the same connection.
A server or proxy without HELLO is greeted as of old: AUTH and SELECT, RESP2, no pushes.
"""

from __future__ import annotations

from cronguard.stores.redis.link import Broken
from cronguard.stores.redis.resp import ReplyError, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.stores.address import Address

OLDEST = (6, 2)
SENTINEL = "it is a Sentinel, which keeps no data: write redis+sentinel://host/MASTER/0"
_DIGITS = 12
"""More than any count of seconds has, and few enough for `int`."""
_NODE = "it is a node of a Redis Cluster: write redis+cluster://host:6379"


class NoHello(Broken):
    """The server does not know HELLO: greet it as of old, on a new connection."""


class Greeting:
    """Says who we are, and takes the answers. `done` when the server has accepted us.

    `clock` the server's, ms since the epoch · `run_id` tells one start of the server from another ·
    `uptime` ms since then; None if it may not be asked · `append_only` whether it keeps each write
    when its process ends · `synced` whether it does so when its host ends, which only *strict*
    askers want to know.
    """

    __slots__ = (
        "_address",
        "_words",
        "append_only",
        "clock",
        "hello",
        "run_id",
        "synced",
        "text",
        "uptime",
    )

    def __init__(self, address: Address, hello: bool, strict: bool = False) -> None:
        self._address = address
        self._words: list[str] = []
        self.hello = hello
        self.clock: int | None = None
        self.run_id = ""
        self.uptime: int | None = None
        self.append_only = self.synced = False
        self.text = b""
        login = [address.user or "default", address.password] if address.has_password else []
        if hello:
            self._say("HELLO", "3", *(["AUTH", *login] if login else []), "SETNAME", "cronguard")
        elif login:
            self._say("AUTH", *(login if address.user else login[1:]))
        if address.db:
            self._say("SELECT", str(address.db))
        self._say("TIME")
        self._say("INFO", "server")
        self._say("INFO", "persistence")
        if strict:
            self._say("CONFIG", "GET", "*appendfsync*")

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
            if not isinstance(reply, dict):
                raise Broken(
                    "it is not a Redis server (it answered HELLO with no map)", denied=True
                )
            check_server(reply, self._address.kind)
        elif word == "TIME" and isinstance(reply, list) and len(reply) == 2:
            self.clock = _number(reply[0]) * 1000 + _number(reply[1]) // 1000
        elif word == "INFO" and isinstance(reply, bytes):
            self._learn(reply)
        elif word == "CONFIG" and isinstance(reply, dict | list):
            self.synced = self.append_only and _is_synced(reply)

    def _learn(self, info: bytes) -> None:
        """Take what is of use from a section of INFO."""
        run_id, since = _field(info, b"run_id"), _field(info, b"uptime_in_seconds")
        uptime = since.removeprefix(b"-")
        if uptime.isdigit() and len(uptime) <= _DIGITS and run_id.isalnum():
            # Below zero where its clock was set back after its start: it is younger than that.
            self.uptime = 0 if since != uptime else int(uptime) * 1000
            self.run_id = run_id.decode("ascii", "replace")
        if _field(info, b"aof_enabled") == b"1":
            self.append_only = True

    def _refused(self, word: str, text: str) -> None:
        if word == "HELLO" and ("unknown command" in text or text.startswith("NOPROTO")):
            raise NoHello("it does not know HELLO")
        if word == "CONFIG" or (word in ("TIME", "INFO") and text.startswith("NOPERM")):
            return  # the scripts need TIME, and will say so; for the others see restart.py
        from cronguard.stores.redis.faults import understand  # noqa: PLC0415  errors only

        fault = understand(text, self._address)
        raise Broken(fault.why, fault.denied)


def _number(word: object) -> int:
    """Return one of the two numbers of TIME. Raises: Broken."""
    if isinstance(word, bytes) and word.isdigit() and len(word) <= _DIGITS:
        return int(word)
    raise Broken("it answered TIME with what is no time", denied=True)


def _field(info: bytes, name: bytes) -> bytes:
    """Return the value of a line `name:value`, or nothing."""
    return info.partition(b"\n" + name + b":")[2].partition(b"\r")[0]


def _is_synced(found: dict[object, object] | list[object]) -> bool:
    """Tell whether each write is on the disk before it is answered, always."""
    facts = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=False))
    return (
        facts.get(b"appendfsync") == b"always" and facts.get(b"no-appendfsync-on-rewrite") == b"no"
    )


def check_server(reply: Mapping[bytes, object], kind: str) -> None:
    """Refuse what no lease may be kept in, by its answer to HELLO. Raises: Broken."""
    mode, role = reply.get(b"mode"), reply.get(b"role")
    if mode == b"sentinel":
        raise Broken(SENTINEL, denied=True)
    if mode == b"cluster" and kind != "cluster":
        raise Broken(_NODE, denied=True)
    if mode == b"standalone" and kind == "cluster":
        raise Broken("it is no node of a Redis Cluster: write redis://host:6379/0", denied=True)
    version = reply.get(b"version")
    version = version if isinstance(version, bytes) else b""
    numbers = version.split(b".")[:2]
    known = [int(part) for part in numbers if part.isdigit() and len(part) <= _DIGITS]
    if len(known) == 2 and (known[0], known[1]) < OLDEST:
        shown = version.decode("ascii", "replace")
        raise Broken(f"it is Redis {shown}, and 6.2 or later is needed", denied=True)
    if role in (b"replica", b"slave") and kind == "server":
        raise Broken("it is a read-only replica: name the master")
    if role in (b"replica", b"slave") and kind == "sentinel":
        raise Broken("the sentinels name a master that is a replica: a failover is under way")
