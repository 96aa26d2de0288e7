"""Histories to judge, made by hand: legal ones of any length, and what can be wrong with them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Self

from tests.chaos.history import MS, Event, History, Record
from tests.chaos.lives import Life, Testimony

TTL_MS, TAKEOVER_MS = 10_000, 5_000
SETTLE_MS = 60_000


@dataclass
class Story:
    """A history that grows. Moments are ms; `now` is when the next thing happens.

    Everything in it is legal as long as only these methods write it: each run begins after the
    lease of the one before can be had, and ends as it must.
    """

    now: int = 1_000
    events: list[Event] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    over: dict[str, int] = field(default_factory=dict)
    records: list[dict[str, object]] = field(default_factory=list)
    asked: int = 0
    token: int = 100
    free_at: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.event("plan", store="redis", seed=7, ttl_ms=TTL_MS, takeover_ms=TAKEOVER_MS)

    def event(self, what: str, at: int | None = None, **facts: object) -> Self:
        """Let something happen, now or at another time."""
        self.events.append(Event((self.now if at is None else at) * MS, what, facts))
        return self

    def start(self, job: str, *options: str) -> int:
        """Start a keeper; return its number."""
        self.asked += 1
        given = ["--ttl", "10s", "-E", "75", *options]
        keeper = 1000 + self.asked
        self.event("start", run=self.asked, host="web-1", job=job, keeper=keeper, options=given)
        return self.asked

    def skip(self, job: str) -> Self:
        """Ask for a job that runs."""
        number = self.start(job)
        return self.event("exit", self.now + 50, run=number, status=75)

    def run(
        self,
        job: str = "job",
        *options: str,
        lasts: int = 500,
        roles: tuple[str, ...] = (),
        ends: int = 0,
        fate: str = "over",
        after: int = 0,
    ) -> Self:
        """Let one run of *job* begin as soon as it may, and go to its end.

        *fate*: `over` it ends with the status *ends*; or what happens to it after *lasts*:
        `killed keeper`, `killed guardian`, `killed both`, `termed`, `timed out`, `stopped` until
        the kernel's timer kills it, or `cut` off until it gives up.
        """
        self.now = max(self.now, self.free_at.get(job, 0)) + after
        if fate == "timed out":
            options = (*options, "--timeout", "500ms")
        number = self.start(job, *options)
        first = self.now + 40
        end = first + lasts
        dead, exit_at, status, outcome = self._end(number, fate, end, ends)
        self.token += 1
        run_id = f"{number:032x}"
        for pid, role in enumerate(("command", *roles)):
            last = end if role == "command" and fate == "over" else dead
            facts = ("web-1", number, str(ends), first * MS, last * MS)
            self.lives.append(Life(job, run_id, pid, role, self.token, *facts))
        if fate == "over":
            self.over[run_id] = ends
        self.event("exit", exit_at, run=number, status=status)
        self._record(job, number, run_id, outcome, status)
        self.free_at[job] = exit_at + (TTL_MS + TAKEOVER_MS if status == -9 else 0)
        self.now = exit_at + 10
        return self

    def _end(self, number: int, fate: str, end: int, ends: int) -> tuple[int, int, int, str]:
        """Return when the tree is dead, when and how the keeper ends, and the outcome."""
        if fate == "over":
            return end + 20, end + 30, ends, "failed" if ends else "succeeded"
        if fate in ("killed keeper", "killed both"):
            self.event("killed", end, run=number, whom=fate.split()[1])
            return end + 6, end + 10, -9, "abandoned"
        if fate == "killed guardian":
            self.event("killed", end, run=number, whom="guardian")
            return end + 6, end + 30, 125, "failed"
        if fate == "termed":
            self.event("termed", end, run=number, signal=15)
            return end + 100, end + 120, 143, "stopped"
        if fate == "timed out":
            return end + 100, end + 120, 124, "timed_out"
        if fate == "stopped":
            self.event("stopped", end, run=number, whom="keeper")
            return end + 8_000, end + 8_010, -9, "abandoned"
        assert fate == "cut", fate
        self.event("fault", end, kind="partition", target="web-1", cuts=["web-1"], for_ms=15_000)
        self.event("healed", end + 15_000, kind="partition", target="web-1")
        return end + 7_500, end + 10_500, 121, "lease_lost"

    def _record(self, job: str, number: int, run_id: str, outcome: str, status: int) -> None:
        facts: dict[str, object] = {"job": job, "run_id": run_id, "host": "web-1"}
        facts |= {"pid": 1000 + number, "outcome": outcome, "token": self.token}
        facts |= {"exit_status": None if status == -9 else status, "longest_gap_ms": 1_500}
        self.records.append(facts)

    def settle(self) -> Self:
        """Let a healthy time pass, and end everything."""
        self.event("healthy")
        self.now += SETTLE_MS
        return self.event("settled")

    def told(self) -> History:
        """Return it as the checker reads it."""
        events = sorted(self.events, key=lambda event: event.at)
        kept: tuple[Record, ...] = tuple(self.records)
        return History(tuple(events), Testimony(tuple(self.lives), dict(self.over)), kept)

    # -- what can be wrong ------------------------------------------------------------------------

    def relive(self, index: int, **changed: int | None) -> Self:
        """Change the life of one process."""
        self.lives[index] = dataclasses.replace(self.lives[index], **changed)  # type: ignore[arg-type]
        return self
