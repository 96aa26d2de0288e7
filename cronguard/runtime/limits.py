"""What a command may take: its priority, its address space, and in a control group memory and time.

Priority and address space are set by the child itself, right before it becomes the command. Whether
it may is tried before the lease is asked for, in a process of its own: a run that cannot have what
it is told to have is refused.

Memory and processor time take a control group: limit_group.py. Where none can be had the run goes
on without, and says so: it is as limited as it was.
"""

from __future__ import annotations

import os
from errno import EINVAL, EPERM

from cronguard.core.words import size_text
from cronguard.runtime import kernel
from cronguard.runtime.fork import fork_patiently

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.core.spec import JobSpec
    from cronguard.runtime.limit_group import LimitGroup

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
    """What one run is limited to. `group` is where memory and time are, or None without them."""

    __slots__ = ("group", "spec")

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.group: LimitGroup | None = None
        if spec.memory_max or spec.cpu_quota:
            from cronguard.runtime.limit_group import LimitGroup  # noqa: PLC0415 - if asked for

            self.group = LimitGroup(spec.memory_max, spec.cpu_quota)

    @property
    def unmet(self) -> str:
        """Why memory and time cannot be limited; empty if they can, or need not be."""
        return self.group.unmet if self.group is not None else ""

    def in_force(self) -> dict[str, object]:
        """Return, for the record, what the run is limited to, and in `unmet` to what it is not."""
        spec = self.spec
        found: dict[str, object] = {"nice": spec.nice, "ionice": spec.ionice or None}
        found |= {"rlimit_as_bytes": spec.rlimit_as or None}
        groups = {"memory_max_bytes": spec.memory_max or None}
        groups |= {"cpu_quota_percent": spec.cpu_quota or None}
        if self.unmet:
            found["unmet"] = [name for name, value in groups.items() if value] or None
        else:
            found |= groups
        return {name: value for name, value in found.items() if value is not None}

    # -- the child --------------------------------------------------------------------------------

    def apply(self) -> None:
        """Limit this process, and what it becomes. Raises: OSError, ValueError."""
        for _, limit in self._of_process():
            limit()

    def refusal(self) -> str:
        """Say what of it this user may not have, and what to do; "" if nothing."""
        for name, limit in self._of_process():
            errno = tried(limit)
            if errno:
                asked = getattr(self.spec, name)
                asked = size_text(asked) if name == "rlimit_as" else asked
                why = os.strerror(errno).lower()
                return (
                    f"--{name.replace('_', '-')} {asked} cannot be had: {why}.\n  {_REMEDIES[name]}"
                )
        return ""

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


def io_priority(text: str) -> int:
    """Return what the kernel takes for `idle`, `best-effort:4`, `realtime:0`."""
    name, _, level = text.partition(":")
    number = {"realtime": 1, "best-effort": 2, "idle": 3}[name]
    return number << 13 | (int(level) if level else 0 if name == "idle" else 4)


def tried(act: Callable[[], None]) -> int:
    """Return the errno of *act*, done by a process of its own that ends with it; 0 if it can be."""
    pid = fork_patiently()
    if pid == 0:
        errno = EINVAL
        try:
            act()
            errno = 0
        except ValueError:  # of setrlimit: beyond the hard limit
            errno = EPERM
        except OSError as error:
            errno = error.errno or EINVAL
        finally:
            os._exit(errno)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return max(status, 0)  # who died of a limit has it
