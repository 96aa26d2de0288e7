"""Output goes through byte for byte, in order, in constant memory, and never delays a decision."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import termios
from array import array
from pathlib import Path
from typing import IO

import pytest

from tests.process.lab import Lab, until
from tests.process.witness import wait_for_renewal

MB = 1 << 20


def peak_mb(pid: int) -> int:
    """Return the most memory that *pid* has had, in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return (
        int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]) >> 10
    )


@pytest.mark.parametrize("quiet", [False, True])
def test_o1_output_of_any_size_takes_constant_memory(local: Lab, quiet: bool) -> None:
    """O1: 300 MB go by, counted, and the keeper stays as small as it was."""
    text = "head -c 300M /dev/zero; echo; echo ready >&2; read x; exit 1"
    count = 300 * MB + 1
    with (local.folder / "out").open("wb") if quiet else open(os.devnull, "wb") as sink:
        run = local.start(
            *("run", *(["-q"] if quiet else []), "-n", "job", "--", "sh", "-c"),
            text
            if not quiet
            else text.replace("; echo ready >&2", "").replace("read x", "touch up; read x"),
            stdout=sink,
            stdin=subprocess.PIPE,
        )
        assert run.stderr is not None
        assert run.stdin is not None
        if quiet:
            until("all of it to be written", (local.folder / "up").exists, 120)
        else:
            assert run.stderr.readline() == b"ready\n"
        memory = peak_mb(run.pid)
        run.stdin.close()
        assert run.wait(120) == 1
    assert memory < 32, f"{memory} MB"
    assert local.records("job")[0]["output_bytes"] == count + (0 if quiet else 6)
    if quiet:
        assert (local.folder / "out").stat().st_size == count


def test_o2_any_bytes_come_through_as_they_are(lab: Lab) -> None:
    """O2: binary, NUL, no newline; the record shows what is no text as such."""
    blob = os.urandom(3 * MB) + b"\0\xff end without newline"
    (lab.folder / "blob").write_bytes(blob)
    done = lab.call("run", "-n", "job", "--", "cat", "blob")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(blob).digest()
    record = lab.records("job")[0]
    assert record["output_bytes"] == len(blob)
    tail = record["output_tail"]
    assert isinstance(tail, str)
    assert tail.endswith("\ufffd end without newline")
    assert len(tail.encode()) < 200_000


def test_o2_one_line_of_100_mb(local: Lab) -> None:
    """O2: no line is waited for, none is kept whole."""
    run = local.start("run", "-n", "job", "--", "sh", "-c", "head -c 100M /dev/zero | tr '\\0' x")
    assert run.stdout is not None
    size, peak = 0, 0
    while data := run.stdout.read(1 << 16):
        size += len(data)
        if size % (16 * MB) < len(data) and run.poll() is None:
            peak = max(peak, peak_mb(run.pid))
    assert (run.wait(30), size) == (0, 100 * MB)
    assert peak < 32


def test_o2_each_byte_comes_as_it_is_written(local: Lab) -> None:
    """O2: a prompt without a newline is not held back."""
    text = "for i in 1 2 3; do printf $i; read x; done"
    run = local.start("run", "-n", "job", "--", "sh", "-c", text, stdin=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdin is not None
    for i in (b"1", b"2", b"3"):
        assert run.stdout.read(1) == i
        run.stdin.write(b"\n")
        run.stdin.flush()
    assert run.wait(20) == 0


def test_o3_a_reader_that_does_not_read_delays_no_timeout(lab: Lab) -> None:
    """O3: the pipe is full and stays so: the run is timed out, recorded, and its lock is free."""
    run = lab.start("run", "-n", "job", "-t", "1s", "-k", "300ms", "--", "yes")
    until("the record of its end", lambda: ended(lab))
    record = lab.records("job")[0]
    assert record["outcome"] == "timed_out"
    assert record["duration_ms"] >= 1000  # type: ignore[operator]
    assert lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0
    out, err = run.communicate(timeout=20)
    assert (run.returncode, set(out)) == (124, {*b"y\n"})
    assert b"timed out" in err


def ended(lab: Lab) -> bool:
    """Tell whether the job's newest run has an end."""
    records = lab.records("job")
    return bool(records) and records[0]["outcome"] != "running"


def test_o3_not_even_our_own_messages_are_waited_for(lab: Lab) -> None:
    """O3: `2>&1` into a full pipe: there is no room for a message, and KILL comes all the same."""
    text = "trap '' TERM; yes"
    run = lab.start(
        *("run", "-n", "job", "-t", "1s", "-k", "300ms", "--", "sh", "-c", text),
        stderr=subprocess.STDOUT,
    )
    until("the record of its end", lambda: ended(lab))
    assert lab.records("job")[0]["outcome"] == "timed_out"
    assert lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0
    out, _ = run.communicate(timeout=20)
    assert run.returncode == 124
    assert b"timed out" in out


def test_o3_the_lock_is_renewed_while_the_reader_sleeps(lab: Lab) -> None:
    """O3: heartbeats go on beside a blocked pump."""
    run = lab.start("run", "-n", "job", "--ttl", "10s", "--", "yes")
    pipe = run.stdout
    assert pipe is not None
    until("the pipe to be full", lambda: waiting_in(pipe) >= 65_536 - 4096)
    for _ in range(2):
        wait_for_renewal(lab)
    run.terminate()
    until("the record of its end", lambda: ended(lab))
    run.terminate()  # nobody will read: a second signal lets it go
    assert run.wait(30) == 143


def waiting_in(pipe: IO[bytes]) -> int:
    """Return how many bytes wait to be read."""
    size = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def test_o6_one_file_for_both_keeps_their_exact_order(lab: Lab) -> None:
    """O6: 2,000 lines in turn to stdout and stderr, as cron and `2>&1` have them."""
    text = "i=0; while [ $i -lt 1000 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done; printf part"
    done = lab.call("run", "-n", "job", "--", "sh", "-c", text, stderr=subprocess.STDOUT)
    assert done.stdout == b"".join(b"o%d\ne%d\n" % (i, i) for i in range(1000)) + b"part"


def test_o6_two_files_stay_two(lab: Lab) -> None:
    """O6: nothing crosses over, and the last line needs no newline."""
    text = "i=0; while [ $i -lt 500 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done; "
    text += "printf x; printf y >&2"
    done = lab.call("run", "-n", "job", "--", "sh", "-c", text)
    assert done.stdout == b"".join(b"o%d\n" % i for i in range(500)) + b"x"
    assert done.stderr == b"".join(b"e%d\n" % i for i in range(500)) + b"y"
    tail = lab.records("job")[0]["output_tail"]
    assert isinstance(tail, str)
    assert {"o499", "e499"} <= set(tail.replace("x", "\n").replace("y", "\n").split())


def test_o6_appending_to_a_file_appends(local: Lab) -> None:
    """O6: `>> log 2>&1`, as crontabs have it, with what others write to it in between."""
    log = local.folder / "log"
    log.write_bytes(b"before\n")
    with log.open("ab") as file:
        done = local.start(
            *("run", "-n", "job", "--", "sh", "-c", "echo out; echo err >&2; exit 3"),
            stdout=file,
            stderr=file,
        )
        assert done.wait(20) == 3
    assert log.read_bytes() == b"before\nout\nerr\n"


def test_o6_what_was_written_just_before_a_kill_is_there(local: Lab) -> None:
    """O6: the pipe is emptied also when the command was killed."""
    done = local.call("run", "-n", "job", "--", "sh", "-c", "head -c 60000 /dev/zero; kill -9 $$")
    assert (done.returncode, len(done.stdout)) == (137, 60_000)


def test_o4_what_a_terminal_would_obey_is_kept_but_not_shown(local: Lab) -> None:
    """O4: the stream is untouched; the record is ASCII, and `logs` shows the bytes as text."""
    done = local.call("run", "-n", "job", "--", "printf", "\\033]0;x\\007\\r\\033[31mred\\n")
    assert done.stdout == b"\x1b]0;x\x07\r\x1b[31mred\n"
    shown = local.call("logs", "job")
    assert b"red" in shown.stdout
    assert not set(shown.stdout) & set(b"\x1b\x07\r")
    record = local.call("history", "job", "--json").stdout
    assert not set(record) & set(b"\x1b\x07\r")


def test_o5_passwords_in_output_and_argv_are_not_kept(local: Lab) -> None:
    """O5: the stream is untouched; the record masks URLs and telling names."""
    done = local.call(
        *("run", "-n", "job", "--shell"),
        "echo connecting to redis://app:hunter2@db/0 --password=hunter2 >/dev/null; "
        "echo redis://app:hunter2@db/0",
    )
    assert done.stdout == b"redis://app:hunter2@db/0\n"
    text = str(local.records("job")[0])
    assert "redis://app:***@db/0" in text
    assert "hunter2" not in text


def test_output_to_a_stuck_reader_and_term_ends_at_once(local: Lab) -> None:
    """O3, P3: TERM to a run whose output nobody takes ends it, and us."""
    run = local.start("run", "-n", "job", "--", "yes")
    until("the command to run", lambda: len(local.marked()) == 3)
    run.terminate()
    until("the record of its end", lambda: ended(local))
    run.terminate()
    assert run.wait(20) == 143
