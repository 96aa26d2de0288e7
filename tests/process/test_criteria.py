"""What counts as a failure beyond the exit status, with real commands; and warnings."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest

from tests.process.lab import Lab, is_alive, until
from tests.process.reporting import Diary

RUN = ("run", "-n", "job")
SLOW = "(x+x+)+y"
"""A pattern that needs longer for a row of x than anybody will wait."""

FILLING = "seq 20000 | head -c 71000"
"""Fills a reader's pipe of 4096 bytes and what we hold for it, and then not all of our own pipe."""

HELD = "{ echo ready; read line; }"


def why(lab: Lab) -> str:
    return str(lab.records("job")[0]["reason"])


def outcome(lab: Lab) -> str:
    return str(lab.records("job")[0]["outcome"])


@pytest.mark.parametrize("where", ["", " >&2"])
@pytest.mark.parametrize("joined", [False, True])
def test_output_that_matches_is_a_failure(local: Lab, where: str, joined: bool) -> None:
    """On either stream, also where both are one; the output goes through as it is."""
    say = f"echo fine{where}; echo 'an ERROR: 7'{where}"
    options = {"stderr": -2} if joined else {}
    ended = local.call(*RUN, "--fail-on-output", r"ERR\w+: \d", "--", "sh", "-c", say, **options)
    assert ended.returncode == 123
    assert b"fine\nan ERROR: 7\n" in (ended.stderr if where and not joined else ended.stdout)
    assert b"counts as failed (exit status 123): its output matches" in (
        ended.stdout if joined else ended.stderr
    )
    assert why(local) == r"its output matches ERR\w+: \d (--fail-on-output): an ERROR: 7"


@pytest.mark.parametrize(
    "said",
    ["password={canary}", "https://me:{canary}@host/", "given {canary}", "badge-{canary}"],
)
@pytest.mark.parametrize("line", ["{0} {1:.>38} ERROR", "ERROR {1:.>170} {0}"])
def test_no_half_of_a_secret_is_in_the_reason(local: Lab, said: str, line: str) -> None:
    """S1: a line is masked before it is cut, wherever the cut is: by looks, value, `redact`."""
    canary = "c4naryc4naryc4nary"
    path = local.folder / "line"
    path.write_text(line.format(said.format(canary=canary), ""))
    env = {"CRONGUARD_REDACT": r"badge-\w+"} | ({"A_TOKEN": canary} if "given" in said else {})
    local.call(*RUN, "--fail-on-output", "ERROR", "--", "cat", str(path), env=env)
    assert "ERROR" in why(local)
    assert "c4na" not in why(local)


def test_output_that_does_not_match_is_none(local: Lab) -> None:
    """And a status of the command's own stays, matched or not."""
    command = ("--fail-on-output", "ERROR", "--fail-on-output", "FATAL", "--", "sh", "-c")
    assert local.call(*RUN, *command, "echo fine").returncode == 0
    assert local.call(*RUN, *command, "echo FATAL; exit 3").returncode == 3
    assert local.call(*RUN, *command, "echo FATAL; kill -9 $$").returncode == 137


def test_each_attempt_is_searched_by_itself(local: Lab) -> None:
    """The first says it, the second does not."""
    say = "test $CRONGUARD_ATTEMPT = 2 || echo ERROR"
    again = ("--retries", "1", "--retry-delay", "1ms")
    ended = local.call(*RUN, *again, "--fail-on-output", "ERROR", "--", "sh", "-c", say)
    assert ended.returncode == 0
    assert b"attempt 1 of 2 exited with 0, and counts as failed: its output matches" in ended.stderr
    assert local.records("job")[0]["outcome"] == "succeeded"


@pytest.mark.parametrize("joined", [False, True])
def test_a_word_on_stderr_is_a_failure(local: Lab, joined: bool) -> None:
    """Also where both streams are one file: they are told apart for it."""
    options = {"stderr": -2} if joined else {}
    arguments = (*RUN, "--fail-on-stderr", "--", "sh", "-c")
    assert local.call(*arguments, "echo fine", **options).returncode == 0
    ended = local.call(*arguments, "echo fine; echo oops >&2", **options)
    assert ended.returncode == 123
    assert b"fine\n" in ended.stdout
    assert why(local) == "it wrote to stderr (--fail-on-stderr)"


@pytest.mark.parametrize("option", [("--fail-on-stderr",), ("--fail-on-output", "ERR[O]R")])
def test_a_slow_reader_makes_no_failure(local: Lab, option: tuple[str, ...]) -> None:
    """What waits for our own reader is looked at all the same, and goes through in its order."""
    run = local.start(*RUN, *option, "--", "sh", "-c", FILLING, pipesize=4096)
    until("the run is over", lambda: local.records("job") and outcome(local) != "running")
    out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (0, b"")
    assert out == b"".join(b"%d\n" % number for number in range(1, 20_000))[:71_000]


def test_who_waits_for_a_slow_reader_is_searched_to_the_end(local: Lab) -> None:
    """The last line is in our own pipe when the command ends."""
    say = f"{FILLING}; echo; echo ERROR"
    options = ("--fail-on-output", "ERR[O]R", "--", "sh", "-c", say)
    run = local.start(*RUN, *options, pipesize=4096)
    until("the run is over", lambda: local.records("job") and outcome(local) == "failed")
    assert run.communicate(timeout=60)[0].endswith(b"\nERROR\n")
    assert run.returncode == 123
    assert "matches" in why(local)


def test_stragglers_that_go_on_writing_make_no_failure(local: Lab) -> None:
    """All that was said before the command's end is searched, and no end is waited for."""
    arguments = (*RUN, "--fail-on-output", "ERR[O]R", "--fail-on-stderr", "--", "sh", "-c")
    run = local.start(*arguments, "yes fine & exec sleep 0.1", pipesize=4096)
    until("the run is over", lambda: local.records("job") and outcome(local) != "running")
    assert why(local) == "None"
    run.communicate(timeout=60)
    assert run.returncode == 0


def test_with_quiet_such_a_failure_shows_its_output(local: Lab) -> None:
    """As any other failure does."""
    arguments = (*RUN, "--quiet", "--fail-on-output", "ERROR", "--", "echo")
    ended = local.call(*arguments, "fine")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    ended = local.call(*arguments, "ERROR")
    assert (ended.returncode, ended.stdout) == (123, b"ERROR\n")


def test_much_output_is_searched_to_its_last_byte(local: Lab) -> None:
    """100 MB in long and short lines; what is sought is in the last, which has no end."""
    say = "yes 'a line as any other' | head -c 60000000; head -c 40000000 /dev/zero; printf ERROR"
    arguments = (*RUN, "--fail-on-output", "ERR[O]R$", "--", "sh", "-c", say)
    ended = local.call(*arguments, stdout=-3)
    assert ended.returncode == 123, ended.stderr
    assert local.records("job")[0]["output_bytes"] == 100_000_005


@pytest.mark.parametrize("ttl", ["10s", "30s"])
def test_a_pattern_that_never_ends_fails_the_run_and_not_its_lock(local: Lab, ttl: str) -> None:
    """The keeper is not held up, the run says why it counts as failed, and nobody goes on."""
    said = "x" * 60
    ended = local.call(*RUN, "--ttl", ttl, "--fail-on-output", SLOW, "--", "echo", said)
    assert (ended.returncode, ended.stdout) == (123, f"{said}\n".encode())
    assert why(local).startswith("its output could not be searched: ")
    until("nobody searches any more", lambda: not local.marked())


def test_a_search_that_failed_is_begun_anew_with_the_next_attempt(local: Lab) -> None:
    """Each attempt is judged by what it said itself; nothing of the one before is left open."""
    x = "x" * 60
    say = f"test $CRONGUARD_ATTEMPT = 3 || echo {x}; test $CRONGUARD_ATTEMPT != 3 || {HELD}"
    again = ("--retries", "2", "--retry-delay", "1ms", "--ttl", "10s", "--fail-on-output", SLOW)
    run = local.start(*RUN, *again, "--", "sh", "-c", say, stdin=-1)
    out = [run.stdout.readline() for _ in range(3)]  # type: ignore[union-attr]
    assert out == [f"{x}\n".encode()] * 2 + [b"ready\n"]
    open_now = pipes_of(run.pid)
    once = local.start_ready(*RUN[:2], "once", *again[4:], "--", "sh", "-c", HELD, stdin=-1)
    assert open_now == pipes_of(once.pid)
    once.communicate(b"\n", timeout=60)
    _, err = run.communicate(b"\n", timeout=60)
    assert run.returncode == 0, err


def pipes_of(pid: int) -> int:
    """Return how many ends of pipes it has open."""
    links = [os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()]
    return len([link for link in links if link.startswith("pipe:")])


def test_a_killed_searcher_fails_the_run(local: Lab) -> None:
    """What was not searched is not taken for well; output goes on."""
    say = "echo ready; read line; echo more; exec sleep 0"
    run = local.start_ready(*RUN, "--fail-on-output", "ERROR", "--", "sh", "-c", say, stdin=-1)
    os.kill(searcher_of(run.pid), signal.SIGKILL)
    out, _ = run.communicate(b"\n", timeout=60)
    assert (run.returncode, out) == (123, b"more\n")
    assert why(local).startswith("its output could not be searched: ")


def test_a_searcher_that_comes_late_is_waited_for(local: Lab) -> None:
    """A busy host is no fault of the output; of what it may cost, the lease is the measure."""
    say = "echo ready; read line; echo more"
    run = local.start_ready(*RUN, "--fail-on-output", "ERROR", "--", "sh", "-c", say, stdin=-1)
    searcher = searcher_of(run.pid)
    os.kill(searcher, signal.SIGSTOP)
    late = Timer(2, os.kill, (searcher, signal.SIGCONT))
    late.start()
    out, err = run.communicate(b"\n", timeout=60)
    late.join()
    assert (run.returncode, out) == (0, b"more\n"), err


@pytest.mark.parametrize("frozen", [False, True])
def test_a_searcher_goes_with_its_keeper(local: Lab, frozen: bool) -> None:
    """K1: nothing of a killed keeper is left, whatever it was doing."""
    run = local.start_ready(
        *RUN, "--fail-on-output", SLOW, "--", "sh", "-c", f"echo ready; echo {'x' * 60}; sleep 600"
    )
    searcher = searcher_of(run.pid)
    until("it searches", lambda: cpu_ticks(searcher) > 20)
    if frozen:
        os.kill(searcher, signal.SIGSTOP)
    run.kill()
    until("the searcher is gone", lambda: not is_alive(searcher))


def cpu_ticks(pid: int) -> int:
    """Return how much processor time it has used."""
    return int(Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[11])


def searcher_of(keeper: int) -> int:
    """Return the process that searches for *keeper*."""

    def look() -> int:
        for entry in Path("/proc").iterdir():
            try:
                stat = (entry / "stat").read_text("latin-1").rpartition(")")[2].split()
                said = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if entry.name.isdigit() and stat[1] == str(keeper) and b"searching" in said:
                return int(entry.name)
        return 0

    return int(str(until("somebody searches", look)))


def test_too_fast_is_a_failure(local: Lab) -> None:
    """A job that has had nothing to do for a reason that nobody looked at."""
    assert local.call(*RUN, "--min-runtime", "1h", "--", "true").returncode == 123
    assert "sooner than 1h" in why(local)
    assert local.call(*RUN, "--min-runtime", "1ms", "--", "sleep", "0.1").returncode == 0


def test_other_statuses_are_a_success(local: Lab) -> None:
    """For the record and all that follows from it; the status itself stays."""
    arguments = (*RUN, "--success-exit-status", "0,2-3", "--retries", "2", "--", "sh", "-c")
    assert local.call(*arguments, "exit 3").returncode == 3
    (record,) = local.records("job")
    assert (record["outcome"], record["exit_status"], record["reason"]) == ("succeeded", 3, None)
    local.call("run", "-n", "job", "--success-exit-status", "1", "--", "true")
    assert local.records("job")[0]["exit_status"] == 123


def test_a_run_that_lasts_is_warned_of(local: Lab, diary: Diary) -> None:
    """On stderr, in the record, and to who wants to hear of it, while it runs on."""
    diary.configure(on=["warning", "success"])
    run = local.start(
        *(*RUN, "--report", "diary", "--warn-after", "50ms", "--"),
        *local.python("import sys; sys.stdin.read()"),
        stdin=-1,
    )
    until("two warnings are told", lambda: diary.events()[:2] == ["warning", "warning"])
    assert local.records("job")[0]["outcome"] == "running"
    _, err = run.communicate(b"")
    assert run.returncode == 0
    assert b"cronguard: job: still running after " in err
    first = diary.entries()[0]
    assert str(first["warning"]).startswith("still running after ")
    assert first["record"]["outcome"] == "running"  # type: ignore[index]
    warnings = local.records("job")[0]["warnings"]
    assert isinstance(warnings, list)
    assert 2 <= len(warnings) <= 20
    assert warnings[0]["text"] == first["warning"]
    assert "success" in diary.events()


def test_nothing_is_said_of_it_with_quiet(local: Lab) -> None:
    """Only the record tells, unless the run fails."""
    arguments = (*RUN, "--quiet", "--warn-after", "50ms", "--", "sh", "-c", "sleep 0.3; exit $0")
    assert local.call(*arguments, "0").stderr == b""
    assert b"still running" in local.call(*arguments, "1").stderr


def test_a_timeout_that_no_run_could_keep_is_refused(local: Lab) -> None:
    """C2: each run would fail, one way or the other."""
    ended = local.call(*RUN, "--min-runtime", "5m", "--timeout", "5m", "--", "true")
    assert ended.returncode == 125
    assert b"no run could ever succeed" in ended.stderr


def test_a_success_that_took_unusually_long_or_short_is_warned_of(local: Lab, diary: Diary) -> None:
    """Against the job's own history, after its end, and only to who wants to hear it."""
    diary.configure(on=["warning", "success"])
    arguments = (*RUN, "--report", "diary", "--", "true")
    local.call(*RUN, "--", "true")
    told = local.records("job")[0]

    def pretend(took: int) -> None:
        record = json.dumps({**told, "duration_ms": took})
        with closing(sqlite3.connect(local.state / "cronguard.db")) as store, store:
            store.execute("UPDATE records SET text = ?", (record,))

    for _ in range(19):
        local.call(*RUN, "--", "true")
    pretend(60_000)
    local.call(*arguments)
    assert diary.events() == ["success", "warning"]
    warning = diary.entries()[-1]
    assert "less than a third of usual" in str(warning["warning"])
    assert warning["run_id"] == local.records("job")[0]["run_id"]
    pretend(0)
    local.call(*arguments)  # what is usual is known for an hour
    assert diary.events()[2:] == ["success", "warning"]
    assert not diary.waiting()
    kept = local.state / "usual" / "cg@job"
    kept.unlink()
    kept.mkdir()  # it can be neither read nor written
    pretend(60_000)
    local.call(*arguments)
    assert diary.events()[4:] == ["success", "warning"]
    assert os.listdir(kept.parent) == [kept.name]
