"""`guard` in this process, beside real runs on real stores."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from cronguard import (
    Lease,
    LeaseLost,
    NotStarted,
    Skipped,
    Stopped,
    StoreUnavailable,
    TimedOut,
    current_lease,
    guard,
)
from cronguard.config.resolve import from_code
from cronguard.core.events import Begin, Granted
from cronguard.core.lease import LeaseTimes
from cronguard.core.machine import Run
from cronguard.core.spec import JobSpec
from cronguard.library.keeper import BlockKeeper
from cronguard.runtime.clock import now_ms
from tests.clusters import start_cluster
from tests.library.ends import ending, own_threads
from tests.process.lab import Lab, until
from tests.sentinels import start_watch
from tests.servers import FLAVOURS, SYNCED, Server, binary, start_server


def until_raised(kind: type[Stopped], lease: Lease) -> Stopped:
    """Check until it raises that, and nothing else."""

    def raised() -> Stopped | None:
        try:
            lease.check()
        except Stopped as error:
            return error
        return None

    found = until(f"check() to raise {kind.__name__}", raised)
    assert isinstance(found, kind)
    assert type(found) is kind
    return found


def in_thread(act: Callable[[], object]) -> threading.Thread:
    """Do something beside us."""
    thread = threading.Thread(target=act)
    thread.start()
    return thread


# -- the lock -------------------------------------------------------------------------------------


def test_a_block_is_recorded_as_a_run_is(lab: Lab) -> None:
    """Start and end, with host, pid, token, duration and outcome; running while it runs."""
    with guard("job") as lease:
        lease.check()
        (record,) = lab.records("job")
        assert record["outcome"] == "running"
        assert record["token"] == lease.token
    (record,) = lab.records("job")
    assert record["run_id"] == lease.run_id
    assert (record["outcome"], record["exit_status"], record["reason"]) == ("succeeded", 0, None)
    assert (record["host"], record["pid"]) == (os.uname().nodename, os.getpid())
    assert isinstance(record["duration_ms"], int)
    assert record["cpu_user_ms"] is None, "nobody knows the block's alone"
    with pytest.raises(LeaseLost, match="given back"):
        lease.check()


def test_a_block_is_seen_as_a_run_is(lab: Lab) -> None:
    """`status`, `ps` and `stuck`: it runs, nothing is wrong, and what it uses is not told apart."""
    with guard("job") as lease:
        (row,) = json.loads(lab.call("ps", "--json").stdout)
        assert (row["job"], row["pid"], row["usage"]) == ("job", os.getpid(), None)
        assert b"running" in lab.call("status", "job").stdout
        left = json.loads(lab.call("stuck", "--json").stdout)
        assert not [one for one in left if one.get("run_id") == lease.run_id]


def test_an_exception_fails_the_run_and_passes_through(lab: Lab) -> None:
    """Its type and text are the reason, without secrets."""
    with pytest.raises(ValueError, match="no"), guard("job"):
        raise ValueError("no way to redis://app:hunter2@db/0\n")
    (record,) = lab.records("job")
    assert (record["outcome"], record["exit_status"]) == ("failed", 1)
    assert record["reason"] == "ValueError: no way to redis://app:***@db/0\\n"


def test_what_redact_matches_is_hidden(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be started that looks for it, the text is not kept."""
    monkeypatch.setenv("CRONGUARD_REDACT", "card-[0-9]+")
    with pytest.raises(ValueError, match="no"), guard("job"):
        raise ValueError("no card-12")
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(ValueError, match="no"), guard("job"):
        raise ValueError("no card-13")
    last, first = lab.records("job")
    assert first["reason"] == "ValueError: no ***"
    assert last["reason"] == "[not kept, as redact could not be done]"


@pytest.mark.parametrize(
    ("code", "outcome", "status"),
    [(None, "succeeded", 0), (0, "succeeded", 0), (3, "failed", 3), ("x", "failed", 1)],
)
def test_sys_exit_in_the_block_counts_as_in_a_program(
    lab: Lab, code: str | int | None, outcome: str, status: int
) -> None:
    """The status is the one that the program would have had."""
    with pytest.raises(SystemExit), guard("job"):
        raise SystemExit(code)
    (record,) = lab.records("job")
    assert (record["outcome"], record["exit_status"]) == (outcome, status)


def test_a_run_and_a_block_exclude_each_other(lab: Lab) -> None:
    """In both directions, by the job's one lock; tokens rise over both."""
    tell = lab.python("import os; print(os.environ['CRONGUARD_TOKEN'])")
    with guard("job") as lease:
        skipped = lab.call("run", "-n", "job", "-E", "9", "--", *tell)
        assert (skipped.returncode, skipped.stdout) == (9, b"")
        assert f"pid {os.getpid()}".encode() in skipped.stderr
    done = lab.call("run", "-n", "job", "--", *tell)
    assert lease.token is not None
    assert int(done.stdout) > lease.token
    held = lab.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 60")
    with pytest.raises(Skipped) as raised, guard("job"):
        raise AssertionError("it must not run")
    assert raised.value.reason == "held"
    assert raised.value.holder is not None
    assert (raised.value.holder.pid, raised.value.holder.host) == (held.pid, os.uname().nodename)
    assert str(raised.value).startswith("job: not started: another run holds the lock (")
    assert lab.skips("job")[0]["reason"] == "held"
    held.terminate()
    held.wait(20)
    with guard("job") as after:
        assert after.token is not None
        assert after.token > int(done.stdout)


def test_a_dead_run_on_this_host_is_not_waited_for(lab: Lab) -> None:
    """What a killed supervisor left behind is proven dead, as for the next run."""
    held = lab.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 60")
    guardian = lab.guardian_of(held.pid)
    held.kill()
    held.wait(20)
    until("the guardian's word", lambda: not Path(f"/proc/{guardian}").exists())
    with guard("job"):
        pass
    assert [record["outcome"] for record in lab.records("job")] == ["succeeded", "abandoned"]


def test_waiting_in_the_queue(lab: Lab) -> None:
    """First come, first served, beside runs that wait; the record has the wait."""
    order: list[str] = []
    first = guard("job")
    first.__enter__()

    def second() -> None:
        with guard("job", wait="forever"):
            order.append("block")

    thread = in_thread(second)
    until("a waiter", lambda: lab.ask(lambda history: history.waiters("job")))
    run = lab.start("run", "-n", "job", "-w", "1m", "--", "true")
    until("two waiters", lambda: len(lab.ask(lambda h: h.waiters("job"))) == 2)  # type: ignore[arg-type]
    first.__exit__(None, None, None)
    thread.join(20)
    assert run.wait(20) == 0
    newest, middle, _ = lab.records("job")
    assert newest["pid"] == run.pid
    assert isinstance(middle["wait_ms"], int)
    assert middle["wait_ms"] > 0


def test_a_wait_in_vain_is_a_skip(lab: Lab) -> None:
    """And leaves no place in the queue."""
    with guard("job"), pytest.raises(Skipped) as raised, guard("job", wait=0.05):
        raise AssertionError("it must not run")
    assert raised.value.reason == "wait_expired"
    assert lab.skips("job")[0]["reason"] == "wait_expired"
    assert lab.ask(lambda history: history.waiters("job")) == []


def test_threads_that_contend_never_overlap(lab: Lab) -> None:
    """Many threads, one lock: each has its turn, one at a time."""
    inside = 0
    most = 0
    tokens: list[int | None] = []

    def work() -> None:
        nonlocal inside, most
        with guard("job", wait="1m") as lease:
            inside += 1
            most = max(most, inside)
            tokens.append(lease.token)
            lease.check()
            inside -= 1

    for thread in [in_thread(work) for _ in range(8)]:
        thread.join(60)
    assert (most, len(tokens)) == (1, 8)
    assert tokens == sorted(tokens, key=lambda token: token or 0)
    assert len(set(tokens)) == 8


def test_two_hundred_guards_leave_nothing(lab: Lab) -> None:
    """No thread, and no descriptor; each token is higher than the last."""
    with guard("job"):
        pass
    until("the thread to end", lambda: not own_threads())
    before = sorted(os.listdir("/proc/self/fd"))
    tokens = []
    for _ in range(200):
        with guard("job") as lease:
            tokens.append(lease.token or 0)
    until("the threads to end", lambda: not own_threads())
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert tokens == sorted(set(tokens))


def test_nested_guards_of_two_jobs(lab: Lab) -> None:
    """Each has its own lock and token, and the inner one is what is asked for; then the outer."""
    with guard("one") as outer:
        with guard("two") as inner:
            assert current_lease() is inner
            assert inner.environ["CRONGUARD_JOB"] == "two"
        assert current_lease() is outer
        with pytest.raises(Skipped):
            guard("one").__enter__()
    with pytest.raises(RuntimeError, match="no guard is open"):
        current_lease()


def test_a_guard_is_open_once_at_a_time(lab: Lab) -> None:
    """In whatever thread; afterwards it can be used again."""
    once = guard("job")
    with once, pytest.raises(RuntimeError, match="job: this guard is open already"):
        once.__enter__()
    with once:
        pass
    assert [record["outcome"] for record in lab.records("job")] == ["succeeded"] * 2


# -- what ends it ---------------------------------------------------------------------------------


def test_an_operator_stops_it(lab: Lab) -> None:
    """check() raises Stopped, `on_lost` is called with that, and the lock is kept until the end."""
    told: list[Stopped] = []
    with ending(Stopped, "asked to stop by"), guard("job", on_lost=told.append) as it:
        assert lab.call("stop", "job").returncode == 0
        error = until_raised(Stopped, it)
        until("the callback", lambda: told)
        assert str(told[0]) == str(error)
        assert lab.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 9
        until_raised(Stopped, it)
        it.check()
    (record,) = lab.records("job")
    assert record["outcome"] == "stopped"
    assert str(record["reason"]).startswith("by ")


def test_an_operator_stops_what_waits(lab: Lab) -> None:
    """Then the block never begins."""
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            with guard("job", wait="forever"):
                raise AssertionError("it must not run")
        except Stopped as error:
            raised.append(error)

    with guard("job"):
        thread = in_thread(wait)
        waiters = until("a waiter", lambda: lab.ask(lambda h: h.waiters("job")))
        assert isinstance(waiters, list)
        lab.ask(lambda history: history.ask_stop("job", waiters[0], "ann@desk"))
        thread.join(20)
    assert [str(error) for error in raised] == [
        "job: not started: stopped by ann@desk before it got the lock."
    ]


def test_a_run_replaces_it(lab: Lab) -> None:
    """`--replace` asks the block to end, and starts when it has."""
    with ending(Stopped, "asked to stop: replaced by "), guard("job") as lease:
        run = lab.start("run", "-n", "job", "--replace", "--", "true")
        until_raised(Stopped, lease)
        lease.check()
    assert run.wait(30) == 0
    newest, replaced = lab.records("job")
    assert (newest["outcome"], replaced["outcome"]) == ("succeeded", "stopped")
    assert replaced["reason"] == "replaced"


def test_it_replaces_a_run(lab: Lab) -> None:
    """With `replace` the holder is asked to end, and the block begins when it is dead."""
    held = lab.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 60")
    with guard("job", replace=True):
        assert held.wait(20) == 143
    assert [record["outcome"] for record in lab.records("job")] == ["succeeded", "stopped"]


def test_locks_that_jobs_share(lab: Lab) -> None:
    """A guard and a run of two jobs that name one further lock exclude each other."""
    with guard("one", lock="db"):
        assert lab.call("run", "-n", "two", "--lock", "db", "-E", "9", "--", "true").returncode == 9
        with pytest.raises(Skipped):
            guard("three", lock=["disk", "db"]).__enter__()
        with guard("three", lock=["disk"]):
            pass
    assert lab.call("run", "-n", "two", "--lock", "db", "--", "true").returncode == 0


class Broken(BlockKeeper):
    """A keeper with a bug, which shows while the block runs."""

    def _tick(self) -> None:
        if self.lease is not None:
            raise ZeroDivisionError(f"of {self.spec.store}")
        super()._tick()


def test_a_keeper_that_breaks_is_a_lost_lease(
    lab: Lab, caplog: pytest.LogCaptureFixture, own_server: Server
) -> None:
    """Nobody renews any more: that is told and logged, without secrets, and nothing hangs."""
    store = own_server.tcp_url.replace("redis://", "redis://app:hunter22@")
    own_server.do("ACL", "SETUSER", "app", "on", ">hunter22", "~*", "&*", "+@all")
    told: list[Stopped] = []
    flags = {"name": ["job"], "store": [store], "ttl": ["10s"]}
    keeper = Broken(from_code(flags, os.environ, "required"), told.append)
    with caplog.at_level(logging.WARNING, "cronguard"):
        keeper.start()
        keeper.settled.wait()
        assert keeper.lease is not None
        error = until_raised(LeaseLost, keeper.lease)
        until("the callback", lambda: told)
        assert "nobody renews the lock any more: ZeroDivisionError: of redis://app:***@" in str(
            error
        )
        assert "please report it" in caplog.text
        keeper.over.wait()
        assert Path("/proc/self/timers").read_text(), "the kernel still sees to it"
        keeper.end(None)
        keeper.over.wait()
    assert not Path("/proc/self/timers").read_text()
    assert "hunter22" not in caplog.text


def test_an_operator_unlocks_it(lab: Lab) -> None:
    """The lock may be another's at once: LeaseLost, on record, and nothing is given back."""
    told: list[Stopped] = []
    with ending(LeaseLost), guard("job", ttl="10s", on_lost=told.append) as lease:
        assert lab.call("unlock", "job", "--force").returncode == 0
        with guard("job"):
            error = until_raised(LeaseLost, lease)
            assert str(error).startswith("job: lock lost: ")
            until("the callback", lambda: told)
        lease.check()
    outcomes = {record["run_id"]: record["outcome"] for record in lab.records("job")}
    assert outcomes[lease.run_id] == "lease_lost"
    assert sorted(map(str, outcomes.values())) == ["lease_lost", "succeeded"]


def test_a_timeout_asks_and_keeps_the_lock(lab: Lab) -> None:
    """TimedOut; nobody can start beside a block that does not care."""
    with ending(TimedOut, "longer than 50ms"), guard("job", timeout="50ms") as lease:
        until_raised(TimedOut, lease)
        with pytest.raises(Skipped):
            guard("job").__enter__()
        lease.check()
    assert lab.records("job")[0]["outcome"] == "timed_out"


def test_a_block_that_never_checks_is_told_at_its_end(lab: Lab) -> None:
    """What is not succeeded on record does not look like success; an error of its own goes on."""
    told: list[Stopped] = []
    with pytest.raises(TimedOut), guard("job", timeout=0.01, on_lost=told.append):
        until("the callback", lambda: told)
    assert lab.records("job")[0]["outcome"] == "timed_out"
    with ending(KeyError), guard("job", timeout=0.01) as lease:
        until_raised(TimedOut, lease)
        raise KeyError
    assert lab.records("job")[0]["outcome"] == "timed_out"


def test_the_callback_has_the_signals_of_the_program(lab: Lab) -> None:
    """The keeper's thread blocks all; a process that a callback starts must not begin so."""
    masks: list[set[int]] = []

    def note(_: Stopped) -> None:
        masks.append({int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])})

    with ending(TimedOut), guard("job", timeout="10ms", on_lost=note):
        until("the callback", lambda: masks)
    assert masks == [set()]


def test_a_block_that_does_not_end_is_told_of(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """After the grace, where a command would be killed, the log says that this cannot be."""
    resolved = from_code({"name": ["job"], "timeout": ["10ms"]}, os.environ, "off")
    resolved.spec.kill_after = 20
    keeper = BlockKeeper(resolved, None)
    with caplog.at_level(logging.WARNING, "cronguard"):
        keeper.start()
        until("the word", lambda: "cannot be killed" in caplog.text)
        keeper.end(None)
        keeper.over.wait()
    assert "job: timed out" in caplog.text
    assert "the lock is kept until it ends" in caplog.text
    assert lab.records("job")[0]["outcome"] == "timed_out"


def test_check_asks_the_clock_alone() -> None:
    """After a thaw no thread had time to notice anything; a lease whose time is up is lost."""
    spec = JobSpec(name="job", command=[], store="sqlite:///x", dead_man="off")
    for age, lost in ((0, False), (LeaseTimes(30_000).give_up_at(0), True)):
        run = Run(spec, LeaseTimes(30_000))
        then = now_ms() - age
        run.step(Begin(), then)
        run.step(Granted(then, 7, 0, 0), then)
        lease = Lease(run, "r", 7, {})
        if not lost:
            lease.check()
            continue
        for _ in range(2):
            with pytest.raises(LeaseLost, match="not renewed in time"):
                lease.check()


def test_a_server_that_is_gone_for_too_long_loses_it(far: Lab, own_server: Server) -> None:
    """check() raises before the lease can be anybody else's; the record is kept and delivered."""
    told: list[Stopped] = []
    with ending(LeaseLost), guard("job", ttl="10s", on_lost=told.append) as lease:
        own_server.pause()
        until_raised(LeaseLost, lease)
        own_server.resume()
    until("the callback", lambda: told)
    record = far.records("job")[0]
    assert (record["outcome"], record["reason"]) == ("lease_lost", "not_renewed")
    with guard("job"):
        pass


def test_a_short_outage_is_lived_through(far: Lab, own_server: Server) -> None:
    """A server that comes back in time: the lock is still there, and checks pass."""
    with guard("job", ttl="10s") as lease:
        own_server.restart()
        until(
            "a new connection",
            lambda: own_server.client().exists("cg:{job}:l:0"),
        )
        lease.check()
    assert far.records("job")[0]["outcome"] == "succeeded"


# -- what is asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"timeout": "soon"}, ["--timeout", "soon"]),
        ({"ttl": "3s"}, ["--ttl", "3s"]),
        ({"slots": 0}, ["--slots", "0"]),
        ({"schedule": "* * *"}, ["--schedule", "* * *"]),
        ({"tz": "Mars/Base"}, ["--tz", "Mars/Base"]),
        ({"store": "http://x"}, ["--store", "http://x"]),
        ({"store": "redis://h:1/?x=1"}, ["--store", "redis://h:1/?x=1"]),
        ({"config": "/nowhere"}, ["--config", "/nowhere"]),
        ({"once": "5m", "schedule": "@daily"}, ["--once", "5m", "--schedule", "@daily"]),
    ],
)
def test_bad_options_are_refused_in_the_command_lines_words(
    lab: Lab, options: dict[str, str], flags: list[str]
) -> None:
    """ValueError, with the very text; nothing is asked for."""
    done = lab.call("run", "-n", "job", *flags, "--", "true")
    with pytest.raises(ValueError, match=r".") as raised, guard("job", **options):  # type: ignore[arg-type]
        raise AssertionError("it must not run")
    assert f"cronguard: {raised.value}\n".encode() == done.stderr
    assert not own_threads()


def test_a_bad_option_is_refused_where_it_is_written() -> None:
    """Not first when the function is called."""
    with pytest.raises(ValueError, match="--name: 'a b' is not a job name"):
        guard("a b")
    with pytest.raises(ValueError, match="--wait: "):
        guard("job", wait="for ever")


def test_durations_are_texts_numbers_or_timedeltas(lab: Lab) -> None:
    """All three say the same."""
    for limit in ("10s", 10, 10.0, timedelta(seconds=10)):
        with guard("job", timeout=limit) as lease:
            assert lease._run.spec.timeout == 10_000


def test_variables_and_files_count_as_for_a_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, variable, section, defaults; what is about commands does not count."""
    file = lab.folder / "c.toml"
    file.write_text(
        '[defaults]\nttl = "1m"\nmin_hold = "1s"\nwait = "2s"\ndead_man = "required"\n'
        '[jobs.job]\nttl = "2m"\nwait = "3s"\non_lease_lost = "continue"\ncommand = ["true"]\n'
    )
    file.chmod(0o600)
    monkeypatch.setenv("CRONGUARD_WAIT", "4s")
    monkeypatch.setenv("CRONGUARD_NAME", "another")
    with guard("job", config=file, min_hold=0) as lease:
        spec = lease._run.spec
        assert (spec.min_hold, spec.wait, spec.ttl, spec.name) == (0, 4_000, 120_000, "job")
        assert (spec.dead_man, spec.on_lease_lost) == ("off", "stop")
    file.write_text("[jobs.job]\nwat = 1\n")
    with pytest.raises(ValueError, match="wat"), guard("job", config=file):
        raise AssertionError("it must not run")


def test_a_timeout_that_the_jobs_runs_suggest(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """`auto`: none while too few are known, and says so; then the one that `stats` shows."""
    with caplog.at_level(logging.INFO, "cronguard"), guard("job", timeout="auto") as lease:
        assert lease._run.spec.timeout is None
        assert "job: " in caplog.text
    for _ in range(20):
        with guard("job"):
            pass
    with guard("job", timeout="auto") as lease:
        assert lease._run.spec.timeout is not None


def test_the_record_says_when_the_job_is_due(lab: Lab) -> None:
    """So that `check` finds one that is overdue, as for runs."""
    with guard("job", schedule="0 4 * * *", tz="Europe/Berlin"):
        pass
    assert lab.call("run", "-n", "other", "--schedule", "0 4 * * *", "--tz", "Europe/Berlin",
                    "--", "true").returncode == 0  # fmt: skip
    (guarded,), (run,) = lab.records("job"), lab.records("other")
    assert set(guarded) == set(run)
    announced = [name for name in run if run[name] and "Berlin" in str(run[name])]
    assert announced
    assert all(guarded[name] == run[name] for name in announced if name != "command")


def test_slots_conflicts_slots_of_time_and_pauses(lab: Lab) -> None:
    """The rules for which run may start are those of runs."""
    with guard("wide", slots=2), guard("wide", slots=2):
        with pytest.raises(NotStarted) as raised:
            guard("wide", slots=3).__enter__()
        assert raised.value.reason == "conflict"
        with pytest.raises(Skipped):
            guard("wide", slots=2).__enter__()
    with guard("job", once="4d") as lease:
        assert lease.environ["CRONGUARD_SLOT"].endswith("Z")
    with pytest.raises(Skipped) as done:
        guard("job", once="4d").__enter__()
    assert (done.value.reason, lab.skips("job")[0]["reason"]) == ("slot_done", "slot_done")
    with guard("job", once="4d", force_slot=True):
        pass
    assert lab.call("pause", "job").returncode == 0
    with pytest.raises(Skipped) as paused:
        guard("job").__enter__()
    assert paused.value.reason == "paused"
    assert paused.value.holder is None


def test_a_store_that_is_not_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """StoreUnavailable after the time for that, unless it may run unguarded, which has no token."""
    store = "redis://:hunter2@127.0.0.1:1"
    monkeypatch.setenv("CRONGUARD_STORE_TIMEOUT", "10ms")
    with pytest.raises(StoreUnavailable, match=r"cannot reach redis://127\.0\.0\.1:1") as raised:
        guard("job", store=store).__enter__()
    assert "hunter2" not in str(raised.value)
    assert raised.value.reason == "store_unavailable"
    assert list((lab.state / "outbox").glob("*.json")), "its record is kept on this host"
    monkeypatch.setenv("CRONGUARD_ON_STORE_ERROR", "run")
    with guard("job", store=store) as lease:
        lease.check()
        assert lease.token is None
        assert "CRONGUARD_TOKEN" not in lease.environ
    until("the thread to end", lambda: not own_threads())


def test_what_a_started_process_gets(lab: Lab) -> None:
    """`environ` is what a run gives its command, so it may be fenced as well."""
    with guard("job", timeout="1m") as lease:
        assert lease.environ["CRONGUARD_TOKEN"] == str(lease.token)
        assert lease.environ["CRONGUARD_RUN_ID"] == lease.run_id
        assert lease.environ["CRONGUARD_DEADLINE"].endswith("Z")


def test_what_it_says_is_logged_without_secrets(
    far: Lab, own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Troubles of the store are warnings of the logger `cronguard`."""
    own_server.client().config_set("requirepass", "hunter22")
    store = own_server.tcp_url.replace("redis://", "redis://:hunter22@")
    with caplog.at_level(logging.INFO, "cronguard"), guard("job", ttl="10s", store=store):
        own_server.pause()
        until("a warning", lambda: "cannot renew the lock" in caplog.text)
        own_server.resume()
        until("the good news", lambda: "renews the lock again" in caplog.text)
    assert "hunter22" not in caplog.text


@pytest.mark.parametrize("kind", ["cluster", "sentinel", "quorum"])
def test_on_groups_of_servers(kind: str, tmp_path: Path) -> None:
    """The same on a Cluster, behind Sentinel and on a quorum."""
    flavour = next(name for name in FLAVOURS if binary(name) is not None)
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    if kind == "quorum":
        found = [start_server(folder, flavour, *SYNCED) for folder in folders]
        url, stops = " ".join([one.tcp_url for one in found]), [one.stop for one in found]
    elif kind == "cluster":
        cluster = start_cluster(folders[0], flavour, replicas=0)
        url, stops = cluster.url, [cluster.stop]
    else:
        watch = start_watch(folders[0], flavour, replicas=0, sentinels=1)
        url, stops = watch.url, [watch.stop]
    try:
        with guard("job", store=url) as lease:
            lease.check()
            with pytest.raises(Skipped):
                guard("job", store=url).__enter__()
        (record,) = Lab(tmp_path, url).records("job")
        assert (record["outcome"], record["token"]) == ("succeeded", lease.token)
    finally:
        for stop in stops:
            stop()
    until("the threads to end", lambda: not own_threads())
