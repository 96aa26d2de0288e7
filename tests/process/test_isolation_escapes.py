"""Whatever the command starts, and however the run ends, nothing of it lives on: in each isolation.

The zoo is a plain process, and deaf ones: in a session of its own, a daemon by the book, a stopped
one, one below nohup, a child of the command's own parent (CLONE_PARENT), one that becomes another
user by a setuid file, a PID namespace inside, and one that leaves the control group it was put in.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.process import children
from tests.process.isolated import MODES, ROOM, USERS, Held, described, ended, held, leaves
from tests.process.lab import until
from tests.process.places import control_group, root
from tests.process.witness import Deathwatch, lease_end

pytestmark = pytest.mark.variant

SOON = ("-k", "200ms")
EACH = [(mode, who) for mode in MODES for who in USERS]
TAKEOVER_MS = 5_000


@pytest.fixture(params=EACH, ids=[f"{mode}-{who}" for mode, who in EACH])
def place(request: pytest.FixtureRequest) -> Iterator[Held]:
    """Each isolation, for each kind of user."""
    with held(*request.param) as found:
        yield found


def by_timeout(place: Held) -> None:
    """The run lasts too long."""
    run = place.ready("-n", "job", "-t", "1", *SOON, "--", *place.zoo())
    assert run.wait(20) == 124
    assert not place.lab.marked(), described(place)


def by_term(place: Held) -> None:
    """Somebody stops cronguard."""
    run = place.ready("-n", "job", *SOON, "--", *place.zoo())
    run.terminate()
    assert run.wait(20) == 143
    assert not place.lab.marked(), described(place)


def by_keeper(place: Held) -> None:
    """The keeper is killed: the kernel and the guardian do the rest."""
    run = place.ready("-n", "job", *SOON, "--", *place.zoo())
    run.kill()
    run.wait()
    ended(place)


def by_guardian(place: Held) -> None:
    """The guardian is killed: the keeper takes over, and says so."""
    run = place.ready("-n", "job", *SOON, "--", *place.zoo())
    os.kill(place.lab.guardian_of(run.pid), signal.SIGKILL)
    assert run.wait(20) == 125
    assert not place.lab.marked(), described(place)
    assert place.lab.records("job")[0]["reason"] == "guardian_killed"


def by_straggling(place: Held) -> None:
    """The command has ended by itself, and all the others stay."""
    run = place.ready("-n", "job", *SOON, "--", *place.zoo())
    # `sibling` looks like the command until it has become what it is.
    until("one leader", lambda: len(leaders(place)) == 1)
    os.kill(leaders(place)[0], signal.SIGKILL)
    assert run.wait(20) == 137
    assert not place.lab.marked(), described(place)


def leaders(place: Held) -> list[int]:
    """Return who seems to be the zoo's first process."""
    return [pid for pid in place.lab.marked() if is_leader(pid)]


def is_leader(pid: int) -> bool:
    """Tell whether this is the zoo's first process, by what its parent runs."""

    def words(number: object) -> bytes:
        with open(f"/proc/{number}/cmdline", "rb") as file:
            return file.read()

    with open(f"/proc/{pid}/stat", "rb") as file:
        above = int(file.read().rpartition(b")")[2].split()[1])
    is_zoo = b"\0zoo\0" in words(pid) and b"\0cronguard\0" not in words(pid)
    return is_zoo and b"\0cronguard\0" in words(above)


CAUSES: tuple[Callable[[Held], None], ...] = (
    by_timeout, by_term, by_keeper, by_guardian, by_straggling,
)  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES)
def test_nothing_of_the_zoo_lives_on(place: Held, cause: Callable[[Held], None]) -> None:
    """P5, P6, P8, P10, P14, P15, L17: every way to hide, every end of a run."""
    cause(place)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_lives_on_when_the_host_is_overloaded(mode: str) -> None:
    """H4: the same with four times as many busy processes as there are processors."""
    with held(mode, "root") as place, overload():
        for cause in CAUSES:
            cause(place)


@contextmanager
def overload() -> Iterator[None]:
    """Keep eight processes busy, which end by themselves should we forget them."""
    text = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    busy = [subprocess.Popen([sys.executable, "-I", "-c", text]) for _ in range(8)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize("kind", ["group", "setsid"])
def test_p12_a_fork_bomb_is_ended_in_each_isolation(place: Held, kind: str) -> None:
    """P12: with a room of some dozens of processes, also as its keeper or guardian is killed."""
    bomb = children.command("bomb", kind, interpreter=place.lab.interpreter)
    with ExitStack() as stack:
        limits: tuple[str, ...] = ()
        join = None
        if place.lab.user is not None:  # a user that nobody else is: the limit counts all of his
            limits = ("prlimit", f"--nproc={ROOM}")
        elif os.geteuid() == 0:
            group = stack.enter_context(control_group("pids"))
            group.set("pids.max", ROOM)
            join = group.join
        else:
            pytest.skip("without a limit of its own, a bomb is nobody's friend")
        run = place.run("-n", "a", "-t", "500ms", *SOON, "--", *bomb, before=limits, preexec=join)
        assert run.wait(40) == 124
        assert not place.lab.marked(), described(place)
        run = place.run("-n", "b", *SOON, "--", *bomb, before=limits, preexec=join)
        assert run.stdout is not None
        run.stdout.readline()
        run.kill()
        run.wait()
        ended(place, 20)
        run = place.run("-n", "c", *SOON, "--", *bomb, before=limits, preexec=join)
        assert run.stdout is not None
        run.stdout.readline()
        os.kill(place.lab.guardian_of(run.pid), signal.SIGKILL)
        assert run.wait(40) == 125
        assert not place.lab.marked(), described(place)


@pytest.mark.parametrize("who", USERS)
def test_l17_both_killed_at_once_leave_nothing_of_a_namespace(who: str) -> None:
    """L17, P14: what a group cannot promise: the daemons die with keeper and guardian."""
    with held("pidns", who) as place:
        for _ in range(5):
            run = place.ready("-n", "job", *SOON, "--", *place.zoo())
            both = (place.lab.guardian_of(run.pid), run.pid)
            for signum in (signal.SIGSTOP, signal.SIGKILL):
                for pid in both:
                    os.kill(pid, signum)
            run.wait()
            ended(place)
            place.lab.ask(lambda history: [
                history.unlock(lease, "the test") for lease in history.leases(["job"])["job"]
            ])  # fmt: skip


def test_l18_nothing_lives_past_the_lease_of_a_stopped_keeper() -> None:
    """L18: stopped alone, with its guardian, or with everybody else: dead before the lease ends."""

    def stopped(place: Held, run: subprocess.Popen[bytes], who: str) -> list[int]:
        keeper, guardian = run.pid, place.lab.guardian_of(run.pid)
        victims = {
            "keeper": [keeper],
            "both": [guardian, keeper],
            "all": [*place.lab.marked(), keeper],
        }[who]
        everybody = place.lab.marked()
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)
        return everybody

    with ExitStack() as stack:
        watches = []
        for mode, who in EACH:
            for victims in ("keeper", "both", "all"):
                try:
                    place = stack.enter_context(held(mode, who))
                except pytest.skip.Exception:
                    continue
                run = place.ready("-n", "job", "--ttl", "10s", *SOON, "--", *place.zoo())
                ends = lease_end(place.lab)
                watch = Deathwatch(stopped(place, run, victims))
                watches.append((f"{mode} {who} {victims}", place, watch, ends - TAKEOVER_MS))
        assert watches
        for name, place, watch, ends in watches:
            assert watch.last() < ends, name
            assert not place.lab.marked(), (name, described(place))


@root
def test_p15_no_setuid_file_lives_on_in_a_namespace_of_an_ordinary_user() -> None:
    """P15: there is no other user in there, so nobody becomes root, and the run ends at once."""
    with held("pidns", "user") as place:
        run = place.ready(
            *("-n", "job", "-t", "300ms", "-k", "100ms", "--"),
            *children.command(
                "become_root", _setuid_setpriv(place), interpreter=place.lab.interpreter
            ),
        )
        out, err = run.communicate(timeout=20)
        assert b"cannot end the run" not in err
        assert run.returncode in (1, 127), (run.returncode, out, err)


def _setuid_setpriv(place: Held) -> str:
    program = shutil.copy("/usr/bin/setpriv", place.lab.folder / "become")
    os.chown(program, 0, 0)
    Path(program).chmod(0o4755)
    return str(program)


def test_no_control_group_is_left() -> None:
    """Runs in control groups, ended in every way, remove what they made."""
    with held("cgroup", "root") as place:
        run = place.ready("-n", "job", "--", "sh", "-c", "echo ready; exec sleep 600")
        assert len(leaves(place)) == 1
        run.terminate()
        run.wait(20)
        for cause in CAUSES:
            cause(place)
        assert place.call("-n", "job", "--", "nothing-of-that-name").returncode == 127
        until("the groups to be gone", lambda: not leaves(place))
