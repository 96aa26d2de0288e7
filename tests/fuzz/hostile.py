"""A server that says what it likes, and a run that talks to it in a time of its own.

Both sides are in one thread and take turns: the run's store is polled, then the server. Time is a
number that is moved on when neither has anything to do, so an attempt of two seconds takes none.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hiredis import Reader

from cronguard.core.events import Event, StopAsked, Woken
from cronguard.core.spec import Claim, Owner
from cronguard.stores.contract import Request
from cronguard.stores.redis.lease import open_lease

ATTEMPT_MS = 2_000
STEP_MS = 100
CLOCK = 1_795_000_000_000
TURNS = 3_000
HANGS_S = 20
Lie = bytes | None
"""What is said in place of an answer; None is silence, and nothing at all is the truth."""
CLOSE = b"(close)"
TRUE = b"(true)"


class Hostile:
    """Listens on the loopback; each command gets the next of its lies, then silence or truth.

    `said` all that it sent, for the test to compare with what the run believes.
    """

    def __init__(
        self, lies: list[Lie], kind: str, cut: int, *, honest_after: bool, closing: bool = False
    ) -> None:
        self.kind = kind
        self._last: Lie = CLOSE if closing else None  # once all is said
        self.said = b""
        self._lies = list(lies)
        self._cut = cut
        self._honest_after = honest_after
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._open: dict[socket.socket, tuple[Reader, bytearray]] = {}

    @property
    def url(self) -> str:
        """What a run has to be told to come here."""
        place = f"127.0.0.1:{self.port}"
        return {
            "server": f"redis://{place}/0",
            "sentinel": f"redis+sentinel://{place}/main/0",
            "cluster": f"redis+cluster://{place}",
        }[self.kind]

    def turn(self) -> bool:
        """Accept, read and answer what there is; True if anything happened."""
        busy = False
        try:
            conn, _ = self._listener.accept()
            conn.setblocking(False)
            self._open[conn] = Reader(), bytearray()
            busy = True
        except BlockingIOError:
            pass
        for conn, (reader, out) in list(self._open.items()):
            busy = self._read(conn, reader, out) or busy
            busy = self._write(conn, out) or busy
        return busy

    def close(self) -> None:
        """Let go of all sockets."""
        self._listener.close()
        for conn in self._open:
            conn.close()
        self._open = {}

    def _read(self, conn: socket.socket, reader: Reader, out: bytearray) -> bool:
        try:
            data = conn.recv(65_536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end(conn)
            return True
        reader.feed(data)
        while command := reader.gets():
            answer = self._answer([bytes(word) for word in command])
            if answer is None:
                continue
            if answer == CLOSE:
                self._write(conn, out)
                self._end(conn)
                return True
            out += answer
        return True

    def _answer(self, command: list[bytes]) -> bytes | None:
        if self._lies:
            lie = self._lies.pop(0)
            return self._truth(command) if lie == TRUE else lie
        return self._truth(command) if self._honest_after else self._last

    def _truth(self, command: list[bytes]) -> bytes:
        word = command[0].upper()
        now = CLOCK // 1000
        if word == b"HELLO":
            mode = {"server": b"standalone", "sentinel": b"sentinel", "cluster": b"cluster"}
            said = b"%%3\r\n+version\r\n+7.2.0\r\n+mode\r\n+%s\r\n+role\r\n+master\r\n"
            asked_by_run = b"SETNAME" in command
            here = (
                mode[self.kind] if not asked_by_run or self.kind != "sentinel" else mode["server"]
            )
            return said % here
        if word == b"TIME":
            return b"*2\r\n$10\r\n%d\r\n$1\r\n0\r\n" % now
        if word == b"INFO":
            return bulk(b"# x\r\nrun_id:%s\r\nuptime_in_seconds:99999\r\n" % (b"a" * 40))
        if word == b"SENTINEL":
            return b"*2\r\n$9\r\n127.0.0.1\r\n" + bulk(b"%d" % self.port)
        if word == b"SUBSCRIBE":
            return b">3\r\n+subscribe\r\n$1\r\nc\r\n:1\r\n"
        if word in (b"EVAL", b"EVALSHA"):
            return SCRIPTS[len(command) % len(SCRIPTS)]
        return b"+OK\r\n"

    def _write(self, conn: socket.socket, out: bytearray) -> bool:
        if not out or conn not in self._open:
            return False
        part = bytes(out[: max(self._cut, len(out) // 50) if self._cut else len(out)])
        try:
            sent = conn.send(part)
        except BlockingIOError:
            return False
        except OSError:
            self._end(conn)
            return True
        self.said += part[:sent]
        del out[:sent]
        return True

    def _end(self, conn: socket.socket) -> None:
        self._open.pop(conn, None)
        conn.close()


def bulk(text: bytes) -> bytes:
    """Return *text* as a bulk string."""
    return b"$%d\r\n%s\r\n" % (len(text), text)


def array(*items: bytes) -> bytes:
    """Return encoded *items* as an array."""
    return b"*%d\r\n" % len(items) + b"".join(items)


NOW = bulk(b"%d" % CLOCK)
HOLDER = bulk(b'f00d:7:1:35000:{"host":"web-3","pid":8}')
SCRIPTS = [
    array(bulk(b"granted"), NOW, bulk(b"77"), b":0\r\n", bulk(b""), b":0\r\n"),
    array(bulk(b"held"), NOW, HOLDER, b":900\r\n", b":0\r\n", bulk(b"")),
    array(bulk(b"queued"), NOW, HOLDER, b":900\r\n", b":2\r\n", bulk(b"")),
    array(bulk(b"refused"), NOW, bulk(b"paused"), bulk(b'{"until":null,"by":"a","reason":"b"}')),
    array(bulk(b"refused"), NOW, bulk(b"slot_done"), bulk(b"f00d")),
    array(bulk(b"refused"), NOW, bulk(b"conflict"), bulk(b"px=1 slots=2"), HOLDER),
    array(bulk(b"late"), NOW),
    array(bulk(b"renewed"), NOW, b"_\r\n"),
    array(bulk(b"renewed"), NOW, bulk(b"me@here")),
    array(bulk(b"gone"), NOW),
    array(bulk(b"taken"), NOW, HOLDER),
    array(bulk(b"closed"), NOW),
    array(bulk(b"unstored"), NOW, bulk(b"OOM")),
]


@contextmanager
def not_hanging() -> Iterator[None]:
    """Fail what does not come back: a loop without end, a wait that was to be none."""

    def hangs(_signum: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still at it after {HANGS_S}s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANGS_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Talk:
    """A run's side of the store, in a time of its own."""

    def __init__(self, server: Hostile, replicas: int = 0) -> None:
        self.now = 1_000_000
        self.pushed: list[Event] = []
        self.claim = Claim("job", Owner("f" * 32, host="here"), 35_000, replicas=replicas)
        self.store = open_lease(server.url, self.claim, ATTEMPT_MS)
        self._server = server

    def ask(self, request: Request) -> Event:
        """Send, and return the one reply, which comes before the attempt is over."""
        start = self.now
        self.store.send(request, self.now)
        for _ in range(TURNS):
            replies: list[Event] = []
            for event in self.store.events(self.now):
                pushed = isinstance(event, Woken | StopAsked)
                (self.pushed if pushed else replies).append(event)
            if replies:
                assert len(replies) == 1, replies
                return replies[0]
            assert self.now <= start + ATTEMPT_MS, "an attempt outlived its deadline"
            if not self._server.turn() and not self._ready():
                self._pass_time()
        raise AssertionError("the store is never done")

    def idle(self) -> None:
        """Listen for a while without having asked for anything."""
        for _ in range(20):
            self.pushed += self.store.events(self.now)
            self._server.turn()
        self.now += STEP_MS

    def _ready(self) -> bool:
        """Tell whether the kernel has something for the run already."""
        poll = select.poll()
        for fd, events in self.store.watches():
            poll.register(fd, events)
        return bool(poll.poll(0))

    def _pass_time(self) -> None:
        wake_at = self.store.wake_at()
        later = self.now + STEP_MS
        self.now = later if wake_at is None else max(min(later, wake_at), self.now + 1)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()


def open_files() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
