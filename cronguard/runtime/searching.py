"""Searches the output for the patterns of `--fail-on-output`, in a process that may be killed.

Python's `re` holds the whole interpreter while it looks, and some patterns look for longer than the
world will last (core/patterns.py): in the keeper that would cost the lease. So what the command
says goes through a pipe to a process of our own as well. One that does not read on for PATIENCE_MS,
or does not answer in time, is killed; the run counts as failed then, and says why.

What comes and goes: a frame is a letter, four bytes of length, and so many bytes. The first has the
patterns; `s` is a secret and `r` patterns of `redact`, as a line is masked before it is cut: half a
secret is not recognised. `1` and `2` are what stdout and stderr said. The answer is a line: `-`, or
a pattern's number and the line that it was found in.

Roads not taken: a thread (see above), the output's end alone, as it is recorded (what matters may
be in the middle of it), grep (its expressions are of another kind than those of `redact`).
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from select import POLLIN, POLLOUT, poll

from cronguard.core import redact
from cronguard.runtime import process
from cronguard.runtime.clock import now_ms

PATIENCE_MS = 10_000
"""How long what the command says may wait for the process."""
BEGIN_MS = 1_000
"""How long the run waits for room in the pipe before an attempt."""
_PATTERNS, _SECRET, _REDACT, _BEGIN, _ASK = b"p", b"s", b"r", b"b", b"?"
_LINE_BYTES = 1 << 16
_OVERLAP = 1 << 12
"""A longer line is searched in pieces, each with so much of the one before it."""
_SHOWN = 200
_READ_BYTES = 1 << 17


class Search:
    """The keeper's end. `trouble` why it cannot tell; empty while it can."""

    def __init__(
        self,
        patterns: str,
        secrets: tuple[str, ...] = (),
        masked: str = "",
        *,
        tells_line: bool = True,
    ) -> None:
        """Start the process, for *patterns* with newlines between. Raises: OSError.

        *tells_line*: the answer has the line that was found, without any of *secrets*, and without
        what the patterns *masked* match.
        """
        self.patterns = patterns
        self.tells_line = tells_line
        self.trouble = ""
        self._lock = allocate_lock()
        self._pid = 0
        self._heard, answers = os.pipe()
        questions = self._said = -1
        try:
            questions, self._said = os.pipe()
            self._pid = process.start(
                f"{__name__}:main", [str(os.getpid())], stdin=questions, stdout=answers
            )
        finally:
            _close(questions, answers)
            if not self._pid:
                _close(self._heard, self._said)
        os.set_blocking(self._said, False)
        frames = [(_SECRET, secret) for secret in secrets]
        for kind, text in [(_PATTERNS, patterns), (_REDACT, masked), *frames]:
            self._send(kind, text.encode("utf-8", "surrogatepass"), now_ms() + BEGIN_MS)

    def begin(self) -> None:
        """Forget what was said: another attempt begins."""
        self._send(_BEGIN, b"", now_ms() + BEGIN_MS)

    def add(self, stream: int, data: bytes, until: int | None = None) -> None:
        """Hand over what the command has said; waits for who searches, at most *until* then.

        Without such a moment, it waits as long as the process reads on.
        """
        self._send(b"%d" % stream, data, until)

    def answer(self, until: int) -> str:
        """Return what was found, or, if nobody knows at that moment, why; "" for nothing."""
        self._send(_ASK, b"", until)
        line = b"" if self.trouble else self._line(until)
        if not line.endswith(b"\n"):
            self._give_up("the pattern takes too long, or the process for it failed")
        if self.trouble:
            return f"its output could not be searched: {self.trouble} (--fail-on-output)"
        number, _, text = line[:-1].decode("utf-8", "replace").partition(" ")
        if number == "-":
            return ""
        pattern = redact.text(self.patterns.split("\n")[int(number)])
        found = f"its output matches {pattern} (--fail-on-output)"
        return f"{found}: {text}" if self.tells_line else found

    def close(self) -> None:
        """Let go of the process, for good."""
        self._give_up("it is over")
        if self._lock.acquire(timeout=BEGIN_MS / 1000):  # who writes has seen that it is over
            _close(self._heard, self._said)

    def _send(self, kind: bytes, data: bytes, until: int | None) -> None:
        """Write a frame, whole, whoever else writes."""
        if self.trouble:
            return
        if not self._lock.acquire(timeout=_patience(until) / 1000):
            self._give_up("what was said before is not searched yet")
            return
        try:
            self._write(kind + len(data).to_bytes(4, "big") + data, until)
        finally:
            self._lock.release()

    def _write(self, data: bytes, until: int | None) -> None:
        view = memoryview(data)
        poller = poll()
        poller.register(self._said, POLLOUT)
        while view and not self.trouble:
            try:
                view = view[os.write(self._said, view) :]
            except BlockingIOError:
                if not poller.poll(_patience(until)):
                    self._give_up("a pattern takes too long")
            except OSError as error:
                self._give_up(f"the process for it has ended: {os.strerror(error.errno or 0)}")

    def _line(self, until: int) -> bytes:
        line = b""
        poller = poll()
        poller.register(self._heard, POLLIN)
        while not line.endswith(b"\n") and poller.poll(max(until - now_ms(), 0)):
            data = os.read(self._heard, _READ_BYTES)
            if not data:
                break
            line += data
        return line

    def _give_up(self, why: str) -> None:
        self.trouble = self.trouble or why
        pid, self._pid = self._pid, 0
        if pid:
            process.end(pid)


def _close(*numbers: int) -> None:
    for number in numbers:
        if number >= 0:
            os.close(number)


def _patience(until: int | None) -> int:
    return PATIENCE_MS if until is None else max(until - now_ms(), 0)


# -- the process -----------------------------------------------------------------------------------


class Lines:
    """The lines of one stream, as they get whole; a long one in pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_piece = False

    def add(self, data: bytes) -> list[tuple[str, int]]:
        """Take in *data*; return (lines, where to begin in them) of what can be searched now.

        A piece that does not begin a line is begun behind its first character, so that `^` does
        not match there.
        """
        whole, newline, rest = data.rpartition(b"\n")
        found = []
        if newline:
            found.append(self._piece(self._rest + whole))
            self._rest, self._is_piece = rest, False
        else:
            self._rest += rest
        while len(self._rest) > _LINE_BYTES:
            found.append(self._piece(self._rest[:_LINE_BYTES]))
            self._rest = self._rest[_LINE_BYTES - _OVERLAP :]
            self._is_piece = True
        return found

    def end(self) -> list[tuple[str, int]]:
        """Return what is there of a line without an end."""
        return [self._piece(self._rest)] if self._rest else []

    def _piece(self, data: bytes) -> tuple[str, int]:
        text = data.replace(b"\r\n", b"\n").removesuffix(b"\r").decode("utf-8", "replace")
        return text, int(self._is_piece)


class Pattern:
    """One pattern, looked for in many lines at once where that finds the same.

    In many lines it must find what it finds in one of them. That is not so where it says what must
    not be there, where the text begins or ends, or takes what it does not give back.
    """

    def __init__(self, text: str) -> None:
        import re  # noqa: PLC0415 - not for the keeper, which has this module, too

        from cronguard.core.patterns import compiled  # noqa: PLC0415

        self._in_line = compiled(text).search
        is_plain = not re.search(r"\(\?(?!:|P<|i\)|i:)|\\[AZ]|[*+?}]\+", text)
        self._in_lines = compiled(text, re.MULTILINE).search if is_plain else None

    def line(self, text: str, begin: int) -> str | None:
        """Return the first line in *text* that matches from *begin* on; None for no such."""
        if self._in_lines is not None and self._in_lines(text, begin) is None:
            return None
        for line in text.split("\n"):
            if self._in_line(line, begin) is not None:
                return line
            begin = 0
        return None

    def cut(self, line: str) -> str:
        """Return what of *line* is around its match, if it has one still."""
        found = self._in_line(line)
        at = max(found.start() - _SHOWN // 4, 0) if found is not None else 0
        return line[at : at + _SHOWN]


class Searcher:
    """Looks for patterns, in one attempt after the other."""

    def __init__(self, patterns: str) -> None:
        self.secrets: tuple[str, ...] = ()
        self.masked: list[str] = []
        lines = enumerate(patterns.split("\n"))
        self._patterns = [(number, Pattern(line)) for number, line in lines if line.strip()]
        self.begin()

    def begin(self) -> None:
        """Begin an attempt."""
        self._found = ""
        self._lines = {b"1": Lines(), b"2": Lines()}

    def add(self, stream: bytes, data: bytes) -> None:
        """Take in what a stream said."""
        if not self._found:
            self._look(self._lines[stream].add(data))

    def answer(self) -> str:
        """Return the line to answer with; a line without an end is searched as it is."""
        for lines in self._lines.values():
            if not self._found:
                self._look(lines.end())
        return self._found or "-"

    def _look(self, pieces: list[tuple[str, int]]) -> None:
        for text, begin in pieces:
            for number, pattern in self._patterns:
                line = pattern.line(text, begin)
                if line is not None:
                    shown = pattern.cut(self._without_secrets(line))
                    shown = "".join([c if c.isprintable() else " " for c in shown])
                    self._found = f"{number} {shown}"
                    return

    def _without_secrets(self, line: str) -> str:
        from cronguard.core.patterns import apply  # noqa: PLC0415 - not for the keeper

        line = redact.text(line, self.secrets)
        for pattern in self.masked:
            line = apply(pattern, line)
        return line


def main() -> None:
    """Search what comes on stdin until its end; the argument is who has started us."""
    import sys  # noqa: PLC0415 - here alone

    from cronguard.core.patterns import split  # noqa: PLC0415 - not for the keeper
    from cronguard.runtime import kernel  # noqa: PLC0415

    kernel.die_with_parent(9)
    if os.getppid() != int(sys.argv[1]):
        return
    searcher = Searcher("")
    with open(0, "rb", buffering=_READ_BYTES, closefd=False) as said:
        while head := said.read(5):
            kind, data = head[:1], said.read(int.from_bytes(head[1:], "big"))
            if kind == _BEGIN:
                searcher.begin()
            elif kind == _PATTERNS:
                searcher = Searcher(data.decode("utf-8", "surrogatepass"))
            elif kind == _SECRET:
                searcher.secrets += (data.decode("utf-8", "surrogatepass"),)
            elif kind == _REDACT:
                searcher.masked = split(data.decode("utf-8", "surrogatepass"))
            elif kind == _ASK:
                os.write(1, f"{searcher.answer()}\n".encode("utf-8", "replace"))
            else:
                searcher.add(kind, data)
