"""`--quiet`: nothing when all is well, everything, in order, when it is not."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.process.lab import Lab, until

LINES = "i=0; while [ $i -lt 300 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done; printf part; exit "


def test_a_run_that_succeeds_says_nothing(lab: Lab) -> None:
    """Neither stream; the record has the output all the same."""
    done = lab.call("run", "-q", "-n", "job", "--", "sh", "-c", LINES + "0")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    record = lab.records("job")[0]
    assert record["output_bytes"] == 2 * sum(len(f"o{i}\n") for i in range(300)) + 4


def test_a_run_that_fails_shows_everything(lab: Lab) -> None:
    """Each stream where it belongs, whole."""
    done = lab.call("run", "-q", "-n", "job", "--", "sh", "-c", LINES + "3")
    assert done.returncode == 3
    assert done.stdout == b"".join(b"o%d\n" % i for i in range(300)) + b"part"
    assert done.stderr == b"".join(b"e%d\n" % i for i in range(300))


def test_one_file_for_both_shows_their_exact_order(lab: Lab) -> None:
    """As cron mails it."""
    done = lab.call(
        "run", "-q", "-n", "job", "--", "sh", "-c", LINES + "3", stderr=subprocess.STDOUT
    )
    assert done.stdout == b"".join(b"o%d\ne%d\n" % (i, i) for i in range(300)) + b"part"


def test_a_timeout_shows_what_there_was(local: Lab) -> None:
    """A run that was stopped has not succeeded."""
    done = local.call(
        "run", "-q", "-n", "job", "-t", "300ms", "--", "sh", "-c", "echo far; sleep 60"
    )
    assert (done.returncode, done.stdout) == (124, b"far\n")
    assert b"timed out" in done.stderr


def test_a_skip_says_nothing(local: Lab) -> None:
    """A skip needs nobody; its status says it to who asks."""
    holder = local.start("run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert holder.stdout is not None
    holder.stdout.readline()
    done = local.call("run", "-q", "-n", "job", "-E", "9", "--", "true")
    assert (done.returncode, done.stdout, done.stderr) == (9, b"", b"")
    holder.terminate()
    holder.wait(20)


def test_a_command_that_cannot_start_is_told(local: Lab) -> None:
    """What failed before there was any output is shown as well."""
    done = local.call("run", "-q", "-n", "job", "--", "/no/such/command")
    assert (done.returncode, done.stdout) == (127, b"")
    assert b"not found" in done.stderr


@pytest.mark.parametrize("status", [0, 1])
def test_much_output_goes_through_the_file(local: Lab, status: int) -> None:
    """50 MB, with both streams in turn."""
    text = (
        "import os, sys\nfor i in range(400):\n"
        "    os.write(1 + i % 2, bytes([65 + i % 26]) * 131072)\n"
        f"sys.exit({status})"
    )
    done = local.call("run", "-q", "-n", "job", "--", *local.python(text))
    assert done.returncode == status
    wanted = [b"".join(bytes([65 + i % 26]) * 131072 for i in range(n, 400, 2)) for n in (0, 1)]
    assert [done.stdout, done.stderr] == (wanted if status else [b"", b""])
    assert local.records("job")[0]["output_bytes"] == 400 * 131072


def test_a_terminal_is_kept_quiet_too(local: Lab) -> None:
    """With --quiet the command does not inherit the terminal for its output."""
    master, slave = os.openpty()
    run = local.start(
        "run", "-q", "-n", "job", "--", "sh", "-c", "tty <&1; exit 0", stdout=slave, stderr=slave
    )
    assert run.wait(20) == 0
    os.close(slave)
    os.set_blocking(master, False)
    try:
        assert os.read(master, 100) == b""
    except OSError:
        pass  # EIO: nobody has it open, and nothing is in it
    os.close(master)


def test_no_file_is_left_when_we_are_killed(local: Lab) -> None:
    """The file has no name, so a killed keeper leaves none."""
    run = local.start("run", "-q", "-n", "job", "--", "sh", "-c", "echo x; touch up; sleep 600")
    until("the command to be up", (local.folder / "up").exists)
    run.kill()
    run.wait()
    until("nothing to be left", lambda: not local.marked())
    names = {path.name for path in local.state.iterdir()}
    assert {name.partition(".")[0] for name in names} <= {"cronguard", "dead"}
