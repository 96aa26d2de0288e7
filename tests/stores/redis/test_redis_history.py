"""The history side on real servers: rights, facts, and what only Redis has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cronguard.core.events import Denied, Queued
from cronguard.stores.contract import StoreDown, StoreRefused
from cronguard.stores.redis.acl import acl_line
from cronguard.stores.redis.history import AT_A_TIME, RedisHistory, open_history
from tests.servers import Server, free_port
from tests.stores.redis.helpers import Asker, claim, whole_cycle, why

Asking = Callable[..., Asker]
CANARY = "s3cret-canary"
OPTIONAL = re.compile(r"setinfo|b'object', b'info'")
"""What is asked for though it may not be: redis-py says its name, and we ask for INFO."""


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
    refused = {str(entry) for entry in entries if not OPTIONAL.search(str(entry).lower())}
    server.do("ACL", "LOG", "RESET")
    assert not refused


def test_many_jobs_cost_one_script_each(
    server: Server, history: RedisHistory, asker: Asking
) -> None:
    """Else `status` and `ps` over thousands of jobs would take as many times longer."""
    asker().granted()
    jobs = [f"other-{number}" for number in range(2 * AT_A_TIME)]
    server.do("ZADD", "cg:jobs", *[word for job in jobs for word in (0, job)])
    history.overview(["job"])  # now the server knows the script
    server.do("CONFIG", "RESETSTAT")
    assert len(history.overview(history.jobs())) == len(jobs) + 1
    assert list(history.overview(history.jobs(), live=True)) == ["job"]
    with server.client() as client:
        stats = client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 2 * (len(jobs) + 1)
    assert not stats.keys() & {"cmdstat_zrevrange", "cmdstat_hmget"}  # these are for single jobs


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
    """A fleet's `status` is a handful of pipelines.

    The server counts its reads: one for each piece of a pipeline, which the kernel cuts as it
    likes, and three thousand if each job were asked for alone.
    """
    jobs = [f"job-{number}" for number in range(1_000)]
    one = asker(claim(jobs[500]))
    one.granted()
    before = server.client()
    reads = before.info("stats")["total_reads_processed"]
    assert len(history.leases(jobs)) == 1_000
    assert len(history.counters(jobs)) == 1_000
    assert list(history.last(jobs)) == [jobs[500]]
    assert before.info("stats")["total_reads_processed"] - reads < len(jobs) // 4
    before.close()
