"""Hooks are started with what they need to know, once, and for no longer than allowed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from cronguard.config.options import ConfigError
from cronguard.config.reporters import target
from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters import command, programs
from cronguard.reporters.contract import Never, NotNow, Report, Reporter
from cronguard.reporters.registry import make
from tests.reporters.samples import HOSTILE, ended, report, skipped, started, warned


def section(**settings: object) -> dict[str, tuple[object, str]]:
    """Return a section as it is read from a file."""
    return {key: (value, "test") for key, value in {"type": "command", **settings}.items()}


def hooks(**settings: object) -> Reporter:
    """Return the reporter that a section says."""
    return make("command", target("hooks", section(**settings), {}).values)


def is_alive(pid: int) -> bool:
    """Tell whether a process still does something."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except FileNotFoundError:
        return False
    return not state.startswith("Z")


def gone(pid: int) -> bool:
    """Wait until nothing is left of a process that was killed."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not is_alive(pid):
            return True
        time.sleep(0.01)
    return False


def test_a_hook_gets_the_record_in_its_environment_and_on_stdin(tmp_path: Path) -> None:
    """Every variable that is promised, and all of the record."""
    script = f'env -0 > "{tmp_path}/env"; cat > "{tmp_path}/json"'
    one = ended(records.FAILED, exit_status=3, reason="odd", command=["a b", "c"], failures=2)
    hooks(on_failure=script).tell(one, 5)
    pairs = (tmp_path / "env").read_text().split("\0")
    found = dict(pair.split("=", 1) for pair in pairs if pair)
    assert set(command.VARIABLES) <= set(found)
    assert found["CRONGUARD_EVENT"] == "failure"
    assert found["CRONGUARD_JOB"] == "backup"
    assert found["CRONGUARD_RUN_ID"] == one.run_id
    assert found["CRONGUARD_OUTCOME"] == "failed"
    assert found["CRONGUARD_EXIT_STATUS"] == "3"
    assert found["CRONGUARD_EXIT_SIGNAL"] == ""
    assert found["CRONGUARD_FAILURES"] == "2"
    assert found["CRONGUARD_COMMAND"] == "'a b' c"
    assert found["CRONGUARD_DURATION_MS"] == "1500"
    assert found["PATH"] == os.environ["PATH"]
    said = json.loads((tmp_path / "json").read_text())
    assert said["record"] == one.record
    assert (said["event"], said["job"], said["failures"]) == ("failure", "backup", 2)


def test_words_are_started_as_they_are(tmp_path: Path) -> None:
    """No shell looks at a list."""
    file = tmp_path / "$(touch x) ;*"
    hooks(on_success=["/usr/bin/touch", str(file)]).tell(ended(), 5)
    assert file.exists()


EVENTS = [
    (started("0" * 32), "start"),
    (ended(), "success"),
    (ended(event=telling.RECOVERY), "recovery"),
    (ended(records.FAILED), "failure"),
    (ended(records.STOPPED), "stop"),
    (skipped(), "skip"),
    (warned("0" * 32), "warning"),
]


@pytest.mark.parametrize(("one", "event"), EVENTS)
def test_each_event_has_its_hook_or_the_one_for_all(
    one: Report, event: str, tmp_path: Path
) -> None:
    """And where neither is there nothing happens, but for a recovery, which is a success."""
    seen = tmp_path / "seen"
    for hook in (f"on_{event}", "run"):
        settings = {"run": f"echo run >> {seen}", hook: f'echo "$CRONGUARD_EVENT" >> {seen}'}
        hooks(**settings).tell(one, 5)
    assert seen.read_text().split() == [event, event]
    hooks(on_success=f"echo success >> {seen}").tell(one, 5)
    expected = ["success"] if event in ("success", "recovery") else []
    assert seen.read_text().split()[2:] == expected


def test_nobody_is_started_for_what_has_no_hook() -> None:
    """What it is told of follows from its hooks, unless `on` says it."""
    assert target("hooks", section(on_failure="true"), {}).rule.on == {"failure"}
    assert target("hooks", section(on_skip="true", on_stop="true"), {}).rule.on == {"skip", "stop"}
    assert target("hooks", section(run="true"), {}).rule.on == telling.ALL
    said = section(run="true", on=["timed_out"])
    assert target("hooks", said, {}).rule.on == {"timed_out"}


@pytest.mark.parametrize("wrong", ["", "  ", [], ["a", 1], ["a\0b"], "a\0b", 7, [""], True])
def test_what_is_no_command_is_refused_before_a_run(wrong: object) -> None:
    """With what to write."""
    with pytest.raises(ConfigError, match="on_failure"):
        target("hooks", section(on_failure=wrong), {})


def test_a_section_without_a_hook_is_refused() -> None:
    """It would be silent for ever."""
    with pytest.raises(ValueError, match="on_failure"):
        hooks()


def test_hostile_facts_do_no_harm(tmp_path: Path) -> None:
    """No NUL, newline or half a character gets into the environment; stdin has them escaped."""
    record = {"job": "j", "run_id": "r", "host": HOSTILE, "command": HOSTILE, "duration_ms": 1.5}
    one = Report("failure", record, namespace="cg", at=0, failures=None, warning=HOSTILE)
    hooks(run=f'printf %s "$CRONGUARD_HOST" > {tmp_path}/h; cat > {tmp_path}/j').tell(one, 5)
    host = (tmp_path / "h").read_text()
    assert host.startswith('a"b\\c\N{REPLACEMENT CHARACTER}d}')
    assert host.isprintable()
    assert json.loads((tmp_path / "j").read_text())["record"]["host"] == HOSTILE


def test_a_huge_record_can_be_told() -> None:
    """Whether or not the hook reads it: the environment is bounded, stdin is no pipe."""
    one = ended(records.FAILED, output_tail="x" * 900_000, reason="y" * 300_000)
    hooks(on_failure='test "$(wc -c)" -gt 1000000').tell(one, 5)
    hooks(on_failure="exit 0").tell(one, 5)


def test_a_hook_that_fails_is_not_run_again(tmp_path: Path) -> None:
    """Its status and its last words are said."""
    with pytest.raises(Never, match="on_failure exited with 3: no such pager; it is not run again"):
        hooks(on_failure="echo no such pager >&2; exit 3").tell(ended(records.FAILED), 5)
    with pytest.raises(Never, match="killed by signal 9"):
        hooks(on_failure="kill -9 $$").tell(ended(records.FAILED), 5)


def test_a_hook_may_ask_for_another_go() -> None:
    """With EX_TEMPFAIL."""
    with pytest.raises(NotNow, match="75: the line is busy"):
        hooks(on_failure="echo the line is busy; exit 75").tell(ended(records.FAILED), 5)


def test_a_hook_that_cannot_be_started_is_started_later(tmp_path: Path) -> None:
    """It has not run, so it may."""
    one = hooks(on_failure=[str(tmp_path / "hook")])
    with pytest.raises(NotNow, match=r"cannot start .*hook: No such file"):
        one.tell(ended(records.FAILED), 5)
    (tmp_path / "hook").write_text("#!/bin/sh\n")
    with pytest.raises(NotNow, match=r"cannot start .*hook: Permission denied"):
        one.tell(ended(records.FAILED), 5)
    (tmp_path / "hook").chmod(0o755)
    one.tell(ended(records.FAILED), 5)


def test_a_hook_is_not_begun_with_too_little_time(tmp_path: Path) -> None:
    """Half a hook is worse than a late one; one with little time of its own is begun."""
    one = hooks(run=f"touch {tmp_path}/begun", timeout="10s")
    with pytest.raises(NotNow, match="too little time"):
        one.tell(ended(), 0.9)
    assert not (tmp_path / "begun").exists()
    hooks(run=f"touch {tmp_path}/begun", timeout="500ms").tell(ended(), 0.5)
    assert (tmp_path / "begun").exists()


def test_a_hook_ends_with_its_time_and_all_that_it_started(tmp_path: Path) -> None:
    """TERM first, which it may use; then KILL, for those as well who ignore TERM."""
    script = f"""
        trap 'touch {tmp_path}/asked' TERM
        (trap "" TERM; echo $$; while :; do sleep 0.1; done) & echo $! > {tmp_path}/inner
        while :; do sleep 0.05; done
    """
    begun = time.monotonic()
    with pytest.raises(Never, match="stopped, as its time was over"):
        hooks(run=script, timeout="1s").tell(ended(), 1)
    assert time.monotonic() - begun < 30
    assert (tmp_path / "asked").exists()
    assert gone(int((tmp_path / "inner").read_text()))


def test_what_a_hook_leaves_behind_is_killed(tmp_path: Path) -> None:
    """It is not waited for, though it holds the output open."""
    hooks(run=f"sleep 600 & echo $! > {tmp_path}/left").tell(ended(), 10)
    assert gone(int((tmp_path / "left").read_text()))


def test_the_output_of_a_hook_is_bounded() -> None:
    """Of 50 MB the end is kept, and the writer is not held up."""
    done = programs.run(
        ["sh", "-c", "head -c 50000000 /dev/zero; echo the end; exit 1"], b"", None, 30
    )
    assert done.status == 1
    assert len(done.output) == programs.OUTPUT_BYTES
    assert done.how().endswith("the end")
    assert done.how().isprintable()


def test_variables_of_an_outer_run_do_not_reach_a_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where cronguard runs within cronguard."""
    for name in ("CRONGUARD_TOKEN", "CRONGUARD_DEADLINE", "CRONGUARD_JOB"):
        monkeypatch.setenv(name, "from-without")
    hooks(run=f"env > {tmp_path}/env").tell(report("success", records.SUCCEEDED), 5)
    assert "from-without" not in (tmp_path / "env").read_text()
