"""R23: TLS, with servers that speak nothing else: who is trusted, and what is said of the others.

Each is looked at from both sides: the lease side's own TLS, and redis-py's.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator

import pytest

from cronguard.core.events import Denied, Granted, Unavailable
from cronguard.stores.address import parse
from cronguard.stores.contract import StoreDown
from cronguard.stores.redis.client import said_by
from cronguard.stores.redis.history import open_history
from cronguard.stores.redis.link import Link
from cronguard.stores.redis.tls import Tls
from tests.certificates import NAME, Certificates
from tests.clusters import start_cluster
from tests.proxy import Proxy
from tests.sentinels import start_watch
from tests.servers import Server, start_server
from tests.stores.redis.helpers import Asker, claim, whole_cycle, why

Starting = Callable[..., Server]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once for all."""
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def tls_flavour(
    shared_server: Server,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The flavour, if its servers were built with TLS."""
    folder, flavour = tmp_path_factory.mktemp("try"), shared_server.flavour
    try:
        start_server(folder, flavour, *certificates.serving()).stop()
    except AssertionError as error:
        pytest.skip(f"this server was built without TLS: {str(error)[-80:]}")
    return flavour


@pytest.fixture
def serve(tls_flavour: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starting]:
    """Start servers that speak TLS."""
    started: list[Server] = []

    def start(*args: str) -> Server:
        started.append(start_server(tmp_path_factory.mktemp("tls"), tls_flavour, *args))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def works(url: str) -> None:
    """Do everything with both sides."""
    one = Asker(url)
    side = open_history(url, "cg")
    try:
        whole_cycle(one, side)
    finally:
        side.close()
        one.store.close()


def refused(url: str) -> tuple[str, str]:
    """Be refused for good; return what each side says.

    The last word of a server that hangs up may be lost on the way: then it is asked again.
    """
    one = Asker(url)
    deadline = time.monotonic() + 20
    while isinstance(event := one.acquire(), Unavailable) and "reset" in event.why:
        assert time.monotonic() < deadline
    lease = why(event, Denied)
    one.store.close()
    with pytest.raises(StoreDown) as error:
        open_history(url, "cg").jobs()
    return lease, str(error.value)


def test_a_run_over_tls(serve: Starting, certificates: Certificates) -> None:
    """R23: with the authority in the URL, both sides work."""
    works(serve(*certificates.serving()).tcp_url + certificates.options())


def test_a_client_certificate_is_shown(serve: Starting, certificates: Certificates) -> None:
    """R23: to a server that wants one; without it, or with a stranger's, it says what to add."""
    server = serve(*certificates.serving(clients=True))
    works(server.tcp_url + certificates.options("client"))
    for said in refused(server.tcp_url + certificates.options()):
        assert "tls_cert=FILE&tls_key=FILE" in said
    lease, _ = refused(server.tcp_url + certificates.options("forged"))
    assert "the authority that signed ours (tls_cert)" in lease
    assert server.do("EXISTS", "cg:{job}:l:0") == 0


@pytest.mark.parametrize(("more", "hint"), [("", True), ("?tls_cert=a&tls_key=b", False)])
def test_a_reset_before_the_first_word_names_the_likely_cause(more: str, hint: bool) -> None:
    """R23: who wants a certificate may be heard to hang up, and no more."""
    address = parse(f"rediss://127.0.0.1:1{more}")
    said = said_by(ConnectionResetError(104, "Connection reset by peer"), address)
    assert said.startswith("connection reset by peer")
    assert ("add ?tls_cert=FILE&tls_key=FILE" in said) is hint
    assert said_by(ConnectionResetError(104, "Connection reset by peer"), parse("redis://h")) == (
        "connection reset by peer"
    )


def test_a_reset_after_a_word_is_not_about_certificates() -> None:
    """R23: where all was well before, it is the line or the server."""
    session = Tls(parse("rediss://127.0.0.1:1"))
    assert "tls_cert" in session.reset("connection reset by peer")
    session.heard = True
    assert session.reset("connection reset by peer") == "connection reset by peer"


@pytest.mark.parametrize("replies", [b"", b"+OK\r\n:7\r\n"])
def test_what_came_before_a_broken_record_counts(
    certificates: Certificates, replies: bytes
) -> None:
    """R23: a reply is no worse for what came after it; only who never spoke is refused for good."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        address = parse(f"rediss://127.0.0.1:{port}{certificates.options()}")
        link = Link(address, (socket.AF_INET, ("127.0.0.1", port)))
        peer, _ = listener.accept()
    try:
        broken = Breaking(peer, certificates)
        link.write(b"PING\r\n")
        found: list[object] = []
        deadline = time.monotonic() + 20
        while not link.broken:
            found += link.advance()
            if not broken.done:
                broken.answer(replies)
            assert time.monotonic() < deadline
        assert found == ([b"OK", 7] if replies else [])
        assert link.broken.denied is not bool(replies)
        assert "TLS with it failed: decryption failed or bad record mac" in link.broken.why
    finally:
        peer.close()
        link.close()


class Breaking:
    """A server that answers what it is asked first, and in the same breath a broken record."""

    def __init__(self, peer: socket.socket, certificates: Certificates) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.path("server"), certificates.key("server"))
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._in, self._out, server_side=True)
        self._peer = peer
        self.done = False
        peer.settimeout(0.01)

    def answer(self, replies: bytes) -> None:
        """Take what has come; answer the first question."""
        try:
            self._in.write(self._peer.recv(65_536))
            self._session.do_handshake()
            asked = self._session.read(65_536)
        except (TimeoutError, ssl.SSLWantReadError):
            asked = b""
        good = self._out.read()
        if asked:
            self.done = True
            if replies:
                self._session.write(replies)
            good += self._out.read()
            self._session.write(b"+LATE\r\n")
            record = self._out.read()
            good += record[:-1] + bytes([record[-1] ^ 1])
        self._peer.sendall(good)


def test_a_server_name_can_be_given(serve: Starting, certificates: Certificates) -> None:
    """R23: the name that the certificate is checked for need not be the address."""
    url = serve(*certificates.serving()).tcp_url + certificates.options()
    works(f"{url}&tls_server_name={NAME}")
    for said in refused(f"{url}&tls_server_name=other.test"):
        assert "other.test" in said


@pytest.mark.parametrize(
    ("serving", "authority", "what", "todo"),
    [
        ("expired", "ca", "certificate has expired", "renew it on the server"),
        ("elsewhere", "ca", "'127.0.0.1'", "?tls_server_name=NAME"),
        ("server", "stranger", "certificate in certificate chain", "?tls_ca=FILE"),
    ],
)
def test_a_certificate_that_is_not_valid_is_refused(
    serve: Starting,
    certificates: Certificates,
    serving: str,
    authority: str,
    what: str,
    todo: str,
) -> None:
    """R23: expired, for another host, of an unknown authority: why, and what to change."""
    server = serve(*certificates.serving(serving))
    for said in refused(server.tcp_url + certificates.options(ca=authority)):
        assert "its TLS certificate is not valid: " in said
        assert what in said
        assert todo in said
    one = Asker(f"{server.tcp_url}?tls_verify=false")
    assert isinstance(one.acquire(), Granted)
    one.store.close()


def test_only_the_named_authority_is_trusted(
    serve: Starting, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R23, S9: without one it is the system's; with one, the system's do not count any more."""
    monkeypatch.setenv("SSL_CERT_FILE", certificates.path("ca"))
    url = serve(*certificates.serving()).tcp_url
    works(url)
    for said in refused(url + certificates.options(ca="stranger")):
        assert "?tls_ca=FILE" in said


def test_tls_to_a_plain_port_comes_to_nothing(server: Server) -> None:
    """R23: no falling back to plain text; such a port says nothing, and this is what is said."""
    one = Asker(f"rediss://127.0.0.1:{server.port}", attempt=500)
    assert "a port without TLS" in why(one.acquire(), Unavailable)
    one.store.close()
    assert server.do("DBSIZE") == 0


def test_what_else_speaks_no_tls_is_refused() -> None:
    """R23, R24: a server that answers in plain text is told by that."""
    with Proxy(("127.0.0.1", 1)) as proxy:
        proxy.answer = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        for said in refused(f"rediss://127.0.0.1:{proxy.port}"):
            assert "redis:// for rediss://" in said


def test_a_ca_file_that_is_not_there_is_refused(server: Server) -> None:
    """R23: a wrong path is named."""
    for said in refused(f"rediss://127.0.0.1:{server.port}?tls_ca=/No/such.pem"):
        assert "/No/such.pem" in said


def test_sentinels_and_servers_over_tls(
    tls_flavour: str, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """R23, R15: both levels, each wanting our certificate; a failover, too."""
    tls = certificates.serving(clients=True)
    folder = tmp_path_factory.mktemp("watch")
    watch = start_watch(folder, tls_flavour, replicas=1, sentinels=3, tls=tls)
    try:
        url = watch.url + certificates.options("client")
        works(url)
        watch.fail_over()
        one = Asker(f"{url}&tls_server_name={NAME}", claim("other"))
        one.granted()
        side = open_history(f"{url}&tls_server_name={NAME}", "cg")
        assert side.jobs() == ["job", "other"]
        assert set(side.facts()["sentinels"].values()) == {f"127.0.0.1:{watch.master().port}"}  # type: ignore[attr-defined]
        side.close()
        one.store.close()
        for said in refused(watch.url + certificates.options("client", ca="stranger")):
            assert "?tls_ca=FILE" in said
    finally:
        watch.stop()


def test_sentinels_may_be_plain(
    tls_flavour: str, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """R23: `sentinel_tls=false`: the data is served over TLS, and the sentinels are not."""
    serving = certificates.serving()
    more = [
        f"{name[2:]} {value}\n" for name, value in zip(serving[::2], serving[1::2], strict=True)
    ]
    more.append("tls-replication yes\n")
    folder = tmp_path_factory.mktemp("watch")
    watch = start_watch(folder, tls_flavour, *serving, replicas=0, sentinels=1, more="".join(more))
    try:
        assert watch.url.startswith("redis+")
        url = watch.url.replace("redis+", "rediss+") + certificates.options()
        works(f"{url}&sentinel_tls=false")
    finally:
        watch.stop()


def test_a_cluster_over_tls(
    tls_flavour: str, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """R23, R18: each node, also those that a redirect names."""
    tls = certificates.serving(clients=True)
    cluster = start_cluster(tmp_path_factory.mktemp("cluster"), tls_flavour, replicas=0, tls=tls)
    try:
        works(cluster.url + certificates.options("client"))
        for node in cluster.servers:  # two of the three have to send us on
            url = f"rediss+cluster://127.0.0.1:{node.port}{certificates.options('client')}"
            one = Asker(f"{url}&tls_server_name={NAME}", claim(f"job-{node.port}"))
            one.granted()
            one.store.close()
        side = open_history(
            f"{cluster.url}{certificates.options('client')}&tls_server_name={NAME}", "cg"
        )
        assert len(side.jobs()) == 4
        side.close()
        for said in refused(cluster.url + certificates.options("client", ca="stranger")):
            assert "?tls_ca=FILE" in said
    finally:
        cluster.stop()
