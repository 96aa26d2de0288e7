"""The statsd reporter: lines that a server reads as they are meant, in datagrams that arrive."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cronguard.config.options import ConfigError
from cronguard.config.reporters import target
from cronguard.core import record as records
from cronguard.core.telling import RECOVERY, STOP
from cronguard.reporters.contract import Never, NotNow, Report
from cronguard.reporters.registry import make
from cronguard.reporters.statsd import MTU_BYTES, SOCKET_BYTES, Statsd, packed
from tests.servers import READY_S, die_with_us, free_port

from . import dogstatsd
from .dogstatsd import Event, Metric
from .samples import AT, HOSTILE, ended, run_id, skipped, started, warned

NAME = r"[A-Za-z0-9_.-]+"


class Receiver:
    """A socket that keeps the datagrams it gets: UDP on the loopback, or a path."""

    def __init__(self, path: str = "", family: socket.AddressFamily = socket.AF_INET) -> None:
        self._socket = socket.socket(socket.AF_UNIX if path else family, socket.SOCK_DGRAM)
        self._socket.settimeout(10)
        if path:
            self._socket.bind(path)
            self.address = f"unix://{path}"
        else:
            self._socket.bind(("::1" if family is socket.AF_INET6 else "127.0.0.1", 0))
            host = "[::1]" if family is socket.AF_INET6 else "127.0.0.1"
            self.address = f"{host}:{self._socket.getsockname()[1]}"

    def one(self) -> bytes:
        """Return the next datagram."""
        return self._socket.recv(65_536)

    def all(self) -> list[bytes]:
        """Return all that are there."""
        self._socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self._socket.recv(65_536))
        except BlockingIOError:
            return found

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A UDP port that somebody listens on."""
    one = Receiver()
    yield one
    one.close()


def lines(receiver: Receiver, report: Report, **more: object) -> set[str]:
    """Tell a report, and return the lines that came."""
    Statsd({"address": receiver.address, **more}).tell(report, 5)
    return set(receiver.one().decode().split("\n"))


def dog(receiver: Receiver, report: Report, **more: object) -> tuple[list[Metric], list[Event]]:
    """Tell a report to a Datadog agent, and return what it read."""
    Statsd({"address": receiver.address, "dialect": "dogstatsd", **more}).tell(report, 5)
    metrics, events = list[Metric](), list[Event]()
    for datagram in receiver.all():
        assert len(datagram) <= MTU_BYTES
        more_metrics, more_events = dogstatsd.read(datagram)
        metrics += more_metrics
        events += more_events
    return metrics, events


def test_a_run_is_counted_and_measured(receiver: Receiver) -> None:
    """With the job in the name, and all in one datagram."""
    assert lines(receiver, ended(records.FAILED, exit_status=3, failures=2)) == {
        "cronguard.backup.runs.failed:1|c",
        "cronguard.backup.run_duration:1500|ms",
        "cronguard.backup.run_cpu:1500|ms",
        "cronguard.backup.lock_wait:40|ms",
        "cronguard.backup.run_max_rss_bytes:7000000|g",
        "cronguard.backup.exit_status:3|g",
        "cronguard.backup.consecutive_failures:2|g",
        "cronguard.backup.running:0|g",
    }


def test_starts_skips_and_warnings_are_told(receiver: Receiver) -> None:
    """Each by its own; a reason that is not ours is another."""
    assert lines(receiver, started(run_id())) == {"cronguard.backup.running:1|g"}
    assert lines(receiver, skipped()) == {"cronguard.backup.skips.held:1|c"}
    assert lines(receiver, skipped(HOSTILE)) == {"cronguard.backup.skips.other:1|c"}
    assert lines(receiver, warned(run_id())) == {"cronguard.backup.warnings:1|c"}


def test_failures_in_a_row_are_what_the_fleet_has(receiver: Receiver) -> None:
    """None after a success; a run that was stopped is one more."""
    gauge = "cronguard.backup.consecutive_failures"
    assert f"{gauge}:0|g" in lines(receiver, ended(event=RECOVERY, failures=4))
    assert f"{gauge}:5|g" in lines(receiver, ended(records.STOPPED, event=STOP, failures=4))


def test_what_a_record_lacks_is_not_made_up(receiver: Receiver) -> None:
    """Nor is a number that is none."""
    facts = dict.fromkeys(("exit_status", "cpu_user_ms", "cpu_system_ms", "wait_ms"))
    odd = {"duration_ms": -1, "max_rss_bytes": 10**400}
    report = ended(records.NOT_STARTED, failures=1, **facts, **odd)  # type: ignore[arg-type]
    assert lines(receiver, report) == {
        "cronguard.backup.runs.not_started:1|c",
        "cronguard.backup.running:0|g",
        "cronguard.backup.consecutive_failures:1|g",
    }


@pytest.mark.parametrize(
    ("prefix", "begin"),
    [
        ("cron", "cron."),
        ("cron.{host}", "cron.web-3_example."),
        ("a b:{user}", "a_b_a_b_c_"),
        ("{nothing}", "_nothing_."),
    ],
)
def test_a_prefix_is_filled_in_and_stays_a_name(
    receiver: Receiver, prefix: str, begin: str
) -> None:
    """A dot in a field is no level of the name, and nothing in it ends the name."""
    report = ended(job="a.b:c", host="web-3.example", user=HOSTILE)
    for line in lines(receiver, report, prefix=prefix):
        name, _, rest = line.partition(":")
        assert name.startswith(begin)
        assert ".a_b_c." in name
        assert rest.count("|") == 1


def test_dogstatsd_has_the_job_as_a_tag(receiver: Receiver) -> None:
    """And the outcome where it splits a count; a namespace that is not the usual one."""
    metrics, events = dog(receiver, ended(), tags=("env:prod", "who:{user}"))
    found = {one.name: one for one in metrics}
    runs, took = found["cronguard.runs"], found["cronguard.run_duration"]
    usual = {"job:backup", "env:prod", "who:alice"}
    assert (runs.value, runs.kind, runs.tags) == (1, "c", {*usual, "outcome:succeeded"})
    assert (took.value, took.kind, took.tags) == (1500, "ms", usual)
    assert events == []
    [skip], _ = dog(receiver, skipped("slot_done", job="a:b"))
    assert (skip.name, skip.tags) == ("cronguard.skips", {"job:a:b", "reason:slot_done"})
    metrics, _ = dog(receiver, ended(namespace="team"))
    assert all("namespace:team" in one.tags for one in metrics)


def test_a_failure_is_an_event(receiver: Receiver) -> None:
    """With what happened, when, where, and the end of the output."""
    failed = ended(records.FAILED, exit_status=3, took=2500, failures=2, output_tail="one\ntwo\n")
    _, [event] = dog(receiver, failed)
    assert event.title == "backup: failed"
    said, *output = event.text.split("\n")
    assert said.startswith("2 times in a row, exit status 3, after 2.5s, run ")
    assert output == ["one", "two"]
    assert event.fields == {
        "at": str(AT // 1000),
        "host": "web-3",
        "key": "cg:backup",
        "priority": "normal",
        "source": "cronguard",
        "type": "error",
    }
    assert event.tags == {"job:backup", "outcome:failed"}


def test_a_recovery_is_an_event_and_a_success_is_none(receiver: Receiver) -> None:
    """So are a skip, a stop and a warning: none."""
    _, [event] = dog(receiver, ended(event=RECOVERY, failures=3))
    assert (event.title, event.fields["type"]) == ("backup succeeds again", "success")
    for report in (ended(), skipped(), ended(records.STOPPED), warned(run_id())):
        assert dog(receiver, report)[1] == []


@pytest.mark.parametrize("dialect", ["statsd", "dogstatsd"])
def test_texts_of_strangers_stay_data(receiver: Receiver, dialect: str) -> None:
    """Whatever host, user, reason and output are: as many values as ever, each of its own name."""
    facts = dict.fromkeys(("host", "user", "reason", "command", "output_tail"), HOSTILE)
    plain = Statsd({"address": receiver.address, "dialect": dialect})
    tags = ("who:{user}", "{host}", "{output_tail}") if dialect == "dogstatsd" else ()
    odd = Statsd({"address": receiver.address, "dialect": dialect, "tags": tags})
    plain.tell(ended(records.FAILED), 5)
    usual = [one for datagram in receiver.all() for one in datagram.split(b"\n")]
    odd.tell(ended(records.FAILED, **facts), 5)  # type: ignore[arg-type]
    found = [one for datagram in receiver.all() for one in datagram.split(b"\n")]
    assert [one.partition(b":")[0] for one in found if one[:2] != b"_e"] == [
        one.partition(b":")[0] for one in usual if one[:2] != b"_e"
    ]
    if dialect == "dogstatsd":
        for one in found:
            dogstatsd.read(one)
        assert len(found) == len(usual)


def test_no_event_is_longer_than_a_datagram(receiver: Receiver) -> None:
    """Its text is cut, and no character in half."""
    long = {"host": "ä" * 5000, "reason": "ö" * 5000, "output_tail": "ü" * 5000, "job": "j" * 128}
    _, [event] = dog(receiver, ended(records.FAILED, **long), tags=("t:{output_tail}",))  # type: ignore[arg-type]
    assert len(event.text) > 200


def test_lines_are_packed_into_datagrams_of_whole_lines() -> None:
    """As many as fit, none longer than it may be, none lost."""
    rows = [b"x" * size for size in (10, 20, 30, 59, 1, 60, 1)]
    found = list(packed(rows, 60))
    assert [line for datagram in found for line in datagram.split(b"\n")] == rows
    assert [len(one) for one in found] == [31, 30, 59, 1, 60, 1]
    assert list(packed([b"x" * 29, b"y" * 30], 60)) == [b"x" * 29 + b"\n" + b"y" * 30]
    assert list(packed([], 60)) == []


def test_a_line_that_fits_nowhere_is_never_told(receiver: Receiver) -> None:
    """Then there are too many tags, and that is said."""
    tags = [f"t{number}:" + "x" * 190 for number in range(20)]
    with pytest.raises(Never, match="give it fewer tags"):
        dog(receiver, ended(), tags=tags)
    assert receiver.all() == []


@pytest.fixture
def path() -> Iterator[str]:
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="s") as folder:
        yield f"{folder}/s"


def test_a_socket_gets_them_in_one_datagram(path: str) -> None:
    """It has no network to be taken apart by."""
    receiver = Receiver(path)
    try:
        report = ended(records.FAILED, output_tail="x\n" * 300)
        tags = [f"t{number}:" + "x" * 100 for number in range(5)]
        Statsd({"address": receiver.address, "dialect": "dogstatsd", "tags": tags}).tell(report, 5)
        [datagram] = receiver.all()
        metrics, events = dogstatsd.read(datagram)
        assert MTU_BYTES < len(datagram) <= SOCKET_BYTES
        assert (len(metrics), len(events)) == (8, 1)
    finally:
        receiver.close()


def test_a_port_over_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one of a name with several addresses of which only one listens."""
    receiver = Receiver(family=socket.AF_INET6)
    try:
        assert "cronguard.backup.running:1|g" in lines(receiver, started(run_id()))
    finally:
        receiver.close()
    receiver = Receiver()
    try:
        port = int(receiver.address.rpartition(":")[2])
        two = [
            (family, socket.SOCK_DGRAM, 17, "", (host, port))
            for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: two)
        Statsd({"address": f"two.test:{port}"}).tell(started(run_id()), 5)
        assert receiver.all() == [b"cronguard.backup.running:1|g"]
    finally:
        receiver.close()


def test_where_nobody_listens_it_is_told_later(path: str) -> None:
    """A port, a path, a socket of another type."""
    for address, why in (
        (f"127.0.0.1:{free_port()}", "connection refused"),
        (f"unix://{path}", "no such file or directory"),
    ):
        with pytest.raises(NotNow, match=why):
            Statsd({"address": address}).tell(ended(), 5)
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(path)
        stream.listen()
        with pytest.raises(NotNow, match="wrong type"):
            Statsd({"address": f"unix://{path}"}).tell(ended(), 5)


def test_a_reader_that_does_not_read_holds_nobody_up(path: str) -> None:
    """Its socket is full, and stays so: the report is told later."""
    receiver = Receiver(path)
    try:
        with pytest.raises(NotNow, match="takes nothing more"):
            tell_for_ever(Statsd({"address": receiver.address}))
    finally:
        receiver.close()


def tell_for_ever(statsd: Statsd) -> None:
    """Tell more than any socket keeps."""
    for _ in range(100_000):
        statsd.tell(ended(), 0.05)


def test_a_name_that_is_looked_up_for_ever_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library has no bound of its own that suits us."""
    over = threading.Event()

    def dawdle(*_: object, **__: object) -> list[object]:
        over.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", dawdle)
    try:
        with pytest.raises(NotNow, match="its name was not found in time"):
            Statsd({"address": "slow.test:8125"}).tell(ended(), 0.05)
    finally:
        over.set()


def test_a_name_that_nobody_knows_is_told_later() -> None:
    """The name service may be away for a moment."""
    for name in ("no.such.host.invalid", "x" * 70 + ".invalid"):
        with pytest.raises(NotNow, match="its name cannot be looked up"):
            Statsd({"address": f"{name}:8125"}).tell(ended(), 10)


def test_the_section_is_read() -> None:
    """As the head of the module shows it; without a word, it is the usual port of this host."""
    source = "file.toml:1"
    found = make("statsd", target("statsd", {}, {}).values)
    assert isinstance(found, Statsd)
    assert (str(found.place), found.is_dog, found.prefix, found.tags) == (
        "127.0.0.1:8125",
        False,
        "cronguard",
        [],
    )
    section: dict[str, tuple[object, str]] = {
        "address": ("unix:///run/datadog/dsd.socket", source),
        "dialect": ("dogstatsd", source),
        "tags": (["env:prod", "user:{user}"], source),
    }
    found = make("statsd", target("statsd", section, {}).values)
    assert isinstance(found, Statsd)
    assert (found.place.path, found.is_dog) == ("/run/datadog/dsd.socket", True)
    assert found.tags == ["env:prod", "user:{user}"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("address", "localhost", "'localhost' is no address; write HOST:PORT, or unix:///PATH"),
        ("address", "localhost:", "is no address"),
        ("address", "localhost:0", "is no address"),
        ("address", "localhost:65536", "is no address"),
        ("address", ":8125", "is no address"),
        ("address", "::1:8125", r"write \[::1\]:8125 for IPv6"),
        ("address", "unix://run/x", "no path of a socket"),
        ("address", "unix:///" + "x" * 107, "no path of a socket"),
        ("address", 8125, "one line of text"),
        ("dialect", "influx", "it takes one of statsd, dogstatsd"),
        ("tags", ["a\nb"], "one line of text"),
        ("tags", [["a"]], "one line of text"),
    ],
)
def test_a_setting_that_is_wrong_is_refused(key: str, value: object, said: str) -> None:
    """Before anything starts, with its place."""
    with pytest.raises(ConfigError, match=said):
        target("statsd", {key: (value, "file.toml:1")}, {})


def test_tags_are_of_dogstatsd() -> None:
    """The plain dialect has none."""
    with pytest.raises(ValueError, match="StatsD has no tags"):
        Statsd({"tags": ("env:prod",)})


# -- a real server ---------------------------------------------------------------------------------

COLLECTD = """
FQDNLookup false
Hostname "here"
BaseDir "{folder}"
PIDFile "{folder}/pid"
TypesDB "/usr/share/collectd/types.db"
Interval 1
LoadPlugin csv
<LoadPlugin statsd>
  Interval 0.2
</LoadPlugin>
<Plugin csv>
  DataDir "{folder}"
</Plugin>
<Plugin statsd>
  Host "127.0.0.1"
  Port "{port}"
  TimerUpper true
  CounterSum true
</Plugin>
"""


@pytest.mark.debian
@pytest.mark.skipif(shutil.which("collectd") is None, reason="needs Debian's collectd-core")
def test_a_real_server_counts_measures_and_gauges(tmp_path: Path) -> None:
    """Collectd reads the lines, and adds up what two runs told."""
    port, config = free_port(), tmp_path / "collectd.conf"
    config.write_text(COLLECTD.format(folder=tmp_path, port=port))
    log = (tmp_path / "log").open("wb")
    argv = ["collectd", "-f", "-C", str(config)]
    server = subprocess.Popen(argv, stdout=log, stderr=log, preexec_fn=die_with_us)
    try:
        statsd = Statsd({"address": f"127.0.0.1:{port}"})
        told_when_it_listens(statsd, ended(took=1500, max_rss_bytes=5))
        statsd.tell(ended(took=500, max_rss_bytes=7), 5)
        statsd.tell(skipped(), 5)
        folder = tmp_path / "here" / "statsd"
        assert wait_for(folder, "count-cronguard.backup.runs.succeeded", 2)
        assert wait_for(folder, "count-cronguard.backup.skips.held", 1)
        assert wait_for(folder, "gauge-cronguard.backup.run_max_rss_bytes", 7)
        assert wait_for(folder, "latency-cronguard.backup.run_duration-upper", 1.5, near=0.1)
    finally:
        server.kill()
        server.wait()
        log.close()


def told_when_it_listens(statsd: Statsd, report: Report) -> None:
    """Tell a report as soon as somebody listens: until then it is kept."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            statsd.tell(report, 5)
        except NotNow:
            assert time.monotonic() < deadline, "collectd does not listen"
            time.sleep(0.01)
        else:
            return


def wait_for(folder: Path, name: str, value: float, near: float = 0) -> bool:
    """Wait until a file of collectd's has that value in a line."""
    deadline = time.monotonic() + READY_S
    found: list[float] = []
    while time.monotonic() < deadline:
        for path in folder.glob(f"{name}-20*"):
            rows = [line.split(",")[1] for line in path.read_text().splitlines()[1:]]
            found = [float(one) for one in rows if one != "nan"]
            if any(abs(one - value) <= near for one in found):
                return True
        time.sleep(0.02)
    there = sorted(os.listdir(folder)) if folder.exists() else []
    raise AssertionError(f"{name} is {found[-5:]}, and not {value}; there are {there}")
