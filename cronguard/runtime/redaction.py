"""Patterns of the user's own on texts for records, in a process that may be killed.

The keeper waits for it, for LIMIT_MS at the most: shorter than anybody needs to wait for a
heartbeat. A text that is not done by then is not kept at all, as it may have a secret in it, and
that is said. What was done once (the words of a command) is known from then on.

Roads not taken: a thread (`re` holds the interpreter while it matches), an alarm (its handler runs
when the match is over), refusing patterns that may take long (even `x*y` is slow on much text), a
fork (the child would hold what the guardian watches the keeper's death by).
"""

from __future__ import annotations

import os
from select import POLLIN, poll

from cronguard.core import redact
from cronguard.runtime import process
from cronguard.runtime.clock import now_ms

LIMIT_MS = 1_000
NOT_KEPT = "[not kept, as redact could not be done]"
_READ_BYTES = 1 << 16
_CPU_SECONDS = 3
"""After so much the process ends, should its keeper be killed meanwhile."""
_DONE = b"\n"


class Failed(Exception):
    """The patterns could not be applied; the text says why."""


class Redaction:
    """The patterns of one run. `trouble` why a text is not kept; empty if all are."""

    def __init__(self, patterns: str) -> None:
        """Take patterns, with newlines between."""
        self.patterns = patterns
        self.trouble = ""
        self._known: dict[str, str] = {}

    def applied(self, texts: list[str], *, again: bool = False) -> list[str]:
        """Return *texts* as they may be kept; *again* says that the same ones will come again."""
        new = [text for text in dict.fromkeys(texts) if text and text not in self._known]
        known = self._known if again else dict(self._known)
        if new:
            try:
                done = _by_process(self.patterns, new)
            except Failed as error:
                self.trouble = str(error)
                done = [NOT_KEPT] * len(new)
            known.update(zip(new, done, strict=True))
        return [known[text] if text else "" for text in texts]


# -- the keeper's side -----------------------------------------------------------------------------


def _by_process(patterns: str, texts: list[str]) -> list[str]:
    """Return *texts* with the patterns applied to each. Raises: Failed."""
    reader = writer = paper = -1
    try:
        reader, writer = os.pipe()
        paper = process.memory_file(_framed([patterns, *texts]))
        pid = process.start(f"{__name__}:main", [], stdin=paper, stdout=writer)
        os.close(writer)
        writer = -1
        try:
            said = _read(reader, now_ms() + LIMIT_MS)
        finally:
            process.end(pid)
    except (OSError, ValueError) as error:
        raise Failed(f"the process for it cannot be started: {error}") from None
    finally:
        for number in (reader, writer, paper):
            if number >= 0:
                os.close(number)
    return _result(said, patterns, len(texts))


def _read(reader: int, until: int) -> bytes:
    """Return what comes until the other end is closed, or that moment is there."""
    said = b""
    poller = poll()
    poller.register(reader, POLLIN)
    while True:
        left = until - now_ms()
        if left <= 0 or not poller.poll(left):
            return said
        data = os.read(reader, _READ_BYTES)
        if not data:
            return said
        said += data


def _result(said: bytes, patterns: str, count: int) -> list[str]:
    """Return the texts in what the process has said. Raises: Failed."""
    begun, done, frames = said.partition(_DONE)
    texts = _unframed(frames) if done else []
    if len(texts) == count:
        return texts
    lines = [line for line in patterns.split("\n") if line.strip()]
    if done or not begun or len(begun) > len(lines):
        raise Failed("the process for it has failed")
    pattern = redact.text(lines[len(begun) - 1])
    raise Failed(f"the pattern {pattern} takes longer than {LIMIT_MS} ms")


# -- the process -----------------------------------------------------------------------------------


def main() -> None:
    """Apply the patterns on stdin to the texts there: a dot for each pattern begun, then those."""
    from resource import RLIMIT_CPU, setrlimit  # noqa: PLC0415 - here alone

    from cronguard.core.patterns import apply, split  # noqa: PLC0415 - not for the keeper

    setrlimit(RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    said = b""
    while data := os.read(0, _READ_BYTES):
        said += data
    patterns, *texts = _unframed(said)
    for pattern in split(patterns):
        os.write(1, b".")
        texts = [apply(pattern, text) for text in texts]
    answer = _DONE + _framed(texts)
    while answer:
        answer = answer[os.write(1, answer) :]


# -- between them ----------------------------------------------------------------------------------


def _framed(texts: list[str]) -> bytes:
    pieces: list[bytes] = []
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        pieces += (b"%d\n" % len(data), data)
    return b"".join(pieces)


def _unframed(data: bytes) -> list[str]:
    """Return the texts in *data*; none if it is anything else."""
    texts = []
    at = 0
    while (end := data.find(b"\n", at)) >= 0 and data[at:end].isdigit():
        size = int(data[at:end])
        at = end + 1 + size
        if at > len(data):
            break
        texts.append(data[end + 1 : at].decode("utf-8", "surrogatepass"))
    return texts if at == len(data) else []
