"""Starts who tells the reporters of a run, and waits for them within bounds. See reporters/.

The report of an end is written on this host before anybody is told (spool.py), so whatever becomes
of the process that tells, of this one, or of the host, it is told later. Those of its start and its
warnings are handed on by a memory file, and kept by that process (handed.py): no disk may hold up
who holds a lease. So are those that cannot be kept here.

The process gets no secret on its command line or in a file: it reads the configuration by itself,
and the store's URL, where it is to look for abandoned runs (found_dead.py), from a memory file. It
stands in a process group of its own, and may not outlive its deadline by much: then it is killed,
as is what it has started. Whatever happens to it, the run's exit status and its lock have been
decided before.
"""

from __future__ import annotations

import os
from select import POLLIN, poll

from cronguard.core import record as records
from cronguard.core import report, telling
from cronguard.core.asking import STOP_SIGNALS
from cronguard.runtime import process, signals
from cronguard.runtime.clock import now_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from cronguard.config.reporters import Target
    from cronguard.config.resolve import Resolved
    from cronguard.config.rules import Plan
    from cronguard.core.spec import Claim
    from cronguard.runtime.last_slot import LastSlot
else:
    import _signal as signal

START_AFTER_MS = 200
"""A command that ends sooner is not worth a process of its own for its start."""
MERCY_MS = 300
"""How much longer than it was given the process may take to leave."""
_SAID_BYTES = 1 << 14
_NOBODY = -1
_LOOK_EVERY_MS = 20


def of(resolved: Resolved, claim: Claim, plan: Plan | None) -> Teller:
    """Return who tells the reporters of a run."""
    last_slot = None
    if plan is not None and plan.announced is not None and resolved.state is not None:
        from cronguard.runtime.last_slot import LastSlot  # noqa: PLC0415  (with both alone)

        about = (resolved.state, claim.job, claim.namespace)
        last_slot = LastSlot(*about, plan.announced, plan.schedule)
    return Teller(
        resolved.targets,
        claim,
        state=resolved.state,
        config=resolved.config,
        timeout=resolved.spec.report_timeout,
        store=resolved.spec.store,
        secrets=resolved.secrets,
        last_slot=last_slot,
    )


class Teller:
    """Tells the reporters *targets* of one run: at its start, when it warns, and at its end."""

    def __init__(
        self,
        targets: dict[str, Target],
        claim: Claim,
        *,
        state: str | None,
        config: str | None,
        timeout: int,
        store: str,
        secrets: tuple[str, ...] = (),
        last_slot: LastSlot | None = None,
    ) -> None:
        self.last_slot = last_slot
        self.targets = targets
        self.claim = claim
        self.state = state
        self.config = config
        self.timeout = timeout
        self.store = store
        self.secrets = secrets
        self.streak: int | None = None
        self.released_at: int | None = None
        self.said: list[str] = []
        self._start: tuple[str, int] | None = None
        self._start_at: int | None = None
        self._starting = 0
        self._warning = 0
        self._warnings: list[str] = []
        self._handed: list[str] = []
        self._telling: dict[int, int] = {}

    # -- what the loop asks -----------------------------------------------------------------------

    def wants_start(self) -> bool:
        """Tell whether anybody wants to hear that the command has started."""
        return bool(self._wanted(telling.START, records.RUNNING, ""))

    def command_started(self, record: str, at: int, now: int) -> None:
        """Have the start told soon; *record* is the run's, *at* wall time in ms."""
        if self._start is None:
            self._start = record, at
            self._start_at = now + START_AFTER_MS

    def wake_at(self) -> int | None:
        """Return when `is_due` will be true."""
        return None if self._starting else self._start_at

    def is_due(self, now: int) -> bool:
        """Tell whether the start is to be told now."""
        due = self.wake_at()
        return due is not None and now >= due

    # -- telling ----------------------------------------------------------------------------------

    def tell_start(self) -> None:
        """Tell that the command has started."""
        self._starting = self._begin(self._start_report()) or _NOBODY
        if self._starting == _NOBODY:
            self._start_at = 0  # it is told with the end

    def tell_warning(self, record: str, at: int, text: str) -> None:
        """Tell that the run warns, and goes on; one process tells at a time."""
        self.reap()
        to = self._wanted(telling.WARNING, "", "")
        if to:
            self._warnings.append(self._encoded(telling.WARNING, record, at, to, text))
        if self._warnings and self._warning not in self._telling:
            self._warning = self._begin("\n".join(self._warnings)) or _NOBODY
            if self._warning != _NOBODY:
                self._handed, self._warnings = self._warnings, []

    def tell_end(self, record: str, at: int, outcome: str, reason: str, slot: int) -> None:
        """Tell how the run has ended, and what else waits on this host; *slot* 0 is none."""
        handed = []
        if self._start_at is not None:
            handed.append(self._start_report())
        handed += self._warnings
        to = self._wanted("end", outcome, reason)
        if to:
            text = self._encoded("end", record, at, to)
            handed += [] if self._keep(text, at) else [text]
        handed += self._questions(record, at, outcome, slot)
        if to or handed or self._is_something_waiting():
            self._begin("\n".join(handed), whose="others")

    def wait(self, wake: int, until: int) -> None:
        """Wait until all is told, *until* is past, or somebody wants us gone.

        Signals wake us by *wake*; without it, where we may not hear any, we look now and then.
        """
        poller = poll()
        if wake >= 0:
            poller.register(wake, POLLIN)
        while self._telling:
            self.reap()
            pause = until + MERCY_MS - now_ms()
            if not self._telling or pause <= 0:
                break
            poller.poll(pause if wake >= 0 else min(pause, _LOOK_EVERY_MS))
            if wake >= 0 and set(signals.received(wake)) & STOP_SIGNALS:
                break
        for pid in list(self._telling):
            self._end(pid)

    def reap(self) -> None:
        """Take leave of who has done its work."""
        for pid in list(self._telling):
            try:
                gone, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # reaped with the rest of a guardian's orphans
                gone, status = pid, 0
            if gone:
                self._hear(pid, os.waitstatus_to_exitcode(status))

    # -- what they need ---------------------------------------------------------------------------

    def _wanted(self, kind: str, outcome: str, reason: str) -> list[str]:
        warns = kind if kind in telling.WARNINGS else ""
        return [
            name
            for name, target in self.targets.items()
            if telling.event_of(target.rule, outcome, reason, self.streak, warns=warns)
        ]

    def _start_report(self) -> str:
        assert self._start is not None
        self._start_at = None
        record, at = self._start
        to = self._wanted(telling.START, records.RUNNING, "")
        return self._encoded(telling.START, record, at, to)

    def _encoded(
        self, kind: str, record: str, at: int, to: list[str], warning: str | None = None
    ) -> str:
        """Return a report."""
        return report.encode(
            record,
            kind=kind,
            run_id=self.claim.owner.run_id,
            job=self.claim.job,
            namespace=self.claim.namespace,
            streak=self.streak,
            at=at,
            to=to,
            config=self.config,
            warning=warning,
            released_at=self.released_at if kind == "end" else None,
        )

    def _keep(self, text: str, at: int) -> bool:
        """Keep the report of the end on this host; False if that cannot be done."""
        if self.state is None:
            return False
        from cronguard.runtime import spool  # noqa: PLC0415  (only when there is something to tell)

        name = report.file_name(at, self.claim.owner.run_id, "end")
        try:
            spool.put(self.state, self.claim.job, name, text)
        except OSError:
            return False
        return True

    def _is_something_waiting(self) -> bool:
        try:
            return self.state is not None and bool(os.listdir(f"{self.state}/{report.FOLDER}"))
        except OSError:
            return False

    def _questions(self, record: str, at: int, outcome: str, slot: int) -> list[str]:
        """Return what is to be found out in the job's history, for whom."""
        found = []
        if self.state is not None:
            dead = self._wanted("end", records.ABANDONED, "") if self.streak else []
            if dead:  # runs before may have been abandoned
                found.append(records.encode({"found_dead": self._question(at, dead)}))
            gone = self._wanted(telling.MISSED, "", "") if slot else []
            if gone and self._may_miss(slot) and outcome != records.SKIPPED:
                asked = self._question(at, gone) | {"record": record}
                found.append(records.encode({"missed": asked}))
            odd = self._wanted(telling.WARNING, "", "") if outcome == records.SUCCEEDED else []
            if odd:
                asked = self._question(at, odd) | {"record": record}
                found.append(records.encode({"unusual": asked}))
        return found

    def _may_miss(self, slot: int) -> bool:
        """Tell whether runs may be missing before the one of *slot*; a skip knows it as well."""
        if self.last_slot is None or not self.last_slot.is_next(slot):
            return self.last_slot is not None
        try:
            self.last_slot.note(slot)
        except OSError:
            pass  # the next run looks
        return False

    def _question(self, at: int, to: list[str]) -> dict[str, object]:
        return {
            "store": self.store,
            "secrets": list(self.secrets),
            "namespace": self.claim.namespace,
            "job": self.claim.job,
            "run_id": self.claim.owner.run_id,
            "config": self.config,
            "to": to,
            "at": at,
        }

    def _begin(self, handed: str, whose: str = "alone") -> int:
        """Start who tells what waits, and takes what is *handed* over; return its pid, or 0."""
        until = now_ms() + self.timeout
        words = [self.state or "-", self.claim.job, str(until), whose]
        reader = writer = paper = -1
        try:
            reader, writer = os.pipe()
            paper = process.memory_file(handed.encode("ascii"))
            pid = process.start(
                "cronguard.__main__:tell",
                words,
                stdin=paper,
                stdout=writer,
                environ=os.environ,
                leads_group=True,
            )
        except (OSError, ValueError, TypeError) as error:
            self.said.append(f"the reporters cannot be told now: {error}")
            if reader >= 0:
                os.close(reader)
            return 0
        else:
            self._telling[pid] = reader
            return pid
        finally:
            for number in (writer, paper):
                if number >= 0:
                    os.close(number)

    def _end(self, pid: int) -> None:
        """Kill who has not come to an end, and what it has started."""
        try:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except OSError:
            pass
        self._hear(pid, -signal.SIGKILL)

    def _hear(self, pid: int, status: int) -> None:
        """Note what it said, or that it said nothing and failed."""
        reader = self._telling.pop(pid)
        os.set_blocking(reader, False)
        try:
            text = os.read(reader, _SAID_BYTES).decode("utf-8", "replace")
        except BlockingIOError:  # something that it has started holds the other end
            text = ""
        os.close(reader)
        self.said += [line for line in text.split("\n") if line]
        if status and pid == self._starting:
            self._start_at = 0  # it is told with the end
        if status and pid == self._warning:
            self._warnings = [*self._handed, *self._warnings]  # so are these
        if status and not text:
            how = f"was killed ({-status})" if status < 0 else f"failed ({status})"
            self.said.append(
                f"the process that tells the reporters {how}; what it has not told is told with "
                "the next run, or by `cronguard flush`"
            )
