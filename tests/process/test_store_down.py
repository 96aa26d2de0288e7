"""A store that cannot be reached: how long it is tried, what is done instead, what is kept."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests import servers
from tests.process.lab import Lab, until
from tests.process.witness import TTL, Guarded, Postman, holder, wait_for_renewal

SOON = ("--store-timeout", "2s")
LATER = ("--store-timeout", "1m")
"""Longer than any test has patience."""


def kept(lab: Lab) -> list[dict[str, object]]:
    """Return the records that wait on this host, oldest first by name of their file."""
    files = sorted((lab.state / "outbox").glob("*"))
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    return [json.loads(json.loads(path.read_text())["record"]) for path in files]


@pytest.fixture
def postman(own_server: servers.Server) -> Iterator[Postman]:
    """A proxy before a server."""
    with Postman(("127.0.0.1", own_server.port)) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://127.0.0.1:1", b"connection refused"),
        ("unix:///no/such/socket", b"no such file"),
        ("redis://no-such-host.invalid:6379", b"no-such-host.invalid"),
    ],
)
def test_r1_a_store_that_is_not_there_starts_nothing(local: Lab, url: str, why: bytes) -> None:
    """R1: tried for the store timeout, then 122, with the reason; the record is kept here."""
    touched = local.folder / "ran"
    done = local.call("run", "-n", "job", *SOON, "--store", url, "--", "touch", str(touched))
    assert (done.returncode, touched.exists()) == (122, False)
    assert why in done.stderr.lower(), done.stderr
    assert b"tried for 2s" in done.stderr
    [record] = kept(local)
    assert (record["outcome"], record["exit_status"]) == ("store_unavailable", 122)


def test_r1_a_store_that_comes_back_in_time_is_used(
    remote: Lab, own_server: servers.Server
) -> None:
    """R1: within the store timeout nobody needs to know."""
    own_server.kill()
    with socket.socket(socket.AF_UNIX) as closing_down:
        closing_down.settimeout(60)
        closing_down.bind(own_server.socket)
        closing_down.listen()
        run = Guarded(remote, *TTL, *LATER)
        closing_down.accept()[0].close()
    Path(own_server.socket).unlink()
    own_server.start()
    assert run.ready().end() == 7
    assert run.said == ""


def test_r2_a_store_that_never_answers_is_not_waited_for(remote: Lab, postman: Postman) -> None:
    """R2: connected, and silent: 122 after the store timeout, whatever it swallowed."""
    postman.blackhole = True
    done = remote.call("run", "-n", "job", *TTL, *SOON, "--store", postman.url, "--", "true")
    assert done.returncode == 122
    assert b"no answer within" in done.stderr


def test_r2_what_a_frozen_store_reads_too_late_leases_nothing(
    remote: Lab, own_server: servers.Server
) -> None:
    """R2: it executes what lies in its sockets when it wakes; whoever asked has gone by then."""
    own_server.pause()
    done = remote.call("run", "-n", "job", *TTL, *SOON, "--", "true")
    own_server.resume()
    assert done.returncode == 122
    assert holder(remote) == ""
    assert remote.call("run", "-n", "job", *TTL, "-E", "9", "--", "true").returncode == 0
    outcomes = sorted(str(record["outcome"]) for record in remote.records("job"))
    assert outcomes == ["store_unavailable", "succeeded"], "the next run has delivered it"
    assert kept(remote) == []


def test_r3_a_slow_store_is_good_enough(remote: Lab, postman: Postman) -> None:
    """R3: half a second each way: the run starts, is renewed, and ends as it would."""
    postman.delay = 0.5
    run = Guarded(remote, "--ttl", "30s", "--store", postman.url).ready()
    wait_for_renewal(remote)
    assert run.end() == 7
    assert run.said == ""
    assert remote.records("job")[0]["renew_failures"] == 0


def test_r21_a_connection_that_is_cut_or_goes_dead_is_replaced(
    remote: Lab, postman: Postman, own_server: servers.Server
) -> None:
    """R21: cut: within the same attempt, unnoticed. Half-open: one warning, then recovered."""
    run = Guarded(remote, "--ttl", "30s", "--store", postman.url).ready()
    own_server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    own_server.do("CLIENT", "KILL", "TYPE", "pubsub")
    wait_for_renewal(remote)
    postman.cut()
    wait_for_renewal(remote)
    assert run.said == ""
    postman.blackhole = True
    run.says("cannot renew the lock")
    postman.blackhole = False
    run.says("renews the lock again")
    assert run.end() == 7
    assert remote.records("job")[0]["outcome"] == "failed"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"$536870912\r\nxxxxxxxx",
        b"*1000000000\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
)
def test_r24_what_is_no_redis_is_refused(remote: Lab, postman: Postman, answer: bytes) -> None:
    """R24: no retry and no endless reading: 125, and it says what it is not."""
    postman.answer = answer
    done = remote.call("run", "-n", "job", *LATER, "--store", postman.url, "--", "true")
    assert done.returncode == 125
    assert b"it is not a Redis server" in done.stderr
    assert kept(remote)[0]["outcome"] == "not_started"


def test_r10_a_store_that_is_loading_is_waited_for(remote: Lab, own_server: servers.Server) -> None:
    """R10: LOADING passes: refused only when the store timeout does, and then by name."""
    for number in range(160):
        own_server.do("SET", f"some{number}", os.urandom(4096))
    own_server.do("SAVE")
    own_server.kill()
    own_server.args = (
        *("--key-load-delay", "50000"),
        *("--loading-process-events-interval-bytes", "1024"),
    )
    results: list[subprocess.CompletedProcess[bytes]] = []

    def runs() -> None:
        until("the server to load", lambda: _says_loading(own_server.socket))
        for patience, command in (("2s", ["true"]), ("1m", ["sh", "-c", "exit 7"])):
            options = ("run", "-n", "job", "--store-timeout", patience, "--")
            results.append(remote.call(*options, *command))

    meanwhile = threading.Thread(target=runs)
    meanwhile.start()
    try:
        own_server.start()  # the kernel ends a server with the thread that started it: this one
    finally:
        meanwhile.join()
    [hasty, patient] = results
    assert (hasty.returncode, b"loading its data" in hasty.stderr) == (122, True), hasty.stderr
    assert (patient.returncode, patient.stderr) == (7, b"")


def _says_loading(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(path)
            probe.sendall(b"GET x\r\n")
            return probe.recv(64).startswith(b"-LOADING")
    except OSError:
        return False


def test_r25_a_store_with_no_room_for_clients_is_asked_again(
    remote: Lab, own_server: servers.Server
) -> None:
    """R25: "max number of clients" passes; it stands in the message if it does not."""
    with own_server.client() as steering:
        steering.ping()
        steering.execute_command("CONFIG", "SET", "maxclients", "1")
        done = remote.call("run", "-n", "job", *SOON, "--", "true")
        assert (done.returncode, b"no room for another client" in done.stderr) == (122, True)
        run = Guarded(remote, *TTL, *LATER)
        before = _rejected(steering)
        until("one more rejection", lambda: _rejected(steering) > before)
        steering.execute_command("CONFIG", "SET", "maxclients", "100")
    assert run.ready().end() == 7


def _rejected(client: redis.Redis) -> int:
    stats = client.execute_command("INFO", "stats")  # type: ignore[no-untyped-call]
    return int(stats["rejected_connections"])


# -- what to do instead ----------------------------------------------------------------------------


def test_on_store_error_run_is_loud_and_unguarded(remote: Lab, own_server: servers.Server) -> None:
    """It runs, without a token; its record comes to the store with the next run."""
    own_server.kill()
    shown = 'echo "token ${CRONGUARD_TOKEN-none}"; exit 7'
    options = (*SOON, "--on-store-error", "run")
    done = remote.call("run", "-n", "job", *options, "--", "sh", "-c", shown)
    assert (done.returncode, done.stdout) == (7, b"token none\n")
    assert b"RUNNING UNGUARDED" in done.stderr
    [record] = kept(remote)
    assert (record["outcome"], record["reason"], record["exit_status"]) == (
        "failed",
        "unguarded",
        7,
    )
    own_server.start()
    assert remote.call("run", "-n", "job", "--", "true").returncode == 0
    assert [record["exit_status"] for record in remote.records("job")] == [0, 7]
    assert kept(remote) == []


def test_on_store_error_local_guards_this_host(remote: Lab, own_server: servers.Server) -> None:
    """Two runs on this host exclude each other; the store of all hosts hears of both later."""
    own_server.kill()
    options = (*TTL, *SOON, "--on-store-error", "local", "-E", "9")
    first = Guarded(remote, *options).ready()
    assert "guarding on this host only" in first.said
    second = remote.call("run", "-n", "job", *options, "--", "true")
    assert second.returncode == 9
    assert first.end() == 7
    third = remote.call("run", "-n", "job", *options, "--", "sh", "-c", "exit 3")
    assert third.returncode == 3
    assert len(kept(remote)) == 3
    own_server.start()
    assert remote.call("run", "-n", "job", *TTL, "--", "true").returncode == 0
    statuses = sorted(str(record["exit_status"]) for record in remote.records("job"))
    assert statuses == ["0", "3", "7"]
    assert [skip["reason"] for skip in remote.skips("job")] == ["held"]
    assert kept(remote) == []


def test_nothing_is_lost_while_the_store_is_down(remote: Lab, own_server: servers.Server) -> None:
    """Each run keeps its record on this host; one run that reaches the store brings them all."""
    own_server.kill()
    for number in range(12):
        options = ("--store-timeout", "0.1", "--on-store-error", "run")
        command = ("sh", "-c", f"exit {number}")
        assert remote.call("run", "-n", "job", *options, "--", *command).returncode == number
    assert len(kept(remote)) == 12
    own_server.start()
    assert remote.call("run", "-n", "other", "--", "true").returncode == 0
    statuses = [record["exit_status"] for record in remote.records("job")]
    assert statuses == list(reversed(range(12)))
    assert kept(remote) == []


def test_a_record_that_cannot_be_kept_anywhere_is_said(local: Lab, tmp_path: Path) -> None:
    """The last resort: one line on stderr, and the status stands."""
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    env = {"CRONGUARD_STATE_DIR": str(blocked / "state")}
    options = (*SOON, "--store", "redis://127.0.0.1:1")
    done = local.call("run", "-n", "job", *options, "--", "true", env=env)
    assert done.returncode == 122
    assert b"could not be kept on this host" in done.stderr


def test_what_waits_for_another_store_stays(remote: Lab, local: Lab) -> None:
    """A record is delivered only to the store it was meant for; junk in the folder harms nobody."""
    done = local.call("run", "-n", "job", *SOON, "--store", "redis://127.0.0.1:1", "--", "true")
    assert done.returncode == 122
    junk = local.state / "outbox" / "junk.json"
    junk.write_text("{")
    junk.chmod(0o600)
    for lab in (local, remote):
        assert lab.call("run", "-n", "job", "--", "true").returncode == 0
    assert len(list((local.state / "outbox").iterdir())) == 2


def test_a_kept_record_that_is_damaged_is_said_once(local: Lab) -> None:
    """H6: it is set aside and named by one run; the next says nothing, and none changes status."""
    outbox = local.state / "outbox"
    outbox.mkdir(mode=0o700, parents=True)
    (outbox / "deep.json").write_text("[" * 200_000)
    (outbox / "newer.json").write_text('{"schema":2}')
    said = [local.call("run", "-n", "job", "--", "sh", "-c", "exit 3") for _ in range(2)]
    assert [done.returncode for done in said] == [3, 3]
    first, second = [done.stderr for done in said]
    assert b"2 kept records cannot be delivered" in first
    assert b".json.aside" in first
    assert second == b""
    assert len(list(outbox.iterdir())) == 2
