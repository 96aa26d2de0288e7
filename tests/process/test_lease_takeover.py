"""Who may take over at once, and who must wait: the proof of death is the guardian's alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.process.lab import Lab, until
from tests.process.witness import (
    TTL,
    VICTIMS,
    Deathwatch,
    Guarded,
    assert_no_overlap,
    family_of,
    holder,
    lease_end,
    lives,
    other_state,
    wait_for_renewal,
)

LONG = ("--ttl", "2m")
"""Nobody here waits for such a lease to expire: who starts meanwhile did not need to."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make namespaces here")
TWIN = (
    *("unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", "--"),
    *("sh", "-c", 'hostname twin; exec "$@"', "sh"),
)


def telling(lab: Lab, tag: str, kind: str = "family", *limit: str) -> list[str]:
    """Return a command whose processes testify in the lab's folder."""
    tell = lab.folder / "tell"
    tell.mkdir(exist_ok=True)
    return [lab.interpreter, "-I", VICTIMS, kind, str(tell), tag, *limit]


def test_l17_on_the_same_host_the_next_run_starts_at_once(lab: Lab) -> None:
    """L17, P22: the guardian has seen the tree dead and left its mark; the record is abandoned."""
    run = Guarded(lab, *LONG, command=telling(lab, "first")).ready()
    waiter = Guarded(lab, *LONG, "--wait", "forever", command=telling(lab, "second", "group"))
    waiter.says("waiting for the lock")
    everybody = [run.pid, lab.guardian_of(run.pid), *family_of(lab.folder / "tell", "first")]
    watch = Deathwatch(everybody)
    run.process.kill()
    watch.last()
    waiter.ready()
    assert lab.records("job")[1]["outcome"] == "abandoned"
    waiter.process.kill()
    until("the second tree to be gone", lambda: not lab.marked())
    command = telling(lab, "third", "group", "50")
    third = lab.call("run", "-n", "job", *LONG, "-E", "9", "--", *command)
    assert third.returncode == 0, "without --wait as well"
    assert_no_overlap(lab.folder / "tell", 3)
    assert list((lab.state / "dead").iterdir()) == [], "marks that were used are gone"


def test_l17_without_the_guardians_word_the_lease_decides(lab: Lab) -> None:
    """L17: keeper and guardian killed at once leave no proof: nobody starts before the TTL."""
    run = Guarded(lab, *TTL, command=telling(lab, "first", "group")).ready()
    command = telling(lab, "second", "group", "100")
    waiter = Guarded(lab, *TTL, "--wait", "forever", command=command)
    waiter.says("waiting for the lock")
    watch = Deathwatch(family_of(lab.folder / "tell", "first"))
    keeper, guardian = run.pid, lab.guardian_of(run.pid)
    # The guardian dies first: the keeper's death would orphan their group, and the kernel wakes
    # the stopped members of one that it orphans.
    for pid, signum in (
        (keeper, signal.SIGSTOP),
        (guardian, signal.SIGSTOP),
        (guardian, signal.SIGKILL),
        (keeper, signal.SIGKILL),
    ):
        os.kill(pid, signum)
    watch.last()
    ends = lease_end(lab)
    assert waiter.status() == 0, waiter.said
    assert lives(lab.folder / "tell")["second"][0] // 1_000_000 >= ends
    assert_no_overlap(lab.folder / "tell", 2)


def test_a_mark_alone_proves_nothing(lab: Lab) -> None:
    """A keeper that lives is alive, whatever lies in the state folder."""
    run = Guarded(lab, *LONG).ready()
    (lab.state / "dead").mkdir(mode=0o700, parents=True)
    (lab.state / "dead" / holder(lab)).touch(0o600)
    assert lab.call("run", "-n", "job", *LONG, "-E", "9", "--", "true").returncode == 9
    assert run.end() == 7


def test_another_state_folder_sees_no_mark(lab: Lab) -> None:
    """Then the lease decides, though the tree is dead."""
    run = Guarded(lab, *TTL).ready()
    run.process.kill()
    until("the mark", lambda: list((lab.state / "dead").glob("*")))
    done = lab.call("run", "-n", "job", *TTL, "-E", "9", "--", "true", env=other_state(lab))
    assert done.returncode == 9
    assert lab.call("run", "-n", "job", *TTL, "-E", "9", "--", "true").returncode == 0


def test_p14_a_killed_guardian_ends_the_run(lab: Lab) -> None:
    """P14: the keeper kills the tree, its daemons too, gives the lock back, and ends with 125."""
    run = Guarded(lab, *LONG, command=telling(lab, "first")).ready()
    watch = Deathwatch(family_of(lab.folder / "tell", "first"))
    os.kill(lab.guardian_of(run.pid), signal.SIGKILL)
    watch.last()
    assert run.status() == 125
    assert "guardian process was killed" in run.said
    [record] = lab.records("job")
    assert (record["outcome"], record["reason"]) == ("failed", "guardian_killed")
    assert lab.call("run", "-n", "job", *LONG, "-E", "9", "--", "true").returncode == 0


# -- other hosts -----------------------------------------------------------------------------------


def other_boot(folder: Path) -> tuple[str, ...]:
    """Return a prefix that lets a command see another boot of this host."""
    fake = folder / "boot_id"
    fake.write_text("00000000-1111-4222-8333-444444444444\n")
    script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
    return ("unshare", "--mount", "--", "sh", "-c", script, str(fake))


@needs_root
@pytest.mark.root
def test_h12_after_a_reboot_the_embedded_store_is_free(local: Lab) -> None:
    """H12: whoever held a lease before the boot is dead; its record is abandoned."""
    run = Guarded(local, *LONG).ready()
    both = (run.pid, local.guardian_of(run.pid))
    for signum in (signal.SIGSTOP, signal.SIGKILL):  # neither is to see the other's death
        for pid in both:
            os.kill(pid, signum)
    until("the tree to be gone", lambda: not local.marked())
    prefix = other_boot(local.folder)
    after = Guarded(local, *LONG, prefix=prefix).ready()
    assert after.end() == 7
    done = local.call_inside(list(prefix), "history", "job", "--json")
    assert done.returncode == 0, done.stderr
    assert b'"abandoned"' in done.stdout


@needs_root
@pytest.mark.root
def test_h12_after_a_reboot_the_shared_stores_lease_decides(remote: Lab) -> None:
    """H12: a mark of another boot is no proof; the lock is free when its TTL is over."""
    run = Guarded(remote, *TTL, command=telling(remote, "first")).ready()
    run.process.kill()
    until("the mark", lambda: list((remote.state / "dead").glob("*")))
    ends = lease_end(remote)
    command = telling(remote, "second", "group", "100")
    prefix = other_boot(remote.folder)
    after = Guarded(remote, *TTL, "--wait", "forever", command=command, prefix=prefix)
    assert after.status() == 0, after.said
    assert lives(remote.folder / "tell")["second"][0] // 1_000_000 >= ends
    outcomes = [record["outcome"] for record in remote.records("job")]
    assert outcomes == ["succeeded", "abandoned"]


@needs_root
@pytest.mark.root
def test_h14_twins_with_one_host_name_and_one_pid_are_told_apart(lab: Lab) -> None:
    """H14: only the run id decides whose a lease is; another PID namespace proves nothing here."""
    first = Guarded(lab, *TTL, command=telling(lab, "first"), prefix=TWIN).ready()
    wait_for_renewal(lab)
    command = telling(lab, "second", "group", "50")
    second = Guarded(lab, *TTL, "--wait", "forever", command=command, prefix=TWIN)
    second.says("waiting for the lock, held by twin")
    wait_for_renewal(lab)
    (lab.state / "dead").mkdir(mode=0o700, parents=True, exist_ok=True)
    (lab.state / "dead" / holder(lab)).touch(0o600)  # a mark that counts in its own namespace only
    first.process.kill()  # and its whole namespace: as if the host went down
    ends = lease_end(lab)
    assert second.status() == 0, second.said
    assert lives(lab.folder / "tell")["second"][0] // 1_000_000 >= ends
    assert_no_overlap(lab.folder / "tell", 2)
    facts = {(record["host"], record["pid"]) for record in lab.records("job")}
    assert len(facts) == 1, "or this test shows nothing"
