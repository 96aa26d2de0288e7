"""The part of a quorum's history side that finds what is left over, and clears it.

What most servers have counts; what is cleared is cleared on each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cronguard.core.record import RUNNING

if TYPE_CHECKING:
    from cronguard.stores.contract import Lease, Stray
    from cronguard.stores.redis.history import RedisHistory

Record = dict[str, object]


class Sweeping:
    """What `QuorumHistory` is made of besides itself."""

    leases: Callable[[list[str]], dict[str, list[Lease]]]
    _each: Callable[..., list[Any]]
    _merged: Callable[[str, list[Record]], list[Record]]

    def left_behind(self, jobs: list[str]) -> dict[str, list[Record]]:
        """Return the records that say `running`, and whose run most servers have no lease of."""
        answers = self._each(lambda server: server.left_behind(jobs))
        by_job = {job: [one for answer in answers for one in answer.get(job, [])] for job in jobs}
        held = self._held([job for job, found in by_job.items() if found])
        return {
            job: [
                one
                for one in self._merged(job, found)
                if one["outcome"] == RUNNING and one["run_id"] not in held
            ]
            for job, found in by_job.items()
        }

    def close_left_behind(self, job: str) -> list[str]:
        """Close these records on each server; return the ids of runs that most have no lease of.

        A server that lost a lease which most others have takes its run for dead, as when it is
        read; what most say counts.
        """
        answers = self._each(lambda server: server.close_left_behind(job))
        closed = {run_id for answer in answers for run_id in answer}
        return sorted(closed - self._held([job] if closed else []))

    def bound(self, lease: Lease) -> bool:
        """Give this run's lease its expiry back, on each server."""

        def bound_one(server: RedisHistory) -> bool:
            own = server.leases([lease.job])[lease.job]
            same = [one for one in own if one.owner.run_id == lease.owner.run_id]
            return bool(same) and server.bound(same[0])

        return any(self._each(bound_one))

    def prune(self, job: str, before: int, batch: int, *, dry_run: bool = False) -> int:
        """Forget up to *batch* records on each server; return how many where it was most."""
        found = self._each(lambda server: server.prune(job, before, batch, dry_run=dry_run))
        return int(max(found))

    def reset(self, job: str) -> bool:
        """Forget the job on each server; False if most, or one of them, have a lease of a run."""
        if any(not lease.released for lease in self.leases([job])[job]):
            return False
        return all(self._each(lambda server: server.reset(job)))

    def strays(
        self, pattern: str | None = None, tick: Callable[[], None] = lambda: None
    ) -> list[Stray]:
        """Return what each server has."""
        return [
            stray
            for found in self._each(lambda server: server.strays(pattern, tick))
            for stray in found
        ]

    def uproot(self, strays: list[Stray]) -> list[Stray]:
        """Remove these, each from the server that has it."""
        return [
            stray for found in self._each(lambda server: server.uproot(strays)) for stray in found
        ]

    def _held(self, jobs: list[str]) -> set[str]:
        """Return the runs that hold a lease of *jobs*."""
        found = self.leases(jobs) if jobs else {}
        return {lease.owner.run_id for leases in found.values() for lease in leases}
