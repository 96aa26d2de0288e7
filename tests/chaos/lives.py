"""The reader of testimony: when each process of each run lived, and how its command meant to end.

The other half of testimony.py, which says what the files look like.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import testimony

_SIGNS = struct.Struct("<qq")


@dataclass(frozen=True)
class Life:
    """One process of one run: [first_ns, last_ns] is when it surely lived.

    `role` command, child, daemon or deaf · `run` the driver's number, or None · `intent` the
    ENDING that the command was given · `token` the fencing token it saw, or None.
    """

    job: str
    run_id: str
    pid: int
    role: str
    token: int | None
    host: str
    run: int | None
    intent: str
    first_ns: int
    last_ns: int


@dataclass(frozen=True)
class Testimony:
    """All that the processes of the jobs said: their lives, and by run id the status they left."""

    lives: tuple[Life, ...]
    over: dict[str, int]


def read(folder: Path) -> Testimony:
    """Return what is in `history/testimony`; processes that said nothing are not in it."""
    lives: list[Life] = []
    over: dict[str, int] = {}
    for path in sorted(folder.glob("*/*")):
        run_id, _, last = path.name.rpartition(".")
        if last == "over":
            text = path.read_text()
            if text:  # empty: killed between making it and writing it
                over[run_id] = int(text)
        elif life := decode(path.parent.name, run_id, int(last), path.read_bytes()):
            lives.append(life)
    return Testimony(tuple(lives), over)


def decode(job: str, run_id: str, pid: int, data: bytes) -> Life | None:
    """Return the life that a file's content tells of; None if it is empty.

    Raises: ValueError for anything else that no process wrote so.
    """
    if not data:
        return None
    if len(data) != testimony.HEAD_BYTES + _SIGNS.size:
        raise ValueError(f"{job}/{run_id}.{pid}: {len(data)} bytes, which is no testimony")
    words = data[: testimony.HEAD_BYTES].decode().split()
    said = dict(zip(words[::2], words[1::2], strict=True))
    first, last = _SIGNS.unpack(data[testimony.HEAD_BYTES :])
    token, run = number(said["token"]), number(said["run"])
    return Life(
        job, run_id, pid, said["role"], token, said["host"], run, said["intent"], first, last
    )


def number(text: str) -> int | None:
    """Return the number that *text* is; None for `-`."""
    return None if text == "-" else int(text)
