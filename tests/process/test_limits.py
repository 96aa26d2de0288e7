"""`--nice`, `--ionice`, `--rlimit-as`, and what becomes of a run that may not have them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.isolated import MODES, USERS, Held, held
from tests.process.lab import Lab, until

RUN = ("run", "-n", "job")
EACH = [(mode, who) for mode in MODES for who in USERS]


@pytest.fixture(params=EACH, ids=[f"{mode}-{who}" for mode, who in EACH])
def place(request: pytest.FixtureRequest) -> Iterator[Held]:
    """Each isolation, for each kind of user."""
    with held(*request.param) as found:
        yield found


def test_the_command_has_them_and_cronguard_has_not(place: Held) -> None:
    """All that the command starts inherits them; keeper and guardian are as ever."""
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


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("option", [("--nice", "-5"), ("--ionice", "realtime:0")])
def test_what_this_user_may_not_have_is_refused(tmp_path: Path, option: tuple[str, str]) -> None:
    """C1: before the command starts, with a record, and the lock free."""
    with held("group", "user") as place:
        lab = place.lab
        ended = lab.call(*RUN, *option, "--", "touch", "ran")
        assert ended.returncode == 125
        assert f"{option[0]} may not be set so here".encode() in ended.stderr
        assert not (lab.folder / "ran").exists()
        (record,) = lab.records("job")
        assert (record["outcome"], record["reason"]) == ("not_started", "limits_refused")
        assert lab.call(*RUN, "--", "true").returncode == 0


def test_without_a_group_to_limit_the_run_goes_on_and_warns(local: Lab) -> None:
    """Said once, and in the record; a host that has the controllers has nothing to say."""
    ended = local.call(*RUN, "--memory-max", "1G", "--cpu-quota", "200%", "--", "echo", "x")
    assert (ended.returncode, ended.stdout) == (0, b"x\n")
    (record,) = local.records("job")
    if record["warnings"] is None:
        assert record["limits"] == {"memory_max_bytes": 1 << 30, "cpu_quota_percent": 200}
    else:
        assert record["limits"] is None
        assert ended.stderr.count(b"runs without --memory-max and --cpu-quota: ") == 1


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--nice", ("20", "-21", "x", "", "1.5")),
        ("--ionice", ("foo", "idle:3", "best-effort:8", "realtime:", "best-effort:44")),
        ("--rlimit-as", ("0", "x", "-1")),
        ("--memory-max", ("0", "50%")),
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
