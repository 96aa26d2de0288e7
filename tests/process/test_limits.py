"""Limits of the command: it has them, cronguard has not, and what cannot be had is said."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process.conftest import NOBODY
from tests.process.isolated import MODES, USERS, Held, held
from tests.process.lab import Lab, until
from tests.process.places import root, user_lab

RUN = ("run", "-n", "job")
WHO = "nice; ionice; ulimit -v"
EACH = [(mode, who) for mode in MODES for who in USERS]
CONTROLLERS = Path("/sys/fs/cgroup/cgroup.controllers")


@pytest.fixture(params=["root", pytest.param("user", marks=pytest.mark.root)])
def place(request: pytest.FixtureRequest, local: Lab) -> Iterator[Lab]:
    """For whoever runs the tests, and for an ordinary user."""
    if request.param == "root":
        yield local
        return
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with user_lab(NOBODY) as found:
        yield found


@pytest.fixture
def ordinary() -> Iterator[Lab]:
    """For an ordinary user; who runs the tests may be one."""
    with ExitStack() as stack:
        yield stack.enter_context(user_lab(NOBODY))


@pytest.fixture(params=EACH, ids=[f"{mode}-{who}" for mode, who in EACH])
def each_place(request: pytest.FixtureRequest) -> Iterator[Held]:
    """Each isolation, for each kind of user."""
    with held(*request.param) as found:
        yield found


def test_the_command_has_them_and_cronguard_has_not(each_place: Held) -> None:
    """All that the command starts inherits them; keeper and guardian are as ever."""
    place = each_place
    lab = place.lab
    say = "nice; ulimit -v; cut -d' ' -f19 /proc/self/stat"
    if shutil.which("ionice"):
        say += "; ionice"
    arguments = ("--nice", "7", "--ionice", "idle", "--rlimit-as", "700M")
    ended = place.call("-n", "job", *arguments, "--", "sh", "-c", say)
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.decode().split("\n")
    assert said[:3] == ["7", str(700 << 10), "7"]
    assert "idle" in said[3:4] or not shutil.which("ionice")
    (record,) = lab.records("job")
    assert record["limits"] == {"nice": 7, "ionice": "idle", "rlimit_as_bytes": 700 << 20}
    run = place.ready("-n", "job", *arguments, "--", "sh", "-c", "echo ready; sleep 600")
    for pid in (run.pid, lab.guardian_of(run.pid)):
        assert os.getpriority(os.PRIO_PROCESS, pid) <= 0
        text = Path(f"/proc/{pid}/limits").read_text()
        (line,) = [one for one in text.splitlines() if one.startswith("Max address space")]
        assert "unlimited" in line
    run.terminate()
    run.communicate(timeout=60)


def test_too_little_room_is_the_commands_own_failure(local: Lab) -> None:
    """It cannot allocate; its status is its own."""
    command = local.python("x = bytearray(500_000_000)")
    ended = local.call(*RUN, "--rlimit-as", "300M", "--", *command)
    assert ended.returncode == 1
    assert b"MemoryError" in ended.stderr


@pytest.mark.parametrize("isolation", ["auto", "group"])
def test_the_command_has_its_limits(place: Lab, isolation: str) -> None:
    """Priority, at disks as well, and address space; each attempt, and the record says so."""
    options = ("--nice", "7", "--ionice", "best-effort:6", "--rlimit-as", "2G")
    again = ("--retries", "1", "--retry-delay", "1ms", "--isolation", isolation)
    done = place.call(*RUN, *options, *again, "--", "sh", "-c", f"{WHO}; exit 3")
    assert done.returncode == 3
    assert done.stdout.decode().splitlines() == ["7", "best-effort: prio 6", "2097152"] * 2
    [record] = place.records("job")
    assert record["limits"] == {"nice": 7, "ionice": "best-effort:6", "rlimit_as_bytes": 2 << 30}


def test_variables_and_files_limit_as_well(local: Lab) -> None:
    """As every option: the variable has the last word."""
    config = local.folder / "config.toml"
    config.write_text('[defaults]\nnice = 5\nionice = "idle"\n[jobs.job]\nrlimit_as = "1G"\n')
    env = {"CRONGUARD_CONFIG": str(config), "CRONGUARD_NICE": "9"}
    done = local.call(*RUN, "--", "sh", "-c", WHO, env=env)
    assert done.stdout.decode().splitlines() == ["9", "idle", "1048576"]


def test_a_command_without_room_to_begin_fails(local: Lab) -> None:
    """By the limit, as from a shell with it: no error of ours."""
    done = local.call(*RUN, "--rlimit-as", "16k", "--", "true")
    assert done.returncode in (125, 127, 134, 137, 139)
    [record] = local.records("job")
    assert record["outcome"] in ("failed", "not_started")


@root
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--nice", "-5"), "--nice -5 cannot be had: permission denied"),
        (("--ionice", "realtime:2"), "--ionice realtime:2 cannot be had: operation not permitted"),
        (("--rlimit-as", "4G"), "--rlimit-as 4G cannot be had: operation not permitted"),
    ],
)
def test_what_a_user_may_not_have_is_refused(
    ordinary: Lab, options: tuple[str, ...], said: str
) -> None:
    """No guessing: the command never starts, the lock is not touched, and why says it."""
    before = ["prlimit", f"--as={3 << 30}"]
    done = ordinary.call_inside(before, *RUN, *options, "--", "touch", "begun")
    assert done.returncode == 125
    assert f"job: not started: {said}.\n  ".encode() in done.stderr
    assert not (ordinary.folder / "begun").exists()
    [record] = ordinary.records("job")
    assert (record["outcome"], record["token"], record["limits"]) == ("not_started", None, None)
    assert ordinary.call_inside(before, *RUN, "--", "true").returncode == 0


@root
def test_root_may_have_more(local: Lab) -> None:
    """Before others, in both queues."""
    options = ("--nice", "-5", "--ionice", "realtime:2")
    done = local.call(*RUN, *options, "--", "sh", "-c", "nice; ionice")
    assert done.stdout.decode().splitlines() == ["-5", "realtime: prio 2"]


@pytest.mark.parametrize(
    ("option", "variable", "value"),
    [
        ("--nice", "CRONGUARD_NICE", "20"),
        ("--ionice", "CRONGUARD_IONICE", "realtime:8"),
        ("--rlimit-as", "CRONGUARD_RLIMIT_AS", "0"),
        ("--memory-max", "CRONGUARD_MEMORY_MAX", "1X"),
        ("--cpu-quota", "CRONGUARD_CPU_QUOTA", "1.5"),
    ],
)
def test_bad_limits_are_refused(local: Lab, option: str, variable: str, value: str) -> None:
    """C1: with what is wrong and what to write, before anything starts."""
    for arguments, env in (((option, value), {}), ((), {variable: value})):
        done = local.call(*RUN, *arguments, "--", "touch", "begun", env=env)
        assert done.returncode == 125
        assert repr(value).encode() in done.stderr
        assert b"; write " in done.stderr
    assert not (local.folder / "begun").exists()


@pytest.mark.skipif(
    CONTROLLERS.exists() and "memory" in CONTROLLERS.read_text(),
    reason="control groups can be limited here: tests/e2e/test_other_kernel.py",
)
@pytest.mark.parametrize(
    ("options", "flags", "unmet"),
    [
        (("--memory-max", "64M"), "--memory-max", ["memory_max_bytes"]),
        (("--cpu-quota", "50%"), "--cpu-quota", ["cpu_quota_percent"]),
        (
            ("--cpu-quota", "50%", "--memory-max", "64M"),
            "--memory-max and --cpu-quota",
            ["memory_max_bytes", "cpu_quota_percent"],
        ),
    ],
)
def test_a_run_without_such_a_group_goes_on_and_says_so(
    place: Lab, options: tuple[str, ...], flags: str, unmet: list[str]
) -> None:
    """Once, on stderr and in the record; with what can be had in force."""
    again = ("--retries", "1", "--retry-delay", "1ms", "--nice", "4")
    done = place.call(*RUN, *options, *again, "--", "sh", "-c", "nice; exit 3")
    assert (done.returncode, done.stdout) == (3, b"4\n4\n")
    assert done.stderr.count(f"job: runs without {flags}: ".encode()) == 1
    [record] = place.records("job")
    assert record["limits"] == {"nice": 4, "unmet": unmet}
    [warning] = json.loads(json.dumps(record["warnings"]))
    assert warning["text"].startswith(f"runs without {flags}: ")


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--nice", ("20", "-21", "x", "", "1.5")),
        ("--ionice", ("foo", "idle:3", "best-effort:8", "realtime:", "best-effort:44")),
        ("--rlimit-as", ("0", "x", "-1", "999999999999999G")),
        ("--memory-max", ("0", "50%", "999999999999999G")),
        ("--cpu-quota", ("0", "0%", "%", "x", "-5%")),
    ],
)
def test_what_makes_no_sense_is_refused(local: Lab, option: str, values: tuple[str, ...]) -> None:
    """C1: with what to write."""
    for value in values:
        ended = local.call(*RUN, f"{option}={value}", "--", "true")
        assert ended.returncode == 125, value
        assert option.encode() in ended.stderr
    until("nothing is left", lambda: not local.marked())
