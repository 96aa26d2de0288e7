from __future__ import annotations

import json

import pytest

from cronguard.core import record as rec

from .seeds import Seeds

ESCAPE = "\x1b]0;owned\x07\x1b[31m\u202e"


def test_status_shows_who_runs_who_waits_and_what_was(seeds: Seeds) -> None:
    """A running job, its holder and queue; an idle one with its last outcome."""
    seeds.ended(rec.SUCCEEDED, exit_status=0)
    seeds.ended(rec.FAILED, exit_status=3, job="mail")
    seeds.live()
    seeds.run().acquire(queue_for=5000)
    status, out, _ = seeds.say("status")
    assert status == 0
    backup, mail = out.splitlines()[1:]
    assert "running, queued 1" in backup
    assert "web-3, pid 8121" in backup
    assert "4m10s ago" in backup
    assert "idle" in mail
    assert "failed 3" in mail
    status, out, _ = seeds.say("status", "backup", "--json")
    (found,) = json.loads(out)
    assert (found["state"], found["queued"], found["leases"][0]["pid"]) == ("running", 1, 8121)
    assert set(rec.FIELDS) == set(found["last"])


def test_ps_lists_the_runs_under_way(seeds: Seeds) -> None:
    """Age, host, pid, heartbeat, remaining lease and those who wait; nothing that has ended."""
    seeds.ended(rec.SUCCEEDED, job="over")
    run = seeds.live()
    status, out, _ = seeds.say("ps")
    assert status == 0
    (line,) = out.splitlines()[1:]
    assert line.startswith(run.run_id[:12])
    assert "/opt/job --all" in line
    (found,) = json.loads(seeds.say("ps", "--json")[1])
    assert found["run_id"] == run.run_id
    assert 0 < found["lease"]["left_ms"] <= 35_000
    run.end(rec.SUCCEEDED)
    assert seeds.say("ps") == (0, "Nothing runs.\n", "")
    assert json.loads(seeds.say("ps", "--json")[1]) == []


def test_history_is_newest_first_and_can_be_narrowed(seeds: Seeds) -> None:
    """By job, number, outcome, and with skips."""
    runs = [seeds.ended(rec.SUCCEEDED, exit_status=0), seeds.ended(rec.FAILED, exit_status=1)]
    seeds.ended(rec.SKIPPED, "held")
    other = seeds.ended(rec.TIMED_OUT, job="mail", exit_status=124)

    def ids(*argv: str) -> set[str]:
        status, out, _ = seeds.say("history", "--json", *argv)
        assert status == 0
        return {found["run_id"] for found in json.loads(out)}

    everything = {runs[0].run_id, runs[1].run_id, other.run_id}
    assert ids() == everything
    assert ids("mail") == {other.run_id}
    assert ids("--outcome", "failed") == {runs[1].run_id}
    assert ids("--outcome", "failed", "--outcome", "timed_out") == {runs[1].run_id, other.run_id}
    assert len(ids("--limit", "2")) == 2
    assert len(ids("--skips")) == 4
    assert len(ids("--outcome", "skipped")) == 1
    assert seeds.say("history", "--outcome", "nope")[0] == 2
    assert "failed 1" in seeds.say("history", "backup")[1]


def test_show_tells_of_each_attempt(seeds: Seeds) -> None:
    """How it ended, and after how long; whatever a stranger wrote there is shown as a word."""
    begun, ended = "2026-01-31T23:59:59.000Z", "2026-01-31T23:59:59.250Z"
    times = {"started_at": begun, "ended_at": ended}
    attempts = [
        {"attempt": 1, **times, "exit_status": 3, "signal": None},
        {"attempt": 2, **times, "exit_status": 137, "signal": 9},
        {"attempt": 3, **times, "exit_status": None, "signal": None},
        {"attempt": 4, **times, "started_at": None, "exit_status": 127, "signal": None},
        "\x1b[2J",
        {},
    ]
    run = seeds.ended(rec.FAILED, exit_status=127, attempt=4, attempts=attempts)
    out = seeds.say("show", run.run_id)[1]
    for said in (
        "1: exited with 3 after 250ms; 2: was ended by KILL after 250ms",
        "3: did not end by itself after 250ms; 4: could not be started (127)",
    ):
        assert said in out
    assert "\x1b" not in out
    assert json.loads(seeds.say("show", run.run_id, "--json")[1])["attempts"] == attempts


def test_show_and_logs_take_the_first_digits_or_a_job(seeds: Seeds) -> None:
    """One run by its prefix; an ambiguous one is listed; a job means its newest run."""
    for run_id in ("ab12" + "0" * 28, "ab13" + "0" * 28):
        run = seeds.live(run_id=run_id)
        run.end(rec.SUCCEEDED, exit_status=0, output_tail=f"hello {run_id}\n", output_bytes=39)
    status, out, _ = seeds.say("show", "ab12", "--json")
    assert (status, json.loads(out)["run_id"]) == (0, "ab12" + "0" * 28)
    assert "succeeded" in seeds.say("show", "backup")[1]
    assert seeds.say("logs", "ab12") == (0, f"hello ab12{'0' * 28}\n", "")
    status, _, err = seeds.say("show", "ab1")
    assert status == 1
    assert err.count("backup") == 2
    assert "give more digits" in err
    assert seeds.say("show", "ff")[0] == 1
    assert seeds.say("logs", "../x")[0] == 1


def test_no_answer_lets_a_terminal_obey(seeds: Seeds) -> None:
    """O4: hostile hosts, reasons and output come out escaped in every command."""
    run = seeds.live(host=ESCAPE)
    run.facts["command"] = ["x", ESCAPE]
    run.end(rec.NOT_STARTED, ESCAPE, output_tail=f"a\tb{ESCAPE}\r\n\x00z", exit_status=127)
    for argv in (
        ["status"],
        ["history"],
        ["show", "backup"],
        ["logs", "backup"],
        ["why", "backup"],
        ["stats", "backup"],
        ["export", "history"],
    ):
        for more in ([], ["--json"]):
            status, out, err = seeds.say(*argv, *more)
            assert status == 0, argv
            assert all(c.isprintable() or c in "\n\t" for c in out + err), argv
    assert "a\tb\\x1b]0;owned" in seeds.say("logs", "backup")[1]
    assert "\x1b]0;owned" in seeds.say("logs", "--raw", "backup")[1]
    seeds.live(host=ESCAPE, user=ESCAPE)
    for argv in (["ps"], ["status"], ["show", "backup"], ["unlock", "backup"]):
        for more in ([], ["--json"]):
            said = "".join(seeds.say(*argv, *more)[1:])
            assert all(c.isprintable() or c in "\n\t" for c in said), (argv, said)


def test_an_unknown_job_is_told_with_what_is_near(seeds: Seeds) -> None:
    """The answer is no (1), and names the job that was perhaps meant."""
    seeds.ended(rec.SUCCEEDED)
    for command in ("status", "history", "why", "unlock"):
        status, _, err = seeds.say(command, "bakcup")
        assert status == 1, command
        assert "did you mean backup?" in err


@pytest.mark.parametrize(
    "argv", [["status", "--nope"], ["nope"], ["show"], ["status", "a", "b"], []]
)
def test_wrong_usage_is_status_2(seeds: Seeds, argv: list[str]) -> None:
    """2 is for usage alone."""
    status, out, err = seeds.say(*argv)
    assert (status, out) == (2, "")
    assert err


def test_a_store_that_is_down_is_status_69(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    """69, with the store's name and what to check; never a traceback, never a password."""
    monkeypatch.setenv("CRONGUARD_STORE", "sqlite:///proc/nope/x.db")
    status, _, err = seeds.say("status")
    assert status == 69
    assert "/proc/nope" in err
    assert "Traceback" not in err
