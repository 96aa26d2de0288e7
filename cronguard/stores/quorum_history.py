"""The history side on several independent servers: what each of them has, put together.

A lease counts when most servers have it. Records are merged by run: an end says more than
`abandoned`, and that more than `running`, unless most servers have the run's lease. Counters are
the highest that any server counted, as each may have missed some. What changes something is done
everywhere, and done when most servers did it.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from cronguard.core.record import ABANDONED, RUNNING
from cronguard.stores.address import parse_all
from cronguard.stores.contract import Damaged, Lease, Overview, StoreDown, StoreRefused
from cronguard.stores.quorum_sweeping import Sweeping
from cronguard.stores.redis.census import twins
from cronguard.stores.redis.history import RedisHistory
from cronguard.stores.redis.history import open_history as open_one
from cronguard.stores.redis.server import merged

if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.core.spec import Claim
    from cronguard.stores.contract import Close

Answer = TypeVar("Answer")
Record = dict[str, object]
_LAST = ("last_start", "last_success", "last_failure")


class Twin(StoreRefused):
    """Another address leads to the same server, which has been asked there."""


def open_history(url: str, namespace: str) -> QuorumHistory:
    """Return the history side of the servers in *url*. Raises: ValueError if they are no quorum."""
    places = [address.server for address in parse_all(url)]
    words = [word for word in url.split(" ") if word]
    return QuorumHistory([open_one(word, namespace) for word in words], places)


class QuorumHistory(Sweeping):
    """A `History` (see stores/contract.py) on a quorum of servers."""

    def __init__(self, servers: list[RedisHistory], places: list[str]) -> None:
        self.label = "quorum of " + ", ".join([server.label for server in servers])
        self._servers = servers
        self._places = dict(zip(servers, places, strict=True))
        self._compared = False
        self._most = len(servers) // 2 + 1
        self._down: dict[RedisHistory, StoreDown] = {}  # not asked again: each try takes seconds
        self._pool = ThreadPoolExecutor(len(servers))

    def jobs(self) -> list[str]:
        """Return the names of all jobs that ever asked for a lease, sorted."""
        return sorted({job for jobs in self._each(RedisHistory.jobs) for job in jobs})

    def leases(self, jobs: list[str]) -> dict[str, list[Lease]]:
        """Return the leases that most servers have; of each the one that lasts longest.

        What granted it late may have given it another token than most have.
        """
        answers = self._each(lambda server: server.leases(jobs))
        return {job: self._agreed([answer[job] for answer in answers]) for job in jobs}

    def overview(self, jobs: list[str], *, live: bool = False) -> dict[str, Overview]:
        """Return all that is asked about many jobs; nobody waits."""
        answers = self._each(lambda server: server.overview(jobs, live=live))
        found = {}
        for job in jobs:
            own = [answer[job] for answer in answers if job in answer]
            damage = [one.damage for one in own if one.damage]
            if damage and len(answers) - len(damage) < self._most:
                found[job] = Overview([], [], None, {}, {}, damage[0])
                continue
            own = [one for one in own if not one.damage]
            leases = self._agreed([one.leases for one in own])
            if live and not leases:
                continue
            texts = [one.last for one in own if one.last]
            texts += [record for one in own for record in one.records.values()]
            records = self._merged(job, texts)
            held = {lease.owner.run_id for lease in leases}
            by_run = {str(r["run_id"]): r for r in records if r["run_id"] in held}
            last = records[0] if records else None
            counters = _highest([one.counters for one in own])
            pause = self._agreed_pause([one.paused for one in own])
            found[job] = Overview(leases, [], last, counters, by_run, paused=pause)
        return found

    def waiters(self, job: str) -> list[str]:  # noqa: ARG002
        """Return nobody: there is no queue."""
        return []

    def runs(self, job: str, limit: int) -> list[Record]:
        """Return the newest *limit* records of runs, and the failures kept beyond."""
        found = self._each(lambda server: server.runs(job, limit))
        records = self._merged(job, [one for answer in found for one in answer])
        return records[: max([limit, *[len(answer) for answer in found]])] if limit > 0 else []

    def skips(self, job: str, limit: int) -> list[Record]:
        """Return the newest *limit* records of skips."""
        found = self._each(lambda server: server.skips(job, limit))
        return self._merged(job, [one for answer in found for one in answer])[: max(limit, 0)]

    def last(self, jobs: list[str]) -> dict[str, Record]:
        """Return the newest record of a run (not a skip) of each of *jobs* that has one."""
        answers = self._each(lambda server: server.last(jobs))
        found = {}
        for job in jobs:
            records = self._merged(job, [answer[job] for answer in answers if job in answer])
            if records:
                found[job] = records[0]
        return found

    def counters(self, jobs: list[str]) -> dict[str, dict[str, int]]:
        """Return each job's counters; what is in a row is what the best informed server says."""
        answers = self._each(lambda server: server.counters(jobs))
        return {job: _highest([answer[job] for answer in answers]) for job in jobs}

    def recent(self, jobs: list[str], limit: int) -> dict[str, list[Record]]:
        """Return the newest *limit* records of runs of each of *jobs*, up to their output."""
        answers = self._each(lambda server: server.recent(jobs, limit))
        return {
            job: self._merged(job, [one for answer in answers for one in answer[job]])[:limit]
            for job in jobs
        }

    def find(self, run_id: str) -> list[Record]:
        """Return the records whose run id begins with *run_id*."""
        answers = self._each(lambda server: server.find(run_id))
        records = [one for answer in answers for one in answer if _names_a_run(one)]
        jobs = sorted({str(record["job"]) for record in records})
        return [
            one
            for job in jobs
            for one in self._merged(job, [record for record in records if record["job"] == job])
        ]

    def ask_stop(self, job: str, run_id: str, by: str) -> None:
        """Leave word for that run to stop, and push it."""
        self._each(lambda server: server.ask_stop(job, run_id, by))

    def unlock(self, lease: Lease, by: str) -> bool:
        """Free this run's lease on each server, and let its holder never renew or reclaim it."""

        def unlock_one(server: RedisHistory) -> bool:
            own = server.leases([lease.job])[lease.job]
            same = [one for one in own if one.owner.run_id == lease.owner.run_id]
            return bool(same) and server.unlock(same[0], by)

        return sum(self._each(unlock_one)) >= self._most

    def pause(self, job: str, until: int | None, reason: str, by: str) -> None:
        """Refuse the job's runs until that moment (ms since the epoch), or until `resume`."""
        self._each(lambda server: server.pause(job, until, reason, by))

    def resume(self, job: str) -> bool:
        """Let the job run again; False if it was not paused."""
        return any(self._each(lambda server: server.resume(job)))

    def paused(self, job: str) -> Record | None:
        """Return what `pause` left on most servers, or None."""
        return self._agreed_pause(self._each(lambda server: server.paused(job)))

    def _agreed_pause(self, answers: list[Record | None]) -> Record | None:
        found = [one for one in answers if one is not None]
        return found[0] if len(found) >= self._most else None

    def deliver(self, claim: Claim, close: Close) -> None:
        """Do a Close that could not be done when the run ended."""
        self._each(lambda server: server.deliver(claim, close))

    def fence(self, resource: str, token: int) -> int:
        """Note that *token* was seen; most servers know of each that was, so one of these does."""
        return max(self._each(lambda server: server.fence(resource, token)))

    def facts(self) -> Record:
        """Return what `doctor` reports: what is worst, and in `quorum` how each server is."""
        answers = self._each(RedisHistory.facts)
        quorum = {
            server.label: str(self._down[server]) if server in self._down else "ok"
            for server in self._servers
        }
        flaw = next((str(error) for error in self._down.values() if isinstance(error, Twin)), "")
        return merged(answers) | {"quorum": quorum, "quorum_flaw": flaw}

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.shutdown()
        for server in self._servers:
            server.close()

    def _each(self, ask: Callable[[RedisHistory], Answer]) -> list[Answer]:
        """Return what the servers answer. Raises: StoreDown, if fewer than most do."""
        if not self._compared:
            self._compared = True
            self._leave_out_twins()
        return self._asked_each(ask)

    def _leave_out_twins(self) -> None:
        """Count no server twice that two addresses lead to (see redis/census.py)."""
        first: dict[str, RedisHistory] = {}
        futures = [(one, self._pool.submit(RedisHistory.process, one)) for one in self._servers]
        for server, future in futures:
            try:
                run_id = future.result()
            except StoreDown as error:
                self._down[server] = error
                continue
            twin = first.setdefault(run_id, server) if run_id else server
            if twin is not server:
                self._down[server] = Twin(twins(self._places[twin], self._places[server]))

    def _asked_each(self, ask: Callable[[RedisHistory], Answer]) -> list[Answer]:
        asked = [server for server in self._servers if server not in self._down]
        futures = [(server, self._pool.submit(ask, server)) for server in asked]
        answers, damaged = [], []
        for server, future in futures:
            try:
                answers.append(future.result())
            except Damaged as error:  # of one job: the server can be asked about others
                damaged.append(error)
            except StoreDown as error:
                self._down[server] = error
        if len(answers) >= self._most:
            return answers
        if len(answers) + len(damaged) >= self._most:
            raise damaged[0]
        reasons = "; ".join([str(error) for error in self._down.values()])
        refused = all(isinstance(error, StoreRefused) for error in self._down.values())
        raise (StoreRefused if refused else StoreDown)(
            f"cannot use {self.label}: only {len(answers)} of {len(self._servers)} servers answer "
            f"({reasons})"
        )

    def _agreed(self, answers: list[list[Lease]]) -> list[Lease]:
        """Return the leases of one job that most servers have."""
        by_run: dict[str, list[Lease]] = {}
        for answer in answers:
            for lease in answer:
                by_run.setdefault(lease.owner.run_id, []).append(lease)
        most = [same for same in by_run.values() if len(same) >= self._most]
        return [_as_most_have_it(same) for same in most]

    def _merged(self, job: str, records: list[Record]) -> list[Record]:
        """Return one record a run, newest first."""
        best: dict[str, Record] = {}
        records = [record for record in records if _names_a_run(record)]
        # What granted it late may have given it another token than most have.
        same = Counter([(record["run_id"], record.get("token")) for record in records])
        records = sorted(records, key=lambda one: -same[one["run_id"], one.get("token")])
        held: set[str] | None = None
        for record in records:
            run_id = str(record["run_id"])
            if run_id not in best:
                best[run_id] = record
                continue
            pair = {best[run_id]["outcome"], record["outcome"]}
            if pair == {RUNNING, ABANDONED}:
                if held is None:
                    held = {lease.owner.run_id for lease in self.leases([job])[job]}
                wanted = RUNNING if run_id in held else ABANDONED
            else:
                wanted = str(next(iter(sorted(pair, key=_finality, reverse=True))))
            if best[run_id]["outcome"] != wanted:
                best[run_id] = record
        found = [self._as_known(record, same) for record in best.values()]
        return sorted(found, key=_moment, reverse=True)

    def _as_known(self, record: Record, same: Counter[tuple[object, object]]) -> Record:
        """Return *record*, without its token if only the run itself knew which that was.

        Who ended said so. Else most servers must have it, as a grant needs most of them to agree.
        """
        agreed = same[record["run_id"], record.get("token")] >= self._most
        if agreed or record["outcome"] not in (RUNNING, ABANDONED):
            return record
        return record | {"token": None}


def _highest(counted: list[dict[str, int]]) -> dict[str, int]:
    """Return a job's counters; what is in a row is what the best informed server says."""
    counted = sorted(counted, key=_freshness)
    names = {name for counts in counted for name in counts}
    highest = {name: max([one.get(name, 0) for one in counted]) for name in names}
    for name in ("failures_in_a_row", "skips_since_run"):
        if name in names:
            highest[name] = counted[-1].get(name, 0)
    return highest


def _names_a_run(record: Record) -> bool:
    """Tell whether it can be one of ours: servers may hold what others wrote."""
    named = all(isinstance(record.get(name), str) for name in ("job", "run_id", "outcome"))
    return named and isinstance(record.get("token"), int | None)


def _as_most_have_it(same: list[Lease]) -> Lease:
    """Return the lease with the token that most have, and of these the one that lasts longest."""
    tokens = Counter([lease.token for lease in same])
    return max(same, key=lambda lease: (tokens[lease.token], lease.left))


def _finality(outcome: object) -> int:
    return {RUNNING: 0, ABANDONED: 1}.get(str(outcome), 2)


def _moment(record: Record) -> tuple[str, int]:
    moments = [record.get(name) for name in ("started_at", "queued_at", "ended_at")]
    token = record.get("token")
    return str(next(filter(None, moments), "")), token if isinstance(token, int) else 0


def _freshness(counts: dict[str, int]) -> int:
    return max([counts.get(name, 0) for name in _LAST])
