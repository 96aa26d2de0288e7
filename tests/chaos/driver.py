"""The loop: what the plan says is begun when its time has come, and what ends is seen.

One thread. It sleeps in sigtimedwait(2) until a child ends or something is due.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.chaos import (
    group_faults,
    host_faults,
    hunts,
    product,
    run_faults,
    server_faults,
    testimony,
)
from tests.chaos.events import Events
from tests.chaos.kinds import Kind
from tests.chaos.lab import Lab, Running, Steps, now_ms
from tests.chaos.namespaces import Host
from tests.chaos.plan import Calm, Fault, Plan, Start, Step
from tests.chaos.sorts import FAULTS
from tests.chaos.testimony import boot_ns

FAULT_KINDS: dict[str, Callable[[Lab, int, int], Steps]] = {
    **run_faults.KINDS,
    **host_faults.KINDS,
    **server_faults.KINDS,
    **group_faults.KINDS,
    **hunts.KINDS,
}
MOST_RUNNING = 45
"""So many runs at a time: most wait, for a store or a command."""
MOST_STARTING = 12
"""So many that began less than STARTING_MS ago: they take the processors."""
STARTING_MS = 400
AGAIN_MS, TRIES = 150, 60
LONGEST_WAIT_MS = 90_000
JOB = testimony.__file__


class Driver:
    """Carries out a plan in a lab."""

    def __init__(
        self, plan: Plan, kind: Kind, hosts: list[Host], events: Events, out: Path, lab: Path
    ) -> None:
        self.plan = plan
        self.events = events
        self.out = out
        self.lab = Lab(kind, hosts, events, lab, self.run_tool)
        self.number = len(plan.starts)
        self._tools: set[int] = set()
        self._todo = list(reversed(plan.steps))
        self._later: list[Start] = []
        self._due: list[tuple[int, Fault, Steps]] = []
        self._again: list[tuple[int, Fault, int]] = []
        self._heavy: list[Fault] = []
        self._heavy_at = 0
        self._troubling = set(FAULT_KINDS) - server_faults.NO_TROUBLE - server_faults.EVICTIONS
        self._clock = 0
        self._looked = now_ms()
        self._log = os.open(out / "said.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})

    # -- the loop ---------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Do all that the plan says; every fault is healed in the end."""
        try:
            while self._todo or self._later or self._again or self._heavy:
                self._look()
                if isinstance(self._next(), Calm):
                    self._be_calm()
                self.wait(5)
            self.until(lambda: not self.lab.running, LONGEST_WAIT_MS)
        finally:
            self.heal()

    def until(self, holds: Callable[[], bool], patience_ms: int) -> bool:
        """Go on with what is under way until *holds*; tell whether it did in time."""
        end = now_ms() + patience_ms
        while not holds():
            if now_ms() > end:
                return False
            self.wait(20)
        return True

    def wait(self, longest_ms: int) -> None:
        """Sleep until somebody ends or something is due, and see to that."""
        signal.sigtimedwait({signal.SIGCHLD}, longest_ms / 1000)
        self.reap()
        now = now_ms()
        for one in [one for one in self._due if one[0] <= now]:
            self._due.remove(one)
            self._go_on(one[1], one[2])

    def heal(self) -> None:
        """End all faults that are under way, as they end themselves."""
        due, self._due = self._due, []
        for _, fault, steps in due:
            steps.close()
            self.lab.active[fault.kind] -= 1

    def _look(self) -> None:
        """Begin what is due on the plan's clock, which stands still when too much is under way."""
        now = now_ms()
        if not self._is_crowded():
            self._clock += min(now - self._looked, 50)
        self._looked = now
        while self._todo and self._todo[-1].at_ms <= self._clock and not self._is_crowded():
            if isinstance(self._todo[-1], Calm):
                break
            self._begin(self._todo.pop())
        self._begin_later(now)

    def _next(self) -> Step | None:
        if self._todo and self._todo[-1].at_ms <= self._clock:
            return self._todo[-1]
        return None

    def _is_crowded(self) -> bool:
        running = self.lab.running
        if len(running) >= MOST_RUNNING:
            return True
        since = boot_ns() - STARTING_MS * 1_000_000
        return sum(one.began > since for one in running.values()) >= MOST_STARTING

    def _begin(self, step: Step) -> None:
        if isinstance(step, Start):
            self._later.append(step)
        elif isinstance(step, Fault):
            if FAULTS[self.plan.store][step.kind].is_heavy:
                self._heavy.append(step)
            else:
                self._again.append((0, step, 0))

    def _begin_later(self, now: int) -> None:
        """Begin what had to wait for others.

        An eviction that is hunting needs all to be well: until it begins, nothing else does.
        """
        for start in self._later[:]:
            if start.job not in self.lab.fragile_jobs and start.job not in self.lab.awaited:
                self._later.remove(start)
                self.start(start)
        waits = any(fault.kind == hunts.EVICT for _, fault, _ in self._again)
        for one in self._again[:]:
            at, fault, tries = one
            if at <= now and not (waits and fault.kind in self._troubling):
                self._again.remove(one)
                if not self._attempt(fault) and tries < TRIES:
                    self._again.append((now + AGAIN_MS, fault, tries + 1))
        heavy = {kind for kind, sort in FAULTS[self.plan.store].items() if sort.is_heavy}
        is_free = not any(self.lab.active[kind] for kind in heavy)
        if self._heavy and is_free and not waits and now >= self._heavy_at:
            self._heavy_at = now + AGAIN_MS * 2
            if self._attempt(self._heavy[0]):
                self._heavy.pop(0)

    def _attempt(self, fault: Fault) -> bool:
        """Begin a fault; tell whether there was anything to hit."""
        before = self.events.faults
        steps = FAULT_KINDS[fault.kind](self.lab, fault.pick, fault.for_ms)
        self.lab.active[fault.kind] += 1
        self._go_on(fault, steps)
        return self.events.faults > before

    def _go_on(self, fault: Fault, steps: Steps) -> None:
        try:
            wanted = next(steps)
        except StopIteration:
            self.lab.active[fault.kind] -= 1
        else:
            self._due.append((now_ms() + wanted, fault, steps))

    def _be_calm(self) -> None:
        """Heal all, wait until all is well, and let runs go on without any fault."""
        calm = self._todo.pop()
        assert isinstance(calm, Calm)
        self.until(lambda: not self._due, LONGEST_WAIT_MS)
        self._again.clear()
        self._heavy.clear()
        self.lab.awaited.clear()
        assert self.until(self.lab.kind.is_well, LONGEST_WAIT_MS), "the servers are not well again"
        self.events.tell("healthy")
        end = now_ms() + calm.for_ms
        self._looked = now_ms()
        while now_ms() < end:
            self._look()
            self.wait(5)

    # -- runs -------------------------------------------------------------------------------------

    def start(self, step: Start) -> None:
        """Have a host ask for a job."""
        host = self.lab.hosts[step.host % len(self.lab.hosts)]
        command = [sys.executable, "-I", "-S", "-E", JOB, str(self.out / "testimony")]
        command += [step.kind, str(step.for_ms), step.ending]
        words = ["run", "-n", step.job, *step.options, "--", *command]
        began = boot_ns()
        pid = self._spawn(host, words, {"CHAOS_RUN": str(step.run)})
        self.lab.running[step.run] = Running(step, pid, host, began)
        prey = FAULTS[self.plan.store][step.hunt].prey if step.is_prey else None
        if prey is not None and prey.come_after:
            self.lab.awaited.add(step.job)
        self.events.tell(
            "start",
            began,
            run=step.run,
            host=host.name,
            job=step.job,
            options=list(step.options),
            keeper=pid,
        )

    def run_tool(self, host: Host, words: list[str]) -> None:
        """Start another command of cronguard on a host."""
        self._tools.add(self._spawn(host, words, {}))

    def environment(self, host: Host) -> dict[str, str]:
        """Return what cron would give, and what says where the store is."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(host.disk),
            "LC_ALL": "C",
            "CRONGUARD_STATE_DIR": str(host.state),
            "PYTHONPYCACHEPREFIX": str(self.lab.folder / "pycache"),
        }
        stores = " ".join(self.lab.kind.stores)
        store = {"CRONGUARD_STORE": stores} if stores else {}
        return env | store | product.environment()

    def _spawn(self, host: Host, words: list[str], more: dict[str, str]) -> int:
        command = product.command(words)
        with host.entered():
            return os.posix_spawn(
                command[0],
                command,
                self.environment(host) | more,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, self._log, 1),
                    (os.POSIX_SPAWN_DUP2, self._log, 2),
                ],
                setsid=True,
                setsigmask=[],
            )

    def reap(self) -> None:
        """See who has ended."""
        for run, one in list(self.lab.running.items()):
            pid, status = os.waitpid(one.pid, os.WNOHANG)
            if pid:
                one.over = True
                if os.WIFSIGNALED(status):
                    self.lab.killed_at = now_ms()
                self.events.tell("exit", run=run, status=os.waitstatus_to_exitcode(status))
                del self.lab.running[run]
        for pid in list(self._tools):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._tools.discard(pid)

    @property
    def tools(self) -> int:
        """Return how many other commands are under way."""
        return len(self._tools)
