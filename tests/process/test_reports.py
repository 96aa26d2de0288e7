"""Reports: each is told once, in order, or waits; whatever happens to them, the job never knows."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.process.lab import Lab, is_alive, until
from tests.process.reporting import Diary

ALL = ["start", "success", "recovery", "failure", "stop", "skip"]
RUN = ("run", "--name", "job", "--report", "diary")
ILL = ("sleeps", "dies", "not-now", "raises")


def test_start_and_end_are_told_once_and_in_order(local: Lab, diary: Diary) -> None:
    """The start while the command runs; both with the run's id; the exit status is the child's."""
    run = local.start(
        *RUN, "--", *local.python("import sys; sys.stdin.read(); sys.exit(3)"), stdin=-1
    )
    until("the start is told", lambda: diary.events() == ["start"])
    assert local.records("job")[0]["outcome"] == "running"
    run.communicate(b"")
    assert run.returncode == 3
    start, end = diary.entries()
    assert (end["event"], end["failures"]) == ("failure", 1)
    assert start["run_id"] == end["run_id"] == local.records("job")[0]["run_id"]
    assert start["record"]["started_at"] == end["record"]["started_at"]  # type: ignore[index]
    assert end["record"]["exit_status"] == 3  # type: ignore[index]
    assert not diary.waiting()


def test_a_short_command_takes_one_process_for_both(local: Lab, diary: Diary) -> None:
    """Its start is told with its end, before it."""
    assert local.call(*RUN, "--", "true").returncode == 0
    assert diary.events() == ["start", "success"]
    assert len(set(diary.asked())) == 1


def test_a_skip_is_told_and_has_no_start(local: Lab, diary: Diary) -> None:
    """So is what keeps it from running."""
    run = local.start_ready("run", "--name", "job", "--", "sh", "-c", "echo ready; sleep 60")
    assert local.call(*RUN, "--", "true").returncode == 0
    (entry,) = diary.entries()
    assert entry["event"] == "skip"
    assert entry["record"]["reason"] == "held"  # type: ignore[index]
    run.terminate()
    run.communicate()


def test_after_and_changes_count_over_runs(local: Lab, diary: Diary) -> None:
    """The second failure in a row is told, the third no more; then that it is over."""
    diary.configure(on=["failure", "recovery"], after=2, changes=True)
    for status in (1, 1, 1, 0, 0, 1):
        local.call(*RUN, "--", "sh", "-c", f"exit {status}")
    assert [(entry["event"], entry["failures"]) for entry in diary.entries()] == [
        ("failure", 2),
        ("recovery", 3),
    ]


@pytest.mark.parametrize("how", ILL)
@pytest.mark.parametrize("status", [0, 7])
def test_an_ill_reporter_changes_nothing_and_is_told_later_once(
    local: Lab, diary: Diary, how: str, status: int
) -> None:
    """Exit status, output and lock are those of the command; the report comes with the next run."""
    diary.configure(on=["success", "failure"], key="c4nary-secret")
    diary.is_ill(how)
    arguments = ("--report-timeout", "400ms", "--", "sh", "-c", f"echo out; exit {status}")
    ended = local.call(*RUN, *arguments)
    assert (ended.returncode, ended.stdout) == (status, b"out\n")
    assert b"next run" in ended.stderr
    (kept,) = diary.waiting()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "c4nary" not in kept.read_text()
    assert not diary.entries()
    diary.is_ill(how, ill=False)
    assert local.call(*RUN, "--", "true").returncode == 0
    assert [entry["record"]["exit_status"] for entry in diary.entries()] == [status, 0]  # type: ignore[index]
    assert not diary.waiting()
    assert not (local.state / "spool" / "job").exists()


def test_who_will_never_be_told_is_named_once(local: Lab, diary: Diary) -> None:
    """Its report goes, and nothing comes of it later."""
    diary.is_ill("never")
    ended = local.call(*RUN, "--", "true")
    assert ended.returncode == 0
    assert b"diary: cannot be told: it is dead" in ended.stderr
    diary.is_ill("never", ill=False)
    assert local.call(*RUN, "--", "true").stderr == b""
    assert diary.events() == ["start", "success"]


def test_a_type_that_cannot_be_loaded_is_no_trouble_of_the_job(local: Lab, diary: Diary) -> None:
    """Neither is one that is not there; theirs wait until somebody corrects it."""
    diary.configure("[reporters.broken]\non = ['success']\n[reporters.nobody]\non = ['success']")
    ended = local.call(*RUN, "--report", "broken", "--report", "nobody", "--", "true")
    assert ended.returncode == 0
    assert b"broken: not told yet" in ended.stderr
    assert b"nobody: not told yet: there is no type nobody" in ended.stderr
    assert json.loads(diary.waiting()[0].read_text())["to"] == ["broken", "nobody"]


def test_the_lock_is_free_while_the_reporters_are_told(local: Lab, diary: Diary) -> None:
    """The next run starts, though the one before is still telling."""
    diary.configure(on=["success"])
    diary.is_ill("sleeps")
    run = local.start(*RUN, "--report-timeout", "1m", "--", "true")
    until("it is telling", diary.asked)
    assert local.call("run", "--name", "job", "--no-report", "--", "true").returncode == 0
    run.terminate()
    assert run.wait() == 0


def test_a_signal_ends_the_waiting_and_changes_nothing(local: Lab, diary: Diary) -> None:
    """Who has told systemd to stop us waits no longer than it must; the report is not lost."""
    diary.configure(on=["failure"])
    diary.is_ill("sleeps")
    run = local.start(*RUN, "--report-timeout", "1m", "--", "sh", "-c", "exit 5")
    until("it is telling", diary.asked)
    run.terminate()
    assert run.wait() == 5
    assert not is_alive(diary.asked()[0])
    assert len(diary.waiting()) == 1


def test_a_killed_keeper_loses_no_report(local: Lab, diary: Diary) -> None:
    """It wrote it down first; the next run tells it, though nobody else knows of it."""
    diary.configure(on=["failure"])
    diary.is_ill("sleeps")
    run = local.start(*RUN, "--report-timeout", "1m", "--", "sh", "-c", "exit 5")
    until("it is telling", diary.asked)
    run.kill()
    run.wait()
    os.kill(diary.asked()[0], signal.SIGKILL)
    diary.is_ill("sleeps", ill=False)
    local.call(*RUN, "--", "sh", "-c", "exit 6")
    assert [entry["record"]["exit_status"] for entry in diary.entries()] == [5, 6]  # type: ignore[index]


def test_what_waits_for_other_jobs_is_told_too(local: Lab, diary: Diary) -> None:
    """A job that runs once a month is not the one to wait for."""
    diary.is_ill("not-now")
    local.call("run", "--name", "monthly", "--report", "diary", "--", "true")
    assert len(diary.waiting("monthly")) == 2
    diary.is_ill("not-now", ill=False)
    local.call(*RUN, "--", "true")
    told = [(entry["job"], entry["event"]) for entry in diary.entries()]
    assert sorted(told) == sorted(
        (job, event) for job in ("job", "monthly") for event in ("start", "success")
    )
    assert told.index(("monthly", "start")) < told.index(("monthly", "success"))


def test_a_state_folder_that_takes_nothing_still_lets_it_be_told(local: Lab, diary: Diary) -> None:
    """The report has its one chance; that it was not kept is said."""
    local.env["CRONGUARD_STORE"] = f"sqlite://{local.folder}/elsewhere.db"
    local.state.write_text("a file, and no folder")
    ended = local.call(*RUN, "--", "true")
    assert ended.returncode == 0, ended.stderr
    assert b"cannot be kept on this host" in ended.stderr
    assert diary.events() == ["start", "success"]


def test_no_secret_is_in_argv_or_environment_of_who_tells(local: Lab, diary: Diary) -> None:
    """It reads the configuration by itself."""
    secret = local.folder / "secret"
    secret.write_text("c4nary-secret\n")
    secret.chmod(0o600)
    diary.configure(on=["success"], key="c4nary-secret")
    diary.is_ill("sleeps")
    run = local.start(*RUN, "--report-timeout", "1m", "--", "true")
    until("it is telling", diary.asked)
    (pid,) = diary.asked()
    for name in ("cmdline", "environ"):
        assert b"c4nary" not in Path(f"/proc/{pid}/{name}").read_bytes()
    run.terminate()
    run.communicate()


def test_no_reporter_no_process(local: Lab, diary: Diary) -> None:
    """What nobody wants to hear of starts nothing; neither does --no-report."""
    diary.configure("[defaults]\nreport = ['diary']", on=["failure"])
    assert local.call("run", "--name", "job", "--", "true").returncode == 0
    assert local.call("run", "--name", "job", "--no-report", "--", "false").returncode == 1
    assert not (local.state / "spool").exists()
    assert local.call("run", "--name", "job", "--", "false").returncode == 1
    assert diary.events() == ["failure"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--report", "dairy"), b"there is no reporter dairy; did you mean diary?"),
        (("--report", "diary", "--no-report"), b"both --report and --no-report"),
        (("--report", "../x"), b"is no name of a reporter"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    local: Lab, diary: Diary, arguments: tuple[str, ...], words: bytes
) -> None:
    """The command does not run."""
    ended = local.call("run", "--name", "job", *arguments, "--", "touch", str(local.folder / "ran"))
    assert ended.returncode == 125
    assert words in ended.stderr
    assert not (local.folder / "ran").exists()
    assert not diary.entries()


def test_an_abandoned_run_is_told_by_the_one_after_it(local: Lab, diary: Diary) -> None:
    """Its keeper could not: it is told once, before the run that found it, and is a failure."""
    diary.configure(on=["failure", "recovery"])
    for _ in range(2):
        run = local.start_ready(*RUN, "--wait", "1m", "--", "sh", "-c", "echo ready; sleep 60")
        run.kill()
        run.wait()
    for _ in range(2):
        assert local.call(*RUN, "--wait", "1m", "--", "true").returncode == 0
    outcomes = [(one["record"]["outcome"], one["failures"]) for one in diary.entries()]  # type: ignore[index]
    assert outcomes == [("abandoned", 1), ("abandoned", 2), ("succeeded", 2)]


def test_a_start_that_could_not_be_told_is_told_with_the_end(local: Lab, diary: Diary) -> None:
    """Whoever told it was killed while the command ran; it is told before the end, and once."""
    diary.is_ill("dies")
    run = local.start(*RUN, "--", *local.python("import sys; sys.stdin.read()"), stdin=-1)
    until("the start is being told", diary.asked)
    until("who tells it is gone", lambda: not is_alive(diary.asked()[0]))
    diary.is_ill("dies", ill=False)
    run.communicate(b"")
    assert run.returncode == 0
    assert diary.events() == ["start", "success"]


def test_a_state_folder_that_hangs_holds_up_no_run(local: Lab, diary: Diary) -> None:
    """While the command runs, nobody who holds its lock writes a report: who tells does."""
    diary.configure(on=["start"])
    (local.state / "spool").mkdir(parents=True, mode=0o700)
    os.mkfifo(local.state / "spool" / "job")  # whoever wants a folder there fails
    run = local.start(*RUN, "--", *local.python("import sys; sys.stdin.read()"), stdin=-1)
    until("the start is told", lambda: diary.events() == ["start"])
    _, said = run.communicate(b"")
    assert run.returncode == 0
    assert b"cannot be kept on this host" in said


def test_runs_that_never_came_are_told_by_the_next(local: Lab, diary: Diary) -> None:
    """Once; a run for the next slot asks nobody, and starts no process of its own."""
    diary.configure(on=["missed"])
    once = ("run", "--name", "job", "--report", "diary", "--once", "1h", "--", "true")

    def pretend(hours: int) -> None:
        """Have all that has happened been so long ago."""
        with closing(sqlite3.connect(local.state / "cronguard.db")) as store, store:
            for seq, text in store.execute("SELECT seq, text FROM records").fetchall():
                record = json.loads(text)
                for name in ("slot", "queued_at", "started_at", "ended_at"):
                    at = datetime.fromisoformat(record[name]) - timedelta(hours=hours)
                    record[name] = f"{at:%Y-%m-%dT%H:%M:%S}.000Z"
                store.execute(
                    "UPDATE records SET text = ? WHERE seq = ?", (json.dumps(record), seq)
                )
            store.execute("DELETE FROM slots")
        note = local.state / "slots" / "cg@job"
        slot, _, rule = note.read_text().partition(" ")
        note.write_text(f"{int(slot) - hours * 3_600_000} {rule}")

    local.call(*once)
    assert diary.asked() == []
    pretend(1)
    local.call(*once)
    assert diary.asked() == [], "none is missing"
    pretend(3)
    local.call(*once)
    (entry,) = diary.entries()
    assert entry["event"] == "missed"
    assert str(entry["warning"]).startswith(
        "2 runs are missing before this one: they were due from"
    )
    assert entry["run_id"] == local.records("job")[0]["run_id"]
    pretend(1)
    local.call(*once)
    assert len(diary.entries()) == 1


BLOCK = """
import sys, time
from cronguard import guard
def work():
    with guard("job"):
        sys.stdin.readline()
        if len(sys.argv) > 1:
            raise ValueError("no")
try:
    work()
except ValueError:
    pass
print("over", flush=True)
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_block_of_python_code_is_told_of_as_a_run_is(
    local: Lab, diary: Diary, fails: bool
) -> None:
    """Its start while it runs; its end also where the program ends with it."""
    diary.configure("[jobs.job]\nreport = ['diary']\n", on=["start", "success", "failure"])
    block = start_block(local, *(["fail"] if fails else []))
    until("the start is told", lambda: diary.events() == ["start"])
    block.communicate(b"\n", timeout=60)
    assert block.returncode == 0
    end = "failure" if fails else "success"
    until("the end is told", lambda: diary.events() == ["start", end])
    assert diary.entries()[1]["record"]["reason"] == ("ValueError: no" if fails else None)  # type: ignore[index]
    until("nobody is left", lambda: not local.marked())


@pytest.mark.parametrize("how", ["sleeps", "dies", "raises"])
def test_an_ill_reporter_holds_up_no_block(local: Lab, diary: Diary, how: str) -> None:
    """The program goes on, and ends; the report waits for the next run."""
    diary.configure("[defaults]\nreport = ['diary']\nreport_timeout = '1m'\n", on=["success"])
    diary.is_ill(how)
    block = start_block(local)
    out, _ = block.communicate(b"\n", timeout=50)
    assert (block.returncode, out) == (0, b"over\n")
    until("it was asked", lambda: len(diary.asked()) == 1)
    for pid in diary.asked():
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    until("nobody is left", lambda: not local.marked())
    assert len(diary.waiting()) == 1
    diary.is_ill(how, ill=False)
    assert local.call("run", "-n", "job", "--", "true").returncode == 0
    assert diary.events() == ["success", "success"]


def start_block(lab: Lab, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a program whose block waits for a line."""
    process = subprocess.Popen(
        [lab.interpreter, "-c", BLOCK, *arguments],
        env=lab.env,
        cwd=lab.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    lab.started.append(process)
    return process
