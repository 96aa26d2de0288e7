"""Lines of a log are what the RFCs and the daemons want, and reach real sockets and rsyslog."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from cronguard.config.options import ConfigError
from cronguard.config.reporter_syslog import where
from cronguard.config.reporters import target
from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters.contract import NotNow, Report, Reporter
from cronguard.reporters.registry import make
from cronguard.reporters.syslog_text import MOST_BYTES, rfc3164, rfc5424
from tests.certificates import Certificates
from tests.reporters import postoffice
from tests.reporters.postoffice import Line
from tests.reporters.samples import HOSTILE, ended, skipped, started, warned
from tests.servers import READY_S, die_with_us

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED = ended(records.FAILED, exit_status=3, failures=2, pid=812, reason="odd")
CRON = 9
_PARAM = r' [a-z_]+="(?:[^"\\\]]|\\["\\\]])*"'
GRAMMAR = re.compile(
    r"<(?P<pri>\d{1,3})>1 (?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<host>[!-~]{1,255}) "
    r"(?P<app>[!-~]{1,48}) (?P<proc>[!-~]{1,128}) (?P<id>[!-~]{1,32}) "
    rf"\[cronguard@32473(?P<data>(?:{_PARAM})*)\] (?P<text>.*)"
)


def syslog(**settings: object) -> Reporter:
    """Return the reporter that a section says."""
    said = {key: (value, "test") for key, value in settings.items()}
    return make("syslog", target("syslog", said, {}).values)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


# -- lines -----------------------------------------------------------------------------------------


def test_a_line_is_what_rfc_5424_wants() -> None:
    """With the facts as structured data."""
    found = GRAMMAR.fullmatch(rfc5424(FAILED, CRON, "cronguard").decode())
    assert found is not None
    assert int(found["pri"]) == CRON * 8 + 3
    assert found["at"] == "2026-01-01T00:00:00.000Z"
    assert (found["host"], found["app"], found["proc"]) == ("web-3", "cronguard", "812")
    assert found["id"] == "failure"
    data = dict(re.findall(r' ([a-z_]+)="([^"]*)"', found["data"]))
    assert data == {
        "job": "backup", "event": "failure", "run": FAILED.run_id, "outcome": "failed",
        "reason": "odd", "exit_status": "3", "duration_ms": "1500", "wait_ms": "40",
        "user": "alice", "failures": "2",
    }  # fmt: skip
    assert found["text"] == "backup failed (exit 3): odd (2 failures in a row)"


def test_a_local_line_is_what_syslog_3_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In local time, without the host."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        line = rfc3164(FAILED, CRON, "cronguard").decode()
    finally:
        monkeypatch.undo()
        time.tzset()
    head = "<75>Jan  1 01:00:00 cronguard[812]: backup failed (exit 3): odd (2 failures in a row)"
    assert line.startswith(f'{head} job="backup" event="failure" run="{FAILED.run_id}"')


SEVERITIES = [
    (started("0" * 32), 6),
    (ended(), 6),
    (ended(event=telling.RECOVERY), 5),
    (ended(records.TIMED_OUT), 3),
    (ended(records.STOPPED), 4),
    (skipped(), 5),
    (warned("0" * 32), 4),
    (Report("?", {"job": "j", "run_id": "r"}, namespace="x", at=-1, failures=None), 5),
]


@pytest.mark.parametrize(("report", "severity"), SEVERITIES)
def test_each_event_has_its_severity(report: Report, severity: int) -> None:
    """In both forms, whatever else the record has."""
    for line in (rfc5424(report, 1, "t"), rfc3164(report, 1, "t")):
        assert line.startswith(f"<{8 + severity}>".encode())
    assert GRAMMAR.fullmatch(rfc5424(report, 1, "t").decode())


@pytest.mark.parametrize("form", [rfc5424, rfc3164])
@pytest.mark.parametrize(
    "value", [HOSTILE, '"]\\' * 100, "ü" * 5000, "\n<0>1 - - - - - - x", "a b"]
)
def test_hostile_facts_stay_where_they_are_put(form: object, value: str) -> None:
    """One line, of bounded length, with nothing that a terminal obeys."""
    record: dict[str, object] = dict(FAILED.record)
    record |= dict.fromkeys(("host", "user", "reason", "outcome", "run_id"), value)
    report = Report("failure", record, namespace=value, at=0, failures=1, warning=value)
    raw: bytes = form(report, CRON, "cronguard")  # type: ignore[operator]
    line = raw.decode()
    assert len(raw) <= MOST_BYTES
    assert line.replace("\ufeff", "").isprintable()
    if form is rfc5424:
        assert GRAMMAR.fullmatch(line)


def test_text_beyond_ascii_is_marked_as_utf_8() -> None:
    """And only that."""
    assert b"\xef\xbb\xbf" not in rfc5424(FAILED, CRON, "t")
    report = ended(records.FAILED, reason="Überlauf")
    assert "] \ufeffbackup failed (exit 1): Überlauf" in rfc5424(report, CRON, "t").decode()


# -- sockets ---------------------------------------------------------------------------------------


def test_udp_gets_one_datagram() -> None:
    """Without a newline."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        one = syslog(address=f"udp://127.0.0.1:{server.getsockname()[1]}", facility="local3")
        one.tell(FAILED, 5)
        assert server.recv(4096) == rfc5424(FAILED, 19, "cronguard")


class Streams:
    """Takes connections at `port`, and keeps all that comes until the other side has ended."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.received = b""
        self._context = context
        self._done = threading.Event()
        self._line = Line(self._take)
        self.port = self._line.port

    def __enter__(self) -> Self:
        self._line.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._line.__exit__()

    def _take(self, connection: socket.socket, _over: object) -> None:
        if self._context is None:
            self._read(connection)
            return
        with self._context.wrap_socket(connection, server_side=True) as encrypted:
            self._read(encrypted)

    def _read(self, connection: socket.socket) -> None:
        while piece := connection.recv(65536):
            self.received += piece
        self._done.set()

    def all_of_it(self) -> bytes:
        """Return what came, when all has come."""
        assert self._done.wait(10), "the stream did not end"
        return self.received


def counted(message: bytes) -> bytes:
    """Return a message with its length before it."""
    return f"{len(message)} ".encode() + message


def test_tcp_gets_a_message_with_its_length() -> None:
    """In bytes, not in characters."""
    report = ended(records.FAILED, reason="Überlauf")
    with Streams() as streams:
        syslog(address=f"tcp://127.0.0.1:{streams.port}").tell(report, 5)
        assert streams.all_of_it() == counted(rfc5424(report, CRON, "cronguard"))


def serving(certificates: Certificates, name: str = "server") -> ssl.SSLContext:
    """Return what a server speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.path(name), certificates.key(name))
    return context


def test_tls_is_the_same_in_an_envelope(certificates: Certificates) -> None:
    """As RFC 5425 has it."""
    with Streams(serving(certificates)) as streams:
        one = syslog(address=f"tls://127.0.0.1:{streams.port}", ca=certificates.path("ca"))
        one.tell(FAILED, 5)
        assert streams.all_of_it() == counted(rfc5424(FAILED, CRON, "cronguard"))


def test_a_certificate_that_does_not_fit_gets_nothing(certificates: Certificates) -> None:
    """Of an unknown authority, or for another host."""
    for name, ca in (("server", "stranger"), ("elsewhere", "ca"), ("expired", "ca")):
        with Streams(serving(certificates, name)) as streams:
            one = syslog(address=f"tls://127.0.0.1:{streams.port}", ca=certificates.path(ca))
            with pytest.raises(NotNow, match="TLS failed"):
                one.tell(FAILED, 5)
            assert not streams.received


def test_a_server_that_wants_a_certificate_of_ours_is_heard(certificates: Certificates) -> None:
    """With TLS 1.3 it says so only after all was sent."""
    context = serving(certificates)
    context.load_verify_locations(certificates.path("ca"))
    context.verify_mode = ssl.CERT_REQUIRED
    with Streams(context) as streams:
        one = syslog(address=f"tls://127.0.0.1:{streams.port}", ca=certificates.path("ca"))
        with pytest.raises(NotNow, match=r"TLS failed|reset"):
            one.tell(FAILED, 5)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_local_daemon_is_told_as_its_socket_is(tmp_path: Path, kind: int) -> None:
    """By datagrams, or a stream with a NUL at the end, as syslog(3) does."""
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(path)
        server.settimeout(10)
        expected = rfc3164(FAILED, CRON, "cronguard")
        if kind == socket.SOCK_STREAM:
            server.listen()
        syslog(address=f"unix://{path}").tell(FAILED, 5)
        if kind == socket.SOCK_STREAM:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as file:
                assert file.read() == expected + b"\0"
        else:
            assert server.recv(4096) == expected


def test_a_daemon_that_takes_nothing_is_left_in_time(tmp_path: Path) -> None:
    """Its queue is full, and it does not read."""
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server, ExitStack() as floods:
        server.bind(path)
        while True:  # each sender has a bound of its own, and so has the queue
            flood = floods.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            flood.connect(path)
            flood.setblocking(False)
            if not sent(flood):
                break
            while sent(flood):
                pass
        with pytest.raises(NotNow, match="it takes nothing more"):
            syslog(address=f"unix://{path}").tell(FAILED, 0.3)


def sent(flood: socket.socket) -> bool:
    """Tell whether one more datagram finds room."""
    try:
        flood.send(b"x")
    except BlockingIOError:
        return False
    return True


def test_nobody_there_is_tried_later(tmp_path: Path) -> None:
    """On whatever line."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        for address in (f"tcp://127.0.0.1:{port}", f"tls://127.0.0.1:{port}"):
            with pytest.raises(NotNow, match="connection refused"):
                syslog(address=address).tell(FAILED, 5)
    with pytest.raises(NotNow, match="is a syslog daemon there"):
        syslog(address=f"unix://{tmp_path}/none").tell(FAILED, 5)
    with pytest.raises(NotNow, match="looked up"):
        syslog(address="tcp://nobody.invalid").tell(FAILED, 5)


@pytest.mark.parametrize("speak", [postoffice.silent, postoffice.dripping, postoffice.endless])
@pytest.mark.parametrize("how", ["tcp", "tls"])
def test_whatever_a_server_does_it_is_left_in_time(how: str, speak: object) -> None:
    """It need not say a word over TCP; over TLS it must."""
    begun = time.monotonic()
    with Line(speak) as line:  # type: ignore[arg-type]
        try:
            syslog(address=f"{how}://127.0.0.1:{line.port}").tell(FAILED, 0.5)
        except NotNow:
            assert how == "tls" or speak is postoffice.endless
        else:
            assert how == "tcp"
    assert time.monotonic() - begun < 10


# -- settings --------------------------------------------------------------------------------------


def test_addresses_have_ports_of_their_own() -> None:
    """Where none is said."""
    said = ["udp://h", "tcp://h", "tls://h", "tcp://[::1]", "tcp://[::1]:99", "udp://h:7"]
    assert [where(one)[1].port for one in said] == [514, 514, 6514, 514, 99, 7]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", "h:514"),
        ("address", "http://h"),
        ("address", "tcp://me@h:514"),
        ("address", "tcp://h:0"),
        ("address", "tcp://h/x"),
        ("address", "unix://dev/log"),
        ("facility", "crown"),
        ("tag", "a b"),
        ("tag", "x" * 33),
        ("format", "json"),
    ],
)
def test_what_cannot_be_is_refused_before_a_run(key: str, value: object) -> None:
    """Where the section is read."""
    with pytest.raises(ConfigError, match=f"{key}: "):
        syslog(**{key: value})


# -- the real thing --------------------------------------------------------------------------------

RSYSLOG = """
global(workDirectory="{folder}")
module(load="imuxsock" SysSock.Use="off")
module(load="imudp")
module(load="imtcp")
input(type="imuxsock" Socket="{folder}/log" CreatePath="off")
input(type="imudp" address="127.0.0.1" port="{udp}")
input(type="imtcp" address="127.0.0.1" port="{tcp}")
template(name="facts" type="list" option.jsonf="on") {{
    property(outname="tag" name="programname" format="jsonf")
    property(outname="process" name="procid" format="jsonf")
    property(outname="severity" name="syslogseverity" format="jsonf")
    property(outname="facility" name="syslogfacility-text" format="jsonf")
    property(outname="host" name="hostname" format="jsonf")
    property(outname="text" name="msg" format="jsonf")
    property(outname="data" name="structured-data" format="jsonf")
}}
action(type="omfile" file="{folder}/out" template="facts")
"""


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[tuple[Path, int, int]]:
    """A real daemon: its folder, its ports for UDP and TCP."""
    program = shutil.which("rsyslogd") or "/usr/sbin/rsyslogd"
    if not Path(program).exists():
        pytest.skip("no rsyslogd (Debian: rsyslog)")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as two,
    ):
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        udp, tcp = one.getsockname()[1], two.getsockname()[1]
    (tmp_path / "conf").write_text(RSYSLOG.format(folder=tmp_path, udp=udp, tcp=tcp))
    argv = [program, "-n", "-f", str(tmp_path / "conf"), "-i", str(tmp_path / "pid")]
    with (tmp_path / "words").open("wb") as words:
        daemon = subprocess.Popen(argv, stdout=words, stderr=words, preexec_fn=die_with_us)
    try:
        deadline = time.monotonic() + READY_S
        while not (tmp_path / "log").exists() or not listens(tcp):
            assert daemon.poll() is None, (tmp_path / "words").read_text()
            assert time.monotonic() < deadline, "rsyslogd does not listen"
            time.sleep(0.02)
        yield tmp_path, udp, tcp
    finally:
        daemon.kill()
        daemon.wait()


def listens(port: int) -> bool:
    """Tell whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.debian
@pytest.mark.variant
def test_rsyslog_reads_what_we_write(rsyslog: tuple[Path, int, int]) -> None:
    """On each line: who, how bad, about what, and the text; by the network also the facts."""
    folder, udp, tcp = rsyslog
    addresses = (f"unix://{folder}/log", f"udp://127.0.0.1:{udp}", f"tcp://127.0.0.1:{tcp}")
    for address in addresses:
        syslog(address=address).tell(FAILED, 5)
    deadline = time.monotonic() + READY_S
    lines: list[str] = []
    while len(lines) < len(addresses):
        assert time.monotonic() < deadline, f"rsyslogd wrote {lines} alone"
        time.sleep(0.02)
        if (folder / "out").exists():
            lines = (folder / "out").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [one["tag"] for one in found] == ["cronguard"] * 3
    assert [one["process"] for one in found] == ["812"] * 3
    assert [one["severity"] for one in found] == ["3"] * 3
    assert [one["facility"] for one in found] == ["cron"] * 3
    assert all(one["text"].strip().startswith("backup failed (exit 3)") for one in found)
    assert [one["host"] for one in found[1:]] == ["web-3"] * 2
    assert all(f'run="{FAILED.run_id}"' in one["data"] for one in found[1:])
    assert f'run="{FAILED.run_id}"' in found[0]["text"]
