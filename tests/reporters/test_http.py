"""Requests of reporters: to whom they go, how long they may take, and what an error may say."""

from __future__ import annotations

import base64
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from cronguard.reporters import http
from cronguard.reporters.addresses import is_ours_by_name, is_public
from cronguard.reporters.contract import Never, NotNow
from cronguard.reporters.http import Sender
from tests.certificates import NAME, Certificates
from tests.reporters.receiver import Answer, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HIDDEN = "/services/T000hidden/xyzzy-token?key=sesame-open"
SECRETS = ("T000hidden", "xyzzy-token", "sesame-open", "hunter22", "Bearer-of-this")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def sender(**settings: object) -> Sender:
    """Return one that may speak to a receiver on this host."""
    return Sender({"allow_http": True, "allow_private": True, **settings})


def within(seconds: float, act: Callable[[], object]) -> object:
    """Return what *act* returns or raises; it must be over in so many seconds."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(act())
        except Exception as error:  # noqa: BLE001 - it is looked at by who waits
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, f"not over within {seconds} s"
    return found[0]


Names = dict[str, list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Return the names that are known, and their addresses."""
    known: Names = {}
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *args: Any, **more: Any) -> Any:
        if host not in known:
            return real(host, port, *args, **more)
        return [found for one in known[host] for found in real(one, port, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


# -- what is sent ----------------------------------------------------------------------------------


def test_a_request_is_sent_as_it_is_said(receiver: Receiver) -> None:
    """Method, path, query, headers and body; and who it is from."""
    answer = sender().send("POST", f"{receiver.url}/a/b?c=d", b"{}", {"X-More": "yes"}, timeout=5)
    (request,) = receiver.requests
    assert (request.method, request.path, request.body) == ("POST", "/a/b?c=d", b"{}")
    assert request.headers["X-More"] == "yes"
    assert request.headers["User-Agent"] == "cronguard"
    assert request.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert (answer.status, answer.body) == (200, b"OK")


@pytest.mark.parametrize(
    ("written", "meant"), [("u:p", "u:p"), ("ann%40x:p%3Aw%C3%A9", "ann@x:p:wé")]
)
def test_credentials_in_an_address_are_sent_as_they_are_meant(
    receiver: Receiver, written: str, meant: str
) -> None:
    """Decoded, in UTF-8, and in the header alone."""
    url = receiver.url.replace("//", f"//{written}@")
    sender().send("GET", f"{url}/x", timeout=5)
    (request,) = receiver.requests
    kind, _, coded = request.headers["Authorization"].partition(" ")
    assert (kind, base64.b64decode(coded).decode()) == ("Basic", meant)
    assert request.path == "/x"
    assert "@" not in request.headers["Host"]


def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job's environment does not decide who is told."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert sender().send("GET", receiver.url, timeout=5).status == 200


def test_an_address_of_ipv6_is_sent_to() -> None:
    """As it stands in an address, in brackets."""
    try:
        receiver = Receiver(host="::1")
    except OSError:
        pytest.skip("this host has no IPv6")
    with receiver:
        assert sender().send("GET", f"{receiver.url}/x", timeout=5).status == 200
        with pytest.raises(Never, match=r"//\[::1\]:\d+ is of this host"):
            Sender({"allow_http": True}).send("GET", receiver.url, timeout=5)
    (request,) = receiver.requests
    assert request.headers["Host"] == f"[::1]:{receiver.port}"


# -- to whom ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    """What was configured is told, and nobody else; it will not be otherwise next time."""
    with Receiver() as other:
        receiver.usual = Answer(status, {"Location": f"{other.url}/caught"})
        with pytest.raises(Never, match="redirect"):
            sender().send("POST", receiver.url, b"secret", timeout=5)
        assert not other.requests
    assert len(receiver.requests) == 1


def test_what_is_not_encrypted_is_refused_unless_allowed(receiver: Receiver) -> None:
    """Before anything is sent."""
    with pytest.raises(Never, match="not encrypted"):
        Sender({"allow_private": True}).send("GET", receiver.url, timeout=5)
    assert receiver.connections == 0


NOWHERE = [
    "", "example.com", "ftp://example.com/", "https://", "file:///etc", "https://a:b:c/",
    "https://[::1", "https://h:99999/",
]  # fmt: skip


@pytest.mark.parametrize("url", NOWHERE)
def test_what_is_no_address_is_refused(url: str) -> None:
    """With a sentence that does not repeat it."""
    with pytest.raises(Never, match="write https://HOST/") as caught:
        sender().send("GET", url, timeout=5)
    assert str(caught.value) in (
        "its address is no URL; write https://HOST/…",
        "its address cannot be read; write https://HOST/…",
    )


OURS = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255",
    "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1", "2002:7f00:1::",
    "2002:a00:1::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2001::1",
    "2001:db8::1", "100::1", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", OURS)
def test_addresses_of_this_host_and_its_network_are_known(address: str) -> None:
    """In every guise in which IPv6 can wrap them; and what is for no use at all."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_others_are_known(address: str) -> None:
    """Wrapped ones, too."""
    assert is_public(address)


GUISES = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "localhost"]


@pytest.mark.parametrize("host", [*GUISES, "LOCALHOST", "0", "[::1]", "[::ffff:127.0.0.1]"])
def test_no_guise_of_this_host_is_connected_to(receiver: Receiver, host: str) -> None:
    """Nothing comes in, where it listens."""
    with pytest.raises(Never, match="allow_private"):
        Sender({"allow_http": True}).send("GET", f"http://{host}:{receiver.port}/", timeout=5)
    assert receiver.connections == 0


@pytest.mark.parametrize("host", [*GUISES, "x.localhost", "localhost.", "127.0.0.1.", "::1"])
def test_a_proxy_is_not_asked_for_this_host(host: str) -> None:
    """Where we do not look the name up, what it says by itself."""
    assert is_ours_by_name(host)
    url = f"http://[{host}]/" if ":" in host else f"http://{host}/"
    with Receiver() as proxy:
        one = Sender({"allow_http": True, "proxy": proxy.url})
        with pytest.raises(Never, match="allow_private"):
            one.send("GET", url, timeout=5)
    assert not proxy.requests


@pytest.mark.parametrize("host", ["example.com", "8.8.8.8", "1.2", "localhost.example.com", "10"])
def test_other_names_are_not_of_this_host(host: str) -> None:
    """But numbers are addresses: 10 is 0.0.0.10, which is nobody's."""
    assert is_ours_by_name(host) == (host == "10")


def test_a_name_that_leads_here_is_refused(receiver: Receiver, names: Names) -> None:
    """The address counts, not the name."""
    names["innocent.test"] = ["127.0.0.1", "::1"]
    with pytest.raises(Never, match=r"innocent\.test is of this host"):
        Sender({"allow_http": True}).send("GET", "http://innocent.test/", timeout=5)
    assert receiver.connections == 0


def test_of_mixed_addresses_none_of_ours_is_tried(receiver: Receiver, names: Names) -> None:
    """Although the other does not answer, which belongs to nobody any more."""
    names["mixed.test"] = ["127.0.0.1", "192.88.99.1"]
    url = f"http://mixed.test:{receiver.port}/"
    with pytest.raises(NotNow):
        Sender({"allow_http": True}).send("GET", url, timeout=0.3)
    assert receiver.connections == 0


def test_the_address_that_was_looked_at_is_connected_to(
    receiver: Receiver, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is looked up once; a second answer could be another."""
    names["once.test"] = ["127.0.0.1"]
    asked = []
    real = socket.getaddrinfo

    def counted(host: str, *args: Any, **more: Any) -> Any:
        asked.append(host)
        return real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    sender().send("GET", f"http://once.test:{receiver.port}/", timeout=5)
    assert asked.count("once.test") == 1
    assert receiver.requests[0].headers["Host"] == f"once.test:{receiver.port}"


def test_the_next_address_is_tried_when_nobody_listens_at_one(
    receiver: Receiver, names: Names
) -> None:
    """As with a host that has IPv6 in its name, and not in its network."""
    names["two.test"] = ["127.0.0.2", "127.0.0.1"]
    url = f"http://two.test:{receiver.port}/"
    assert sender().send("GET", url, timeout=5).status == 200


def test_an_address_that_swallows_everything_leaves_time_for_the_next(
    receiver: Receiver, names: Names
) -> None:
    """A backlog that is full answers no more than a firewall would."""
    with socket.socket() as full:
        full.bind(("127.0.0.3", receiver.port))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for one in fillers:
            one.setblocking(False)
            one.connect_ex(("127.0.0.3", receiver.port))
        names["slow.test"] = ["127.0.0.3", "127.0.0.1"]
        url = f"http://slow.test:{receiver.port}/"
        assert sender().send("GET", url, timeout=2).status == 200
        for one in fillers:
            one.close()


# -- TLS -------------------------------------------------------------------------------------------


def serving(certificates: Certificates, name: str = "server") -> Receiver:
    """Return a receiver with that certificate."""
    return Receiver((certificates.path(name), certificates.key(name)))


@pytest.mark.parametrize("host", [NAME, "127.0.0.1"])
def test_an_authority_of_ones_own_is_trusted(
    certificates: Certificates, names: Names, host: str
) -> None:
    """By name, and by address where the certificate has it."""
    names[NAME] = ["127.0.0.1"]
    with serving(certificates) as receiver:
        one = sender(ca=certificates.path("ca"))
        assert one.send("GET", f"https://{host}:{receiver.port}/", timeout=5).status == 200


@pytest.mark.parametrize(
    ("served", "ca"),
    [("server", ""), ("server", "stranger"), ("elsewhere", "ca"), ("expired", "ca")],
)
def test_nothing_is_sent_to_who_cannot_prove_who_it_is(
    certificates: Certificates, names: Names, served: str, ca: str
) -> None:
    """Unknown authority, another's certificate, one that is over. It may be mended, so it waits."""
    names[NAME] = ["127.0.0.1"]
    with serving(certificates, served) as receiver:
        one = sender(ca=certificates.path(ca) if ca else "")
        with pytest.raises(NotNow, match="TLS failed: ") as caught:
            one.send("POST", f"https://{NAME}:{receiver.port}{HIDDEN}", b"x", timeout=0.5)
        assert not receiver.requests
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


def test_a_certificate_file_that_is_none_is_said(tmp_path: Path) -> None:
    """When the reporter is made."""
    (tmp_path / "no.pem").write_text("nothing")
    for path in (tmp_path / "no.pem", tmp_path / "missing.pem"):
        with pytest.raises(ValueError, match=r"ca: .*PEM"):
            Sender({"ca": str(path)})


# -- a proxy ---------------------------------------------------------------------------------------


def test_a_proxy_is_asked_without_the_credentials_in_the_line() -> None:
    """They are in the header for the target; the proxy's own are in its own."""
    with Receiver() as proxy:
        one = sender(proxy=proxy.url.replace("//", "//me:let%20me@"))
        one.send("POST", "http://ann:hunter22@target.test/x?y=z#f", b"b", timeout=5)
    (request,) = proxy.requests
    assert request.path == "http://target.test/x?y=z"
    assert base64.b64decode(request.headers["Authorization"].split()[1]) == b"ann:hunter22"
    assert base64.b64decode(request.headers["Proxy-Authorization"].split()[1]) == b"me:let me"


class Tunnel(threading.Thread):
    """A proxy that leads every name to a port of this host; `asked` is what it was asked for."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.asked: list[bytes] = []
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.start()

    def run(self) -> None:
        with self._listener:
            client, _ = self._listener.accept()
        with client, socket.create_connection(("127.0.0.1", self._port)) as target:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.asked = head.splitlines()
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self._copy, args=(target, client))
            back.start()
            self._copy(client, target)
            back.join()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(65_536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


@pytest.mark.parametrize("ill", ["", "silent"])
def test_through_a_proxy_it_is_the_target_that_proves_who_it_is(
    certificates: Certificates, ill: str
) -> None:
    """The proxy sees its name and nothing else; and the tunnel ends in time, too."""
    with serving(certificates) as receiver:
        receiver.ill = ill
        tunnel = Tunnel(receiver.port)
        one = sender(proxy=tunnel.url, ca=certificates.path("ca"))
        url = f"https://ann:hunter22@{NAME}{HIDDEN}"
        found = within(20, lambda: one.send("POST", url, b"x", timeout=0.5 if ill else 5))
        tunnel.join(20)
        assert isinstance(found, NotNow if ill else http.Answer), found
    assert tunnel.asked[0].startswith(f"CONNECT {NAME}:443 HTTP/1.".encode())
    assert not [line for line in tunnel.asked if b"uthorization" in line]
    assert receiver.requests[0].path == HIDDEN
    assert receiver.requests[0].headers["Host"] == NAME


def test_a_tunnel_to_somebody_else_is_seen(certificates: Certificates) -> None:
    """Nothing is sent to them."""
    with serving(certificates, "elsewhere") as receiver:
        tunnel = Tunnel(receiver.port)
        one = sender(proxy=tunnel.url, ca=certificates.path("ca"))
        with pytest.raises(NotNow, match="TLS failed"):
            one.send("POST", f"https://{NAME}/", b"x", timeout=0.2)
        tunnel.join(20)
        assert not receiver.requests


def test_a_proxy_that_gives_no_tunnel_is_named_as_what_failed() -> None:
    """It takes no CONNECT: 501 of this receiver."""
    with Receiver() as proxy, pytest.raises(NotNow, match="the proxy: ") as caught:
        sender(proxy=proxy.url).send("GET", f"https://target.test{HIDDEN}", timeout=0.3)
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


@pytest.mark.parametrize("text", ["socks5://h:1", "h:1:2", "http://u:hunter22@[", "hunter22"])
def test_a_proxy_that_is_none_is_said_without_its_text(text: str) -> None:
    """When the reporter is made."""
    with pytest.raises(ValueError, match="proxy: ") as caught:
        sender(proxy=text)
    assert "hunter22" not in str(caught.value)


# -- ill servers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ill", "expected"),
    [
        ("silent", NotNow),
        ("slow", NotNow),
        ("broken", NotNow),
        ("many headers", NotNow),
        ("garbage", NotNow),
        ("error", NotNow),
        ("redirect", Never),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_an_ill_server_takes_no_longer_than_it_may(
    certificates: Certificates, ill: str, expected: type[Exception], *, tls: bool
) -> None:
    """And what becomes of the report is right. 20 s are far from 0.4 s, and near to never."""
    files = (certificates.path("server"), certificates.key("server")) if tls else None
    with Receiver(files) as receiver:
        receiver.ill = ill
        one = sender(ca=certificates.path("ca"))
        error = within(20, lambda: one.send("POST", receiver.url + HIDDEN, b"x", timeout=0.4))
        assert isinstance(error, expected)
        assert not [secret for secret in SECRETS if secret in str(error)]


@pytest.mark.parametrize("ill", ["huge", "endless", "dripping", "cut", "dripping headers"])
def test_an_answer_whose_rest_does_not_come_is_an_answer(receiver: Receiver, ill: str) -> None:
    """The request was taken: it is sent once, and no more than 64 KiB are kept."""
    receiver.ill = ill
    answer = within(20, lambda: sender().send("POST", receiver.url, b"x", timeout=8))
    assert isinstance(answer, http.Answer), answer
    assert answer.status == 200
    assert len(answer.body) <= http.MOST_BYTES
    assert bool(answer.body) == (ill != "dripping headers")
    assert len(receiver.requests) == 1


def test_a_resolver_that_does_not_answer_takes_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It asks for half a minute, and knows no deadline."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait() and [])
    error = within(20, lambda: sender().send("GET", "https://x.test/", timeout=0.3))
    over.set()
    assert isinstance(error, NotNow)
    assert "looked up" in str(error)


def test_a_name_that_is_unknown_waits(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server may be back soon; also a name that can be none."""

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NotNow, match="name or service not known"):
        sender().send("GET", f"https://x.test{HIDDEN}", timeout=0.1)


def test_nobody_listening_waits(receiver: Receiver) -> None:
    """And says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(NotNow, match=f"http://127.0.0.1:{port}: connection refused"):
            sender().send("GET", f"http://127.0.0.1:{port}{HIDDEN}", timeout=0.1)


# -- what answers mean -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 520, 530])
def test_trouble_that_may_pass_is_tried_again(receiver: Receiver, status: int) -> None:
    """Within the time that there is."""
    receiver.answers = [Answer(status), Answer(status)]
    assert sender().send("POST", receiver.url, b"x", timeout=10).status == 200
    assert [request.body for request in receiver.requests] == [b"x"] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422, 501, 505])
def test_what_will_not_pass_is_not_tried_again(receiver: Receiver, status: int) -> None:
    """The answer's text says why."""
    receiver.usual = Answer(status, body=b"no_such\nhook")
    with pytest.raises(Never, match=f"{receiver.url} answers {status}: no_such hook"):
        sender().send("POST", receiver.url, b"x", timeout=10)
    assert len(receiver.requests) == 1


def test_a_server_that_asks_for_a_pause_gets_it(receiver: Receiver) -> None:
    """Longer than there is time for: it is not asked again, and the report knows for how long."""
    receiver.usual = Answer(429, {"Retry-After": "30"})
    with pytest.raises(NotNow) as caught:
        sender().send("POST", receiver.url, b"x", timeout=5)
    assert caught.value.after == 30
    assert len(receiver.requests) == 1


PAUSES = [
    ("7", 7), ("0.65", 0.65), ("-3", 0), ("", 0), ("soon", 0), ("inf", 0), ("nan", 0),
    ("1e999", 0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Thu, 99 Foo 1970", 0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), PAUSES)
def test_the_forms_of_a_pause(text: str, seconds: float) -> None:
    """Seconds, a date; nonsense is none."""
    assert http.Answer(429, {"Retry-After": text}, b"").retry_after == seconds


def test_a_pause_until_a_date(receiver: Receiver) -> None:
    """Counted from now."""
    text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    assert 3000 < http.Answer(503, {"Retry-After": text}, b"").retry_after < 3700


# -- what an error may say -------------------------------------------------------------------------


ECHOES = [
    b'{"status":404,"path":"/services/T000hidden/xyzzy-token"}',
    b"Cannot POST /services/T000hidden/xyzzy-token?key=sesame-open",
    b"x" * 190 + b" xyzzy-token",
    b"you are hunter22 with Bearer-of-this",
]


@pytest.mark.parametrize("status", [404, 500])
@pytest.mark.parametrize("body", ECHOES)
def test_an_answer_that_quotes_the_request_shows_no_secret(
    receiver: Receiver, body: bytes, status: int
) -> None:
    """Not even a part of one, where the text is cut."""
    receiver.usual = Answer(status, body=body)
    url = receiver.url.replace("//", "//ann:hunter22@") + HIDDEN
    with pytest.raises((Never, NotNow)) as caught:
        sender().send("POST", url, b"x", {"Authorization": "Bearer Bearer-of-this"}, timeout=0.1)
    text = str(caught.value)
    assert text.startswith(f"{receiver.url} answers {status}: ")
    assert not [secret for secret in (*SECRETS, "xyzzy") if secret in text]


@pytest.mark.parametrize("body", [b"<html>no</html>", b"a\x1b[31mb", b"\xff\x00", b""])
def test_pages_and_what_a_terminal_could_obey_are_not_quoted(
    receiver: Receiver, body: bytes
) -> None:
    """The status alone is said."""
    receiver.usual = Answer(404, body=body)
    with pytest.raises(Never) as caught:
        sender().send("GET", receiver.url, timeout=5)
    assert str(caught.value) == f"{receiver.url} answers 404"


@pytest.mark.parametrize("value", ["hunter22\r\nX-Evil: 1", "hunter22\n", "hunter22 \u2603"])
def test_a_header_that_cannot_be_sent_is_not_shown(receiver: Receiver, value: str) -> None:
    """Nor sent."""
    with pytest.raises(Never, match="header") as caught:
        sender().send("GET", receiver.url, headers={"X-Key": value}, timeout=5)
    assert "hunter22" not in str(caught.value)
    assert not receiver.requests
