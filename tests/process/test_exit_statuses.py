"""`cronguard run` ends as the command ended, and says what it did itself by its own statuses."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.process.lab import Lab, until

CATCHABLE = sorted(
    set(signal.valid_signals())
    - {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
    - {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
)


@pytest.mark.parametrize("start", range(0, 256, 32))
def test_all_256_exit_statuses_come_through(local: Lab, start: int) -> None:
    """Nothing is mapped, masked or reserved."""
    for status in range(start, start + 32):
        assert (
            local.call("run", "-n", "job", "--", "sh", "-c", f"exit {status}").returncode == status
        )


@pytest.mark.parametrize("signum", CATCHABLE)
def test_death_by_a_signal_is_128_plus_its_number(local: Lab, signum: int) -> None:
    """As a shell says it; the record names the signal."""
    done = local.call("run", "-n", "job", "--", "sh", "-c", f"kill -{int(signum)} $$")
    assert done.returncode == 128 + signum
    record = local.records("job")[0]
    assert (record["signal"], record["outcome"]) == (signum, "failed")


def test_p1_what_cannot_be_executed_says_why(lab: Lab) -> None:
    """P1: 127 not found, 126 not executable, 127 bad interpreter; no `#!` runs by the shell."""
    plain = lab.folder / "plain"
    plain.write_text("echo hi\n")
    cases = (
        ("no-such-command", 127, b"not found in path"),
        ("/no/such/file", 127, b"not found"),
        (str(plain), 126, b"permission denied"),
        (str(lab.folder), 126, b"permission denied"),
        (lab.script("bad", "#!/no/such/interpreter\n"), 127, b"interpreter"),
    )
    for command, status, why in cases:
        done = lab.call("run", "-n", "job", "--", command)
        assert (done.returncode, why in done.stderr.lower()) == (status, True), done.stderr
        assert lab.records("job")[0]["outcome"] == "not_started"
    done = lab.call("run", "-n", "job", "--", lab.script("bare", "echo from $0; exit 7\n"))
    assert (done.returncode, done.stdout[:5]) == (7, b"from ")


def test_p6_a_timeout_is_124_and_leaves_nothing(lab: Lab) -> None:
    """P6: TERM at the timeout; the outcome is timed_out also when the command then exits 0."""
    done = lab.call(
        "run",
        "-n",
        "job",
        "-t",
        "300ms",
        "--",
        *lab.python(
            "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\ntime.sleep(60)"
        ),
    )
    assert done.returncode == 124
    assert b"timed out after 300ms" in done.stderr
    assert lab.records("job")[0]["outcome"] == "timed_out"


def test_p5_a_command_that_ignores_term_is_killed_after_the_grace(lab: Lab) -> None:
    """P5: KILL comes, and the status is still 124."""
    done = lab.call(
        "run",
        "-n",
        "job",
        "-t",
        "200ms",
        "-k",
        "300ms",
        "--",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 0.05; done",
    )
    record = lab.records("job")[0]
    assert (done.returncode, record["outcome"], record["signal"]) == (124, "timed_out", 9)
    assert record["duration_ms"] >= 500  # type: ignore[operator]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_p3_a_signal_stops_the_run_and_gives_the_lock_back(lab: Lab, signum: int) -> None:
    """P3: the very signal reaches the command; exit 128+N; the next run starts at once."""
    text = (
        "import os, signal, sys, time\n"
        f"signal.signal({int(signum)}, lambda n, _: sys.exit(os.write(1, b'got %d\\n' % n) * 0))\n"
        "os.write(1, b'ready\\n')\ntime.sleep(60)"
    )
    keeper = lab.start("run", "-n", "job", "--", *lab.python(text))
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == b"ready\n"
    keeper.send_signal(signum)
    out, _ = keeper.communicate(timeout=20)
    assert (keeper.returncode, out) == (128 + signum, b"got %d\n" % signum)
    assert lab.records("job")[0]["outcome"] == "stopped"
    assert lab.call("run", "-n", "job", "--", "true").returncode == 0


def test_p4_a_second_term_in_the_grace_changes_nothing(lab: Lab) -> None:
    """P4: no crash, and the grace is not extended."""
    keeper = lab.start(
        "run",
        "-n",
        "job",
        "-k",
        "400ms",
        "--",
        "sh",
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    )
    assert keeper.stdout is not None
    keeper.stdout.readline()
    for _ in range(3):
        keeper.send_signal(signal.SIGTERM)
        until("the signal to be taken", lambda: True)
    assert keeper.wait(20) == 128 + signal.SIGTERM


def test_l1_a_held_lock_skips_and_says_whose_it_is(lab: Lab) -> None:
    """L1: nothing is started; status 0 or the chosen one; the record names the holder."""
    first = lab.start("run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert first.stdout is not None
    first.stdout.readline()
    touched = lab.folder / "second-ran"
    second = lab.call("run", "-n", "job", "--", "touch", str(touched))
    third = lab.call("run", "-n", "job", "-E", "75", "--", "touch", str(touched))
    assert (second.returncode, third.returncode, touched.exists()) == (0, 75, False)
    assert f"pid {first.pid}".encode() in second.stderr
    skip = lab.skips("job")[0]
    assert (skip["outcome"], skip["reason"], skip["holder"]["pid"]) == (  # type: ignore[index]
        "skipped",
        "held",
        first.pid,
    )
    first.terminate()
    assert first.wait(20) == 143


def test_a_derived_name_keeps_two_runs_of_one_command_apart(lab: Lab) -> None:
    """Without --name, the same argv is the same job, and other arguments are another."""
    first = lab.start("run", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert first.stdout is not None
    first.stdout.readline()
    same = lab.call("run", "-E", "9", "--", "sh", "-c", "echo ready; exec sleep 60")
    other = lab.call("run", "-E", "9", "--", "sh", "-c", "exit 3")
    assert (same.returncode, other.returncode) == (9, 3)
    first.terminate()
    first.wait(20)


def test_p18_the_child_has_default_signals_and_an_empty_mask(local: Lab) -> None:
    """P18: whatever was ignored or blocked around us is not passed on."""

    def spoil() -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])

    done = local.call("run", "--", "cat", "/proc/self/status", preexec_fn=spoil)
    fields = [line.split() for line in done.stdout.decode().splitlines()]
    wanted = ("SigBlk:", "SigIgn:", "SigCgt:")
    of_libc = 1 << 31 | 1 << 32  # signals 32 and 33: libc keeps them to itself and sets them anew
    values = {words[0]: int(words[1], 16) & ~of_libc for words in fields if words[0] in wanted}
    assert values == {"SigBlk:": 0, "SigIgn:": 0, "SigCgt:": 0}


def test_only_standard_descriptors_reach_the_child(local: Lab) -> None:
    """P19: neither our own pipes and sockets nor what we were given beyond 2."""
    with open("/dev/null") as extra:
        done = subprocess.run(
            local.argv("run", "--", "ls", "/proc/self/fd"),
            env=local.env,
            pass_fds=(extra.fileno(),),
            capture_output=True,
            timeout=30,
            check=True,
        )
    assert done.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3 is the listing itself
