"""What stands in the log of a job's runs: a line where a run begins and ends, and its output.

    === 2026-01-31T02:30:00.123Z backup: run 1e2e4f9332be… begins on web-3, pid 812: /opt/backup -q
    what the command says, as it says it
    === 2026-01-31T02:31:04.000Z backup: run 1e2e4f9332be… succeeded after 1m03s, exit status 0

or one JSON object a line: `{"time", "event": "begin", "job", "run_id", "host", "pid", "command"}`,
`{"time", "event": "end", "job", "run_id", "outcome", "reason", "exit_status", "duration_ms"}`, and
`{"time", "stream", "job", "run_id", "message"}` for each line of the output; `"partial": true`
where the line goes on in the next. A byte that is no UTF-8 is one of U+DC80 to U+DCFF there.

A file that is begun within a run has `goes on here` (`"event": "continue"`) in its first line, so
that each tells its age, and whose lines they are.
"""

from __future__ import annotations

from _json import encode_basestring_ascii as _quote  # the C core, as in record.py

from cronguard.core import record as records
from cronguard.core.words import printable, span

MARK = "=== "
STREAMS = {1: "stdout", 2: "stderr"}
_LONGEST = 4_000


class Told:
    """Whose lines they are: the job, the run and its host; `command` as it may be kept."""

    __slots__ = ("command", "host", "job", "pid", "run_id")

    def __init__(self, job: str, run_id: str, host: str, pid: int, command: list[str]) -> None:
        self.job = job
        self.run_id = run_id
        self.host = host
        self.pid = pid
        self.command = command


def begin(told: Told, at: int, *, as_json: bool) -> bytes:
    """Return the line that a run begins with; *at* in ms since the epoch."""
    if as_json:
        facts = {"event": "begin", **_whose(told), "host": told.host, "pid": told.pid}
        return _object({"time": records.utc(at), **facts, "command": told.command})
    words = printable(" ".join(told.command), _LONGEST)
    return _line(at, told, f"begins on {printable(told.host)}, pid {told.pid}: {words}")


def goes_on(told: Told, at: int, *, as_json: bool) -> bytes:
    """Return the line that a file begins with which is begun, or found, within a run."""
    if as_json:
        return _object({"time": records.utc(at), "event": "continue", **_whose(told)})
    return _line(at, told, "goes on here")


def end(
    told: Told, at: int, outcome: str, reason: str, exit_status: int, took: int, *, as_json: bool
) -> bytes:
    """Return the line that a run ends with."""
    if as_json:
        facts = {"outcome": outcome, "reason": reason or None, "exit_status": exit_status}
        head = {"time": records.utc(at), "event": "end", **_whose(told)}
        return _object({**head, **facts, "duration_ms": took})
    word = outcome.replace("_", " ")
    because = f" ({printable(reason, _LONGEST)})" if reason else ""
    return _line(at, told, f"{word} after {span(took)}, exit status {exit_status}{because}")


def lost(told: Told, at: int, count: int, why: str, *, as_json: bool) -> bytes:
    """Return the line that says that something is missing."""
    if as_json:
        facts = {"event": "lost", **_whose(told), "bytes": count, "reason": why}
        return _object({"time": records.utc(at), **facts})
    return _line(at, told, f"{count} bytes are missing here: {why}")


def objects(told: Told, at: int, stream: int, lines: list[bytes], *, is_cut: bool = False) -> bytes:
    """Return what was said as objects; *is_cut*: the last of the *lines* goes on in the next."""
    if not lines:
        return b""
    head = records.encode({"time": records.utc(at), "stream": STREAMS[stream], **_whose(told)})
    head = f'{head[:-1]},"message":'
    whole = b"\n".join(lines).decode("utf-8", "surrogateescape")  # all at once: many times as fast
    texts = [_quote(text) for text in whole.split("\n")]
    said = [f"{head}{text}}}\n" for text in texts]
    if is_cut:
        said[-1] = f'{head}{texts[-1]},"partial":true}}\n'
    return "".join(said).encode("ascii")


def _whose(told: Told) -> dict[str, object]:
    return {"job": told.job, "run_id": told.run_id}


def _line(at: int, told: Told, text: str) -> bytes:
    line = f"{MARK}{records.utc(at)} {told.job}: run {told.run_id} {text}\n"
    return line.encode("utf-8", "replace")


def _object(facts: dict[str, object]) -> bytes:
    return f"{records.encode(facts)}\n".encode("ascii")
