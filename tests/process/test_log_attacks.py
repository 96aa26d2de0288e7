"""`--log` under attack: writers at full speed, kills, retries, disks and folders that fail."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.process.conftest import NOBODY
from tests.process.lab import Lab, until
from tests.process.places import root, user_lab

RUN = ("run", "-n", "job")
SHELL = ("sh", "-c")


def lines_of(folder: Path, name: str) -> list[str]:
    return [line for path in folder.glob(f"{name}*") for line in path.read_text().splitlines()]


def test_o1_writers_at_full_speed_lose_no_line_while_the_log_is_turned(local: Lab) -> None:
    """O1: dozens of files in a moment, from four runs at a time: each line once, and whole."""
    runs = [
        local.start(
            *("run", "-n", f"job-{n}", "--log", "all.log", "--log-size", "64k"),
            *("--log-keep", "999", "--", "seq", "-f", f"line-{n}-%.0f-", "30000"),
            stdout=subprocess.DEVNULL,
        )
        for n in range(4)
    ]
    assert [run.wait(60) for run in runs] == [0] * 4
    lines = lines_of(local.folder, "all.log")
    said = sorted(line for line in lines if not line.startswith("=== "))
    assert said == sorted(f"line-{n}-{i}-" for n in range(4) for i in range(1, 30_001))
    assert sum(" succeeded after " in line for line in lines) == 4
    assert len(list(local.folder.glob("all.log*"))) > 10
    for path in local.folder.glob("all.log*"):
        assert path.read_text().startswith("=== "), "each file tells its age"


def test_a_silent_run_that_is_killed_has_its_begin_in_the_log(local: Lab) -> None:
    """H5: who looks for what hung at night finds that it began, and when."""
    run = local.start(*RUN, "--log", "job.log", "--", *SHELL, "touch up; sleep 600")
    until("the command to be up", (local.folder / "up").exists)
    until("its first line", lambda: "begins on" in (local.folder / "job.log").read_text())
    run.kill()
    run.wait()
    until("the tree is dead", lambda: not local.marked())
    (line,) = lines_of(local.folder, "job.log")
    assert "sh -c touch up" in line


def test_all_attempts_are_one_run_in_the_log(local: Lab) -> None:
    """With one begin and one end, as there is one record."""
    say = "echo attempt $CRONGUARD_ATTEMPT; exit 3"
    options = ("--retries", "2", "--retry-delay", "10ms", "--log", "job.log")
    assert local.call(*RUN, *options, "--", *SHELL, say).returncode == 3
    begin, *said, end = lines_of(local.folder, "job.log")
    assert "begins on" in begin
    assert said == ["attempt 1", "attempt 2", "attempt 3"]
    assert re.search(r"failed after \S+, exit status 3", end)


def test_a_command_that_is_not_there_is_in_the_log(local: Lab) -> None:
    """The log tells as much as the record."""
    assert local.call(*RUN, "--log", "job.log", "--", "/no/such").returncode == 127
    begin, end = lines_of(local.folder, "job.log")
    assert "/no/such" in begin
    assert "not started" in end
    assert "exit status 127" in end


def test_a_timeout_is_in_the_log_with_what_was_said_before(local: Lab) -> None:
    """The end names what ended it."""
    done = local.call(*RUN, "-t", "500ms", "--log", "job.log", "--", *SHELL, "echo x; sleep 60")
    assert done.returncode == 124
    _, said, end = lines_of(local.folder, "job.log")
    assert said == "x"
    assert "timed out after" in end


def test_with_quiet_the_log_has_all_the_same(local: Lab) -> None:
    """What nobody is shown is there for who looks."""
    done = local.call(*RUN, "-q", "--log", "job.log", "--", *SHELL, "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert {"out", "err"} <= set(lines_of(local.folder, "job.log"))


def test_o3_a_reader_that_does_not_read_leaves_the_log_its_end(local: Lab) -> None:
    """O3: what came through before the command was stopped is there, and how it ended."""
    run = local.start(*RUN, "-t", "1s", "-k", "100ms", "--log", "job.log", "--", "yes")
    until("the record of its end", lambda: local.records("job")[0:1] and
          local.records("job")[0]["outcome"] == "timed_out")  # fmt: skip
    run.terminate()
    assert run.wait(30) in (124, 143)
    lines = lines_of(local.folder, "job.log")
    assert "begins on" in lines[0]
    assert "timed out after" in lines[-1]
    assert set(lines[1:-1]) == {"y"}


def test_a_terminal_is_logged_too(local: Lab) -> None:
    """Its reader sees the same; the command has a pipe, as with `| tee`."""
    master, slave = os.openpty()
    run = local.start(*RUN, "--log", "job.log", "--", *SHELL, "echo seen; test -t 1 || echo pipe",
                      stdout=slave, stderr=slave)  # fmt: skip
    os.close(slave)
    assert run.wait(20) == 0
    shown = os.read(master, 1000)
    os.close(master)
    assert shown == b"seen\r\npipe\r\n"
    assert lines_of(local.folder, "job.log")[1:-1] == ["seen", "pipe"]


def test_what_an_ordinary_user_may_not_open_is_refused(local: Lab) -> None:
    """H6: and so is a folder; with what to do."""
    (local.folder / "real.log").mkdir()
    (local.folder / "loop").symlink_to("loop")
    for path, why in (("loop", b"symbolic links"), ("real.log/x/y", b"no such file")):
        done = local.call(*RUN, "--log", path, "--", "touch", "ran")
        assert done.returncode == 125
        assert why in done.stderr
    assert not (local.folder / "ran").exists()


@root
def test_h6_a_folder_that_takes_no_new_file_is_told_and_the_log_grows_on() -> None:
    """H6: /var/log belongs to root: who may write to a file there cannot begin a new one."""
    with user_lab(NOBODY) as lab:
        folder = lab.folder / "log"
        folder.mkdir(mode=0o755)
        log = folder / "job.log"
        log.write_text("old\n" * 100)
        os.chown(log, NOBODY, NOBODY)
        done = lab.call(*RUN, "--log", str(log), "--log-size", "100", "--", "echo", "new")
        assert (done.returncode, done.stdout) == (0, b"new\n")
        assert b"could not be begun anew: permission denied" in done.stderr
        assert log.read_text().startswith("old\n")
        assert "\nnew\n" in log.read_text()
        assert [path.name for path in folder.iterdir()] == ["job.log"]
        assert "begun anew" in str(lab.records("job")[0]["warnings"])
