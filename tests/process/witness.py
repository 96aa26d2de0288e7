"""What can be known of runs from outside: when each process lived, and when each died."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path
from select import poll

from cronguard.stores.redis.scripts import SHA1, source
from tests import servers
from tests.process.lab import PATIENCE_S, Lab, until
from tests.proxy import Proxy

VICTIMS = str(Path(__file__).with_name("victims.py"))
TTL = ("--ttl", "10s")
"""The shortest there is: the kernel kills 8 s after the last heartbeat."""
TTL_MS, TAKEOVER_MS = 10_000, 5_000
OUTLIVES_S = 40.0
"""Longer than the store keeps a lease of that TTL."""
WAITS_FOR_INPUT = ("sh", "-c", "echo ready; read line; exit 7")


def now_ms() -> int:
    """Return ms since boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Guarded:
    """One `cronguard run`, with its stderr in a file that can be read while it grows.

    Its command says `ready` first; the usual one waits for a line and ends with status 7.
    """

    def __init__(
        self,
        lab: Lab,
        *options: str,
        command: tuple[str, ...] | list[str] = WAITS_FOR_INPUT,
        job: str = "job",
        prefix: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        self.lab = lab
        self._err = lab.folder / f"stderr.{len(lab.started)}"
        argv = [*prefix, *lab.argv("run", "-n", job, *options, "--", *command)]
        user: dict[str, object] = {}
        if lab.user is not None and not prefix:
            user = {"user": lab.user, "group": lab.user, "extra_groups": []}
        with self._err.open("wb") as err:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
                argv,
                env=lab.env | (env or {}),
                cwd=lab.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                **user,
            )
        lab.started.append(self.process)

    @property
    def pid(self) -> int:
        """Return the keeper's number (that of the prefix, where there is one)."""
        return self.process.pid

    def ready(self) -> Guarded:
        """Wait until the command runs."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == b"ready\n", (line, self.said)
        return self

    @property
    def said(self) -> str:
        """Return what is on its stderr by now."""
        return self._err.read_text()

    def says(self, text: str, patience: float = PATIENCE_S) -> None:
        """Wait until it has said *text*."""
        until(f"{text!r} on stderr", lambda: text in self.said or self._is_over(), patience)
        assert text in self.said, self.said

    def _is_over(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> int:
        """Let the usual command end; return the exit status."""
        self.process.communicate(b"go\n", timeout=60)
        return self.process.returncode

    def status(self, patience: float = OUTLIVES_S) -> int:
        """Wait for the end that comes by itself; return the exit status."""
        return self.process.wait(patience)


# -- the store -------------------------------------------------------------------------------------


def lease_end(lab: Lab, job: str = "job") -> int:
    """Return when the store frees the job's lease if nobody renews it, in ms since boot; 0 if free.

    Never too late: the clock is read before the store is asked.
    """
    asked_at = now_ms()
    leases = lab.ask(lambda history: history.leases([job])[job])
    return asked_at + leases[0].left if leases else 0  # type: ignore[index]


def holder(lab: Lab, job: str = "job") -> str:
    """Return the run id of the lease's holder; nothing if it is free."""
    leases = lab.ask(lambda history: history.leases([job])[job])
    return leases[0].owner.run_id if leases else ""  # type: ignore[index]


def wait_for_renewal(lab: Lab, job: str = "job") -> None:
    """Wait until the lease is renewed, from now on."""
    before = lease_end(lab, job)
    assert before, "there is no lease"
    until("a renewal", lambda: lease_end(lab, job) > before + 500)


# -- testimony -------------------------------------------------------------------------------------


def lives(folder: Path) -> dict[str, tuple[int, int]]:
    """Return each run's first and last sign of life, over all its processes, in ns since boot."""
    found: dict[str, tuple[int, int]] = {}
    for path in folder.iterdir():
        data = path.read_bytes()
        times = [tick for (tick,) in struct.iter_unpack("q", data[: len(data) // 8 * 8])]
        if times:
            tag = path.name.split(".")[0]
            first, last = found.get(tag, (times[0], times[-1]))
            found[tag] = (min(first, *times[:1]), max(last, *times[-1:]))
    return found


def assert_no_overlap(folder: Path, runs: int) -> None:
    """Fail if two of the *runs* that testified in *folder* ever lived at the same time."""
    found = sorted(lives(folder).items(), key=lambda life: life[1])
    assert len(found) == runs, found
    for (one, (_, ended)), (other, (began, _)) in pairwise(found):
        assert ended < began, f"{other} began {(ended - began) / 1e6:.1f} ms before {one} had ended"


def family_of(folder: Path, tag: str) -> list[int]:
    """Return the processes that testify for *tag*, in the numbers of their own PID namespace."""
    return [int(path.name.split(".")[2]) for path in folder.glob(f"{tag}.*")]


class Deathwatch:
    """Sees processes die, as the kernel tells it, however they die."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = {os.pidfd_open(pid): pid for pid in pids}

    def last(self, patience: float = OUTLIVES_S) -> int:
        """Wait until all are dead; return when the last death was seen, in ms since boot."""
        poller = poll()
        for handle in self._pids:
            poller.register(handle, 1)
        end = now_ms() + int(patience * 1000)
        while self._pids:
            for handle, _ in poller.poll(max(end - now_ms(), 0)):
                poller.unregister(handle)
                os.close(handle)
                del self._pids[handle]
            assert now_ms() < end, f"still alive: {self.forget()}"
        return now_ms()

    def forget(self) -> list[int]:
        """Let go of those that still live, and return them."""
        left = list(self._pids.values())
        for handle in self._pids:
            os.close(handle)
        self._pids.clear()
        return left


# -- faults of the store ---------------------------------------------------------------------------


def load_scripts(server: servers.Server) -> None:
    """Let the server know all scripts, so that a request is one message with its SHA1."""
    for name in SHA1:
        server.do("SCRIPT", "LOAD", source(name))


def other_state(lab: Lab) -> dict[str, str]:
    """Return the environment of a host that shares the store with *lab*, and nothing else."""
    return {"CRONGUARD_STATE_DIR": str(lab.folder / "other-state")}


class Postman(Proxy):
    """A proxy that can hold a request back, and deliver it when its sender has long gone."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self.hold: bytes | None = None
        self.held = threading.Event()
        self.deliver = threading.Event()
        self.delivered = threading.Event()

    def _send(self, sock: socket.socket, data: bytes) -> None:  # type: ignore[override]
        wanted = self.hold
        if wanted is None or wanted not in data:
            super()._send(sock, data)
            return
        self.hold = None
        self.held.set()
        self.deliver.wait(PATIENCE_S)
        super()._send(sock, data)
        self.delivered.set()
