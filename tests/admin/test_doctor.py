from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import cronguard
from cronguard.admin.check_host import exact, state_folder, timing
from cronguard.admin.check_store import about, clock
from cronguard.admin.findings import FAILED, OK, WARNING, Finding, worst
from cronguard.admin.sharing import sharing
from cronguard.core import record as rec
from cronguard.core.lease import LeaseTimes
from cronguard.core.spec import Claim, Owner
from cronguard.runtime import outbox
from cronguard.stores.contract import Close
from cronguard.stores.redis.acl import acl_line
from tests import servers

HOME = Path(cronguard.__file__).parent.parent
NOBODY = 65534
CANARY = "canary-secret"
LAYERS = ("parent death signal", "group lifeline", "subreaper", "keeper killed",
          "guardian killed", "dead man's timer", "pidfd", "cgroup v2")  # fmt: skip
Told = dict[str, Any]


class Clinic:
    """A place with its own home and state, where the real command examines the real thing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(HOME),
            "CRONGUARD_STATE_DIR": str(folder / "state"),
            "CRONGUARD_STORE": f"sqlite://{folder}/state/cronguard.db",
        }
        self.before: list[str] = []

    def call(
        self, *argv: str, limit: Callable[[], None] | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `cronguard doctor ARGV`; the secret is never in what it says."""
        command = [*self.before, sys.executable, "-m", "cronguard", "doctor", *argv]
        done = subprocess.run(
            command, env=self.env | env, capture_output=True, text=True, timeout=60,
            cwd=self.folder, preexec_fn=limit,
        )  # fmt: skip
        assert CANARY not in done.stdout + done.stderr
        return done

    def examine(self, *argv: str, **options: Any) -> tuple[int, Told]:
        """Return the status and the JSON answer."""
        done = self.call("--json", *argv, **options)
        assert done.stderr == "", done.stderr
        answer: Told = json.loads(done.stdout)
        for check in answer["checks"]:
            assert set(check) == {"check", "level", "text", "do"}
            assert check["text"]
            assert check["text"].isprintable()
            assert check["level"] == OK or check["do"], check
        return done.returncode, answer


def level(answer: Told, check: str) -> str:
    """Return how good the check of this name is; the worst of several."""
    found = [str(one["level"]) for one in answer["checks"] if one["check"] == check]
    assert found, (check, answer)
    return max(found, key=(OK, WARNING, FAILED).index)


def text(answer: Told, check: str) -> str:
    """Return what is said of the check, and what to do."""
    return " ".join(
        f"{one['text']}; {one['do']}" for one in answer["checks"] if one["check"] == check
    )


def home(pid: int) -> str:
    """Return the HOME of this process; nothing when it has ended, as those of other tests do."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).environ().get("HOME", "")
    return ""


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


@pytest.fixture(params=servers.FLAVOURS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[servers.Server]:
    """A server of each kind that a test may bend."""
    if servers.binary(request.param) is None:
        pytest.skip(f"no {request.param} server is installed")
    folder = tmp_path / "server"
    folder.mkdir()
    made = servers.start_server(folder, request.param, "--appendonly", "yes")
    yield made
    made.stop()


# -- the whole command ----------------------------------------------------------------------------


def test_all_is_well_with_the_embedded_store(clinic: Clinic) -> None:
    """Every check is there and ok, the layers by a real self-test; status 0."""
    status, answer = clinic.examine()
    assert (status, answer["result"], answer["acl"]) == (0, OK, None)
    names = [check["check"] for check in answer["checks"]]
    assert [name for name in names if name in LAYERS] == list(LAYERS)
    for name in ("configuration", "store", "version", "clock", "state folder", "outbox", "timing"):
        assert name in names
    assert "this host alone" in text(answer, "version")
    assert answer["store"] == clinic.env["CRONGUARD_STORE"]


def test_people_get_a_line_a_check_and_a_summary(clinic: Clinic) -> None:
    """What and what to do on one line; the last word says how it is."""
    done = clinic.call()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["CHECK", "RESULT", "WHAT"]
    assert lines[-1] == "All is well."
    assert any(line.startswith("dead man's timer") for line in lines)


def test_the_self_test_leaves_nothing_behind_and_is_quick(clinic: Clinic) -> None:
    """About a second, and no process of it lives on."""
    before = set(psutil.pids())
    done = clinic.call("--json")
    assert done.returncode == 0
    later = set(psutil.pids()) - before
    assert [pid for pid in later if str(clinic.folder) in home(pid)] == []


def test_a_redis_that_is_well_but_for_its_user(clinic: Clinic, server: servers.Server) -> None:
    """S12: with the default user only the rights are warned of, and the least ones are printed."""
    status, answer = clinic.examine(CRONGUARD_STORE=server.url)
    assert (status, answer["result"]) == (0, WARNING)
    warned = [one["check"] for one in answer["checks"] if one["level"] != OK]
    assert warned == ["user"]
    assert "FLUSHALL" in text(answer, "user")
    assert answer["acl"].startswith("ACL SETUSER cronguard on >PASSWORD resetkeys ~cg:* ")
    assert server.flavour.capitalize() in text(answer, "version")
    assert "within" in text(answer, "clock")


def test_the_user_that_doctor_prints_is_all_it_wants(
    clinic: Clinic, server: servers.Server
) -> None:
    """S12: with the printed line's rights nothing is missing, nothing too much, nothing unknown."""
    line = clinic.examine(CRONGUARD_STORE=server.url)[1]["acl"].replace("PASSWORD", CANARY)
    server.do(*line.split())
    url = f"redis://cronguard:{CANARY}@127.0.0.1:{server.port}/0"
    status, answer = clinic.examine(CRONGUARD_STORE=url)
    assert (status, answer["result"]) == (0, OK), answer
    assert "nothing more" in text(answer, "user")


def test_a_restricted_user_costs_facts_and_no_more(clinic: Clinic, server: servers.Server) -> None:
    """S12: without +info doctor says what it does not know, and which right would tell."""
    server.do(*acl_line("lean", "cg").replace("PASSWORD", CANARY).split())
    url = f"redis://lean:{CANARY}@127.0.0.1:{server.port}/0"
    status, answer = clinic.examine(CRONGUARD_STORE=url)
    assert (status, answer["result"]) == (0, WARNING)
    assert level(answer, "user") == OK
    for check in ("eviction", "persistence"):
        assert "+info" in text(answer, check)


def test_a_user_that_lacks_rights_is_told_which(clinic: Clinic, server: servers.Server) -> None:
    """R12: the missing commands are named, and the line that gives them is for this very user."""
    line = acl_line("weak", "cg").replace("PASSWORD", CANARY).replace("+pexpire ", "")
    server.do(*line.split())
    url = f"redis://weak:{CANARY}@127.0.0.1:{server.port}/0"
    status, answer = clinic.examine(CRONGUARD_STORE=url)
    assert (status, level(answer, "user")) == (1, FAILED)
    assert "lacks pexpire on" in text(answer, "user")
    assert answer["acl"].startswith("ACL SETUSER weak on ")


def test_a_user_of_other_keys_is_told(clinic: Clinic, server: servers.Server) -> None:
    """R12: rights on another prefix are no rights here."""
    server.do(*acl_line("else", "other").replace("PASSWORD", CANARY).split())
    url = f"redis://else:{CANARY}@127.0.0.1:{server.port}/0"
    done = clinic.call(CRONGUARD_STORE=url)
    assert done.returncode in (1, 69)
    assert "resetkeys ~cg:*" in done.stdout


def test_a_server_that_may_drop_locks_is_warned_of(clinic: Clinic, server: servers.Server) -> None:
    """L8: eviction, a full memory, no append-only file; each with what to do."""
    server.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    server.do("CONFIG", "SET", "appendonly", "no")
    status, answer = clinic.examine(CRONGUARD_STORE=server.url)
    assert (status, level(answer, "eviction")) == (0, WARNING)
    assert "once it has a maxmemory" in text(answer, "eviction")
    assert "a restart of the store forgets locks" in text(answer, "persistence")
    with server.client() as client:
        used = int(client.info("memory")["used_memory"])
    server.do("CONFIG", "SET", "maxmemory", used * 105 // 100)
    answer = clinic.examine(CRONGUARD_STORE=server.url)[1]
    assert "may drop locks when" in text(answer, "eviction")
    assert "`CONFIG SET maxmemory-policy noeviction`" in text(answer, "eviction")
    assert level(answer, "memory") == WARNING


def test_a_replica_is_no_store(clinic: Clinic, server: servers.Server) -> None:
    """R9: it is said before a run finds out."""
    server.do("REPLICAOF", "127.0.0.1", "1")
    status, answer = clinic.examine(CRONGUARD_STORE=server.url)
    assert status in (1, 69)
    assert FAILED in [one["level"] for one in answer["checks"] if one["check"] in ("role", "store")]


def test_a_dead_server_is_69_and_everything_else_is_still_looked_at(clinic: Clinic) -> None:
    """R1: the host's checks do not depend on it."""
    url = f"redis://:{CANARY}@127.0.0.1:{servers.free_port()}/0"
    status, answer = clinic.examine(CRONGUARD_STORE=url)
    assert (status, level(answer, "store")) == (69, FAILED)
    assert "CRONGUARD_STORE names it" in text(answer, "store")
    assert all(level(answer, name) == OK for name in (*LAYERS, "state folder", "timing"))


def test_a_wrong_password_is_69_and_never_shown(clinic: Clinic, server: servers.Server) -> None:
    """R12, S1: why, the rights that are needed, and no password."""
    server.do("CONFIG", "SET", "requirepass", "right")
    status, answer = clinic.examine(CRONGUARD_STORE=f"redis://:{CANARY}@127.0.0.1:{server.port}/0")
    assert (status, level(answer, "store")) == (69, FAILED)
    assert answer["acl"]


def test_a_broken_configuration_fails_and_the_kernel_is_still_tested(clinic: Clinic) -> None:
    """C1: file and line are named; status 1."""
    path = clinic.folder / "c.toml"
    path.write_text('[defaults]\ntimout = "5m"\n')
    path.chmod(0o600)
    status, answer = clinic.examine("--config", str(path))
    assert (status, level(answer, "configuration")) == (1, FAILED)
    assert f"{path}:2" in text(answer, "configuration")
    assert level(answer, "keeper killed") == OK


def test_a_wrong_ttl_fails_with_the_arithmetic(clinic: Clinic) -> None:
    """C1: the numbers, and what to do."""
    status, answer = clinic.examine(CRONGUARD_TTL="5s")
    assert (status, level(answer, "timing")) == (1, FAILED)
    assert "heartbeat 1.5s" in text(answer, "timing")


def test_the_section_of_a_job_counts_for_it(clinic: Clinic) -> None:
    """`doctor JOB` is about the store and the times of that job."""
    path = clinic.folder / "c.toml"
    path.write_text(f'[jobs.far]\nstore = "sqlite://{clinic.folder}/far/x.db"\nttl = "60s"\n')
    path.chmod(0o600)
    clinic.env.pop("CRONGUARD_STORE")
    status, answer = clinic.examine("far", "--config", str(path))
    assert (status, answer["store"]) == (0, f"sqlite://{clinic.folder}/far/x.db")
    assert "ttl 60s" in text(answer, "timing")


def no_pending_signals() -> None:
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))


@pytest.mark.parametrize(
    ("dead_man", "result", "status"),
    [("auto", WARNING, 0), ("required", FAILED, 1), ("off", OK, 0)],
)
def test_a_kernel_without_the_timer_is_found_by_trying(
    clinic: Clinic, dead_man: str, result: str, status: int
) -> None:
    """H10: ulimit -i 0 is a warning, a failure where the timer is required, nothing where off."""
    done, answer = clinic.examine(limit=no_pending_signals, CRONGUARD_DEAD_MAN=dead_man)
    assert (done, level(answer, "dead man's timer")) == (status, result)
    assert "resource temporarily unavailable" in text(answer, "dead man's timer")


def test_an_ordinary_user_has_all_layers_too(clinic: Clinic) -> None:
    """D: none of them needs root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; the other tests ran as one")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv (util-linux) is not installed")
    clinic.folder.chmod(0o755)
    os.chown(clinic.folder, NOBODY, NOBODY)
    for above in list(clinic.folder.parents)[:3]:
        if above.stat().st_mode & 0o7 != 0o7 and above.name.startswith(("pytest", "popen")):
            above.chmod(0o755)
    # The interpreter may lie in root's home: reading there is all that this user may do more.
    clinic.before = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                     "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
                     "--bounding-set=-all,+dac_read_search"]  # fmt: skip
    status, answer = clinic.examine()
    assert status == 0, answer
    assert all(level(answer, name) == OK for name in LAYERS)


# -- C5: one name, two commands -------------------------------------------------------------------


def ran(*commands: str) -> list[dict[str, object]]:
    """Return records of runs of these commands, one a minute."""
    return [
        rec.complete(
            {"job": "j", "host": "web-1", "command": command.split(), "queued_at": rec.utc(at)}
        )
        for at, command in enumerate(commands, 1_700_000_000)
    ]


@pytest.mark.parametrize(
    ("commands", "shared"),
    [
        (["a"], False),
        (["a", "a", "a"], False),
        (["a", "b"], False),
        (["a", "a", "b", "b"], False),
        (["a", "b", "a"], True),
        (["a --x", "a --y", "a --x"], True),
        ([], False),
    ],
)
def test_two_commands_that_take_turns_share_a_name(commands: list[str], shared: bool) -> None:
    """C5: a command that changed once is a new version; one that comes back is another job."""
    assert bool(sharing(ran(*commands))) is shared


def test_what_differs_is_shown_of_long_commands() -> None:
    """C5: two commands that begin alike are told apart."""
    begin = "/opt/app/bin/run-report --with-a-very-long-option=1 --and-another-very-long-option=2 "
    told = sharing(ran(f"{begin}north", f"{begin}south", f"{begin}north"))
    assert "north" in told[0]
    assert "south" in told[1]


def test_doctor_names_jobs_that_share_a_name(clinic: Clinic) -> None:
    """C5: real runs of two commands under one name, in turns."""
    for word in ("one", "two", "one"):
        subprocess.run(
            [sys.executable, "-m", "cronguard", "run", "-n", "shared", "--", "echo", word],
            env=clinic.env, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    status, answer = clinic.examine()
    assert (status, level(answer, "job names")) == (0, WARNING)
    assert "`echo one`" in text(answer, "job names")
    assert "`echo two`" in text(answer, "job names")


def test_a_skip_says_that_the_holder_runs_another_command(clinic: Clinic) -> None:
    """C5: said by the run that is skipped, at no cost, and not to one of the same command."""
    run = [sys.executable, "-m", "cronguard", "run", "-n", "shared", "--"]
    mine = ["sh", "-c", "echo ready; exec sleep 60"]
    with subprocess.Popen([*run, *mine], env=clinic.env, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            told = {}
            for command in (mine, ["true"]):
                done = subprocess.run(
                    [*run, *command], env=clinic.env, capture_output=True, text=True, timeout=60
                )
                assert done.returncode == 0
                assert "another run holds the lock" in done.stderr
                told[command[0]] = "another command" in done.stderr
        finally:
            holder.terminate()
    assert told == {"sh": False, "true": True}


# -- files and folders ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda path: path.write_text("x"), "is not a folder"),
        (lambda path: path.symlink_to("/tmp"), "is not a folder"),
        (lambda path: (path.mkdir(), path.chmod(0o777)), "others can change"),
    ],
)
def test_a_state_folder_that_cannot_be_trusted(
    tmp_path: Path, prepare: Callable[[Path], object], said: str
) -> None:
    """S4: a failure where the lock lies in it, a warning where only records would."""
    path = tmp_path / "state"
    prepare(path)
    for is_store, result in ((True, FAILED), (False, WARNING)):
        found = state_folder(str(path), is_store)
        assert (found.level, said in found.text) == (result, True), found.text
        assert found.todo


def test_a_state_folder_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    """H6: it is made when it is needed; no folder at all is said."""
    assert state_folder(str(tmp_path / "a" / "b"), is_store=True).level == OK
    assert not (tmp_path / "a").exists()
    assert state_folder(None, is_store=False).level == WARNING
    assert state_folder("/proc/1/x/y", is_store=True).level in (OK, FAILED)


def test_waiting_records_are_told(clinic: Clinic) -> None:
    """Nothing lost: how many wait, for which store, and what delivers them."""
    state = clinic.folder / "state"
    state.mkdir(mode=0o700)
    close = Close('{"outcome":"failed"}', outcome=rec.FAILED, ended_wall=1)
    for run_id, store in (("a" * 32, "redis://gone:6379/0"), ("b" * 32, "redis://gone:6379/0")):
        outbox.keep(str(state), store, Claim("j", Owner(run_id), 35_000), close)
    status, answer = clinic.examine()
    assert (status, level(answer, "outbox")) == (0, WARNING)
    assert "2 records of runs wait for redis://gone:6379/0" in text(answer, "outbox")
    assert "no run with the store that is configured now will" in text(answer, "outbox")
    (state / "outbox" / "c.json").write_text("{")
    assert "1 of them unreadable" in text(clinic.examine()[1], "outbox")


def test_files_that_others_can_change_are_found(clinic: Clinic) -> None:
    """S11, C2: the configuration, and what root would run because of it."""
    tool = clinic.folder / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o777)
    path = clinic.folder / "c.toml"
    path.write_text(f'[jobs.nightly]\ncommand = ["{tool}"]\n')
    path.chmod(0o600)
    status, answer = clinic.examine("--config", str(path))
    assert status == 0
    if os.geteuid() == 0:
        assert "job nightly runs as root" in text(answer, "permissions")
        assert str(tool) in text(answer, "permissions")
    path.chmod(0o666)
    answer = clinic.examine("--config", str(path))[1]
    assert f"others can change {path}" in text(answer, "permissions")


# -- words for numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", [10_000, 30_000, 60_000, 3_600_000, 86_400_000])
def test_every_number_of_the_lease_is_in_the_words(ttl: int) -> None:
    """C: what doctor says is what core/lease.py decides."""
    times = LeaseTimes(ttl)
    said = " ".join(finding.text for finding in timing(ttl, "--ttl"))
    for ms in (ttl, times.every, times.attempt, times.backoff, times.give_up_at(0),
               times.give_up_at(0) + times.grace, times.kill_at(0), times.ends_at(0), times.px,
               times.shortest_ttl()):  # fmt: skip
        assert exact(ms) in said, (ms, said)


@pytest.mark.parametrize(
    ("facts", "check", "result"),
    [
        ({"flavour": "redis", "version": "6.0.16"}, "version", FAILED),
        ({"flavour": "redis", "version": "6.2.0"}, "version", OK),
        ({"flavour": "valkey", "version": "7.1.9"}, "version", FAILED),
        ({"flavour": "valkey", "version": "8.0.0"}, "version", OK),
        ({"flavour": None, "version": None}, "version", WARNING),
        ({"role": "replica"}, "role", FAILED),
        ({"mode": "sentinel"}, "role", FAILED),
        ({"role": "master", "mode": "standalone"}, "role", OK),
        ({"maxmemory_policy": "volatile-ttl", "maxmemory": 1 << 30}, "eviction", WARNING),
        ({"maxmemory_policy": "noeviction"}, "eviction", OK),
        ({"used_memory": 95, "maxmemory": 100}, "memory", WARNING),
        ({"aof": 1, "aof_ok": "ok", "rdb_ok": "ok"}, "persistence", OK),
        ({"aof": 0, "aof_ok": "ok", "rdb_ok": "err"}, "persistence", FAILED),
        ({"aof": 0, "aof_ok": "ok", "rdb_ok": "ok", "uptime": 9}, "persistence", WARNING),
        ({"journal_mode": "wal", "integrity": "row missing"}, "integrity", FAILED),
        ({"journal_mode": "wal", "integrity": "ok", "free_bytes": 1000}, "room", WARNING),
    ],
)
def test_what_a_store_says_of_itself_is_judged(
    facts: dict[str, object], check: str, result: str
) -> None:
    """L8: the worst finding of that name, with what to do unless it is ok."""
    found = [one for one in about(facts, 35_000) if one.check == check]
    assert worst(found) == result
    assert all(one.todo for one in found if one.level != OK)


@pytest.mark.parametrize(
    ("off", "error", "result"),
    [(0, 1, OK), (1_999, 5, OK), (-1_999, 5, OK), (31_000, 5, WARNING), (-3_600_000, 5, WARNING),
     (4_000, 5_000, OK)],
)  # fmt: skip
def test_clocks_that_differ_more_than_the_measuring_does(off: int, error: int, result: str) -> None:
    """Corrected for the way there and back; which one is ahead is said."""
    found = clock({"clock": 1}, off, error)
    assert found.level == result
    assert result == OK or ("ahead of" if off > 0 else "behind") in found.text


def test_the_worst_finding_counts() -> None:
    """Failed before warning before ok; nothing at all is ok."""
    assert worst([]) == OK
    assert (
        worst([Finding("a", OK, ""), Finding("b", FAILED, ""), Finding("c", WARNING, "")]) == FAILED
    )
