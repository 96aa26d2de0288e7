"""A key of one job that something else wrote to: named, and in no other job's way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clusters import start_cluster
from tests.servers import FLAVOURS, SYNCED, Server, binary, start_server

from .seeds import Seeds, Told

Say = Callable[..., Told]
JOBS = ("aaa", "bad", "zzz")
HASHES, SETS = ("f", "r", "n"), ("w", "wx", "o", "h", "x", "k")
SEEN_BY_PS = ("f", "o", "l:0")
NOT_IN_STATUS = ("x", "k", "wx")
"""What `status` reads nothing of, unless somebody waits."""


@pytest.fixture(params=FLAVOURS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own."""
    if binary(request.param) is None:
        pytest.skip(f"no {request.param} server is installed")
    (tmp_path / "server").mkdir()
    made = start_server(tmp_path / "server", request.param)
    yield made
    made.stop()


@pytest.fixture
def filled(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Say]:
    """Run each job once in a store; return how to ask about it."""

    def fill(url: str) -> Say:
        monkeypatch.setenv("CRONGUARD_STORE", url)
        for job in JOBS:
            command = [sys.executable, "-m", "cronguard", "run", "-n", job]
            subprocess.run([*command, "--store-timeout", "30s", "--", "true"], check=True)
        return seeds.say

    return fill


def spoil(server: Server, key: str) -> str:
    """Make a key of the job `bad` one of another kind; return its name."""
    name = f"cg:{{bad}}:{key}"
    server.do("DEL", name)
    server.do(*(("HSET", name, "a", "b") if key == "l:0" else ("SET", name, "x")))
    return name


def states(say: Say) -> dict[str, str]:
    """Return what `status` says of each job."""
    return {one["job"]: one["state"] for one in json.loads(say("status", "--json")[1])}


def sees_the_others(say: Say, name: str) -> None:
    """Ask everything about all jobs: those that are well are shown, and *name* is told."""
    assert states(say) == {"aaa": "idle", "bad": "damaged", "zzz": "idle"}
    status, out, err = say("status")
    assert (status, len(out.splitlines())) == (1, 4)
    assert name in err
    assert say("status", "aaa")[::2] == (0, "")
    status, out, err = say("history", "--json")
    assert {one["job"] for one in json.loads(out)} >= {"aaa", "zzz"}
    assert (status, name in err) in ((1, True), (0, False))
    assert say("history", "zzz")[::2] == (0, "")


@pytest.mark.parametrize("key", [*HASHES, *SETS, "c", "l:0"])
def test_a_key_of_another_kind_hides_no_other_job(
    server: Server, filled: Callable[[str], Say], key: str
) -> None:
    """Status, ps, history and show go on with the others, and `doctor` names the key."""
    say = filled(server.url)
    name = spoil(server, key)
    if key not in NOT_IN_STATUS:
        sees_the_others(say, name)
    status, out, err = say("ps", "--json")
    assert (status, json.loads(out), name in err) == (int(key in SEEN_BY_PS), [], bool(status))
    status, _, err = say("history", "bad")
    assert (status, name in err) in ((1, True), (0, False))
    assert status == int(key in ("r", "o", "h", "x"))
    status, _, err = say("history", "--skips")
    assert status == int(key in ("r", "o", "h", "x", "k"))
    [run] = json.loads(say("history", "aaa", "--json")[1])
    assert say("show", run["run_id"][:8])[::2] == (0, "")
    status, out, _ = say("doctor", "--json")
    found = [one for one in json.loads(out)["checks"] if one["check"] == "jobs"]
    if key == "wx":
        assert found == []
    else:
        [jobs] = found
        assert (status, jobs["level"]) == (1, "failed")
        assert f"job bad in unix://{server.socket}/0: {name} is not" in jobs["text"]


def test_steering_a_damaged_job_says_which_key_it_is(
    server: Server, filled: Callable[[str], Say]
) -> None:
    """Nothing is guessed: stop, unlock and why say what they could not read; so does a run."""
    say = filled(server.url)
    name = spoil(server, "f")
    for word in ("stop", "unlock", "why"):
        status, out, err = say(word, "bad")
        assert (status, out) == (69, "")
        assert f"cannot read job bad in unix://{server.socket}/0: {name} is not" in err
        assert "RENAME, DEL" in err
        assert "--store" not in err
    command = [sys.executable, "-m", "cronguard", "run", "-n", "bad", "--store-timeout", "1s"]
    done = subprocess.run([*command, "--", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 122
    assert "a key of the job is not of its kind (`cronguard doctor` names it)" in done.stderr


def test_a_damaged_list_of_jobs_is_named(server: Server, filled: Callable[[str], Say]) -> None:
    """There is no going on without it."""
    say = filled(server.url)
    server.do("DEL", "cg:jobs")
    server.do("SET", "cg:jobs", "x")
    status, out, err = say("status")
    assert (status, out) == (69, "")
    assert f"cannot read the list of jobs in unix://{server.socket}/0: cg:jobs is not" in err


def test_a_damaged_key_on_a_few_servers_of_a_quorum_is_outvoted(
    tmp_path: Path, filled: Callable[[str], Say]
) -> None:
    """R19: the others know the job; where most are damaged, only that job is."""
    trio: list[Server] = []
    try:
        for number in range(3):
            (tmp_path / str(number)).mkdir()
            trio.append(start_server(tmp_path / str(number), FLAVOURS[0], *SYNCED))
        say = filled(" ".join([one.url for one in trio]))
        spoil(trio[0], "h")
        assert states(say) == dict.fromkeys(JOBS, "idle")
        assert say("history", "bad")[::2] == (0, "")
        assert say("why", "bad")[::2] == (0, "")
        name = spoil(trio[1], "h")
        sees_the_others(say, name)
        status, _, err = say("why", "bad")
        assert (status, name in err) == (69, True)
    finally:
        for one in trio:
            one.stop()


def test_a_damaged_key_in_a_cluster_hides_no_other_job(
    tmp_path: Path, filled: Callable[[str], Say]
) -> None:
    """R18: nor those that the same node has."""
    (tmp_path / "cluster").mkdir()
    cluster = start_cluster(tmp_path / "cluster", FLAVOURS[0], replicas=0)
    try:
        say = filled(cluster.url)
        for one in cluster.servers:
            if one.do("CLUSTER", "COUNTKEYSINSLOT", one.do("CLUSTER", "KEYSLOT", "{bad}")):
                name = spoil(one, "r")
        sees_the_others(say, name)
    finally:
        cluster.stop()


@pytest.mark.parametrize("key", ["f", "o", "l:0"])
def test_what_tidies_up_names_the_key_and_does_the_rest(
    server: Server, filled: Callable[[str], Say], key: str
) -> None:
    """1, with the key that cannot be read; the other jobs are looked at, cleaned and forgotten."""
    say = filled(server.url)
    name = spoil(server, key)
    server.do("ZADD", "cg:{zzz}:o", 0, "gone")
    status, out, err = say("stuck", "--json")
    assert (status, name in err) == (1, True)
    assert server.do("ZCARD", "cg:{zzz}:o") == 1
    server.do("HSET", "cg:{zzz}:r", "gone", '{"run_id":"gone","outcome":"running"}')
    found = [one["run_id"] for one in json.loads(say("stuck", "--json")[1]) if one["job"] == "zzz"]
    assert found == ["gone"]
    status, out, err = say("clean", "--force")
    assert (status, "closed the record" in out, name in err) == (1, True, True)
    assert server.do("ZCARD", "cg:{zzz}:o") == 0
    if key != "l:0":
        status, _, err = say("prune", "--keep", "1")
        assert (status, name in err) == (1, True)
    status, out, err = say("reset", "--all", "--force")
    assert (status, "Forgot 3 of 4 jobs" in out, name in err) == (1, True, True), out
