"""The child's output: passed through byte for byte as it comes, its head and tail kept.

A stream whose end is a terminal is inherited by the child as it is: colours, prompts and line
buffering stay, and nothing is kept. Every other stream goes through a pipe and a thread of its own,
which may block in writing for as long as the reader likes without the keeper noticing. Where stdout
and stderr are one file (`2>&1`, cron), they share one pipe, so that their order stays exact.

With `--quiet` the bytes go to an unlinked file first, and are shown if the run fails.

Roads not taken: a non-blocking stdout (the flag would be shared with everybody who has that file
open), poll before write (another writer may fill the pipe in between), splice and tee (the tail
must be read anyway), waiting for the end of the pipe (a background process may hold it for ever).
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from errno import EAGAIN, EINTR
from select import POLLIN, poll
from time import sleep

from cronguard.runtime.clock import now_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from cronguard.runtime.log import Log
    from cronguard.runtime.prefix import Prefix
    from cronguard.runtime.spill import Spill

    class Listener(Protocol):
        """Hears what the command says."""

        def saw(self, stream: int, data: bytes, until: int | None = None) -> None:
            """Take in what it wrote to its stdout (1) or stderr (2), *until* then at most."""


READ_BYTES = 1 << 16
KEPT_BYTES = 16_384
LAST_BYTES = 1 << 20
"""More than a pipe holds: whoever writes on after the end does not hold it up."""


class Capture:
    """The first and the last bytes of what went by, and how many there were. Bounded."""

    __slots__ = ("_head", "_lock", "_tail", "_tail_bytes", "keep", "total")

    def __init__(self, keep: int = KEPT_BYTES) -> None:
        self.keep = keep
        self.total = 0
        self._head = b""
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._lock = allocate_lock()

    def add(self, data: bytes) -> None:
        """Take in what went by."""
        with self._lock:
            self.total += len(data)
            if not self.keep:
                return
            room = self.keep - len(self._head)
            if room > 0:
                self._head += data[:room]
                data = data[room:]
            if len(data) >= self.keep:  # the whole tail, and cut only when it is asked for
                self._tail = [data]
                self._tail_bytes = len(data)
            elif data:
                self._add_tail(data)

    def _add_tail(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_bytes += len(data)
        while self._tail_bytes - len(self._tail[0]) >= self.keep:
            self._tail_bytes -= len(self._tail.pop(0))
        if len(self._tail) > 256:  # many small pieces: join them now and then
            self._tail = [b"".join(self._tail)]

    def text(self) -> str:
        """Return head and tail as text; what is not UTF-8 shows as U+FFFD.

        Where something is missing between them, both are whole lines, if they have any: half a
        line is hard to read, and half a password is not recognised by whoever masks them.
        """
        if not self.keep:
            return ""
        with self._lock:
            head = self._head
            tail = b"".join(self._tail)[-self.keep :]
            if self.total > len(head) + len(tail):
                head = head[: head.rfind(b"\n") + 1 or None]
                tail = tail[tail.find(b"\n") + 1 :]
            gap = self.total - len(head) - len(tail)
            newline = "" if head.endswith(b"\n") else "\n"
            between = f"{newline}[... {gap} bytes not kept ...]\n".encode() if gap else b""
            return (head + between + tail).decode("utf-8", "replace")


def write_all(target: int, data: bytes) -> bool:
    """Write all of *data*, however long that takes; return False when nobody reads any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:  # somebody made our stdout non-blocking: wait as a blocking one
            poller = poll()
            poller.register(target, 4)  # POLLOUT
            poller.poll(1000)
        except OSError as error:
            if error.errno != EINTR:
                return False
    return True


class Pump:
    """One stream from the child's pipe to our own descriptor, in a thread."""

    __slots__ = (
        *("_ahead", "_bytes", "_capture", "_done", "_has_reader", "_heard", "_is_writing"),
        *("_listener",),
        *("_log", "_prefix", "_reader", "_spill", "_stop", "_target", "writer"),
    )

    def __init__(
        self,
        target: int,
        capture: Capture,
        spill: Spill | None,
        listener: Listener | None = None,
        log: Log | None = None,
        prefix: Prefix | None = None,
    ) -> None:
        self._log = log
        self._prefix = prefix
        self._heard = allocate_lock()
        self._ahead: list[bytes] = []
        self._bytes = 0
        self._is_writing = False
        self._has_reader = True
        self._listener = listener
        self._target = target
        self._capture = capture
        self._spill = spill
        self._reader, self.writer = os.pipe()
        self._stop = -1
        self._done = allocate_lock()

    @property
    def reader(self) -> int:
        """The end of the pipe that only the pump may hold."""
        return self._reader

    def start(self) -> None:
        """Begin; after the fork, for threads do not survive one. Raises: OSError."""
        os.close(self.writer)
        os.set_blocking(self._reader, False)
        stopped, self._stop = os.pipe()
        self._done.acquire()
        try:
            start_new_thread(self._run, (stopped,))
        except RuntimeError:  # the limit of processes counts threads, and Python hides its errno
            raise OSError(EAGAIN, os.strerror(EAGAIN)) from None

    def _run(self, stopped: int) -> None:
        try:
            self._pump(stopped)
            if self._prefix is not None:
                self._show(self._prefix.end())
        finally:
            self._done.release()

    def _pump(self, stopped: int) -> None:
        poller = poll()
        poller.register(self._reader, POLLIN)
        poller.register(stopped, POLLIN)
        rest = LAST_BYTES
        while rest > 0:
            data = self._take()
            if data is None:
                if all(number == stopped for number, _ in poller.poll()):
                    return
                continue
            if not data:
                return
            if self._stop < 0:  # the end: what was in the pipe, not what a daemon still writes
                rest -= len(data)
            if self._log is not None:
                self._log.add(self._target, data)
            if self._prefix is None:
                self._show(data)
            else:
                for piece in self._prefix.put(data):
                    self._show(piece)

    def _show(self, data: bytes) -> None:
        if self._spill is not None:
            self._spill.add(self._target, data)
        elif self._has_reader:  # one that left never stops the child
            self._has_reader = write_all(self._target, data)

    def _take(self) -> bytes | None:
        """Return what was said next, which is heard then; None for nothing so far."""
        with self._heard:
            data = self._ahead.pop(0) if self._ahead else self._hear()
            self._is_writing = bool(data)
            return data

    def _hear(self, until: int | None = None) -> bytes | None:
        """Take in what is in the pipe; None for nothing so far. Only with the lock."""
        try:
            data = os.read(self._reader, READ_BYTES)
        except BlockingIOError:
            return None
        self._bytes += len(data)
        self._capture.add(data)
        if self._listener is not None and data:
            self._listener.saw(self._target, data, until)
        return data

    def settle(self, until: int) -> bool:
        """Wait until what is in the pipe now is heard; False if it is not at that moment.

        What the thread does not come to, as our own reader is slow, is heard ahead of it.
        """
        begun = self._bytes
        while self._heard.acquire(timeout=max(until - now_ms(), 1) / 1000):
            try:
                is_heard = self._is_empty() or self._bytes - begun >= LAST_BYTES
                if not is_heard and self._is_writing and sum(map(len, self._ahead)) < LAST_BYTES:
                    self._ahead += [self._hear(until) or b""]
                    continue
            finally:
                self._heard.release()
            if is_heard:
                return True
            if now_ms() >= until:
                break
            sleep(0.001)
        return False

    def _is_empty(self) -> bool:
        poller = poll()
        poller.register(self._reader, POLLIN)
        return not any(event & POLLIN for _, event in poller.poll(0))

    def finish(self, timeout_ms: int) -> bool:
        """Take in what is in the pipe, but wait for nobody who might still write to it.

        Returns False when that took longer than *timeout_ms*: then our own reader is slow.
        """
        if self._stop >= 0:
            os.close(self._stop)
            self._stop = -1
        done = self._done.acquire(timeout=timeout_ms / 1000)
        if done:
            self._done.release()
        return done


class Voice:
    """What cronguard itself says on stderr: by a thread, as a full pipe may not hold up the keeper.

    The thread lives only while there is something to say.
    """

    __slots__ = ("_idle", "_lock", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._lock = allocate_lock()
        self._idle = allocate_lock()

    def say(self, data: bytes) -> None:
        """Have *data* written; returns at once."""
        with self._lock:
            self._waiting.append(data)
            if not self._idle.acquire(False):
                return  # the thread is at it
        try:
            start_new_thread(self._write, ())
        except RuntimeError:  # no room for a thread: a word that may wait is better than none
            self._write()

    def _write(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._idle.release()
                    return
                data = b"".join(self._waiting)
                self._waiting = []
            write_all(2, data)

    def finish(self, timeout_ms: int) -> bool:
        """Wait until all is said, at most so long."""
        done = self._idle.acquire(timeout=timeout_ms / 1000)
        if done:
            self._idle.release()
        return done


class Output:
    """Both streams of one run, and our own messages beside them.

    *prefixed* makes the prefix of a stream's lines, passed on whole or not.
    """

    __slots__ = (
        "_listener",
        "_prefixed",
        "_pumps",
        "_voice",
        "capture",
        "err",
        "log",
        "out",
        "spill",
    )

    def __init__(
        self,
        quiet: bool,
        folder: str | None,
        *,
        keep: int = KEPT_BYTES,
        apart: bool = False,
        listener: Listener | None = None,
        log: Log | None = None,
        prefixed: Callable[[int, bool], Prefix] | None = None,
    ) -> None:
        self._listener = listener
        self._prefixed = prefixed
        self.log = log
        self.capture = Capture(keep)
        self.spill: Spill | None = None
        if quiet:
            from cronguard.runtime.spill import Spill  # noqa: PLC0415  (only with --quiet)

            self.spill = Spill(folder, write_all)
        self._pumps: list[Pump] = []
        self._voice = Voice()
        is_one = _is_same_file(1, 2)
        self.out = self._stream(1, shared=is_one and apart)
        self.err = self.out if is_one and not apart else None
        if self.err is None:
            self.err = self._stream(2, shared=is_one)

    def _stream(self, target: int, *, shared: bool) -> int | None:
        """Make a pump where one is needed; *shared*: two write to one file."""
        is_wanted = self.spill or self._listener or self.log or self._prefixed
        if is_wanted is None and os.isatty(target):
            return None
        prefix = self._prefixed(target, shared) if self._prefixed is not None else None
        pump = Pump(target, self.capture, self.spill, self._listener, self.log, prefix)
        self._pumps.append(pump)
        return pump.writer

    @property
    def readers(self) -> list[int]:
        """Descriptors that the guardian must not keep open."""
        log = [self.log.file] if self.log is not None else []
        return [*[pump.reader for pump in self._pumps], *log]

    @property
    def is_captured(self) -> bool:
        """Tell whether any stream goes through us."""
        return bool(self._pumps)

    def start(self) -> None:
        """Begin pumping; after the fork."""
        for pump in self._pumps:
            pump.start()

    def say(self, data: bytes) -> None:
        """Write our own *data* to stderr, without waiting for its reader."""
        self._voice.say(data)

    def say_all(self, timeout_ms: int) -> bool:
        """Wait until our own words are written, at most so long: before we stop, or end."""
        return self._voice.finish(timeout_ms)

    def settle(self, until: int) -> bool:
        """See `Pump.settle`."""
        return not [pump for pump in self._pumps if not pump.settle(until)]

    def finish(self, timeout_ms: int) -> bool:
        """See `Pump.finish`; *timeout_ms* is for all together."""
        until = now_ms() + timeout_ms
        done = [pump.finish(max(until - now_ms(), 0)) for pump in self._pumps]
        return self.say_all(max(until - now_ms(), 0)) and all(done)


def _is_same_file(one: int, other: int) -> bool:
    try:
        a, b = os.fstat(one), os.fstat(other)
    except OSError:
        return False
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
