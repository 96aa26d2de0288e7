"""What happens to a run whose store fails it, loses its lease, or gives that to somebody else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from cronguard.stores.redis.scripts import SHA1
from tests import servers
from tests.process.lab import Lab, until
from tests.process.witness import (
    OUTLIVES_S,
    TTL,
    VICTIMS,
    Guarded,
    Postman,
    assert_no_overlap,
    holder,
    lease_end,
    load_scripts,
    other_state,
    wait_for_renewal,
)

LEASE = "cg:{job}:l:0"
DEAF = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")


@pytest.fixture
def postman(own_server: servers.Server) -> Iterator[Postman]:
    """A proxy before a server that knows all scripts already."""
    load_scripts(own_server)
    with Postman(("127.0.0.1", own_server.port)) as proxy:
        yield proxy


def test_l2_a_grant_whose_reply_is_lost_is_asked_for_again(
    remote: Lab, postman: Postman, own_server: servers.Server
) -> None:
    """L2: the retry is granted the same token; there is one run and one record."""
    postman.lose_replies = SHA1["acquire"].encode()
    run = Guarded(remote, *TTL, "--store", postman.url).ready()
    assert postman.lost.is_set()
    value = own_server.do("GET", LEASE)
    assert isinstance(value, bytes)
    token = int(value.split(b":")[1])
    assert own_server.do("HGET", "cg:{job}:f", "n") == b"%d" % token
    assert run.end() == 7
    [record] = remote.records("job")
    assert (record["token"], record["outcome"]) == (token, "failed")


def test_l3_a_renewal_whose_reply_is_lost_changes_nothing(remote: Lab, postman: Postman) -> None:
    """L3: the old deadline stands, the next renewal counts, the command never notices."""
    run = Guarded(remote, *TTL, "--store", postman.url).ready()
    postman.lose_replies = SHA1["renew"].encode()
    until("a renewal whose reply is lost", postman.lost.is_set)
    run.says("renews the lock again")
    assert run.end() == 7
    [record] = remote.records("job")
    assert record["outcome"] == "failed"
    assert record["renew_failures"] >= 1  # type: ignore[operator]
    assert record["renewals"] >= 1  # type: ignore[operator]


def test_l11_a_renewal_that_arrives_after_the_release_creates_nothing(
    remote: Lab, postman: Postman, own_server: servers.Server
) -> None:
    """L11: what was under way when the run ended does not bring its lease back."""
    run = Guarded(remote, *TTL, "--store", postman.url).ready()
    postman.hold = SHA1["renew"].encode()
    until("a renewal to be under way", postman.held.is_set)
    assert run.end() == 7
    assert own_server.do("EXISTS", LEASE) == 0
    before = _scripts_run(own_server)
    postman.deliver.set()
    until("the renewal to be executed", lambda: _scripts_run(own_server) > before)
    assert own_server.do("EXISTS", LEASE) == 0
    assert remote.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0


def _scripts_run(server: servers.Server) -> int:
    stats = server.do("INFO", "commandstats")
    assert isinstance(stats, dict)
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


def test_a_request_that_a_frozen_store_wakes_up_to_leases_nothing(
    remote: Lab, own_server: servers.Server
) -> None:
    """Who asked has given up long since: the job is free when the store is back."""
    assert remote.call("run", "-n", "job", "--", "true").returncode == 0
    with Postman(("127.0.0.1", own_server.port)) as postman:
        postman.hold = SHA1["acquire"].encode()
        options = ("--store", postman.url, "--store-timeout", "20s")
        gone = remote.call("run", "-n", "job", *TTL, *options, "--", "true")
        assert postman.held.is_set()
        # The retry on a second connection was granted and ended: only the first is held back.
        assert gone.returncode == 0, gone.stderr
        before = _scripts_run(own_server)
        postman.deliver.set()
        until("the request to be executed", lambda: _scripts_run(own_server) > before)
    assert own_server.do("EXISTS", LEASE) == 0
    assert len(remote.records("job")) == 2


def test_l4_a_run_that_cannot_renew_is_stopped_politely_then_killed(
    remote: Lab, own_server: servers.Server
) -> None:
    """L4: TERM first, so that a well-behaved command can tidy up; 121; the record says why."""
    tidy = "trap 'echo tidied > tidied; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    run = Guarded(remote, *TTL, command=("sh", "-c", tidy)).ready()
    own_server.pause()
    assert run.status() == 121, run.said
    own_server.resume()
    assert (remote.folder / "tidied").exists()
    assert run.said.count("cannot renew the lock") == 1
    assert run.said.count("lock lost") == 1
    assert remote.call("run", "-n", "other", "--", "true").returncode == 0
    [record] = [r for r in remote.records("job") if r["outcome"] != "running"]
    assert (record["outcome"], record["exit_status"]) == ("lease_lost", 121)


def test_l5_an_outage_shorter_than_the_lease_is_survived(
    remote: Lab, own_server: servers.Server
) -> None:
    """L5: the command is untouched; one line when it begins, one when it is over."""
    run = Guarded(remote, *TTL).ready()
    own_server.pause()
    run.says("cannot renew the lock")
    own_server.resume()
    run.says("renews the lock again")
    assert run.end() == 7
    assert [line.count("cronguard:") for line in run.said.splitlines()] == [1, 1]
    [record] = remote.records("job")
    assert record["outcome"] == "failed"
    assert record["renew_failures"] >= 1  # type: ignore[operator]


@pytest.mark.parametrize("loss", [("DEL", LEASE), ("FLUSHALL",)])
def test_l6_a_lease_that_the_store_lost_is_taken_again(
    remote: Lab, own_server: servers.Server, loss: tuple[str, ...]
) -> None:
    """L6: nobody had it since, so the run goes on under its token, and says so."""
    run = Guarded(remote, *TTL).ready()
    before = holder(remote)
    own_server.do(*loss)
    run.says("had vanished")
    assert holder(remote) == before
    second = remote.call("run", "-n", "job", *TTL, "-E", "9", "--", "true")
    assert second.returncode == 9
    assert run.end() == 7
    assert holder(remote) == ""


def test_l7_a_lease_that_was_given_to_another_ends_the_run_at_once(
    remote: Lab, own_server: servers.Server
) -> None:
    """L7: KILL without a grace, 121, and the other's lease stays untouched."""
    run = Guarded(remote, *TTL, "--kill-after", "10m", command=DEAF).ready()
    wait_for_renewal(remote)
    own_server.do("DEL", LEASE)
    other = Guarded(remote, *TTL, env=other_state(remote)).ready()
    assert run.status() == 121
    assert f"pid {other.pid}" in run.said
    assert holder(remote) != ""
    outcomes = {record["pid"]: record["outcome"] for record in remote.records("job")}
    assert outcomes == {run.pid: "lease_lost", other.pid: "running"}
    wait_for_renewal(remote)
    assert other.end() == 7


def test_l9_a_run_that_comes_back_late_touches_nobody_elses_lease(lab: Lab) -> None:
    """L9: stopped beyond its lease, its timer switched off: it finds itself lost, and ends."""
    run = Guarded(lab, *TTL, "--dead-man", "off", command=DEAF).ready()
    os.kill(run.pid, signal.SIGSTOP)
    other = Guarded(lab, *TTL, "--wait", "forever", env=other_state(lab)).ready()
    theirs = holder(lab)
    os.kill(run.pid, signal.SIGCONT)
    assert run.status() == 121, run.said
    assert holder(lab) == theirs
    wait_for_renewal(lab)
    assert other.end() == 7
    outcomes = {record["pid"]: record["outcome"] for record in lab.records("job")}
    assert outcomes == {run.pid: "lease_lost", other.pid: "failed"}


def test_l10_a_release_that_fails_leaves_the_exit_status_and_the_record(
    remote: Lab, own_server: servers.Server
) -> None:
    """L10: tried for a while, then left to the TTL, with a warning; the next run delivers."""
    run = Guarded(remote, *TTL).ready()
    own_server.pause()
    assert run.end() == 7
    assert "could not give the lock back" in run.said
    own_server.resume()
    assert lease_end(remote) > 0
    assert len(list((remote.state / "outbox").iterdir())) == 1
    assert remote.call("run", "-n", "other", "--", "true").returncode == 0
    [record] = remote.records("job")
    assert (record["outcome"], record["exit_status"]) == ("failed", 7)
    assert holder(remote) == "", "delivering it gives the lock back as well"
    assert list((remote.state / "outbox").iterdir()) == []


def test_on_lease_lost_continue_lets_the_command_end_by_itself(
    remote: Lab, own_server: servers.Server
) -> None:
    """The user's choice: a warning instead of a stop, also when another run starts beside it."""
    tell = remote.folder / "tell"
    tell.mkdir()
    own = Guarded(
        remote,
        *TTL,
        "--on-lease-lost",
        "continue",
        command=[remote.interpreter, "-I", VICTIMS, "group", str(tell), "first", "5000"],
    ).ready()
    wait_for_renewal(remote)
    own_server.do("DEL", LEASE)
    command = [remote.interpreter, "-I", VICTIMS, "group", str(tell), "second", "6000"]
    other = Guarded(remote, *TTL, command=command, env=other_state(remote)).ready()
    own.says("goes on (--on-lease-lost continue)")
    theirs = holder(remote)
    assert own.status() == 0
    assert holder(remote) == theirs
    assert other.status() == 0
    with pytest.raises(AssertionError, match="before first had ended"):
        assert_no_overlap(tell, 2)  # and so the judge of all these tests is seen to judge


def test_on_lease_lost_continue_survives_the_store(remote: Lab, own_server: servers.Server) -> None:
    """An outage longer than the lease is said once; then the lease is renewed or taken again."""
    run = Guarded(remote, *TTL, "--on-lease-lost", "continue").ready()
    own_server.pause()
    run.says("goes on (--on-lease-lost continue)", OUTLIVES_S)
    own_server.resume()
    run.says("renews the lock again")
    wait_for_renewal(remote)
    assert run.end() == 7
    assert remote.records("job")[0]["outcome"] == "failed"
