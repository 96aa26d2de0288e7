"""--lock, and a store that fails while the locks are taken: nothing of it is left behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests import servers
from tests.process.lab import Lab, until
from tests.process.test_lease_outages import DEAF
from tests.process.witness import Guarded, Postman, holder, load_scripts, other_state

LONG = ("--ttl", "2m")
"""No lease here is left to expire."""


@pytest.fixture
def postman(own_server: servers.Server) -> Iterator[Postman]:
    """A proxy before a server that knows all scripts already."""
    load_scripts(own_server)
    with Postman(("127.0.0.1", own_server.port)) as proxy:
        yield proxy


def test_a_store_that_is_given_up_half_way_keeps_none_of_the_locks(
    remote: Lab, postman: Postman
) -> None:
    """No reply about the second one: both are free when the run says that the store failed."""
    postman.lose_replies, postman.lose_count = b"{@net}", 1_000
    done = remote.call(
        *("run", "-n", "backup", *LONG, "--lock", "db", "--lock", "net"),
        *("--store-timeout", "2s", "--store", postman.url, "--", "true"),
    )
    assert done.returncode == 122, done.stderr
    assert postman.lost.is_set()
    for job in ("backup", "@db", "@net"):
        assert holder(remote, job) == ""
    other = remote.call("run", "-n", "report", *LONG, "--lock", "db,net", "-E", "9", "--", "true")
    assert other.returncode == 0, other.stderr


def test_a_grant_of_the_job_whose_reply_is_lost_is_undone_with_the_locks(
    remote: Lab, postman: Postman
) -> None:
    """Another job is faster at the lock then: the run waits for it, and holds nothing."""
    postman.lose_replies = b"{backup}:f"
    one = Guarded(
        remote, *LONG, "--lock", "db", "--wait", "1h", "--store", postman.url, job="backup"
    )
    until("the job's lease", lambda: holder(remote, "backup"))
    other = Guarded(remote, *LONG, "--lock", "db", "--wait", "1h", job="report").ready()
    one.says("for the lock db, held by job report")
    assert holder(remote, "backup") == ""
    assert remote.records("backup") == []
    one.process.send_signal(signal.SIGTERM)
    assert one.status() == 143
    assert other.end() == 7
    for job in ("backup", "@db"):
        assert holder(remote, job) == ""
    [record] = remote.records("backup")
    assert (record["outcome"], record["reason"]) == ("stopped", "signal")


def test_a_signal_while_the_locks_are_taken_gives_all_of_them_back(
    remote: Lab, postman: Postman
) -> None:
    """What the request under way gets yet is given back after it; the record says who ended it."""
    postman.hold = b"{@net}"
    one = Guarded(
        *(remote, *LONG, "--lock", "db", "--lock", "net", "--store", postman.url), job="backup"
    )
    assert postman.held.wait(20)
    assert holder(remote, "@db") != ""
    one.process.send_signal(signal.SIGTERM)
    one.says("got TERM")
    postman.deliver.set()
    assert one.status() == 143
    for job in ("backup", "@db", "@net"):
        assert holder(remote, job) == ""
    [record] = remote.records("backup")
    assert (record["outcome"], record["reason"]) == ("stopped", "signal")


def test_a_lock_that_another_job_got_ends_the_run_at_once(remote: Lab) -> None:
    """Its tree is killed, and all that is still its own is free, also for another host."""
    one = Guarded(remote, *LONG, "--lock", "db,net", command=DEAF, job="backup").ready()
    remote.ask(lambda history: history.unlock(history.leases(["@net"])["@net"][0], "ann@desk"))
    other = Guarded(remote, *LONG, "--lock", "net", job="report", env=other_state(remote)).ready()
    assert one.status() == 121
    [record] = remote.records("backup")
    assert (record["outcome"], record["reason"]) == ("lease_lost", "taken")
    for job in ("backup", "@db"):
        assert holder(remote, job) == ""
    assert other.end() == 7
