"""`doctor` on servers that are one store together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cronguard.admin.check_rights import rights_there
from cronguard.stores.redis.acl import acl_line, sentinel_acl_line
from tests.clusters import start_cluster
from tests.sentinels import Watch, start_watch
from tests.servers import FLAVOURS, SYNCED, Server, binary, start_server

FLAVOUR = next((name for name in FLAVOURS if binary(name) is not None), "redis")
Checks = dict[str, dict[str, str]]


PASSWORD = "s3cret"


def examined(state: Path, url: str, *more: tuple[str, str]) -> dict[str, Any]:
    """Return all that it says."""
    environ = os.environ | {"CRONGUARD_STATE_DIR": str(state), "CRONGUARD_STORE": url} | dict(more)
    command = [sys.executable, "-m", "cronguard", "doctor", "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def doctor(state: Path, url: str, *more: tuple[str, str]) -> Checks:
    """Return what it finds, by check."""
    return {one["check"]: one for one in examined(state, url, *more)["checks"]}


def as_printed(state: Path, url: str, servers: list[Server], watch: Watch | None = None) -> Checks:
    """Make the users that it prints, and return what it finds as one of them."""
    answer = examined(state, url)
    for line, places in (
        (answer["acl"], servers),
        (answer["sentinel_acl"], watch and watch.sentinels),
    ):
        for server in places or ():
            server.do(*line.replace(">PASSWORD", f">{PASSWORD}").split())
    known = " ".join([word.replace("://", f"://cronguard:{PASSWORD}@") for word in url.split(" ")])
    if watch is not None:
        known += f"?sentinel_user=cronguard&sentinel_password={PASSWORD}"
    found = doctor(state, known)
    [server, *_] = servers
    server.do("ACL", "SETUSER", "cronguard", "-zrank", "+flushall")
    weaker = doctor(state, known)
    assert weaker["user"]["level"] == "failed", weaker["user"]
    assert "lacks zrank" in weaker["user"]["text"]
    server.do("ACL", "SETUSER", "cronguard", "+zrank")
    stronger = doctor(state, known)
    assert stronger["user"]["level"] == "warning", stronger["user"]
    assert "FLUSHALL" in stronger["user"]["text"]
    return found


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[list[Server]]:
    """Three servers."""
    started = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        started.append(start_server(tmp_path / str(number), FLAVOUR, *SYNCED))
    yield started
    for server in started:
        server.stop()


def test_the_users_that_are_printed_are_all_it_wants(trio: list[Server], tmp_path: Path) -> None:
    """S12: of a Cluster, of a quorum, of the servers and the sentinels; less or more is told."""
    state = tmp_path / "state"
    found = [as_printed(state, " ".join([server.tcp_url for server in trio]), trio)]
    (tmp_path / "watch").mkdir()
    watch = start_watch(tmp_path / "watch", FLAVOUR, replicas=0, sentinels=1)
    try:
        found.append(as_printed(state, watch.url, watch.servers, watch))
    finally:
        watch.stop()
    (tmp_path / "cluster").mkdir()
    cluster = start_cluster(tmp_path / "cluster", FLAVOUR, replicas=0, masters=3)
    try:
        found.append(as_printed(state, cluster.url, cluster.servers))
    finally:
        cluster.stop()
    for checks in found:
        assert checks["user"]["level"] == "ok", checks["user"]
        assert checks.get("sentinel user", checks["user"])["level"] == "ok", checks
        assert checks["store"]["level"] == "ok", checks["store"]
        assert not [one for one in checks.values() if "not known" in one["text"]]


def test_a_quorum_of_which_one_is_away(trio: list[Server], tmp_path: Path) -> None:
    """R19: which one is said, and locks are well all the same."""
    url = " ".join([server.tcp_url for server in trio])
    checks = doctor(tmp_path / "state", url)
    assert checks["quorum"]["level"] == "ok", checks["quorum"]
    trio[1].kill()
    checks = doctor(tmp_path / "state", url)
    assert checks["quorum"]["level"] == "warning"
    assert str(trio[1].port) in str(checks["quorum"])
    assert checks["store"]["level"] == "ok"


def test_a_quorum_with_one_server_under_two_names(trio: list[Server], tmp_path: Path) -> None:
    """R19: it fails, though most answer: no run would start."""
    urls = [trio[0].tcp_url, f"redis://localhost:{trio[0].port}", trio[1].tcp_url]
    checks = doctor(tmp_path / "state", " ".join(urls))
    assert checks["quorum"]["level"] == "failed", checks["quorum"]
    assert f"localhost:{trio[0].port} are one server" in checks["quorum"]["text"]


def test_the_user_of_a_quorum_may_ask_how_old_a_server_is(
    trio: list[Server], tmp_path: Path
) -> None:
    """R20: without +info a server has no vote, and doctor names the right."""
    for server in trio:
        server.do(*acl_line("lean", "cg").split())
    url = " ".join([f"redis://lean:PASSWORD@127.0.0.1:{server.port}" for server in trio])
    checks = doctor(tmp_path / "state", url)
    assert "lacks info on" in checks["user"]["text"], checks["user"]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_rights_of_the_sentinels_user(tmp_path: Path, flavour: str) -> None:
    """S12: what it lacks, and what it may do beyond asking for the master; nothing is done."""
    if binary(flavour) is None:
        pytest.skip(f"no {flavour} server is installed")
    watch = start_watch(tmp_path, flavour, replicas=0, sentinels=2)
    try:
        for one in watch.sentinels:
            one.do(*sentinel_acl_line("lean").replace("PASSWORD", PASSWORD).split())
        url = f"{watch.url}?sentinel_user=lean&sentinel_password={PASSWORD}"
        before = [one.do("ACL", "LIST") for one in watch.sentinels]
        assert [one.level for one in rights_there(url)] == ["ok"]
        assert rights_there(watch.servers[0].tcp_url) == []
        [found] = rights_there(watch.url)
        assert found.level == "warning"
        for name in ("FAILOVER", "SENTINEL SET", "REMOVE", "ACL SETUSER", "user default"):
            assert name in found.text
        assert [one.do("ACL", "LIST") for one in watch.sentinels] == before
        assert watch.is_well()
        last = watch.sentinels[-1]
        last.do("ACL", "SETUSER", "lean", "+sentinel|set")
        [found] = rights_there(url)
        assert (found.level, "(SENTINEL SET)" in found.text) == ("warning", True)
        last.do(*sentinel_acl_line("lean").replace("PASSWORD", PASSWORD).split())
        last.do("ACL", "SETUSER", "lean", "-sentinel|masters")
        [found] = rights_there(url)
        assert (found.level, found.text.endswith("lacks sentinel|masters")) == ("failed", True)
        last.stop()
        assert [one.level for one in rights_there(url)] == ["ok"]
    finally:
        watch.stop()


def test_sentinels_and_replicas(tmp_path: Path) -> None:
    """R15: too few sentinels, and a failover that may lose a lock, are warned about."""
    watch = start_watch(tmp_path, FLAVOUR, replicas=0, sentinels=1)
    try:
        checks = doctor(tmp_path / "state", watch.url)
        assert checks["sentinels"]["level"] == "warning"
        assert checks["sentinel user"]["level"] == "warning"
        assert checks["replicas"]["level"] == "warning"
        checks = doctor(tmp_path / "state", watch.url, ("CRONGUARD_MIN_REPLICAS", "1"))
        assert "replicas" not in checks
    finally:
        watch.stop()


def test_a_cluster(tmp_path: Path) -> None:
    """R18: it is examined as one store; its user is asked for what a Cluster needs more."""
    cluster = start_cluster(tmp_path, FLAVOUR, replicas=0)
    try:
        checks = doctor(tmp_path / "state", cluster.url)
        assert checks["store"]["level"] == "ok", checks["store"]
        assert checks["version"]["level"] == "ok"
        assert checks["user"]["level"] == "warning"
        assert "lacks" not in str(checks["user"])
    finally:
        cluster.stop()
