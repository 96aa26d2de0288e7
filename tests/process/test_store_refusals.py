"""A Redis server that answers, but not as one would wish: full, read-only, busy, forbidding."""

from __future__ import annotations

import select
import socket

import pytest
import redis

from tests import servers
from tests.process.lab import Lab, until
from tests.process.witness import (
    TTL,
    Guarded,
    holder,
    wait_for_renewal,
)

SOON = ("--store-timeout", "2s")
ROOMY = ("--ttl", "30s")
"""The run is to outlive it that somebody else is refused meanwhile."""
LATER = ("--store-timeout", "1m")
CANARY = "canary-5f3a"
RIGHTS = (
    "-@all +eval +evalsha +script|load +get +set +del +exists +pexpire +pttl +hget +hset +hmget "
    "+hdel +hincrby +zadd +zrem +zscore +zrank +zcount +zcard +zrange +zrangebyscore +time +ping "
    "+hello +publish +subscribe"
)


def refused(lab: Lab, *options: str) -> bytes:
    """Return what a second job says that is not started, as the store refuses it."""
    touched = lab.folder / "ran"
    done = lab.call("run", "-n", "second", *TTL, *SOON, *options, "--", "touch", str(touched))
    assert (done.returncode, touched.exists()) == (122, False), done.stderr
    return done.stderr


def test_r4_a_server_that_forgot_the_scripts_is_told_again(
    remote: Lab, own_server: servers.Server
) -> None:
    """R4: within the same attempt: neither start, heartbeat nor end notices."""
    run = Guarded(remote, *TTL).ready()
    for _ in range(2):
        own_server.do("SCRIPT", "FLUSH")
        wait_for_renewal(remote)
    own_server.do("SCRIPT", "FLUSH")
    assert run.end() == 7
    assert run.said == ""
    own_server.do("SCRIPT", "FLUSH")
    assert remote.call("run", "-n", "job", "--", "true").returncode == 0
    assert remote.records("job")[1]["renew_failures"] == 0


def test_r5_r6_a_full_server_starts_nothing_and_keeps_what_it_has(
    remote: Lab, own_server: servers.Server
) -> None:
    """R5, R6: no grant; but a renewal, a release and the end record need no memory."""
    run = Guarded(remote, *TTL).ready()
    own_server.do("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        own_server.do("SET", "x", "y")
    assert b"out of memory" in refused(remote)
    wait_for_renewal(remote)
    assert run.end() == 7
    assert run.said == ""
    assert own_server.do("EXISTS", "cg:{job}:l:0", "cg:{second}:l:0") == 0
    assert remote.records("job")[0]["outcome"] == "failed"
    own_server.do("CONFIG", "SET", "maxmemory", "0")
    assert remote.call("run", "-n", "second", *TTL, "--", "true").returncode == 0


def test_r7_a_server_that_cannot_save_is_tried_again(
    remote: Lab, own_server: servers.Server
) -> None:
    """R7: MISCONF, in its own words: nothing starts; the run lives when it passes in time."""
    run = Guarded(remote, *ROOMY).ready()
    in_the_way = own_server.folder / "dump.rdb"
    in_the_way.mkdir()
    own_server.do("CONFIG", "SET", "save", "3600 1")
    own_server.do("BGSAVE")
    run.says("cannot renew the lock")
    assert "MISCONF" in run.said
    assert b"MISCONF" in refused(remote)
    in_the_way.rmdir()
    own_server.do("BGSAVE")
    run.says("renews the lock again")
    assert run.end() == 7
    assert remote.records("job")[0]["outcome"] == "failed"


def test_r8_a_server_without_its_replicas_is_tried_again(
    remote: Lab, own_server: servers.Server
) -> None:
    """R8: NOREPLICAS, as R7; and where it does not pass, the run is over in time."""
    run = Guarded(remote, *TTL).ready()
    other = Guarded(remote, *TTL, job="other").ready()
    own_server.do("CONFIG", "SET", "min-replicas-to-write", "1")
    for one in (run, other):
        one.says("cannot renew the lock")
        assert "NOREPLICAS" in one.said
    own_server.do("CONFIG", "SET", "min-replicas-to-write", "0")
    for one in (run, other):
        one.says("renews the lock again")
    assert other.end() == 7
    own_server.do("CONFIG", "SET", "min-replicas-to-write", "1")
    assert b"NOREPLICAS" in refused(remote)
    assert run.status() == 121, run.said


def test_r9_r10_a_master_that_became_a_replica_is_tried_again(
    remote: Lab, own_server: servers.Server
) -> None:
    """R9, R10: READONLY, then MASTERDOWN: nothing starts; the run lives when it passes in time."""
    run = Guarded(remote, *ROOMY).ready()
    wait_for_renewal(remote)
    own_server.do("REPLICAOF", "127.0.0.1", "1")
    run.says("read-only replica")
    assert b"read-only replica" in refused(remote)
    own_server.do("CONFIG", "SET", "replica-serve-stale-data", "no")
    assert b"replica" in refused(remote)
    own_server.do("REPLICAOF", "NO", "ONE")
    run.says("renews the lock again")
    assert run.end() == 7
    assert remote.records("job")[0]["outcome"] == "failed"


def test_r9_a_replica_that_stays_one_loses_the_run(remote: Lab, own_server: servers.Server) -> None:
    """R9, L4: retried until the moment to give up, then stopped with 121."""
    run = Guarded(remote, *TTL).ready()
    own_server.do("REPLICAOF", "127.0.0.1", "1")
    assert run.status() == 121, run.said
    assert run.said.count("cannot renew the lock") == 1
    assert "lock lost" in run.said


def test_r11_somebodys_endless_script_is_waited_for_and_left_alone(
    remote: Lab, own_server: servers.Server
) -> None:
    """R11: BUSY passes; cronguard never kills a script that is not its own."""
    own_server.do("CONFIG", "SET", "busy-reply-threshold", "100")
    run = Guarded(remote, *ROOMY).ready()
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(own_server.socket)
        other.sendall(b"*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n")
        try:
            run.says("cannot renew the lock")
            assert b"busy" in refused(remote)
            assert not select.select([other], [], [], 0)[0], "it goes on"
        finally:
            until("the script to be killed", lambda: _kill_script(own_server))
        other.settimeout(60)
        assert b"killed" in other.recv(4096).lower()
    run.says("renews the lock again")
    assert run.end() == 7


def _kill_script(server: servers.Server) -> bool:
    try:
        server.do("SCRIPT", "KILL")
    except redis.exceptions.ResponseError as error:
        return "NOTBUSY" in str(error)
    return True


@pytest.mark.parametrize(
    ("login", "why"),
    [
        ("", b"wants a password"),
        ("wrong:" + CANARY + "@", b"does not know this user, or the password is wrong"),
        (f"weak:{CANARY}@", b"evalsha"),
        (f"blind:{CANARY}@", b"lacks a permission"),
    ],
)
def test_r12_a_server_that_does_not_let_us_in_is_not_asked_again(
    remote: Lab, own_server: servers.Server, login: str, why: bytes
) -> None:
    """R12: 125 at once, naming what is missing, and never the password."""
    own_server.do(*f"ACL SETUSER weak on >{CANARY} ~cg:* &cg:* {RIGHTS} -evalsha".split())
    own_server.do(*f"ACL SETUSER blind on >{CANARY} ~other:* &cg:* {RIGHTS}".split())
    own_server.do("CONFIG", "SET", "requirepass", CANARY + "-too")
    env = {"CRONGUARD_STORE": f"redis://{login}127.0.0.1:{own_server.port}/0"}
    done = remote.call("run", "-n", "job", *LATER, "--", "true", env=env)
    assert done.returncode == 125
    assert why in done.stderr, done.stderr
    assert CANARY.encode() not in done.stderr
    for path in (remote.state / "outbox").iterdir():
        assert CANARY not in path.read_text()


def test_r13_rights_taken_away_while_it_runs_end_it_in_time(
    remote: Lab, own_server: servers.Server
) -> None:
    """R13: tried until the moment to give up, in case they are given back; then 121."""
    own_server.do(*f"ACL SETUSER job on >{CANARY} ~cg:* &cg:* {RIGHTS}".split())
    env = {"CRONGUARD_STORE": f"redis://job:{CANARY}@127.0.0.1:{own_server.port}/0"}
    run = Guarded(remote, *TTL, env=env).ready()
    other = Guarded(remote, *TTL, env=env, job="other").ready()
    own_server.do("ACL", "SETUSER", "job", "-eval", "-evalsha")
    for one in (run, other):
        one.says("lacks a permission")
    own_server.do("ACL", "SETUSER", "job", "+eval", "+evalsha")
    for one in (run, other):
        one.says("renews the lock again")
    assert other.end() == 7
    own_server.do("ACL", "SETUSER", "job", "-eval", "-evalsha")
    assert run.status() == 121, run.said
    assert CANARY not in run.said + other.said


def test_r22_a_server_that_pauses_its_clients_is_slow_and_no_more(
    remote: Lab, own_server: servers.Server
) -> None:
    """R22: as in a managed failover: one warning, and it goes on."""
    run = Guarded(remote, *TTL).ready()
    own_server.do("CLIENT", "PAUSE", "60000", "WRITE")
    run.says("cannot renew the lock")
    own_server.do("CLIENT", "UNPAUSE")
    run.says("renews the lock again")
    assert run.end() == 7
    assert run.said.count("cannot renew the lock") == 1
    assert holder(remote) == ""
    assert remote.records("job")[0]["outcome"] == "failed"
