"""The checker finds what must not be, in histories that have it; and nothing in those without."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.chaos import check, testimony
from tests.chaos.checker import judge
from tests.chaos.history import MS, History, read
from tests.chaos.stories import Story
from tests.chaos.verdict import Violation, around, table

FATES = ("over", "termed", "timed out", "cut", "stopped", "killed keeper", "killed guardian")


def kinds(story: Story) -> list[str]:
    """Return the kinds of what is found in *story*, settled."""
    return [violation.kind for violation in found(story)]


def found(story: Story) -> tuple[Violation, ...]:
    """Return what is found in *story*, settled."""
    return judge(story.settle().told()).violations


# -- clean histories -------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", [*FATES, "killed both"])
def test_a_run_that_ended_as_it_must_is_no_violation(fate: str) -> None:
    """Every fate a run can have is legal if its tree died in time and its record says so."""
    roles = ("child",) if fate == "killed both" else ("child", "daemon", "deaf")
    assert found(Story().run(fate=fate, roles=roles).run().run(ends=7)) == ()


def test_a_daemon_may_outlive_the_kill_of_both_unless_it_is_contained() -> None:
    """The README's exception is one; where a control group holds the tree, it is none."""
    story = Story().run(fate="killed both", roles=("daemon",))
    story.relive(1, last_ns=story.now * MS + 9_000 * MS)
    assert kinds(story) == []
    story = Story().run("job", "--isolation", "cgroup", fate="killed both", roles=("daemon",))
    story.relive(1, last_ns=story.now * MS + 9_000 * MS)
    assert kinds(story) == ["survivor"]


# -- overlap and tokens ----------------------------------------------------------------------------


def test_an_overlap_of_a_daemons_last_nanosecond_is_found() -> None:
    """It is every process that counts, and every nanosecond."""
    story = Story().run(roles=("daemon",)).run()
    began = story.lives[2].first_ns
    story.relive(1, last_ns=began - 1)
    assert "overlap" not in kinds(story)
    story.relive(1, last_ns=began)
    assert "overlap" in kinds(story)
    story.relive(1, last_ns=began + 1)
    overlap = next(one for one in found(story) if one.kind == "overlap")
    assert overlap.runs == (1, 2)
    assert "its daemon (pid 1)" in overlap.sentence
    assert "1 ns later" in overlap.sentence


def test_an_overlap_of_jobs_that_share_a_lock_is_found() -> None:
    """Two jobs are one where a lock is shared, and only there."""
    lock = ("--lock", "pair-1")
    for others, wanted in ((lock, ["overlap"]), ((), []), (("--lock", "pair-3"), [])):
        story = Story().run("one", *lock, roles=("child",)).run("two", *others)
        story.relive(1, last_ns=story.lives[2].first_ns)
        assert [kind for kind in kinds(story) if kind == "overlap"] == wanted


def test_an_overlap_with_a_run_before_the_last_is_found() -> None:
    """A run that lives on beside several is seen beside each."""
    story = Story().run().run().run()
    story.relive(0, last_ns=story.lives[2].last_ns)
    assert [one.runs for one in found(story) if one.kind == "overlap"] == [(1, 2), (1, 3)]


def test_runs_of_different_jobs_may_live_at_the_same_time() -> None:
    """One lock a job."""
    story = Story().run("one")
    story.now = 1_000
    assert found(story.run("other")) == ()


@pytest.mark.parametrize("later", [101, 100, 3])
def test_a_token_that_does_not_rise_is_found(later: int) -> None:
    """Equal is not higher."""
    story = Story().run().run()
    story.relive(1, token=later)
    story.records[1]["token"] = later
    [violation] = found(story)
    assert (violation.kind, violation.runs) == ("token", (1, 2))


def test_a_run_without_a_token_is_found() -> None:
    """Nothing can be fenced with none."""
    story = Story().run()
    story.relive(0, token=None)
    story.records[0]["token"] = None
    assert kinds(story) == ["token"]


# -- survivors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("whom", ["keeper", "guardian"])
@pytest.mark.parametrize(("past_ns", "finds"), [(0, False), (1, True)])
def test_a_process_that_outlives_a_kill_is_found(whom: str, past_ns: int, finds: bool) -> None:
    """Two seconds are enough to die in; the guardian's keeper has ended as late here."""
    story = Story().run(fate=f"killed {whom}", roles=("daemon",))
    killed = next(event for event in story.events if event.what == "killed")
    exit_ = story.events.pop()
    assert exit_.what == "exit"
    story.events.append(dataclasses.replace(exit_, at=killed.at + 2_500 * MS))
    story.relive(1, last_ns=killed.at + 2_000 * MS + past_ns)
    assert kinds(story) == ["survivor"] * finds


def test_a_process_that_outlives_the_keeper_that_ended_is_found() -> None:
    """A keeper that ends by itself has given the lock back: nothing may be left."""
    story = Story().run(roles=("deaf",))
    ended = next(event for event in story.events if event.what == "exit")
    story.relive(1, last_ns=ended.at)
    assert kinds(story) == []
    story.relive(1, last_ns=ended.at + 1)
    [violation] = found(story)
    assert violation.kind == "survivor"
    assert "the deaf (pid 1)" in violation.sentence
    assert "when its keeper had ended, with status 0" in violation.sentence


@pytest.mark.parametrize("fate", ["stopped", "cut"])
@pytest.mark.parametrize(("past_ns", "finds"), [(0, False), (1, True)])
def test_a_run_that_outlives_the_lease_it_cannot_renew_is_found(
    fate: str, past_ns: int, finds: bool
) -> None:
    """After a cut or a stop there is one TTL, whatever became of the keeper."""
    story = Story().run(fate=fate, roles=("child",))
    began = next(event for event in story.events if event.what in ("stopped", "fault"))
    exit_ = next(event for event in story.events if event.what == "exit")
    story.events.remove(exit_)
    story.events.append(dataclasses.replace(exit_, at=began.at + 12_000 * MS))
    story.relive(1, last_ns=began.at + 10_000 * MS + past_ns)
    assert kinds(story) == ["survivor"] * finds


def test_a_run_may_live_through_a_cut_shorter_than_its_lease() -> None:
    """It renews as soon as it can again."""
    story = Story().event("fault", 1_500, kind="delay", target="web-1", cuts="all")
    story.event("healed", 11_500, kind="delay", target="web-1").run(lasts=30_000)
    assert found(story) == ()


@pytest.mark.parametrize(("past_ns", "finds"), [(0, False), (1, True)])
def test_a_run_that_outlives_the_lease_as_it_was_sent_is_found(past_ns: int, finds: bool) -> None:
    """From the sending of the last renewal there is one TTL, less what clocks may differ by."""
    story = Story().run(lasts=30_000)
    last = story.lives[0].last_ns
    story.event("renewal", 1_020, run_id=story.lives[0].run_id)
    story.events.append(
        dataclasses.replace(story.events[-1], at=last - 9_500 * MS - past_ns),
    )
    assert kinds(story) == ["survivor"] * finds


def test_a_daemon_waits_for_a_stopped_guardian() -> None:
    """Who is stopped cannot kill; what is in the process group dies all the same."""
    story = Story().run(fate="killed keeper", roles=("child", "daemon"))
    killed = next(event for event in story.events if event.what == "killed")
    exit_ = next(event for event in story.events if event.what == "exit")
    story.events.remove(exit_)
    story.events.append(dataclasses.replace(exit_, at=killed.at + 6_000 * MS))
    at = killed.at // MS
    story.event("stopped", at - 5, run=1, whom="guardian")
    story.event("continued", at + 5_000, run=1, whom="guardian")
    story.relive(2, last_ns=killed.at + 7_000 * MS)
    assert kinds(story) == []
    story.relive(1, last_ns=killed.at + 2_001 * MS)
    assert kinds(story) == ["survivor"]
    story.relive(2, last_ns=killed.at + 7_001 * MS)
    assert kinds(story) == ["survivor", "survivor"]


def test_what_is_left_when_all_had_ended_is_found() -> None:
    """A sign of life after the end, and a process that the driver saw."""
    story = Story().run(fate="killed both", roles=("daemon",))
    story.relive(1, last_ns=(story.now + 60_001) * MS)
    assert kinds(story) == ["survivor"]
    story = Story().run().event("survivor", run=1, pid=77)
    [violation] = found(story)
    assert "pid 77 of run 1" in violation.sentence


# -- records ---------------------------------------------------------------------------------------


def test_a_run_without_a_record_or_with_two_is_found() -> None:
    """One each."""
    story = Story().run().run()
    record = story.records.pop(0)
    [violation] = found(story)
    assert (violation.kind, violation.runs) == ("record", (1,))
    story.records += [record, record]
    assert kinds(story) == ["record"]


@pytest.mark.parametrize(("healed", "forgotten"), [(True, 0), (False, 1)])
def test_a_record_may_go_with_the_data_of_the_store_but_not_what_was_told_later(
    healed: bool, forgotten: int
) -> None:
    """Who ended after the loss has told of it again; who ended while it lasted, may not have."""
    story = Story()
    story.event("fault", story.now + 200, kind="restart", target="redis", loses=True)
    story.event("healed", story.now + (300 if healed else 900), kind="restart", target="redis")
    story.run().run()
    story.records.pop(0)
    verdict = judge(story.settle().told())
    assert verdict.forgotten == forgotten
    assert [one.kind for one in verdict.violations] == ["record"] * (1 - forgotten)


@pytest.mark.parametrize(("fate", "finds"), [("over", ["record"]), ("killed keeper", [])])
def test_what_was_told_before_the_data_went_is_not_forgotten(fate: str, finds: list[str]) -> None:
    """It was laid aside; but of who was killed, an open record went."""
    story = Story().run(fate=fate)
    story.event("fault", kind="restart", target="redis", loses=True)
    story.event("healed", story.now + 100, kind="restart", target="redis")
    story.records.clear()
    assert kinds(story) == finds


@pytest.mark.parametrize(
    ("fate", "outcome", "status"),
    [
        ("over", "failed", 0),
        ("over", "succeeded", 7),
        ("over", "failed", 7),
        ("over", "stopped", 143),
        ("over", "timed_out", 124),
        ("over", "lease_lost", 121),
        ("over", "abandoned", None),
        ("over", "running", None),
        ("termed", "succeeded", 0),
        ("termed", "stopped", 130),
        ("termed", "abandoned", None),
        ("timed out", "stopped", 143),
        ("timed out", "timed_out", 137),
        ("cut", "abandoned", None),
        ("cut", "failed", 137),
        ("killed guardian", "abandoned", None),
        ("killed guardian", "failed", 137),
        ("killed keeper", "succeeded", 0),
        ("killed keeper", "running", None),
        ("killed keeper", "lease_lost", 121),
        ("stopped", "running", None),
    ],
)
def test_a_record_that_tells_of_another_end_is_found(
    fate: str, outcome: str, status: int | None
) -> None:
    """Both the outcome and the status are to be what happened."""
    story = Story().run(fate=fate)
    story.records[0] |= {"outcome": outcome, "exit_status": status}
    assert kinds(story) == ["outcome"]


@pytest.mark.parametrize(("after_ms", "finds"), [(5_000, []), (61_000, ["outcome"])])
def test_an_operators_stop_may_reach_the_next_run(after_ms: int, finds: list[str]) -> None:
    """It is the job that an operator stops; but not whatever comes long after."""
    story = Story().run().event("termed", run=1, whom="operator", signal=15)
    story.run(fate="termed", after=after_ms)
    story.events = [e for e in story.events if e.what != "termed" or e.word("whom") == "operator"]
    assert kinds(story) == finds


def test_a_status_that_is_not_the_keepers_is_found() -> None:
    """The record and the exit status of cronguard say the same."""
    story = Story().run(ends=7)
    exit_ = next(event for event in story.events if event.what == "exit")
    story.events.remove(exit_)
    story.events.append(dataclasses.replace(exit_, facts={"run": 1, "status": 0}))
    [violation] = found(story)
    assert violation.kind == "outcome"
    assert "its keeper exited with 0" in violation.sentence


def test_what_a_killed_keeper_had_reached_is_right_too() -> None:
    """It may have told of the end before it was killed."""
    story = Story().run(fate="killed keeper", ends=3)
    story.over[story.lives[0].run_id] = 3
    story.records[0] |= {"outcome": "failed", "exit_status": 3}
    assert found(story) == ()


def test_another_token_on_record_is_found() -> None:
    """What the command was given is what is on record."""
    story = Story().run()
    story.records[0]["token"] = 99
    assert kinds(story) == ["outcome"]


def test_a_keeper_that_started_nothing_and_told_nobody_is_found() -> None:
    """A skip is counted; every other end is on record."""
    story = Story().run()
    number = story.start("job")
    story.event("exit", story.now + 5_000, run=number, status=122)
    assert "record" in kinds(story)
    told = {"job": "job", "run_id": "x", "host": "web-1", "pid": 1000 + number}
    story.records.append(told | {"outcome": "store_unavailable", "exit_status": 122})
    assert kinds(story) == []


@pytest.mark.parametrize(
    ("facts", "after_ms", "dies_ms", "finds"),
    [
        ({"whom": "keeper", "signal": 15}, 20, 20, []),
        ({"whom": "keeper", "signal": 2}, 20, 20, ["record"]),
        ({"whom": "operator", "signal": 15}, 20, 20, ["record"]),
        ({"whom": "keeper", "signal": 15}, 5_000, 2_000, []),
        ({"whom": "keeper", "signal": 15}, 5_001, 20, ["record"]),
        ({"whom": "keeper", "signal": 15}, 20, 2_001, ["record"]),
        ({"whom": "keeper", "signal": 15}, 20, -1, ["record"]),
    ],
)
def test_a_keeper_that_was_ended_before_it_began_has_nothing_to_tell(
    facts: dict[str, object], after_ms: int, dies_ms: int, finds: list[str]
) -> None:
    """TERM ends any program that has not said yet that it will see to it; later it does not."""
    story = Story().run()
    number = story.start("job")
    story.event("termed", story.now + after_ms, run=number, **facts)
    story.event("exit", story.now + after_ms + dies_ms, run=number, status=-15)
    assert kinds(story) == finds


def test_success_on_record_of_what_never_lived_is_found() -> None:
    """A record is no proof of a run."""
    story = Story()
    story.records.append({"job": "job", "run_id": "x", "outcome": "succeeded", "exit_status": 0})
    assert kinds(story) == ["outcome"]


def test_a_keeper_that_nobody_saw_end_is_found() -> None:
    """And a run that nobody asked for."""
    story = Story().run()
    story.events = [event for event in story.events if event.what != "exit"]
    assert kinds(story) == ["record"]
    story.events = [event for event in story.events if event.what != "start"]
    assert kinds(story) == ["record"]


# -- progress --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after_ms", "status", "finds"),
    [
        (20_000, 75, ["stalled"]),
        (20_000, 122, ["stalled"]),
        (14_000, 75, []),
        (58_000, 75, []),
    ],
)
def test_a_job_that_is_free_and_does_not_run_is_found(
    after_ms: int, status: int, finds: list[str]
) -> None:
    """Once a dead run's lease must have expired, a skip needs a run that lives."""
    story = Story().run(fate="killed keeper").event("healthy")
    story.now += after_ms
    number = story.start("job")
    story.event("exit", story.now + 50, run=number, status=status)
    told = {"job": "job", "run_id": "x", "host": "web-1", "pid": 1000 + number}
    story.records.append(told | {"outcome": "skipped", "exit_status": status})
    story.now += 60_000 - after_ms
    story.event("fault", kind="kill server", target="redis")
    assert kinds(story) == finds


@pytest.mark.parametrize(
    ("token", "outcome", "status", "finds"),
    [
        (999, "timed_out", 124, []),
        (None, "timed_out", 124, ["stalled"]),
        (999, "lease_lost", 121, ["stalled"]),
    ],
)
def test_a_command_that_was_stopped_before_its_first_word_has_run(
    token: int | None, outcome: str, status: int, finds: list[str]
) -> None:
    """Who got the lock is not stalled, however short its --timeout; any other end is one."""
    story = Story().event("healthy")
    story.now += 20_000
    number = story.start("job", "--timeout", "100ms")
    story.event("exit", story.now + 400, run=number, status=status)
    told = {"job": "job", "run_id": "x", "host": "web-1", "pid": 1000 + number, "token": token}
    story.records.append(told | {"outcome": outcome, "exit_status": status})
    story.now += 20_000
    assert kinds(story) == finds


@pytest.mark.parametrize(("status", "finds"), [(124, []), (121, ["stalled", "stalled"])])
def test_a_skip_beside_a_command_that_was_stopped_before_its_first_word_is_right(
    status: int, finds: list[str]
) -> None:
    """It had the lock, and left no other sign of life than its record."""
    story = Story().event("healthy")
    story.now += 20_000
    number = story.start("job", "--timeout", "100ms")
    story.skip("job")
    story.event("exit", story.now + 400, run=number, status=status)
    told = {"job": "job", "run_id": "x", "host": "web-1", "pid": 1000 + number, "token": 999}
    story.records.append(told | {"outcome": "timed_out", "exit_status": status})
    story.now += 20_000
    assert kinds(story) == finds


def test_a_job_that_runs_is_not_stalled() -> None:
    """A skip beside a run that lives is right, in healthy times as well."""
    story = Story().event("healthy")
    story.now += 20_000
    story.run(lasts=20_000)
    story.now -= 10_000
    story.skip("job")
    story.now += 20_000
    assert found(story) == ()


# -- any history -----------------------------------------------------------------------------------

TREES = [(), ("child",), ("daemon", "deaf"), ("child", "daemon", "deaf")]
a_run = st.fixed_dictionaries(
    {
        "job": st.sampled_from(["one", "two"]),
        "fate": st.sampled_from(FATES),
        "roles": st.sampled_from(TREES),
        "lasts": st.integers(1, 20_000),
        "ends": st.sampled_from([0, 1, 7, 138]),
        "after": st.integers(0, 3_000),
    }
)


def tell(runs: list[dict[str, object]]) -> Story:
    """Return the story of these runs."""
    story = Story()
    for facts in runs:
        story.run(**facts)  # type: ignore[arg-type]
    return story


@given(st.lists(a_run, max_size=8))
def test_every_legal_history_is_clean(runs: list[dict[str, object]]) -> None:
    """Whatever happens to runs, in whatever order, is legal if they end as they must."""
    assert found(tell(runs)) == ()


@given(st.lists(a_run, min_size=2, max_size=8), st.data())
def test_every_mutation_that_violates_is_found(
    runs: list[dict[str, object]], data: st.DataObject
) -> None:
    """One change to one run of a legal history, which makes it illegal, is told of that run."""
    story = tell(runs)
    mutation = data.draw(st.sampled_from(MUTATIONS))
    wanted, number = mutation(story, data)
    assert (wanted, number) in [(one.kind, n) for one in found(story) for n in one.runs]


def overlap_one(story: Story, data: st.DataObject) -> tuple[str, int]:
    """Let a process live into the next run of its job."""
    commands = [life for life in story.lives if life.role == "command"]
    pairs = [
        (one, next((o for o in commands[at + 1 :] if o.job == one.job), None))
        for at, one in enumerate(commands)
    ]
    fitting = [(one, other) for one, other in pairs if other is not None]
    assume(fitting)
    one, other = data.draw(st.sampled_from(fitting))
    assert other is not None
    family = [at for at, life in enumerate(story.lives) if life.run_id == one.run_id]
    story.relive(data.draw(st.sampled_from(family)), last_ns=other.first_ns)
    assert other.run is not None
    return "overlap", other.run


def lower_a_token(story: Story, data: st.DataObject) -> tuple[str, int]:
    """Give a run the token of an earlier one, or a lower one."""
    job = story.lives[-1].job
    runs = list({life.run_id: life for life in story.lives if life.job == job}.values())
    assume(len(runs) > 1)
    at = data.draw(st.integers(1, len(runs) - 1))
    before = runs[at - 1].token
    assert before is not None
    lower = before - data.draw(st.integers(0, 5))
    for index, life in enumerate(story.lives):
        if life.run_id == runs[at].run_id:
            story.relive(index, token=lower)
    number = runs[at].run
    assert number is not None
    return "token", number


def let_one_survive(story: Story, data: st.DataObject) -> tuple[str, int]:
    """Let a process live past its keeper's end by more than any death takes."""
    index = data.draw(st.integers(0, len(story.lives) - 1))
    number = story.lives[index].run
    assert number is not None
    ended = next(e.at for e in story.events if e.what == "exit" and e.run == number)
    story.relive(index, last_ns=ended + 2_001 * MS)
    return "survivor", number


def lose_a_record(story: Story, data: st.DataObject) -> tuple[str, int]:
    """Lose a record, or have it twice."""
    index = data.draw(st.integers(0, len(story.records) - 1))
    record = story.records.pop(index)
    if data.draw(st.booleans()):
        story.records += [record, record]
    return "record", int(str(record["run_id"]), 16)


def lie_in_a_record(story: Story, data: st.DataObject) -> tuple[str, int]:
    """Tell of an end that no run here has."""
    record = story.records[data.draw(st.integers(0, len(story.records) - 1))]
    lies = [("succeeded", 5), ("failed", 99), ("running", None), ("stopped", 129), ("skipped", 75)]
    record["outcome"], record["exit_status"] = data.draw(st.sampled_from(lies))
    return "outcome", int(str(record["run_id"]), 16)


MUTATIONS = [overlap_one, lower_a_token, let_one_survive, lose_a_record, lie_in_a_record]


# -- the folder, and what is printed ---------------------------------------------------------------


def write(folder: Path, history: History) -> Path:
    """Write *history* as the driver and the jobs do; return the folder."""
    for life in history.testimony.lives:
        place = folder / "testimony" / life.job
        place.mkdir(parents=True, exist_ok=True)
        head = f"token {life.token} host {life.host} run {life.run} role {life.role} "
        line = (head + f"kind plain intent {life.intent}").encode()
        signs = life.first_ns.to_bytes(8, "little") + life.last_ns.to_bytes(8, "little")
        file = place / f"{life.run_id}.{life.pid}"
        file.write_bytes(line.ljust(testimony.HEAD_BYTES - 1) + b"\n" + signs)
        if life.run_id in history.testimony.over:
            over = f"{history.testimony.over[life.run_id]}\n"
            (place / f"{life.run_id}.over").write_text(over)
    lines = [json.dumps({"at": e.at, "what": e.what, **e.facts}) for e in history.events]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    by_job: dict[str, list[object]] = {}
    for record in history.records:
        by_job.setdefault(str(record["job"]), []).append(record)
    (folder / "records.json").write_text(json.dumps(by_job))
    return folder


def test_a_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What the driver and the jobs leave is the history that is judged."""
    story = Story().run("one", roles=("daemon",)).run("two", fate="cut").run("one", ends=3)
    history = story.settle().told()
    assert read(write(tmp_path, history)).testimony.over == history.testimony.over
    again = read(tmp_path)
    assert (again.events, again.runs) == (history.events, history.runs)
    assert judge(again) == judge(history)


def test_a_reader_can_see_the_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each violation is a sentence with the events around it; the table counts them."""
    story = Story().run("backup", roles=("daemon",), fate="killed keeper")
    story.now = story.free_at["backup"]
    story.run("backup").skip("backup").run("other")
    story.relive(1, last_ns=story.lives[2].first_ns + 1)
    folder = write(tmp_path, story.settle().told())
    assert check.main([str(folder)]) == 1
    said = capsys.readouterr().out
    assert "survivor: job backup: the daemon (pid 1) of run 1 (00000000, token 101" in said
    assert "killed run=1 whom=keeper" in said
    assert "run=4" not in said
    assert "redis  7" in said
    assert "faults, redis: 1 killed keeper" in said
    clean = Story().run().settle().told()
    (tmp_path / "clean").mkdir()
    assert check.main([str(write(tmp_path / "clean", clean))]) == 0
    assert check.main([]) == 2


def test_the_table_counts_runs_skips_and_gaps() -> None:
    """What is in it are numbers of the history, each in its column."""
    story = Story().run(lasts=3_000, fate="cut").run().skip("job")
    story.records[0]["longest_gap_ms"] = 6_400
    verdict = judge(story.settle().told())
    assert verdict.holds
    assert (verdict.asked, verdict.runs, verdict.skips) == (3, 2, 1)
    assert verdict.faults == {"partition": 1}
    assert table([verdict]).splitlines()[1].split() == (
        ["redis", "7", "3", "2", "1", "1", "0", "0", "0", "0", "0", "0", "6.4", "s"]
    )


def test_events_around_are_few_and_of_this_job() -> None:
    """Other jobs' runs are not the proof of this one's."""
    story = Story().run("one").run("other").run("one")
    history = story.told()
    here = Violation("overlap", "one", 2_000 * MS, "", (1, 3))
    lines = around(history, here)
    assert [line.split()[2] for line in lines] == ["start", "exit", "start", "exit"]
    assert not [line for line in lines if "job=other" in line]


def test_a_server_that_is_back_cuts_nobody_off() -> None:
    """Runs take their leases again from a server that came back empty, long before it is whole."""
    for is_back in (True, False):
        story = Story()
        fault = {"kind": "restart without data", "target": "server-1"}
        story.event("fault", story.now + 100, **fault, cuts="all", loses=True)
        if is_back:
            story.event("back", story.now + 600, **fault)
        story.event("healed", story.now + 17_000, **fault)
        story.run(lasts=12_000)
        found = judge(story.settle().told()).count("survivor")
        assert (found > 0) is not is_back


@pytest.mark.parametrize(("full", "holds"), [("web-1", True), ("web-2", False), (None, False)])
def test_an_end_that_could_be_kept_nowhere_is_no_wrong_one(full: str | None, holds: bool) -> None:
    """With no room on its host's disk, which is the store's, who comes next finds it abandoned."""
    story = Story().run(lasts=2_000)
    story.records[-1] |= {"outcome": "abandoned", "exit_status": None}
    if full is not None:
        story.event("fault", 2_000, kind="full disk", target=full, loses=True)
        story.event("healed", 60_000, kind="full disk", target=full)
    assert judge(story.settle().told()).holds is holds


@pytest.mark.parametrize(
    ("status", "full", "holds"),
    [
        (122, "web-1", True),
        (122, "web-2", False),
        (125, "web-1", False),
    ],
)
def test_who_found_no_store_and_no_room_has_told_its_user_alone(
    status: int, full: str, holds: bool
) -> None:
    """A record that can go neither to the store nor to a disk is lost, and that is said."""
    story = Story().run()
    story.event("fault", kind="full disk", target=full)
    number = story.start("job")
    story.event("exit", story.now + 50, run=number, status=status)
    story.event("healed", story.now + 60, kind="full disk", target=full)
    story.now += 100
    assert judge(story.settle().told()).holds is holds


@pytest.mark.parametrize(("store", "holds"), [("quorum", True), ("redis", False)])
def test_only_a_quorum_may_not_know_the_token_of_who_was_killed(store: str, holds: bool) -> None:
    """Its servers may have had others, and the run told nobody which it was."""
    story = Story().run(fate="killed keeper")
    plan = story.events[0]
    story.events[0] = dataclasses.replace(plan, facts={**plan.facts, "store": store})
    story.records[-1] |= {"token": None}
    assert judge(story.settle().told()).holds is holds
