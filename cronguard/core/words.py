"""The words that messages and tables are made of: durations, signals, what strangers wrote."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import JobSpec, Owner

SIGNALS = {1: "HUP", 2: "INT", 3: "QUIT", 6: "ABRT", 9: "KILL", 15: "TERM", 20: "TSTP"}


def printable(text: object, limit: int = 400) -> str:
    """Return *text* on one line with everything that a terminal could obey made visible."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def span(ms: int) -> str:
    """Return a duration as people say it: `350ms`, `4.2s`, `4m10s`, `3h05m`, `2d4h`."""
    if ms < 1000:
        return f"{ms}ms"
    if ms < 60_000:
        return f"{ms // 100 / 10:g}s"
    seconds = ms // 1000
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    if seconds < 86_400:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 86_400}d{seconds % 86_400 // 3600}h"


def size_text(count: int) -> str:
    """Return a number of bytes as a user writes it: `16k`, `10M`, `1000`."""
    for unit, scale in (("G", 1 << 30), ("M", 1 << 20), ("k", 1 << 10)):
        if count and count % scale == 0:
            return f"{count // scale}{unit}"
    return str(count)


def signal_name(signum: int) -> str:
    """Return `TERM` for 15; the number for a signal that has no name here."""
    return SIGNALS.get(signum, str(signum))


class Context:
    """What a text may use: the facts of the topic, and what is known of the run."""

    __slots__ = ("command_hash", "facts", "job", "run", "spec", "store")

    def __init__(
        self,
        facts: dict[str, object],
        spec: JobSpec,
        store: str,
        run_id: str,
        command_hash: str = "",
    ) -> None:
        self.command_hash = command_hash
        self.facts = facts
        self.spec = spec
        self.job = spec.name
        self.store = store
        self.run = run_id[:12]

    def text(self, name: str) -> str:
        """Return a fact made printable, or nothing."""
        return printable(self.facts.get(name, ""))

    def ms(self, name: str) -> int:
        """Return a number among the facts, or 0."""
        value = self.facts.get(name)
        return value if isinstance(value, int) else 0

    def holder(self) -> str:
        """Return `web-3, pid 8121, run 0a1b2c3d4e5f`, as far as it is known."""
        owner: Owner | None = self.facts.get("holder")  # type: ignore[assignment]
        if owner is None or not owner.run_id:
            return "another run"
        of_other = owner.job and owner.job != self.job
        parts = [f"job {printable(owner.job, 128)}"] if of_other else []
        parts += [printable(owner.host, 80)] if owner.host else []
        if owner.pid:
            parts.append(f"pid {owner.pid}")
        return ", ".join([*parts, f"run {owner.run_id[:12]}"])

    def the_lock(self) -> str:
        """Return `the lock`, or which of the further ones it is."""
        lock = self.facts.get("lock")
        return f"the lock {printable(lock)}" if lock else "the lock"

    def other_command(self) -> str:
        """Return a line for a holder that runs another command under this name, or nothing."""
        owner: Owner | None = self.facts.get("holder")  # type: ignore[assignment]
        theirs = owner.command_hash if owner is not None else ""
        is_same = not theirs or not self.command_hash or theirs == self.command_hash
        if is_same or (owner is not None and owner.job not in ("", self.job)):
            return ""
        return (
            f"\n  That run has another command than this one: if {self.job} names two jobs, give "
            "one of them another --name."
        )

    def because(self) -> str:
        """Return ` (WHY)`, or nothing where it is not known."""
        return f" ({self.text('why')})" if self.text("why") else ""

    def in_the_pause(self) -> str:
        """Return between which attempts the run is."""
        return f"in the pause after attempt {self.ms('attempt')} of {self.spec.retries + 1}"
