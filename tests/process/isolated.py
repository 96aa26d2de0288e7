"""Each isolation, for root and for an ordinary user: a place to run in, and a zoo to hold there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cronguard.runtime.cage import own_cgroup
from cronguard.runtime.cage import refusal as no_cgroup
from tests.process import children
from tests.process.lab import Lab, until
from tests.process.places import ControlGroup, control_group, user_lab

ROOM = 60
"""So many processes a bomb may have, and no more."""
MODES = ("group", "cgroup", "pidns")
USERS = ("root", "user")
DEAF = ("plain", "session", "daemon", "stopped", "nohup", "sibling")


class Held:
    """One way to isolate, and who does it. `run` starts the real command so."""

    def __init__(self, mode: str, lab: Lab, before: list[str], setuid: str) -> None:
        self.mode = mode
        self.lab = lab
        self.before = before
        self.setuid = setuid

    def run(
        self,
        *args: str,
        before: tuple[str, ...] = (),
        preexec: Callable[[], None] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `cronguard run --isolation MODE ARGS`."""
        argv = [*self.before, *before, *self.lab.argv("run", "--isolation", self.mode, *args)]
        process = subprocess.Popen(
            argv,
            env=self.lab.env,
            cwd=self.lab.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=preexec,
        )
        self.lab.started.append(process)
        return process

    def ready(
        self, *args: str, preexec: Callable[[], None] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start it, and wait until its command says so."""
        process = self.run(*args, preexec=preexec)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == b"ready\n", (line, process.stderr and process.stderr.read())
        return process

    def call(self, *args: str) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end."""
        process = self.run(*args)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def zoo(self) -> list[str]:
        """Return a command that starts everybody who may try to get out here."""
        kinds = list(DEAF)
        if self.setuid:
            kinds.append(f"setuid:{self.setuid}")
        if os.geteuid() == 0 and self.lab.user is None:
            kinds.append("nested")
            above = own_cgroup()
            if self.mode == "cgroup" and above:
                kinds.append(f"mover:{above}/cgroup.procs")
        return children.command("zoo", self.lab.folder, *kinds, interpreter=self.lab.interpreter)


@contextmanager
def held(mode: str, who: str) -> Iterator[Held]:
    """Prepare that isolation for that user; skips where it cannot be had."""
    with ExitStack() as stack:
        before: list[str] = []
        if who == "user":
            lab, before = _ordinary(stack, mode)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cgi")))
            folder.chmod(0o755)
            lab = Lab(folder, f"sqlite://{folder}/state/cronguard.db")
            if mode == "cgroup" and no_cgroup():
                pytest.skip(no_cgroup())
        setuid = _setuid(lab, mode)
        place = Held(mode, lab, before, setuid)
        if mode == "pidns":
            tried = place.call("-n", "try", "--", "true")
            if b"the kernel refuses it" in tried.stderr:
                pytest.skip(tried.stderr.decode())
        try:
            yield place
            left = lab.clear()
            assert not left, f"processes left behind: {left}"
        finally:
            lab.clear()


def _ordinary(stack: ExitStack, mode: str) -> tuple[Lab, list[str]]:
    """Return the lab of a user of its own, and what to start before the command to become that."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; the other tests ran as one")
    user = 61_000 + os.getpid() % 4000
    lab = stack.enter_context(user_lab(user))
    become = [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    join = ""
    if mode == "cgroup":
        group = stack.enter_context(control_group("unified"))
        _delegate(group, user)
        join = f"echo 0 > {group.folder}/cgroup.procs; "
    return lab, ["sh", "-c", join + 'exec setpriv "$@"', "sh", *become, "--"]


def _delegate(group: ControlGroup, user: int) -> None:
    """Give the group away, as `Delegate=yes` does."""
    for path in (group.folder, group.folder / "cgroup.procs"):
        os.chown(path, user, user)


def _setuid(lab: Lab, mode: str) -> str:
    """Return a `sleep` that becomes another user; nothing where the kernel lets it live (P15)."""
    if os.geteuid() != 0 or (lab.user is not None and mode == "group"):
        return ""
    program = str(shutil.copy("/bin/sleep", lab.folder / "becomes"))
    owner = 65_534 if lab.user is None else 0
    os.chown(program, owner, owner)
    Path(program).chmod(0o4755)
    return program


def ended(place: Held, patience: float = 5.0) -> None:
    """Wait until nothing with the lab's mark is left."""
    until("nothing to be left", lambda: not place.lab.marked(), patience)


def described(place: Held) -> list[str]:
    """Return what is left, in words."""
    found = []
    for pid in place.lab.marked():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:3]
        except OSError:
            continue
        found.append(f"{pid} {words}")
    return found


def leaves(place: Held) -> list[str]:
    """Return the control groups that this lab's runs have made and not removed."""
    above = own_cgroup()
    keepers = [process.pid for process in place.lab.started]
    return [
        path.name
        for keeper in (keepers if above is not None else [])
        for path in Path(str(above)).glob(f"cronguard-{keeper}-*")
    ]
