"""Word from another process reaches the run: stop, unlock, and settings that disagree."""

from __future__ import annotations

import signal

import redis

from tests.process.lab import Lab, until
from tests.process.witness import TTL, Guarded, holder, other_state, wait_for_renewal


def test_a_stop_reaches_the_holder_at_once(lab: Lab) -> None:
    """Before its first heartbeat: the store pushes it. TERM, 143, and the record says by whom."""
    run = Guarded(lab, "--ttl", "30m").ready()
    until("the holder to listen", lambda: _listens(lab))
    lab.ask(lambda history: history.ask_stop("job", holder(lab), "tester@here"))
    assert run.status() == 128 + signal.SIGTERM, run.said
    assert "stopping: asked by tester@here" in run.said
    [record] = lab.records("job")
    assert (record["outcome"], record["reason"]) == ("stopped", "by tester@here")
    assert record["renewals"] == 0
    assert holder(lab) == ""


def _listens(lab: Lab) -> bool:
    """Tell whether somebody would hear what is pushed now: inotify has no such question."""
    if lab.store.startswith("sqlite:"):
        return True
    with redis.Redis.from_url(lab.store) as client:
        return bool(client.execute_command("PUBSUB", "NUMSUB", "cg:{job}:e")[1])


def test_stop_by_command_waits_for_the_end(lab: Lab) -> None:
    """`cronguard stop JOB --wait` returns when the run is over; its grace is kept."""
    text = "trap 'sleep 0.3; echo tidied; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    run = Guarded(lab, "--ttl", "30m", command=("sh", "-c", text)).ready()
    done = lab.call("stop", "job", "--wait", "--timeout", "30s")
    assert done.returncode == 0, done.stderr
    assert holder(lab) == ""
    out, _ = run.process.communicate(timeout=20)
    assert (run.process.returncode, out) == (143, b"tidied\n")
    assert lab.records("job")[0]["outcome"] == "stopped"


def test_a_stop_that_was_left_before_a_heartbeat_is_heard_with_it(lab: Lab) -> None:
    """Whatever became of the push: the next renewal brings the word."""
    run = Guarded(lab, *TTL).ready()
    lab.ask(lambda history: history.ask_stop("job", holder(lab), "tester"))
    assert run.status() == 143, run.said


def test_unlock_needs_force_while_the_holder_lives(lab: Lab) -> None:
    """With it another run may start; the first one learns of it, is killed, and ends with 121."""
    run = Guarded(lab, *TTL).ready()
    wait_for_renewal(lab)
    refused = lab.call("unlock", "job")
    assert (refused.returncode, b"seems alive" in refused.stderr) == (1, True), refused.stderr
    assert lab.call("unlock", "job", "--force").returncode == 0
    other = Guarded(lab, *TTL, env=other_state(lab)).ready()
    theirs = holder(lab)
    assert run.status() == 121, run.said
    assert holder(lab) == theirs
    wait_for_renewal(lab)
    assert other.end() == 7


def test_unlock_alone_ends_the_holder(lab: Lab) -> None:
    """It can neither renew nor reclaim what was taken from it, though nobody else took it."""
    run = Guarded(lab, *TTL).ready()
    assert lab.call("unlock", "job", "--force").returncode == 0
    assert run.status() == 121, run.said
    assert holder(lab) == ""
    assert lab.records("job")[0]["outcome"] == "lease_lost"


def test_l22_two_hosts_that_disagree_about_the_ttl_are_told(lab: Lab) -> None:
    """L22: refused with both settings in the message, also when it would wait; then it may run."""
    run = Guarded(lab, *TTL).ready()
    for options in ((), ("--wait", "forever")):
        other = lab.call("run", "-n", "job", "--ttl", "20s", *options, "--", "true")
        assert other.returncode == 125
        assert b"same --slots and --ttl on every host" in other.stderr, other.stderr
        [record] = [r for r in lab.records("job") if r["outcome"] == "not_started"][:1]
        assert record["reason"] == "conflict"
    assert run.end() == 7
    assert lab.call("run", "-n", "job", "--ttl", "20s", "--", "true").returncode == 0
