"""The history side on real servers: rights, facts, and what only Redis has."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cronguard.core.events import Closed, Denied, Granted, Queued, Refused, Renewed, StopAsked
from cronguard.stores.contract import StoreDown, StoreRefused
from cronguard.stores.redis.acl import acl_line
from cronguard.stores.redis.history import RedisHistory, open_history
from tests.servers import Server, free_port
from tests.stores.redis.helpers import Asker, claim, now_ms, why

Asking = Callable[..., Asker]
CANARY = "s3cret-canary"


@pytest.fixture
def history(server: Server) -> Iterator[RedisHistory]:
    """The history side of the shared server."""
    side = open_history(server.url, "cg")
    yield side
    side.close()


@pytest.fixture
def least(server: Server) -> str:
    """The URL of a user with no more rights than `acl_line` gives."""
    line = acl_line("cronguard", "cg").replace("PASSWORD", CANARY)
    server.do(*line.split())
    return f"unix://cronguard:{CANARY}@{server.socket}"


def whole_cycle(one: Asker, side: RedisHistory) -> None:
    """Do everything that cronguard does to a store."""
    run = one.claim.owner.run_id
    grant = one.granted()
    one.store.watch_job(now_ms())
    assert isinstance(one.renew(grant), Renewed)
    assert side.jobs() == ["job"]
    [lease] = side.leases(["job"])["job"]
    assert lease.owner.run_id == run
    assert side.waiters("job") == []
    assert side.runs("job", 10)[0]["outcome"] == "running"
    assert side.last(["job"])["job"]["run_id"] == run
    assert side.skips("job", 10) == []
    assert side.counters(["job"])["job"]["last_start"]
    assert side.find(run[:8])[0]["run_id"] == run
    side.ask_stop("job", run, "ops")
    assert isinstance(one.next(), StopAsked)
    event = one.renew(grant)
    assert isinstance(event, Renewed)
    assert event.stop_by == "ops"
    assert side.unlock(lease, "ops")
    side.deliver(one.claim, one.closing("lease_lost"))
    assert side.runs("job", 10)[0]["outcome"] == "lease_lost"
    side.pause("job", None, "moving house", "ops")
    event = one.acquire()
    assert isinstance(event, Refused)
    assert event.why == "paused until resumed by ops: moving house"
    assert side.resume("job")
    assert isinstance(one.acquire(queue_for=1_000), Granted)
    assert isinstance(one.finish(), Closed)


def test_the_least_rights_are_enough(server: Server, asker: Asking, least: str) -> None:
    """S12: the whole cycle and the history under the ACL that `doctor` prints."""
    server.do("SCRIPT", "FLUSH")
    side = open_history(least, "cg")
    waiter = asker(url=least)
    whole_cycle(asker(url=least), side)
    holder = asker(url=least)
    holder.granted()
    assert isinstance(waiter.acquire(queue_for=60_000), Queued)
    assert side.waiters("job") == [waiter.claim.owner.run_id]
    side.close()
    entries = server.do("ACL", "LOG")
    assert isinstance(entries, list)
    refused = {str(entry) for entry in entries if "setinfo" not in str(entry).lower()}
    server.do("ACL", "LOG", "RESET")
    assert not refused


@pytest.mark.parametrize(
    "words", ["CONFIG GET save", "KEYS *", "FLUSHALL", "SET other:x 1", "GET other:x", "SELECT 1"]
)
def test_the_least_rights_are_not_more(server: Server, least: str, words: str) -> None:
    """S12: other commands and other keys are denied, also inside a script."""
    import redis

    client: Any = redis.Redis.from_url(
        f"redis://cronguard:{CANARY}@127.0.0.1:{server.port}", protocol=2
    )
    with client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*words.split())
    script = "return redis.call(unpack(ARGV))"
    with client, pytest.raises(redis.exceptions.ResponseError):
        client.execute_command("EVAL", script, 0, *words.split())
    server.do("ACL", "LOG", "RESET")


def test_another_namespace_is_refused_for_good(asker: Asking, least: str) -> None:
    """R12: keys that the user may not touch are no reason to ask again."""
    one = asker(claim("job", namespace="other"), url=least)
    text = why(one.acquire(), Denied)
    assert "'cronguard'" in text
    side = open_history(least, "other")
    with pytest.raises(StoreRefused, match="'cronguard'"):
        side.jobs()
    side.close()


def test_facts_that_may_not_be_asked_for_are_none(history: RedisHistory, least: str) -> None:
    """`doctor` says what it could not learn, and learns the rest."""
    facts = history.facts()
    assert facts["role"] == "master"
    assert facts["whoami"] == "default"
    assert facts["maxmemory_policy"] == "noeviction"
    assert isinstance(facts["clock"], int)
    assert str(facts["version"]).count(".") == 2
    assert all(value is not None for value in facts.values()), facts
    side = open_history(least, "cg")
    fewer = side.facts()
    side.close()
    assert fewer.keys() == facts.keys()
    assert fewer["version"]
    assert (fewer["maxmemory_policy"], fewer["whoami"], fewer["run_id"]) == (None, None, None)


def test_a_server_that_is_not_there_is_down(tmp_path: Path) -> None:
    """R1: the text has the store and the reason, and no secret."""
    side = open_history(f"redis://u:{CANARY}@127.0.0.1:{free_port()}", "cg")
    with pytest.raises(StoreDown, match=r"cannot reach redis://127\.0\.0\.1") as error:
        side.jobs()
    assert not isinstance(error.value, StoreRefused)
    assert CANARY not in str(error.value)
    side.close()


def test_a_wrong_password_is_refused(server: Server) -> None:
    """R12: it will never work, and the password is not shown."""
    server.do("ACL", "SETUSER", "app", "on", ">right", "~*", "+@all")
    side = open_history(f"unix://app:{CANARY}@{server.socket}", "cg")
    with pytest.raises(StoreRefused, match="password is wrong") as error:
        side.jobs()
    assert CANARY not in str(error.value)
    side.close()


def test_the_lease_of_a_run_that_is_over_is_released(history: RedisHistory, asker: Asking) -> None:
    """L12: min_hold keeps the lease, and a reader can tell that nobody runs."""
    one = asker(claim(min_hold=20_000))
    one.granted()
    assert [lease.released for lease in history.leases(["job"])["job"]] == [False]
    one.finish()
    assert [lease.released for lease in history.leases(["job"])["job"]] == [True]


def test_leases_are_found_when_the_fence_is_lost(
    server: Server, history: RedisHistory, asker: Asking
) -> None:
    """L8: eviction may take the hash with the settings; open runs still lead to their leases."""
    runs = [asker(claim(slots=3)) for _ in range(3)]
    for one in runs:
        one.granted()
    server.do("DEL", runs[0].key("f"))
    assert [lease.index for lease in history.leases(["job"])["job"]] == [0, 1, 2]


def test_a_thousand_jobs_are_read_in_few_round_trips(
    server: Server, history: RedisHistory, asker: Asking
) -> None:
    """A fleet's `status` is a handful of pipelines."""
    jobs = [f"job-{number}" for number in range(1_000)]
    one = asker(claim(jobs[500]))
    one.granted()
    before = server.client()
    reads = before.info("stats")["total_reads_processed"]
    assert len(history.leases(jobs)) == 1_000
    assert len(history.counters(jobs)) == 1_000
    assert list(history.last(jobs)) == [jobs[500]]
    assert before.info("stats")["total_reads_processed"] - reads < 60
    before.close()


# --- TLS


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, and a certificate for `redis.test` and 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("tls")
    new = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout"
    signed = "-CA ca.pem -CAkey ca.key -addext subjectAltName=DNS:redis.test,IP:127.0.0.1"
    signed += " -addext keyUsage=digitalSignature,keyCertSign"  # Python 3.13 insists on it
    commands = [
        f"{new} ca.key -out ca.pem -subj /CN=ca -addext keyUsage=keyCertSign,cRLSign",
        f"{new} key.pem -out cert.pem -subj /CN=redis.test {signed}",
    ]
    for command in commands:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def tls_server(own_server: Callable[..., Server], certificates: Path) -> tuple[Server, str]:
    """A server that also speaks TLS, and its URL without options."""
    port = free_port()
    files = "--tls-cert-file {0}/cert.pem --tls-key-file {0}/key.pem --tls-ca-cert-file {0}/ca.pem"
    options = f"--tls-port {port} --tls-auth-clients no {files.format(certificates)}"
    try:
        server = own_server(*options.split())
    except AssertionError as error:
        pytest.skip(f"this server was built without TLS: {str(error)[-80:]}")
    return server, f"rediss://127.0.0.1:{port}"


def test_a_run_over_tls(tls_server: tuple[Server, str], certificates: Path, asker: Asking) -> None:
    """R23: with the CA in the URL, both sides work over TLS."""
    url = f"{tls_server[1]}?tls_ca={certificates}/ca.pem"
    side = open_history(url, "cg")
    whole_cycle(asker(url=url), side)
    side.close()


def test_a_server_name_can_be_given(
    tls_server: tuple[Server, str], certificates: Path, asker: Asking
) -> None:
    """R23: the name that the certificate is checked for need not be the address."""
    url = f"{tls_server[1]}?tls_ca={certificates}/ca.pem&tls_server_name="
    assert isinstance(asker(url=url + "redis.test").acquire(), Granted)
    text = why(asker(url=url + "other.test").acquire(), Denied)
    assert "certificate is not valid" in text
    assert "other.test" in text
    for name, there in ("redis.test", True), ("other.test", False):
        side = open_history(url + name, "cg")
        try:
            assert side.jobs() == ["job"]
        except StoreDown:
            assert not there
        else:
            assert there
        side.close()


def test_an_unknown_ca_is_refused(tls_server: tuple[Server, str], asker: Asking) -> None:
    """R23: fails closed; only tls_verify=false accepts it."""
    assert "certificate is not valid" in why(asker(url=tls_server[1]).acquire(), Denied)
    one = asker(url=f"{tls_server[1]}?tls_verify=false")
    assert isinstance(one.acquire(), Granted)


def test_tls_to_a_plain_port_is_refused(server: Server, asker: Asking) -> None:
    """R23: no falling back to plain text."""
    url = f"rediss://127.0.0.1:{server.port}"
    event = asker(url=url, attempt=500).acquire()
    assert type(event).__name__ in ("Denied", "Unavailable")
    assert server.do("DBSIZE") == 0


def test_a_ca_file_that_is_not_there_is_refused(server: Server, asker: Asking) -> None:
    """R23: a wrong path is named."""
    event = asker(url=f"rediss://127.0.0.1:{server.port}?tls_ca=/nonexistent.pem").acquire()
    assert "/nonexistent.pem" in why(event, Denied)
