"""The job of the chaos runs, and the reader of what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import lives, testimony
from tests.process.lab import until


class Family:
    """One tree of processes that testify below `folder`."""

    def __init__(self, folder: Path, kind: str, duration_ms: int, ending: str) -> None:
        self.folder = folder
        own = {"CRONGUARD_JOB": "job", "CRONGUARD_RUN_ID": "one", "CRONGUARD_TOKEN": "7"}
        command = [sys.executable, "-I", "-S", "-E", testimony.__file__]
        command += [str(folder), kind, str(duration_ms), ending]
        self.process = subprocess.Popen(
            command, env=os.environ | own | {"CHAOS_RUN": "12"}, start_new_session=True
        )

    def seen(self) -> dict[str, lives.Life]:
        """Return what is known by now, by role."""
        return {life.role: life for life in lives.read(self.folder).lives}

    def wait_for(self, count: int) -> dict[str, lives.Life]:
        """Wait until that many processes testify."""
        until(f"{count} processes", lambda: len(self.seen()) == count)
        return self.seen()


@pytest.fixture
def families() -> Iterator[list[Family]]:
    """Whatever a test starts and puts in here is gone in the end."""
    started: list[Family] = []
    yield started
    for family in started:
        for life in family.seen().values():
            try:
                os.kill(life.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        family.process.wait(20)


@pytest.mark.parametrize(("ending", "status"), [("0", 0), ("7", 7), ("signal", -10)])
def test_a_command_says_how_it_ends_and_ends_so(
    tmp_path: Path, families: list[Family], ending: str, status: int
) -> None:
    """What a command writes before its end is the status that cronguard is to exit with."""
    before = testimony.boot_ns()
    families.append(family := Family(tmp_path, "plain", 30, ending))
    assert family.process.wait(20) == status
    life = family.seen()["command"]
    assert before < life.first_ns < life.last_ns < testimony.boot_ns()
    assert life.last_ns - life.first_ns >= 25_000_000
    assert (life.job, life.run_id, life.token, life.run) == ("job", "one", 7, 12)
    assert (life.intent, life.host) == (ending, os.uname().nodename)
    assert lives.read(tmp_path).over == {"one": 128 - status if status < 0 else status}


def test_every_kind_of_process_testifies_and_outlives_its_command(
    tmp_path: Path, families: list[Family]
) -> None:
    """The tree is in the group, out of it, and deaf; nothing but a kill ends it soon."""
    families.append(family := Family(tmp_path, "child,daemon,deaf", 600, "0"))
    seen = family.wait_for(4)
    assert set(seen) == {"command", *testimony.MEMBERS}
    group = os.getpgid(seen["command"].pid)
    assert {role for role, life in seen.items() if os.getpgid(life.pid) == group} == {
        "command",
        "child",
        "deaf",
    }
    assert family.process.wait(20) == 0
    os.killpg(group, signal.SIGTERM)
    until("the end of the child", lambda: _is_still(family, "child"))
    assert not _is_still(family, "daemon")
    assert not _is_still(family, "deaf")


def test_what_was_said_before_a_kill_is_there(tmp_path: Path, families: list[Family]) -> None:
    """The last sign of a killed process is from moments before the kill, never after it."""
    families.append(family := Family(tmp_path, "plain", 60_000, "0"))
    began = family.wait_for(1)["command"].last_ns
    until("more life", lambda: family.seen()["command"].last_ns > began)
    family.process.kill()
    killed = testimony.boot_ns()
    family.process.wait(20)
    life = family.seen()["command"]
    assert began < life.last_ns <= max(killed, testimony.boot_ns())
    assert lives.read(tmp_path).over == {}


def test_an_empty_file_is_silence_and_rubbish_is_refused(tmp_path: Path) -> None:
    """A process killed before its first word is no life; bytes nobody wrote are not guessed at."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "one.5").touch()
    (tmp_path / "job" / "one.over").touch()
    assert lives.read(tmp_path) == lives.Testimony((), {})
    (tmp_path / "job" / "one.5").write_bytes(b"token 7")
    with pytest.raises(ValueError, match=r"job/one\.5: 7 bytes"):
        lives.read(tmp_path)


def _is_still(family: Family, role: str) -> bool:
    """Tell whether that process shows no life for many times the tick."""
    before = family.seen()[role].last_ns
    time.sleep(0.2)
    return family.seen()[role].last_ns == before
