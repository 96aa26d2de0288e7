"""A store that is named wrongly: one message says what to write instead, and nothing starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.certificates import Certificates
from tests.clusters import Cluster, start_cluster
from tests.process.lab import Lab
from tests.process.witness import TTL
from tests.sentinels import NAME, Watch, start_watch

FLAVOUR = "redis" if servers.binary("redis") else "valkey"


class World:
    """Servers of each kind, and what a user may take them for."""

    def __init__(self, folder: Path) -> None:
        for name in ("plain", "cluster", "watch", "tls", "secured"):
            (folder / name).mkdir()
        self.plain = servers.start_server(folder / "plain", FLAVOUR)
        self.cluster: Cluster = start_cluster(folder / "cluster", FLAVOUR, replicas=0)
        self.watch: Watch = start_watch(folder / "watch", FLAVOUR, replicas=0, sentinels=1)
        self.all = [self.plain, *self.cluster.servers, *self.watch.servers]

    @property
    def sentinel(self) -> str:
        """Return the sentinel's host and port."""
        return f"127.0.0.1:{self.watch.sentinels[0].port}"

    def stop(self) -> None:
        """End all."""
        self.plain.stop()
        self.cluster.stop()
        self.watch.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Started once for all."""
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.stop()


def refused(lab: Lab, url: str) -> str:
    """Run a job with this store, which is to be refused before it starts; return what is said."""
    env = {"CRONGUARD_STORE": url}
    touched = lab.folder / "ran"
    done = lab.call("run", "-n", "job", *TTL, "--", "touch", str(touched), env=env)
    said = done.stderr.decode()
    assert (done.returncode, touched.exists()) == (125, False), said
    assert said.count("cronguard: ") == 1, said
    assert said.startswith("cronguard: ")
    return said


def plain(port: int) -> str:
    """Return the URL of a server on the loopback."""
    return f"redis://127.0.0.1:{port}"


Url = Callable[[World], str]
WRITTEN: dict[str, tuple[Url, str]] = {
    "an even quorum": (
        lambda w: " ".join(plain(one.port) for one in w.all[:2]),
        "name an odd number of them, 3 or 5",
    ),
    "one server twice": (
        lambda w: f"{plain(w.plain.port)} {plain(w.plain.port)} redis://10.0.0.1",
        "twice: its servers are to be independent",
    ),
    "one server's databases": (
        lambda w: " ".join(f"{plain(w.plain.port)}/{number}" for number in range(3)),
        "twice: its servers are to be independent",
    ),
    "plain and TLS": (
        lambda w: f"{plain(w.plain.port)} rediss://a rediss://b",
        "redis:// or rediss:// for all",
    ),
    "TCP and a socket": (
        lambda w: f"{plain(w.plain.port)} {w.plain.url} redis://b",
        "to be reached in one way",
    ),
    "a Sentinel in a quorum": (
        lambda w: f"{plain(w.plain.port)} redis://b {w.watch.url}",
        "or one Sentinel or Cluster alone",
    ),
    "a file in a quorum": (
        lambda w: f"{plain(w.plain.port)} redis://b sqlite:///x/y",
        "leave it out, or name it alone",
    ),
    "no master": (
        lambda w: f"redis+sentinel://{w.sentinel}",
        "redis+sentinel://host1,host2/MASTER",
    ),
    "a database of a Cluster": (lambda w: f"{w.cluster.url}/3", "end the URL with its last host"),
    "no such kind": (lambda _: "redis+sentinels://a/b", "redis+sentinel://"),
}
"""What the URL itself gives away."""
FOUND: dict[str, tuple[Url, str]] = {
    "an unknown master": (
        lambda w: f"redis+sentinel://{w.sentinel}/other",
        "know no master 'other': write the name that sentinel.conf has",
    ),
    "a Sentinel URL to a server": (
        lambda w: f"redis+sentinel://127.0.0.1:{w.plain.port}/{NAME}",
        "it is no Sentinel",
    ),
    "a plain URL to a sentinel": (
        lambda w: f"redis://{w.sentinel}",
        "write redis+sentinel://host/MASTER/0",
    ),
    "a Cluster URL to a server": (
        lambda w: f"redis+cluster://127.0.0.1:{w.plain.port}",
        "write redis://host:6379/0",
    ),
    "a Cluster URL to a sentinel": (
        lambda w: f"redis+cluster://{w.sentinel}",
        "write redis+sentinel://host/MASTER/0",
    ),
    "a plain URL to a node": (
        lambda w: plain(w.cluster.servers[0].port),
        "write redis+cluster://host:6379",
    ),
    "nodes of a Cluster as a quorum": (
        lambda w: " ".join(plain(one.port) for one in w.cluster.servers),
        "write redis+cluster://host:6379",
    ),
    "a database that is not there": (
        lambda w: f"{plain(w.plain.port)}/99",
        "it has no database 99",
    ),
}
"""What the server says."""


@pytest.mark.parametrize("mistake", [*WRITTEN, *FOUND])
def test_a_store_of_another_kind_is_refused(local: Lab, world: World, mistake: str) -> None:
    """C1: 125 before anything starts, with what to write instead; nobody's data is touched."""
    before = [server.do("DBSIZE") for server in world.all]
    url, todo = (WRITTEN | FOUND)[mistake]
    assert todo in refused(local, url(world))
    assert [server.do("DBSIZE") for server in world.all] == before


@pytest.mark.parametrize("mistake", [*WRITTEN, *FOUND])
def test_readers_are_told_the_same(local: Lab, world: World, mistake: str) -> None:
    """No traceback and no empty answer: 2 or 69, and what to write; `doctor` says it, too."""
    url, todo = (WRITTEN | FOUND)[mistake]
    env = {"CRONGUARD_STORE": url(world)}
    done = local.call("status", env=env)
    said = done.stderr.decode()
    assert done.returncode == (2 if mistake in WRITTEN else 69), said
    assert todo in said
    done = local.call("doctor", env=env)
    assert done.returncode != 0
    assert todo in done.stdout.decode()


@pytest.mark.parametrize("third", ["away", "there"])
def test_one_server_under_two_names_is_refused(
    local: Lab, own_server: servers.Server, tmp_path: Path, third: str
) -> None:
    """C1, R19: 125, no lock is left, and readers and `doctor` say the same."""
    (tmp_path / "other").mkdir()
    other = servers.start_server(tmp_path / "other", FLAVOUR)
    try:
        port = other.port if third == "there" else 1
        url = f"{plain(own_server.port)} redis://localhost:{own_server.port} {plain(port)}"
        todo = "one server, which has one vote: name independent servers"
        assert todo in refused(local, url)
        assert own_server.do("EXISTS", "cg:{job}:l:0") == 0
        done = local.call("status", env={"CRONGUARD_STORE": url})
        assert done.returncode == (0 if third == "there" else 69), done.stderr
        assert (todo in done.stderr.decode()) == (third == "away")
        done = local.call("doctor", env={"CRONGUARD_STORE": url})
        assert done.returncode == (1 if third == "there" else 69), done.stdout
        assert todo in done.stdout.decode()
    finally:
        other.stop()


# -- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once for all."""
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., servers.Server]]:
    """Start servers that speak TLS; Debian's can."""
    if FLAVOUR != "redis":
        pytest.skip("needs Debian's redis-server")
    started: list[servers.Server] = []

    def start(*args: str) -> servers.Server:
        folder = tmp_path / f"server{len(started)}"
        folder.mkdir()
        started.append(servers.start_server(folder, FLAVOUR, *args))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.mark.debian
@pytest.mark.parametrize(
    ("serving", "wants", "trusted", "todo"),
    [
        ("elsewhere", False, "ca", "?tls_server_name=NAME"),
        ("expired", False, "ca", "renew it on the server"),
        ("server", False, "stranger", "?tls_ca=FILE"),
        ("server", True, "ca", "?tls_cert=FILE&tls_key=FILE"),
    ],
)
def test_r23_who_is_not_who_it_should_be_is_refused(
    local: Lab,
    certificates: Certificates,
    serve: Callable[..., servers.Server],
    serving: str,
    wants: bool,
    trusted: str,
    todo: str,
) -> None:
    """R23: another host's certificate, an old one, a stranger's, or none of ours: 125, and why."""
    server = serve(*certificates.serving(serving, clients=wants))
    assert todo in refused(local, server.tcp_url + certificates.options(ca=trusted))
    assert server.do("DBSIZE") == 0


@pytest.mark.debian
def test_r23_nobody_goes_unverified_without_a_word(
    local: Lab, certificates: Certificates, serve: Callable[..., servers.Server]
) -> None:
    """R23: `tls_verify=false` runs, and warns at each run, --quiet or not; `doctor` warns, too."""
    server = serve(*certificates.serving("expired"))
    env = {"CRONGUARD_STORE": f"{server.tcp_url}?tls_verify=false"}
    for options in ([], [], ["--quiet"]):
        done = local.call("run", "-n", "job", *options, "--", "true", env=env)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(b"tls_verify=false") == 1
        assert done.stderr.count(b"\n") == 2
        assert b"?tls_ca=FILE" in done.stderr
    found = local.call("doctor", env=env).stdout
    assert b"tls_verify=false" in found
    good = {"CRONGUARD_STORE": serve(*certificates.serving()).tcp_url + certificates.options()}
    done = local.call("run", "-n", "job", "--", "true", env=good)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"tls_verify" not in local.call("doctor", env=good).stdout


PATIENT = {"CRONGUARD_STORE_TIMEOUT": "30s"}  # three handshakes take their time on a busy host


@pytest.mark.debian
def test_r23_a_quorum_says_which_of_its_servers_are_not_who_they_should_be(
    local: Lab, certificates: Certificates, serve: Callable[..., servers.Server]
) -> None:
    """R23, R19: one of three has no vote, as `doctor` tells; two are refused, each with why."""
    good = serve(*servers.SYNCED, *certificates.serving())
    known = good.tcp_url + certificates.options()
    foreign = [serve(*servers.SYNCED, *certificates.serving("elsewhere")) for _ in range(2)]
    trusted = [server.tcp_url + certificates.options() for server in foreign]
    well = serve(*servers.SYNCED, *certificates.serving())
    for odd, todo in (
        (trusted[0], "?tls_server_name=NAME"),
        (well.tcp_url + certificates.options(ca="stranger"), "?tls_ca=FILE"),
    ):
        url = f"{known} {trusted[1]}&tls_server_name=elsewhere.test {odd}"
        env = PATIENT | {"CRONGUARD_STORE": url}
        done = local.call("run", "-n", "job", "--", "true", env=env)
        assert (done.returncode, done.stderr) == (0, b"")
        done = local.call("doctor", env=env)
        assert done.returncode == 0, done.stdout
        [quorum] = [line for line in done.stdout.decode().splitlines() if "servers answer" in line]
        assert "2 of 3" in quorum
        assert todo in quorum
        assert odd.partition("?")[0] in quorum
    assert foreign[0].do("DBSIZE") == 0
    said = refused(local, f"{known} {trusted[0]} {trusted[1]}")
    named = said.partition("only 1 of 3 servers do (")[2]
    assert all(f"{server.tcp_url}/0" in named for server in foreign)
    assert "?tls_server_name=NAME" in named


@pytest.mark.debian
def test_r23_a_quorum_goes_unverified_with_a_word(
    local: Lab, certificates: Certificates, serve: Callable[..., servers.Server]
) -> None:
    """R23: at each run, those of its servers are named that are taken at their word; no other."""
    trio = [serve(*servers.SYNCED, *certificates.serving("expired")) for _ in range(2)]
    trio.append(serve(*servers.SYNCED, *certificates.serving()))
    urls = [f"{server.tcp_url}?tls_verify=false" for server in trio[:2]]
    env = PATIENT | {"CRONGUARD_STORE": " ".join([*urls, trio[2].tcp_url + certificates.options()])}
    for _ in range(2):
        done = local.call("run", "-n", "job", "--", "true", env=env)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(b"tls_verify=false") == 1
        for server in trio:
            assert (server.tcp_url.encode() in done.stderr) is (server is not trio[2])
    found = local.call("doctor", env=env)
    assert found.returncode == 0, found.stdout
    assert b"tls_verify=false: anyone on the way to" in found.stdout
