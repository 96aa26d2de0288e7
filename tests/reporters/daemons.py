"""Real programs that serve on a port of the loopback, ended by pid."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.servers import READY_S, die_with_us


class Daemon:
    """A program that listens on *port* (TCP) when it is ready; its words are in a log."""

    def __init__(self, argv: list[str], port: int, log: Path) -> None:
        self.port = port
        with log.open("wb") as out:
            self._process = subprocess.Popen(argv, stdout=out, stderr=out, preexec_fn=die_with_us)
        deadline = time.monotonic() + READY_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"{argv[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it, and wait for that."""
        self._process.kill()
        self._process.wait()

    def metrics(self) -> str:
        """Return what it serves at /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            text: bytes = answer.read()
        return text.decode()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
