"""`--log`, `--prefix`, `--tail-bytes`: where output goes besides, whole and within bounds."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.process.lab import Lab, until

RUN = ("run", "-n", "job")
BEGIN = r"=== 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z job: run [0-9a-f]{32} "
SHELL = ("sh", "-c")


def logged(lab: Lab, name: str = "job.log") -> list[str]:
    return (lab.folder / name).read_bytes().decode().splitlines()


def test_the_log_has_each_run_with_its_begin_and_its_end(local: Lab) -> None:
    """Appended; both streams; the output goes on to where it went."""
    say = "echo out; echo err >&2; exit $0"
    for status in (0, 7):
        arguments = (*RUN, "--log", "job.log", "--", *SHELL, say, str(status))
        ended = local.call(*arguments)
        assert (ended.returncode, ended.stdout, ended.stderr) == (status, b"out\n", b"err\n")
    lines = logged(local)
    assert len(lines) == 8
    assert re.match(BEGIN + r"begins on \S+, pid \d+: sh -c echo out; ", lines[0])
    assert {lines[1], lines[2]} == {"out", "err"}
    assert re.match(BEGIN + r"succeeded after \d+m?s, exit status 0$", lines[3])
    assert re.match(BEGIN + r"failed after \d+m?s, exit status 7$", lines[7])
    mode = (local.folder / "job.log").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600, "output may hold secrets"


@pytest.mark.parametrize("slash", ["", "/"])
def test_in_a_folder_each_job_has_its_file(local: Lab, slash: str) -> None:
    """One that is there."""
    (local.folder / "logs").mkdir()
    local.call(*RUN, "--log", f"logs{slash}", "--", "echo", "x")
    assert "x" in logged(local, "logs/job.log")


def test_a_skip_leaves_nothing(local: Lab) -> None:
    """The file of a job that is mostly skipped is about its runs."""
    run = local.start_ready(*RUN, "--", *SHELL, "echo ready; sleep 600")
    assert local.call(*RUN, "--log", "job.log", "--", "echo", "x").returncode == 0
    assert logged(local) == []
    run.terminate()
    run.communicate()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("none/job.log", b"no such file or directory"),
        ("none/", b"no such file or directory"),
        ("fifo", b"it is no file"),
        ("/dev/full", b"it is no file"),
    ],
)
def test_a_log_that_cannot_be_one_is_refused_before_the_command(
    local: Lab, path: str, why: bytes
) -> None:
    """With a record, and the lock free."""
    os.mkfifo(local.folder / "fifo")
    ended = local.call(*RUN, "--log", path, "--", "touch", "ran")
    assert ended.returncode == 125
    assert b"not started: cannot open the log" in ended.stderr
    assert why in ended.stderr
    assert not (local.folder / "ran").exists()
    (record,) = local.records("job")
    assert (record["outcome"], record["reason"]) == ("not_started", "log_refused")


def test_json_has_an_object_for_each_line(local: Lab) -> None:
    """With stream, time and run; bytes that are no text come back as they were."""
    say = r"printf 'a\0b\377\n\n'; echo err >&2; printf end"
    arguments = (*RUN, "--log", "l.json", "--log-format", "json", "--", *SHELL, say)
    local.call(*arguments, stderr=-2)
    begin, *said, end = (json.loads(line) for line in logged(local, "l.json"))
    assert (begin["event"], end["event"], end["outcome"]) == ("begin", "end", "succeeded")
    out = [one["message"] for one in said if one["stream"] == "stdout"]
    assert out[0].encode("utf-8", "surrogateescape") == b"a\0b\xff"
    assert out[1:] == ["", "end"]
    assert [one["message"] for one in said if one["stream"] == "stderr"] == ["err"]
    assert {one["run_id"] for one in said} == {begin["run_id"]}


def test_many_runs_write_whole_lines_into_one_log_while_it_is_turned(local: Lab) -> None:
    """No line is lost, broken, or there twice, though files are renamed under the writers."""
    say = "i=0; while [ $i -lt 2000 ]; do echo line-$0-$i-; i=$((i+1)); done"
    runs = [
        local.start(
            *("run", "-n", f"job-{number}", "--log", "all.log", "--log-size", "20k"),
            *("--log-keep", "999", "--", *SHELL, say, str(number)),
            stdout=subprocess.DEVNULL,
        )
        for number in range(6)
    ]
    for run in runs:
        assert run.wait(60) == 0
    files = sorted(local.folder.glob("all.log*"))
    assert len(files) > 2, "it was turned"
    lines = [line for file in files for line in file.read_text().splitlines()]
    said = sorted(line for line in lines if not line.startswith("=== "))
    assert said == sorted(f"line-{n}-{i}-" for n in range(6) for i in range(2000))
    ends = [line for line in lines if " succeeded after " in line]
    assert len(ends) == 6


def test_old_logs_go_and_the_new_one_is_like_them(local: Lab) -> None:
    """So many are kept, the newest; whoever set the file's mode finds it again."""
    log = local.folder / "job.log"
    log.touch()
    log.chmod(0o640)
    (local.folder / "job.log.mine").touch()
    for number in range(6):
        arguments = ("--log", "job.log", "--log-size", "150", "--log-keep", "2")
        local.call(*RUN, *arguments, "--", "echo", f"number {number}")
    old = sorted(path.name for path in local.folder.glob("job.log.2*"))
    assert len(old) == 2
    assert all(re.fullmatch(r"job\.log\.\d{8}T\d{6}\.\d{3}Z", name) for name in old)
    assert "number 4" in (local.folder / old[-1]).read_text()
    assert "number 5" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    assert (local.folder / "job.log.mine").exists()


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_log_that_is_old_is_turned_when_a_run_begins(local: Lab, style: str) -> None:
    """By the moment of its first line."""
    arguments = (*RUN, "--log", "l", "--log-format", style, "--log-age", "1h", "--", "echo", "x")
    local.call(*arguments)
    local.call(*arguments)
    log = local.folder / "l"
    assert len(list(local.folder.glob("l.2*"))) == 0
    log.write_text(re.sub(r"20\d\d-", "2001-", log.read_text()))
    local.call(*arguments)
    assert len(list(local.folder.glob("l.2*"))) == 1
    assert "2001-" not in log.read_text()


def test_a_run_that_was_killed_leaves_half_a_line_and_the_next_begins_its_own(local: Lab) -> None:
    """What was written stays; nothing is joined to it."""
    arguments = (*RUN, "--log", "job.log")
    run = local.start(*arguments, "--", *SHELL, "yes | head -c 200000 | tr -d '\\n'; sleep 600")
    until("it is logged", lambda: len(local.said("job.log")) > 60_000)
    run.kill()
    run.wait()
    until("the tree is dead", lambda: len(local.marked()) == 0)
    local.call(*arguments, "--wait", "1m", "--", "echo", "x")
    lines = logged(local)
    assert [bool(re.match(BEGIN, line)) for line in lines] == [True, False, True, False, True]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_changes_nothing_but_the_log(local: Lab) -> None:
    """Output and status are the command's; what is missing is counted and said."""
    disk = local.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=224k", "tmpfs", disk], check=True)
    try:
        say = "yes 123456789 | head -n 20000; rm disk/ballast; echo more; exit 3"
        # 44 kB are full before the end of 200 kB is even in the pipe; what may still be on its way
        # when the ballast is gone (the pipe, and what is read at a time) has room in its place.
        (disk / "ballast").write_bytes(b"x" * 180_000)
        arguments = (*RUN, "--log", "disk/job.log", "--", *SHELL, say)
        ended = local.call(*arguments)
        assert ended.returncode == 3
        assert ended.stdout == b"123456789\n" * 20_000 + b"more\n"
        assert (
            b"cronguard: job: something is missing in its log disk/job.log: no space"
            in ended.stderr
        )
        text = (disk / "job.log").read_text()
    finally:
        subprocess.run(["umount", disk], check=True)
    (record,) = local.records("job")
    assert "something is missing in its log" in json.dumps(record["warnings"])
    lines = text.splitlines()
    (lost,) = [line for line in lines if "bytes are missing here: no space left" in line]
    missing = int(re.search(r"(\d+) bytes are missing", lost)[1])  # type: ignore[index]
    said = sum(len(line) + 1 for line in lines if not line.startswith("="))
    assert 0 <= said + missing - 200_005 <= 1, "half a line has a line end that was not said"
    assert re.match(BEGIN + "failed", lines[-1])


def test_the_log_of_much_output_takes_little_memory(local: Lab) -> None:
    """200 MB without a line end, and as much in lines: as text, as objects, with a prefix."""
    peak = local.folder / "peak"
    say = f"""
import os, sys
for _ in range(100): os.write(1, b"\\0" * 1_000_000)
for _ in range(50): os.write(1, b"y\\n" * 50_000)
guardian = os.getppid()
stat = open(f"/proc/{{guardian}}/stat").read()
keeper = stat.rpartition(")")[2].split()[1]
with open({str(peak)!r}, "w") as file:
    for pid in (guardian, keeper):
        file.writelines(line for line in open(f"/proc/{{pid}}/status") if "VmHWM" in line)
"""
    arguments = ("--log", "big", "--log-format", "json", "--log-size", "10M", "--log-keep", "0")
    command = ("--prefix", "> ", "--", *local.python(say))
    ended = local.call(*RUN, *arguments, *command, stdout=subprocess.DEVNULL)
    assert ended.returncode == 0
    kilobytes = [int(line.split()[-2]) for line in peak.read_text().splitlines()]
    assert len(kilobytes) == 2
    assert max(kilobytes) < 64_000, kilobytes
    assert sum(path.stat().st_size for path in local.folder.glob("big*")) < 12 << 20
    assert local.records("job")[0]["output_bytes"] == 105_000_000


def test_each_line_gets_the_prefix(local: Lab) -> None:
    """In what is shown, and not in the log; with the stream's name the streams are apart."""
    arguments = ("--log", "job.log", "--prefix", "[{job} {stream}] ")
    say = "echo a; sleep 0.1; echo b >&2; printf c"
    ended = local.call(*RUN, *arguments, "--", *SHELL, say, stderr=-2)
    assert sorted(ended.stdout.splitlines()) == [
        b"[job stderr] b",
        b"[job stdout] a",
        b"[job stdout] c",
    ]
    assert "a" in logged(local)
    ended = local.call(*RUN, "--quiet", "--prefix", "> ", "--", *SHELL, "echo a; exit 3")
    assert ended.stdout == b"> a\n"


@pytest.mark.parametrize("text", ["{nobody}", "{job", "a\nb", "", "x" * 201])
def test_a_prefix_that_cannot_be_is_refused(local: Lab, text: str) -> None:
    """C1: with what it may have."""
    ended = local.call(*RUN, "--prefix", text, "--", "true")
    assert ended.returncode == 125
    assert b"--prefix" in ended.stderr


@pytest.mark.parametrize(
    ("size", "kept"),
    [("0", ""), ("4", "0123\n[... 2 bytes not kept ...]\n6789"), ("5", "0123456789")],
)
def test_the_record_keeps_as_much_as_it_is_told(local: Lab, size: str, kept: str) -> None:
    """Of the begin and of the end."""
    assert local.call(*RUN, "--tail-bytes", size, "--", "printf", "0123456789").returncode == 0
    (record,) = local.records("job")
    assert (record["output_tail"], record["output_bytes"]) == (kept, 10)


def test_nothing_of_the_output_is_kept_in_the_reason_either(local: Lab) -> None:
    """Who keeps none does not want it anywhere."""
    arguments = ("--tail-bytes", "0", "--fail-on-output", "ERR", "--", "echo", "ERR: c4nary")
    assert local.call(*RUN, *arguments).returncode == 123
    (record,) = local.records("job")
    assert "c4nary" not in str(record["reason"])


def test_a_record_takes_no_more_than_it_can(local: Lab) -> None:
    """C1: it goes to a store with each run."""
    ended = local.call(*RUN, "--tail-bytes", "1M", "--", "true")
    assert ended.returncode == 125
    assert b"256k at most" in ended.stderr


def test_secrets_of_the_command_are_not_in_the_log(local: Lab) -> None:
    """Neither in the line that a run begins with, nor in what the command says; which is shown."""
    env = {"DB_PASSWORD": "c4nary-of-env", "STORE": "redis://me:c4nary-of-url@h/0"}
    words = ("--password=c4nary-of-argv", "c4nary-of-env, c4nary-of-url")
    for style in ("text", "json"):
        arguments = (*RUN, "--log", "job.log", "--log-format", style, "--", "echo", *words)
        ended = local.call(*arguments, env=env)
        assert ended.stdout.decode() == " ".join(words) + "\n"
        text = (local.folder / "job.log").read_text()
        assert "c4nary" not in text
        assert "--password=***" in text
        assert "***, ***" in text


def test_the_log_may_be_a_link(local: Lab, tmp_path: Path) -> None:
    """As with a shell's `>>`."""
    (local.folder / "real").touch()
    (local.folder / "job.log").symlink_to(local.folder / "real")
    local.call(*RUN, "--log", "job.log", "--", "echo", "x")
    assert "x" in logged(local, "real")
