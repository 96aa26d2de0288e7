"""The control group that a command's memory and processor time are limited in.

That takes controllers of cgroup v2. A group can give them out to the groups in it only if it has
no processes itself, so the keeper goes into one beside the command's. Where others are in our
group, as below cron, root has a group of its own for all jobs at the top, as container engines do.
An ordinary user needs a unit with `Delegate=yes`. A command of another run has that one's limits,
and no way out of them.

What was found is tried before the lease is asked for: a run must not fail for want of a group.
"""

from __future__ import annotations

import os
from errno import EINVAL
from select import poll

from cronguard.runtime.cage import REMOVE_EVERY_MS, REMOVE_TRIES, own_cgroup
from cronguard.runtime.limits import tried

TOP = "cronguard"
CPU_PERIOD_US = 100_000
_HEX = frozenset("0123456789abcdef")


class LimitGroup:
    """Where the command's group is made: in `home`, or nowhere, and `unmet` says why."""

    __slots__ = ("_cpu_quota", "_enabled", "_here", "_memory_max", "_own", "home", "unmet")

    def __init__(self, memory_max: int, cpu_quota: int) -> None:
        self._memory_max = memory_max
        self._cpu_quota = cpu_quota
        self.home = ""
        self.unmet = ""
        self._here = self._own = ""
        self._enabled: list[str] = []

    def settle(self) -> None:
        """Find a group to make the command's in, and go aside ourselves if we are in the way."""
        wanted = [("memory", self._memory_max), ("cpu", self._cpu_quota)]
        names = [name for name, value in wanted if value]
        here = own_cgroup()
        if here is None:
            self.unmet = "this process is in no control group of version 2"
            return
        for settle in (self._settle_in, self._settle_at_the_top):
            if settle(here, names) and self._holds():
                self.unmet = ""
                return
            self.leave()
            self.home = ""

    def _settle_in(self, here: str, names: list[str]) -> bool:
        self.unmet = _obstacle(here, names)
        if self.unmet:
            return False
        try:
            if _is_undivided(here):
                self._go_aside(here, f"{here}/{TOP}-{os.getpid()}-keeper", names)
            else:
                _enable(here, names)
        except OSError as error:
            self.unmet = f"{here} cannot be divided ({os.strerror(error.errno or 0).lower()})"
            return False
        self.home = here
        return True

    def _go_aside(self, here: str, own: str, names: list[str]) -> None:
        """Leave *here* to the command's group, for one beside it. Raises: OSError."""
        os.mkdir(own)
        self._here, self._own = here, own
        _write(f"{own}/cgroup.procs", "0")
        self._enabled = _enable(here, names)

    def _settle_at_the_top(self, here: str, names: list[str]) -> bool:
        """Make, or find, the group of all jobs; for root."""
        top = _top(here)
        if not _may_use_top(top, here):
            return False
        home = f"{top}/{TOP}"
        try:
            _enable(top, names)
            os.makedirs(home, exist_ok=True)
            _enable(home, names)
        except OSError as error:
            self.unmet = f"{home} cannot be made ({os.strerror(error.errno or 0).lower()})"
            return False
        self.home = home
        return True

    def _holds(self) -> bool:
        """Try it all with a group that is made for that: files there may be of another user."""
        folder = f"{self.home}/{TOP}-{os.getpid()}-probe"
        errno = 0
        try:
            os.mkdir(folder)
            try:
                self.fill(folder)
                errno = tried(lambda: _write(f"{folder}/cgroup.procs", "0"))
            finally:
                _remove(folder)
        except OSError as error:
            errno = error.errno or EINVAL
        if errno:
            why = os.strerror(errno).lower()
            self.unmet = f"no group can be used in {self.home} ({why})"
        return not errno

    def fill(self, folder: str) -> None:
        """Limit the group of the command, before anything is in it. Raises: OSError."""
        if self._memory_max:
            _write(f"{folder}/memory.max", str(self._memory_max))
            _write(f"{folder}/memory.oom.group", "1")  # a part of a run is no run
        if self._cpu_quota:
            quota = self._cpu_quota * CPU_PERIOD_US // 100
            _write(f"{folder}/cpu.max", f"{quota} {CPU_PERIOD_US}")

    def leave(self) -> None:
        """Put things back as they were, when the command's group is gone; as far as we can."""
        if not self._own:
            return
        own, self._own = self._own, ""
        try:
            for name in self._enabled:
                _write(f"{self._here}/cgroup.subtree_control", f"-{name}")
            for pid in _words(f"{own}/cgroup.procs"):  # with what --stragglers has left
                _write(f"{self._here}/cgroup.procs", pid)
        except OSError:
            pass  # it stays until the unit ends
        _remove(own)


def prospects() -> str:
    """Say why no group with limits of memory and time can be had here; "" if one can."""
    names = ["memory", "cpu"]
    here = own_cgroup()
    if here is None:
        return "this process is in no control group of version 2"
    why = _obstacle(here, names)
    top = _top(here)
    if why and _may_use_top(top, here):
        missing = _missing(top, names)
        return f"{top} has no controller for {' and '.join(missing)}" if missing else ""
    if not why and not os.access(here, os.W_OK):
        return f"this user may not divide {here}"
    return why


def _obstacle(here: str, names: list[str]) -> str:
    """Say why a group cannot be divided, as far as reading tells."""
    try:
        missing = _missing(here, names)
        if missing:
            return f"{here} has no controller for {' and '.join(missing)}"
        others = set(_words(f"{here}/cgroup.procs")) - {str(os.getpid())}
        if others and _is_undivided(here):
            whose = ", and it is another run's" if is_of_a_run(here) else ""
            return f"others are in {here} as well{whose}, so it cannot be divided"
    except OSError as error:
        return f"{here} cannot be divided ({os.strerror(error.errno or 0).lower()})"
    return ""


def _missing(folder: str, names: list[str]) -> list[str]:
    return sorted(set(names) - set(_words(f"{folder}/cgroup.controllers")))


def _top(here: str) -> str:
    """Return the group above all others that can be seen from here."""
    above = os.path.dirname(here)
    return _top(above) if os.path.exists(f"{above}/cgroup.controllers") else here


def _may_use_top(top: str, here: str) -> bool:
    """Tell whether root may divide it; that of a container often has processes in it."""
    if os.geteuid() != 0 or top == here or is_of_a_run(here):
        return False
    return not (_is_undivided(top) and _words(f"{top}/cgroup.procs"))


def is_of_a_run(folder: str) -> bool:
    """Tell whether *folder* is, or is in, a group that a run has made for its command (launch.py).

    What is in there stays in there, or it could get out of that run's limits, and of its net.
    """
    for name in folder.split("/"):
        word, _, rest = name.partition("-")
        pid, _, random = rest.partition("-")
        if word == TOP and pid.isdigit() and len(random) == 8 and _HEX.issuperset(random):
            return True
    return False


def _is_undivided(folder: str) -> bool:
    """Tell whether a group has to be without processes before it can give controllers out.

    The kernel's root group need not; nor one that gives them out already.
    """
    return os.path.exists(f"{folder}/cgroup.type") and not _words(
        f"{folder}/cgroup.subtree_control"
    )


def _enable(folder: str, names: list[str]) -> list[str]:
    """Give controllers out to the groups in *folder*; return the new ones. Raises: OSError."""
    missing = [name for name in names if name not in _words(f"{folder}/cgroup.subtree_control")]
    if missing:
        _write(f"{folder}/cgroup.subtree_control", " ".join([f"+{name}" for name in missing]))
    return missing


def _remove(folder: str) -> None:
    """Remove a group that is empty, or will be in a moment."""
    for _ in range(REMOVE_TRIES):
        try:
            os.rmdir(folder)
        except OSError:
            poll().poll(REMOVE_EVERY_MS)
            continue
        break


def _words(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().split()


def _write(path: str, text: str) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(number, text.encode("ascii"))
    finally:
        os.close(number)
