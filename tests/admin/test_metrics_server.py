"""`cronguard export metrics --listen`: it answers whatever the store does, and ends when asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest

from cronguard.admin.common import Here
from cronguard.admin.metrics_server import LOOPBACK, MetricsServer, address_of
from cronguard.admin.scrape import Scraper
from cronguard.config.options import ConfigError
from cronguard.core import record as rec
from tests.contract.harness import PATIENCE_S
from tests.shape import source

from .seeds import Seeds
from .test_export_metrics import Metrics

GRACE_MS = 300_000
TIMEOUT_MS = 8000


def get(url: str, **headers: str) -> tuple[str, str]:
    """Return the kind of the answer, and the answer."""
    with urlopen(Request(url, headers=headers), timeout=PATIENCE_S) as answer:
        assert answer.status == 200
        return answer.headers["Content-Type"], answer.read().decode()


class Served:
    """A server on a free port of this host, and what it told people."""

    def __init__(
        self, flags: dict[str, list[str]] | None = None, timeout: int = TIMEOUT_MS
    ) -> None:
        self.said: list[str] = []
        here = Here(flags or {}, as_json=False)
        self.scraper = Scraper(here, timeout, GRACE_MS, self.said.append)
        self.server = MetricsServer((LOOPBACK, 0), self.scraper.registry())

    def scrape(self) -> Metrics:
        """Return what a scrape gets."""
        return Metrics(get(self.server.url)[1])


@pytest.fixture
def served(seeds: Seeds) -> Iterator[Served]:
    """A server on the test's own store, in which a run succeeded."""
    seeds.ended(rec.SUCCEEDED)
    made = Served()
    yield made
    made.server.stop(PATIENCE_S)


def test_each_scrape_reads_the_store(served: Served, seeds: Seeds) -> None:
    """What happened since the last one is in the next."""
    labels = {"job": "backup", "outcome": "succeeded"}
    assert served.scrape().of("runs_total", **labels) == 1
    seeds.ended(rec.SUCCEEDED)
    assert served.scrape().of("runs_total", **labels) == 2
    assert served.said == []


def test_the_scraper_chooses_the_format(served: Served) -> None:
    """By its Accept header, as Prometheus does; one metric alone can be had, too."""
    kind, text = get(served.server.url)
    assert kind.startswith("text/plain")
    assert Metrics(text).of("up") == 1
    kind, text = get(served.server.url, Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert Metrics(text, "openmetrics").of("up") == 1
    _, text = get(f"{served.server.url}?name[]=cronguard_up")
    assert Metrics(text).names == {"cronguard_up"}


def test_many_scrapes_at_once_are_all_answered(served: Served) -> None:
    """Each gets whole answers, whoever began the reading."""
    found: list[Metrics] = []
    threads = [threading.Thread(target=lambda: found.append(served.scrape())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.of("up") for one in found] == [1] * 8
    assert all(one.of("running_runs", job="backup") == 0 for one in found)


def test_a_store_that_comes_and_goes_is_told_once_each(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cronguard_up` follows it, its errors are counted, and people read one line a change."""
    seeds.ended(rec.SUCCEEDED)
    served = Served()
    try:
        assert served.scrape().of("up") == 1
        monkeypatch.setenv("CRONGUARD_STORE", "redis://127.0.0.1:1")
        down = [served.scrape() for _ in range(3)]
        assert [one.of("up") for one in down] == [0, 0, 0]
        assert [one.of("scrape_errors_total") for one in down] == [1, 2, 3]
        assert all(one.of("running_runs", job="backup") is None for one in down)
        monkeypatch.setenv("CRONGUARD_STORE", seeds.url)
        up = served.scrape()
        assert (up.of("up"), up.of("scrape_errors_total")) == (1, 3)
    finally:
        served.server.stop(PATIENCE_S)
    refused, well = served.said
    assert "connection refused" in refused
    assert well == "the store can be read again"


def test_a_store_that_hangs_costs_one_thread(seeds: Seeds) -> None:
    """Scrapes go on, each is told in time, and none of them begins another reading."""
    with socket.create_server((LOOPBACK, 0)) as mute:
        store = f"redis://{LOOPBACK}:{mute.getsockname()[1]}"
        served = Served({"store": [store]}, timeout=100)
        try:
            before = threading.active_count()
            found = [served.scrape() for _ in range(4)]
            assert threading.active_count() <= before + 2  # the reading, and one that just answered
        finally:
            served.server.stop(PATIENCE_S)
    assert [one.of("up") for one in found] == [0] * 4
    assert served.said == ["the store was not read within 100ms"]


def test_a_client_that_says_nothing_keeps_nobody_waiting(served: Served) -> None:
    """Others are answered meanwhile, and one that leaves is no error."""
    with socket.create_connection(served.server.server_address) as silent:
        silent.sendall(b"GET /metr")
        assert served.scrape().of("up") == 1
    assert served.scrape().of("up") == 1


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9110", (LOOPBACK, 9110)),
        (":9110", (LOOPBACK, 9110)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("web-3:80", ("web-3", 80)),
        ("[::1]:9110", ("::1", 9110)),
    ],
)
def test_only_this_host_is_answered_unless_another_is_named(
    text: str, address: tuple[str, int]
) -> None:
    """A bare port is one of the loopback address."""
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["", "web-3", "::1", "::1:80", "a:65536", "a:-1", "a:٣", "a:8\n"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """In one printable line that shows how to write one."""
    with pytest.raises(ValueError, match="is no address; write") as caught:
        address_of(text)
    assert str(caught.value).isprintable()


def test_a_port_that_is_taken_is_said(served: Served) -> None:
    """What, why, and what to do."""
    with pytest.raises(
        ConfigError, match=r"cannot listen on 127\.0\.0\.1, port \d+: .*in use; give"
    ):
        MetricsServer(served.server.server_address, served.scraper.registry())


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(seeds: Seeds, signum: int) -> None:
    """It says where it is, answers, and ends with status 0 and nothing more to say."""
    seeds.ended(rec.SUCCEEDED)
    code = "import sys; from cronguard.admin.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, "export", "metrics", "--listen", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=source.ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stderr
            line = process.stderr.readline()
            start, _, url = line.strip().rpartition(" ")
            assert start == "cronguard: metrics are at"
            assert url.startswith(f"http://{LOOPBACK}:")
            assert Metrics(get(url)[1]).of("up") == 1
            os.kill(process.pid, signum)
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")
