"""--replace: the newest run stops those before it, and starts only when all of them is dead."""

from __future__ import annotations

import subprocess

from tests.process.lab import Lab, until
from tests.process.test_contention import UPDATE
from tests.process.witness import Guarded, holder

LONG = ("--ttl", "2m")
"""So long that no heartbeat and no expiry has a part in what happens here."""
TIDY = "trap 'sleep 0.3; echo tidied; exit 5' TERM; echo ready; while :; do sleep 0.05; done"


def test_the_old_run_tidies_up_and_then_the_new_one_starts(lab: Lab) -> None:
    """The polite signal comes at once, its grace is kept, and nothing runs side by side."""
    old = Guarded(lab, *LONG, command=("sh", "-c", TIDY)).ready()
    new = Guarded(lab, *LONG, "--replace").ready()
    out, _ = old.process.communicate(timeout=20)
    assert (old.process.returncode, out) == (143, b"tidied\n")
    assert "stopping: replaced by" in old.said
    assert "asked" in new.said
    assert "to stop; waiting until all of it is dead" in new.said
    assert new.end() == 7
    after, before = lab.records("job")
    assert (before["outcome"], before["reason"]) == ("stopped", "replaced")
    assert (after["outcome"], after["exit_status"]) == ("failed", 7)
    assert str(after["started_at"]) >= str(before["ended_at"])
    assert int(str(after["token"])) > int(str(before["token"]))


def test_a_run_that_ignores_the_signal_is_killed_with_its_children(lab: Lab) -> None:
    """Its own --kill-after counts; a child that left its group is dead, too, before we start."""
    text = "trap '' TERM; setsid sleep 1000 & echo $! > escaped; echo ready; wait; sleep 1000"
    old = Guarded(lab, *LONG, "-k", "200ms", command=("sh", "-c", text)).ready()
    new = lab.call(
        "run", "-n", "job", *LONG, "--replace", "--", "sh", "-c", "! kill -0 $(cat escaped)"
    )
    assert new.returncode == 0, new.stderr
    assert old.status() == 143
    assert lab.records("job")[1]["reason"] == "replaced"


def test_with_wait_it_gives_up_in_time(lab: Lab) -> None:
    """A run that will not end is waited for no longer than asked; it stays the holder."""
    text = "trap '' TERM; echo ready; read line; exit 7"
    old = Guarded(lab, *LONG, "-k", "1h", command=("sh", "-c", text)).ready()
    new = lab.call(
        "run", "-n", "job", *LONG, "--replace", "--wait", "300ms", "-E", "9", "--", "true"
    )
    assert new.returncode == 9
    assert lab.skips("job")[0]["reason"] == "wait_expired"
    assert holder(lab) != ""
    old.end()


def test_nobody_there_is_nobody_to_replace(lab: Lab) -> None:
    """It starts at once, and says nothing of it."""
    done = lab.call("run", "-n", "job", *LONG, "--replace", "--", "true")
    assert (done.returncode, done.stderr) == (0, b"")


def test_who_waits_is_replaced_too(lab: Lab) -> None:
    """The waiter never starts: it is skipped, and says why; the newest takes over."""
    old = Guarded(lab, *LONG).ready()
    waiter = Guarded(lab, *LONG, "--wait", "forever", "-E", "9", command=("touch", "wrong"))
    waiter.says("waiting for the lock")
    new = Guarded(lab, *LONG, "--replace").ready()
    assert (old.status(), waiter.status()) == (143, 9)
    assert "while it waited for the lock it was replaced by" in waiter.said
    assert not (lab.folder / "wrong").exists()
    assert new.end() == 7
    [skip] = lab.skips("job")
    assert (skip["outcome"], skip["reason"]) == ("skipped", "replaced")


def test_twenty_that_replace_each_other_never_run_side_by_side(lab: Lab) -> None:
    """Each update that was begun was begun alone; whatever happens, the last one is left."""
    (lab.folder / "count").write_text("0\n")
    command = f"trap '' TERM; {UPDATE}; trap - TERM; sleep 0.2"
    crowd: list[subprocess.Popen[bytes]] = [
        lab.start("run", "-n", "job", *LONG, "--replace", "-E", "9", "--", "sh", "-c", command)
        for _ in range(20)
    ]
    statuses = []
    for process in crowd:
        process.communicate(timeout=120)
        statuses.append(process.returncode)
    assert set(statuses) <= {0, 9, 143}, statuses
    assert 0 in statuses
    until("the lock to be free", lambda: holder(lab) == "")
    tokens = [int(word) for word in lab.said("tokens").split()]
    assert lab.said("count") == f"{len(tokens)}\n"
    assert tokens == sorted(set(tokens))
    assert len(lab.records("job")) + len(lab.skips("job")) == 20
