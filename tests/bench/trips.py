"""How often a run asks Redis and waits: counted on the line between the two."""

from __future__ import annotations

import selectors
import socket
import subprocess
import threading
from collections.abc import Iterator

from tests.bench.bench import Bench, Row

FIRST_BEAT_S, LASTS_S = 6, 11


class Counter:
    """A relay that counts round trips: how often requests follow replies."""

    def __init__(self, port: int) -> None:
        self.target = ("127.0.0.1", port)
        self.trips = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server:
            other = {client: server, server: client}
            replied = True
            with selectors.DefaultSelector() as waiter:
                for sock in other:
                    waiter.register(sock, selectors.EVENT_READ)
                while True:
                    for key, _ in waiter.select():
                        sock = client if key.fd == client.fileno() else server
                        data = sock.recv(65_536)
                        if not data:
                            return
                        if sock is client:
                            self.trips += replied
                        replied = sock is server
                        other[sock].sendall(data)


def rows(bench: Bench) -> Iterator[Row]:
    """Count a short run, and one that lasts a few heartbeats.

    The budget is for what a run asks: acquire, heartbeats, release. Connecting costs one round trip
    more, and a run that lasts asks once to be told what happens to its job.
    """
    counter = Counter(bench.server.port)
    _count(bench, counter, f"sleep {FIRST_BEAT_S}")  # the server knows the scripts from here on
    asked, trips, beats = _count(bench, counter, "true")
    yield Row(f"requests of `cronguard run -- true`: 2 + {beats} heartbeats", asked, must=2 + beats)
    yield Row("the same: all round trips, with connecting", trips)
    asked, trips, beats = _count(bench, counter, f"sleep {LASTS_S}")
    yield Row(f"requests of a run of {LASTS_S} s: 2 + {beats} heartbeats", asked, must=2 + beats)
    yield Row("the same: all round trips, with connecting and subscribing", trips)


def _count(bench: Bench, counter: Counter, text: str) -> tuple[int, int, int]:
    """Return the scripts that the server ran for a run of *text*, its round trips, its renewals."""
    asked, trips = _scripts(bench), counter.trips
    run = bench.run(counter.url, "-n", "trips", "--", *text.split(), stdout=subprocess.DEVNULL)
    run.wait()
    asked, trips = _scripts(bench) - asked, counter.trips - trips
    history = bench.history(bench.server.tcp_url)
    try:
        renewals = history.runs("trips", 1)[0]["renewals"]
    finally:
        history.close()
    assert isinstance(renewals, int)
    return asked, trips, renewals


def _scripts(bench: Bench) -> int:
    with bench.server.client() as client:
        stats = client.info("commandstats")
    names = ("cmdstat_evalsha", "cmdstat_eval")
    return sum(int(stats[name]["calls"]) for name in names if name in stats)
