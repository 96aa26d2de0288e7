"""What a command may take: its priority, its address space, and in a control group memory and time.

Priority and address space are set by the child itself, right before it becomes the command. Whether
it may is tried before the lease is asked for, in a process of its own: a run that cannot have what
it is told to have is refused.

Memory and processor time take controllers of cgroup v2 in the group that the command is started in.
They can be given out in a group alone that has no processes itself, so the keeper goes into one
beside the command's. Where others are in our group, as below cron, root has a group of its own for
all jobs at the top, as container engines do. An ordinary user needs a unit with `Delegate=yes`.

Where no such group can be had the run goes on without, and says so: it is as limited as it was.
"""

from __future__ import annotations

import os

from cronguard.runtime import kernel
from cronguard.runtime.cage import own_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.core.spec import JobSpec

TOP = "cronguard"
CPU_PERIOD_US = 100_000
_IOPRIO_SET = {
    "x86_64": 251, "i386": 289, "i686": 289, "aarch64": 30, "riscv64": 30, "loongarch64": 30,
    "armv6l": 314, "armv7l": 314, "ppc64": 273, "ppc64le": 273, "s390x": 282,
}  # fmt: skip
"""Its number differs: asm/unistd.h."""
_IOPRIO_WHO_PROCESS = 1
_REMEDIES = {
    "nice": "A priority below 0 takes root, or CAP_SYS_NICE, or a limit of RLIMIT_NICE",
    "ionice": "The class realtime takes root; idle and best-effort take a kernel that has them",
    "rlimit_as": "The hard limit (`ulimit -Hv`) may be lower",
}


class Limits:
    """What one run is limited to. `home` is the group that those of runs are made in, or "".

    `unmet` says why memory and time cannot be limited; empty if they can, or need not be.
    """

    __slots__ = ("_own", "home", "spec", "unmet")

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.home = ""
        self.unmet = ""
        self._own = ""

    @property
    def needs_group(self) -> bool:
        """Whether anything of it takes a control group."""
        return bool(self.spec.memory_max or self.spec.cpu_quota)

    def in_force(self) -> dict[str, object]:
        """Return, for the record, what the run is limited to."""
        spec = self.spec
        found = {"nice": spec.nice, "ionice": spec.ionice or None}
        found |= {"rlimit_as_bytes": spec.rlimit_as or None}
        if not self.unmet:
            found |= {"memory_max_bytes": spec.memory_max or None}
            found |= {"cpu_quota_percent": spec.cpu_quota or None}
        return {name: value for name, value in found.items() if value is not None}

    # -- the child --------------------------------------------------------------------------------

    def apply(self) -> None:
        """Limit this process, and what it becomes. Raises: OSError, ValueError."""
        for _, limit in self._of_process():
            limit()

    def refusal(self) -> str:
        """Say what of it this user may not have, and what to do; "" if nothing."""
        names = [name for name, _ in self._of_process()]
        if not names:
            return ""
        pid = os.fork()
        if pid == 0:
            os._exit(self._first_refused())
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            return ""
        name = names[status - 1] if 0 < status <= len(names) else names[-1]
        return f"--{name.replace('_', '-')} may not be set so here.\n  {_REMEDIES[name]}"

    def _first_refused(self) -> int:
        for number, (_, limit) in enumerate(self._of_process(), 1):
            try:
                limit()
            except (OSError, ValueError):
                return number
        return 0

    def _of_process(self) -> list[tuple[str, Callable[[], None]]]:
        """Return what a process sets for itself; the address space last."""
        found: list[tuple[str, Callable[[], None]]] = []
        if self.spec.nice is not None:
            found.append(("nice", self._set_nice))
        if self.spec.ionice:
            found.append(("ionice", self._set_ionice))
        if self.spec.rlimit_as:
            found.append(("rlimit_as", self._set_address_space))
        return found

    def _set_nice(self) -> None:
        os.setpriority(os.PRIO_PROCESS, 0, self.spec.nice or 0)

    def _set_ionice(self) -> None:
        number = _IOPRIO_SET.get(os.uname().machine, -1)
        value = io_priority(self.spec.ionice)
        kernel.call(kernel.function("syscall"), number, _IOPRIO_WHO_PROCESS, 0, value)

    def _set_address_space(self) -> None:
        from resource import RLIMIT_AS, setrlimit  # noqa: PLC0415 - here alone

        setrlimit(RLIMIT_AS, (self.spec.rlimit_as, self.spec.rlimit_as))

    # -- the control group ------------------------------------------------------------------------

    def settle(self) -> None:
        """Find a group to make the command's in, and go aside ourselves if we are in the way."""
        wanted = [("memory", self.spec.memory_max), ("cpu", self.spec.cpu_quota)]
        names = [name for name, value in wanted if value]
        here = own_cgroup()
        if here is None:
            self.unmet = "this process is in no control group of version 2"
            return
        if self._settle_in(here, names) or self._settle_at_the_top(here, names):
            self.unmet = ""

    def _settle_in(self, here: str, names: list[str]) -> bool:
        own = f"{here}/{TOP}-{os.getpid()}-keeper"
        self.unmet = _obstacle(here, names)
        if self.unmet:
            return False
        try:
            if set(names) <= set(_words(f"{here}/cgroup.subtree_control")):
                self.home = here
                return True
            os.mkdir(own)
        except OSError as error:
            self.unmet = f"{here} cannot be divided ({os.strerror(error.errno or 0).lower()})"
            return False
        try:
            _write(f"{own}/cgroup.procs", "0")
            _enable(here, names)
        except OSError as error:
            self.unmet = f"{here} cannot be divided ({os.strerror(error.errno or 0).lower()})"
            self._go_back(here, own)
            return False
        self.home, self._own = here, own
        return True

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

    def fill(self, folder: str) -> None:
        """Limit the group of the command, before anything is in it. Raises: OSError."""
        if self.spec.memory_max:
            _write(f"{folder}/memory.max", str(self.spec.memory_max))
            _write(f"{folder}/memory.oom.group", "1")  # a part of a run is no run
        if self.spec.cpu_quota:
            quota = self.spec.cpu_quota * CPU_PERIOD_US // 100
            _write(f"{folder}/cpu.max", f"{quota} {CPU_PERIOD_US}")

    def leave(self) -> None:
        """Put things back as they were, when the command's group is gone; as far as we can."""
        if self._own:
            own, self._own = self._own, ""
            self._go_back(self.home, own)

    def _go_back(self, here: str, own: str) -> None:
        for name in ("memory", "cpu"):
            try:
                _write(f"{here}/cgroup.subtree_control", f"-{name}")
            except OSError:
                pass  # another run needs it
        try:
            _write(f"{here}/cgroup.procs", "0")
            os.rmdir(own)
        except OSError:
            pass  # it stays until the unit ends


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
    if not why and not os.access(f"{here}/cgroup.subtree_control", os.W_OK):
        return f"this user may not divide {here}"
    return why


def _obstacle(here: str, names: list[str]) -> str:
    """Say why a group cannot be divided, as far as reading tells."""
    try:
        missing = _missing(here, names)
        if missing:
            return f"{here} has no controller for {' and '.join(missing)}"
        is_divided = set(names) <= set(_words(f"{here}/cgroup.subtree_control"))
        if not is_divided and set(_words(f"{here}/cgroup.procs")) - {str(os.getpid())}:
            return f"others are in {here} as well, so it cannot be divided"
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
    return os.geteuid() == 0 and top != here


def io_priority(text: str) -> int:
    """Return what the kernel takes for `idle`, `best-effort:4`, `realtime:0`."""
    name, _, level = text.partition(":")
    number = {"realtime": 1, "best-effort": 2, "idle": 3}[name]
    return number << 13 | (int(level) if level else 0 if name == "idle" else 4)


def _enable(folder: str, names: list[str]) -> None:
    missing = [name for name in names if name not in _words(f"{folder}/cgroup.subtree_control")]
    if missing:
        _write(f"{folder}/cgroup.subtree_control", " ".join([f"+{name}" for name in missing]))


def _words(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().split()


def _write(path: str, text: str) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(number, text.encode("ascii"))
    finally:
        os.close(number)
