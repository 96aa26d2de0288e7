"""Keys and locks of others in Redis: told, and removed only when that is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cronguard.admin.check_rights import least
from cronguard.core.events import Granted, Renewed
from cronguard.stores.contract import Renew
from tests.servers import FLAVOURS, Server, binary, start_server

from .seeds import Seeds
from .test_stuck import FIELDS

LOCK = "laravel_database_laravel_cache_:laravel-queue-overlap:App\\Jobs\\Report:7"
PATTERN = "*laravel-queue-overlap*"


@pytest.fixture(params=FLAVOURS)
def server(
    request: pytest.FixtureRequest, tmp_path: Path, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A server of the test's own, with a live run, and a lock of Laravel that never expires."""
    if binary(request.param) is None:
        pytest.skip(f"no {request.param} server is installed")
    (tmp_path / "server").mkdir()
    made = start_server(tmp_path / "server", request.param)
    monkeypatch.setenv("CRONGUARD_STORE", made.url)
    seeds.url = made.url
    made.do("SET", LOCK, "0wner")
    made.do("SET", LOCK + ":soon", "0wner", "PX", 600_000)
    made.do("SET", "cache", "x")
    yield made
    made.stop()


def keys_of(server: Server) -> set[str]:
    """Return the keys that are there, but for cronguard's."""
    found = server.do("KEYS", "*")
    assert isinstance(found, list)
    return {key.decode() for key in found if not key.startswith(b"cg:")}


def test_foreign_locks_are_removed_when_that_is_asked_for(server: Server, seeds: Seeds) -> None:
    """Not those that expire, and nothing that does not match; listed before."""
    before = keys_of(server)
    status, out, _ = seeds.say("clean", "--force")
    assert (status, keys_of(server)) == (0, before)
    status, out, _ = seeds.say("clean", "--dry-run", "--foreign", PATTERN)
    assert (status, keys_of(server)) == (0, before)
    assert f"{LOCK} in " in out
    assert "is 5 bytes long and never expires" in out
    assert "`cronguard clean --foreign` would remove it." in out
    status, out, _ = seeds.say("clean", "--force", "--foreign", PATTERN)
    assert (status, ": removed it." in out) == (0, True)
    assert keys_of(server) == before - {LOCK}
    status, out, _ = seeds.say("clean", "--force", "--foreign", PATTERN)
    assert (status, "othing to clean." in out) == (0, True)


def test_foreign_locks_have_a_question_of_their_own(
    server: Server, seeds: Seeds, keys: int
) -> None:
    """Yes to what is cronguard's is no yes to what is not."""
    dead = seeds.dead()
    os.write(keys, b"y\nn\n")
    status, out, err = seeds.say("clean", "--foreign", PATTERN)
    assert (status, "freed the lock" in out) == (0, True)
    assert "Remove 1 lock of other systems for good?" in err
    assert LOCK in keys_of(server)
    os.write(keys, b"y\n")
    assert seeds.say("clean", "--foreign", PATTERN)[0] == 0
    assert LOCK not in keys_of(server)
    assert seeds.say("show", dead.run_id)[0] == 0


def test_no_pattern_reaches_our_own_keys(server: Server, seeds: Seeds) -> None:
    """Not those of this namespace, nor of another; the run goes on."""
    run = seeds.run()
    grant = run.acquire()
    assert isinstance(grant, Granted)
    server.do("COPY", "cg:{backup}:f", "other:{backup}:f")
    server.do("PERSIST", "cg:{backup}:l:0")
    server.do("COPY", "cg:{backup}:l:0", "other:ns:{backup}:l:0")
    ours = {b"cg:{backup}:" + kind for kind in (b"f", b"l:0", b"o", b"h", b"r", b"n")}
    status, _, _ = seeds.say("clean", "--force", "--foreign", "*")
    assert status == 0
    assert keys_of(server) >= {"other:{backup}:f", "other:ns:{backup}:l:0", LOCK + ":soon"}
    assert "cache" not in keys_of(server)
    found = server.do("KEYS", "cg:{backup}:*")
    assert isinstance(found, list)
    assert set(found) == ours
    assert isinstance(run.ask(Renew(grant.token, grant.index)), Renewed)


def test_a_lock_that_lost_its_expiry_gets_it_back(server: Server, seeds: Seeds) -> None:
    """It would be held for ever; a holder that lives renews it as before."""
    run = seeds.run()
    grant = run.acquire()
    assert isinstance(grant, Granted)
    server.do("PERSIST", "cg:{backup}:l:0")
    left = json.loads(seeds.say("stuck", "--json")[1])  # beside processes of other tests, perhaps
    [found] = [one for one in left if one["kind"] == "endless_lock"]
    assert (found["job"], found["provably_dead"]) == ("backup", False)
    assert found["clean"] == "let the lock end"
    status, out, _ = seeds.say("clean", "--force")
    assert (status, "gave the lock its expiry back" in out) == (0, True)
    left = server.do("PTTL", "cg:{backup}:l:0")
    assert isinstance(left, int)
    assert 0 < left <= 35_000
    assert isinstance(run.ask(Renew(grant.token, grant.index)), Renewed)


def test_keys_of_others_under_our_prefix_are_told(server: Server, seeds: Seeds) -> None:
    """In the report; what to do about them is for people to say."""
    server.do("SET", "cg:legacy\x1b", "x")
    server.do("SET", b"cg:\xff", "x")
    server.do("SET", "cg:soon", "x", "PX", 60_000)
    found = [one for one in json.loads(seeds.say("stuck", "--json")[1]) if one["key"]]
    assert all(set(one) == FIELDS for one in found)
    assert [one["key"] for one in found] == ["cg:legacy\x1b", "cg:\udcff"]
    assert {(one["kind"], one["clean"]) for one in found} == {("foreign_key", None)}
    out = seeds.say("stuck")[1]
    assert "cg:legacy\\x1b in " in out
    assert "`cronguard clean --foreign` removes it" in out
    status, out, _ = seeds.say("clean", "--force", "--foreign", "cg:*")
    assert (status, out.count(": removed it.")) == (0, 2)
    assert server.do("EXISTS", "cg:legacy\x1b", b"cg:\xff", "cg:soon") == 1


def test_the_right_that_is_missing_is_named(
    server: Server, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S12: the least rights do for all but foreign locks; without +scan keys are not looked for."""
    url = server.url.replace("unix://", "unix://cronguard:s3cret@")
    line = least(url, "cg").replace("PASSWORD", "s3cret")
    server.do(*line.split())
    monkeypatch.setenv("CRONGUARD_STORE", url)
    monkeypatch.setenv("CRONGUARD_PASSWORD_FILE", "")
    seeds.dead()
    status, out, err = seeds.say("clean", "--force")
    assert (status, "freed the lock" in out, err) == (0, True, "")
    status, out, err = seeds.say("clean", "--force", "--foreign", PATTERN)
    assert (status, out) == (69, "")
    assert f"~{PATTERN}" in err
    assert LOCK in keys_of(server)
    server.do(*line.replace(" +scan", "").split())
    server.do("ACL", "SETUSER", "cronguard", "-scan")
    status, out, err = seeds.say("stuck")
    assert status == 0
    assert "foreign keys are not looked for" in err
    assert "scan" in err
