"""What tests of runs on several servers share: who has the lease, who asks, who has lived."""

from __future__ import annotations

from pathlib import Path

from tests.process.lab import Lab, until
from tests.process.witness import VICTIMS, Guarded, now_ms
from tests.servers import Server

JOB = "job"
LEASE = f"cg:{{{JOB}}}:l:0"
HEIR = ("--min-replicas", "1")
"""What is granted is on a replica, which may be the master's heir."""
PATIENCE_S = 60.0
"""For what sentinels have to vote on first."""


def telling(lab: Lab, tag: str, limit: int | Path) -> list[str]:
    """Return a command whose two processes testify, for so many ms or until that file is there."""
    tell = lab.folder / "tell"
    tell.mkdir(exist_ok=True)
    return [lab.interpreter, "-I", VICTIMS, "group", str(tell), tag, str(limit)]


def lives_of(lab: Lab) -> set[str]:
    """Return who has testified."""
    return {path.name.split(".")[0] for path in (lab.folder / "tell").iterdir()}


def waiting(lab: Lab, tags: list[str], *options: str) -> list[Guarded]:
    """Start runs that wait for the lock, and testify for a moment when they have it."""
    patient = (*options, "--wait", "forever", "--store-timeout", "2m")
    return [Guarded(lab, *patient, command=telling(lab, tag, 100)) for tag in tags]


def ask_in_vain(lab: Lab, first: Guarded, *options: str, env: dict[str, str] | None = None) -> None:
    """Have a stranger ask for the lock, who is refused unless *first* has ended meanwhile."""
    command = telling(lab, f"stranger{now_ms()}", 50)
    words = ("run", "-n", JOB, *options, "-E", "9", "--store-timeout", "2s", "--", *command)
    done = lab.call(*words, env=env)
    assert done.returncode in (9, 122) or first.process.poll() is not None, done


def left(server: Server) -> int:
    """Return how long a server keeps the lease, in ms; negative if it has none."""
    found = server.do("PTTL", LEASE)
    assert isinstance(found, int)
    return found


def until_renewed(server: Server) -> None:
    """Wait until the lease is renewed on that server, from now on."""
    seen = [left(server)]

    def has_risen() -> bool:
        seen.append(left(server))
        return seen[-1] > seen[-2]

    until("a renewal there", has_risen, PATIENCE_S)
