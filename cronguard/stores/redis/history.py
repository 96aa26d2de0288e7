"""The history side on Redis: for the commands that read and steer. Blocks; on redis-py.

Everything that changes something is one of the job's scripts, so that it happens as a whole.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import redis

from cronguard.core.record import KEPT_FAILURES, KEPT_RUNS
from cronguard.stores.address import parse
from cronguard.stores.contract import Lease, StoreDown, StoreRefused
from cronguard.stores.redis import calls, faults, keys
from cronguard.stores.redis.answers import Held
from cronguard.stores.redis.client import TIMEOUT_S, connect, said_by, server_words
from cronguard.stores.redis.scripts import SHA1, source
from cronguard.stores.redis.server import read_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.core.spec import Claim
    from cronguard.stores.address import Address
    from cronguard.stores.contract import Close

SCAN_COUNT = 500
_GLOB = str.maketrans({char: "\\" + char for char in "\\*?[]"})


def open_history(url: str, namespace: str) -> RedisHistory:
    """Return the history side of the store at *url*. Raises: ValueError if the URL is wrong."""
    return RedisHistory(parse(url), namespace)


class RedisHistory:
    """A `History` (see stores/contract.py) on one Redis or Valkey server."""

    def __init__(self, address: Address, namespace: str) -> None:
        self.label = address.label
        self._address = address
        self._namespace = namespace
        self._client: Any = connect(address)

    def jobs(self) -> list[str]:
        """Return the names of all jobs that ever asked for a lease, sorted."""
        found = self._ask(lambda: self._client.zrange(keys.jobs(self._namespace), 0, -1))
        return sorted([name.decode() for name in cast("list[bytes]", found)])

    def leases(self, jobs: list[str]) -> dict[str, list[Lease]]:
        """Return the live leases of each of *jobs*; a job without one has an empty list."""
        rows = self._run_each("leases", jobs)
        return {job: [_lease(job, *row) for row in found] for job, found in rows.items()}

    def waiters(self, job: str) -> list[str]:
        """Return the run ids that stand in the queue, first one first."""
        name = self._prefix(job)
        first, expiry = self._pipeline(
            [("ZRANGE", f"{name}w", 0, -1), ("ZRANGE", f"{name}wx", 0, -1, "WITHSCORES")]
        )
        now = self._clock()
        until = dict(zip(expiry[::2], expiry[1::2], strict=True))
        return [run_id.decode() for run_id in first if float(until.get(run_id, 0)) > now]

    def runs(self, job: str, limit: int) -> list[dict[str, object]]:
        """Return the newest *limit* records of runs; if these are all, the older failures too."""
        self._run("sweep", job)
        name = self._prefix(job)
        newest, older = self._pipeline(
            [
                ("ZREVRANGE", f"{name}h", 0, limit - 1 if limit > 0 else 0),
                ("ZREVRANGE", f"{name}x", 0, KEPT_FAILURES - 1),
            ]
        )
        if limit <= 0:
            return []
        wanted = newest + older if limit >= min(len(newest) + 1, KEPT_RUNS) else newest
        return self._records(job, wanted)

    def skips(self, job: str, limit: int) -> list[dict[str, object]]:
        """Return the newest *limit* records of skips."""
        if limit <= 0:
            return []
        [newest] = self._pipeline([("ZREVRANGE", f"{self._prefix(job)}k", 0, limit - 1)])
        return self._records(job, newest)

    def last(self, jobs: list[str]) -> dict[str, dict[str, object]]:
        """Return the newest record of a run (not a skip) of each of *jobs* that has one."""
        self._run_each("sweep", jobs)
        ids = self._pipeline([("ZREVRANGE", f"{self._prefix(job)}h", 0, 0) for job in jobs])
        having = [(job, found[0]) for job, found in zip(jobs, ids, strict=True) if found]
        texts = self._pipeline([("HGET", f"{self._prefix(job)}r", id_) for job, id_ in having])
        pairs = zip(having, texts, strict=True)
        return {job: json.loads(text) for (job, _), text in pairs if text}

    def counters(self, jobs: list[str]) -> dict[str, dict[str, int]]:
        """Return each job's counters."""
        found = self._pipeline([("HGETALL", f"{self._prefix(job)}n") for job in jobs])
        return {job: _counts(fields) for job, fields in zip(jobs, found, strict=True)}

    def find(self, run_id: str) -> list[dict[str, object]]:
        """Return the records whose run id begins with *run_id*."""
        if not run_id:
            return []
        found = []
        for job in self.jobs():
            ids = self._ids(job, run_id)
            if ids:
                self._run("sweep", job)
                found += self._records(job, ids)
        return found

    def ask_stop(self, job: str, run_id: str, by: str) -> None:
        """Leave word for that run to stop, and push it."""
        self._run("stop", job, run_id, by)

    def unlock(self, lease: Lease, by: str) -> bool:
        """Free exactly this lease, and let its holder never renew or reclaim it."""
        its = lease.owner.run_id, lease.token, lease.index
        return bool(self._run("unlock", lease.job, *its, by))

    def pause(self, job: str, until: int | None, reason: str, by: str) -> None:
        """Refuse the job's runs until that moment (ms since the epoch), or until `resume`."""
        text = json.dumps({"until": until, "reason": reason, "by": by})
        self._ask(lambda: self._client.hset(f"{self._prefix(job)}c", "pause", text))

    def resume(self, job: str) -> bool:
        """Let the job run again; False if it was not paused."""
        return bool(self._ask(lambda: self._client.hdel(f"{self._prefix(job)}c", "pause")))

    def paused(self, job: str) -> dict[str, object] | None:
        """Return what `pause` left (`until`, `reason`, `by`), or None."""
        [text] = self._pipeline([("HGET", f"{self._prefix(job)}c", "pause")])
        return cast("dict[str, object]", json.loads(text)) if text else None

    def deliver(self, claim: Claim, close: Close) -> None:
        """Do a Close that could not be done when the run ended."""
        call = calls.close(claim, close)
        reply = cast("list[bytes]", self._call(call.name, call.keys, call.args))
        if reply[0] != b"closed":
            raise StoreDown(f"the record was refused ({reply[2].decode('utf-8', 'replace')})")

    def facts(self) -> dict[str, object]:
        """Return what `doctor` reports; what we may not ask for is None."""
        return cast("dict[str, object]", self._ask(lambda: read_facts(self._client)))

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _prefix(self, job: str) -> str:
        return keys.prefix(self._namespace, job)

    def _clock(self) -> int:
        seconds, micros = cast("tuple[int, int]", self._ask(self._client.time))
        return seconds * 1000 + micros // 1000

    def _ids(self, job: str, run_id: str) -> list[bytes]:
        """Return the job's run ids that begin so."""
        name = f"{self._prefix(job)}r"
        pattern = run_id.translate(_GLOB) + "*"
        scan = self._client.hscan_iter
        found = self._ask(lambda: list(scan(name, match=pattern, count=SCAN_COUNT)))
        return [id_ for id_, _ in cast("list[tuple[bytes, bytes]]", found)]

    def _records(self, job: str, ids: list[bytes]) -> list[dict[str, object]]:
        if not ids:
            return []
        [texts] = self._pipeline([("HMGET", f"{self._prefix(job)}r", *ids)])
        return [json.loads(text) for text in texts if text]

    def _run(self, script: str, job: str, *args: calls.Part) -> object:
        """Run a script that works on one job."""
        return self._call(script, [keys.fence(self._namespace, job)], list(args))

    def _run_each(self, script: str, jobs: list[str]) -> dict[str, Any]:
        """Run a script on each of *jobs*, all in one round trip."""
        if not jobs:
            return {}
        first = {jobs[0]: self._run(script, jobs[0])}  # from here on the server knows the script
        fences = [keys.fence(self._namespace, job) for job in jobs[1:]]
        rest = self._pipeline([("EVALSHA", SHA1[script], 1, fence) for fence in fences])
        return first | dict(zip(jobs[1:], rest, strict=True))

    def _call(self, script: str, names: list[str], args: list[calls.Part]) -> object:
        rest = len(names), *names, *args

        def ask() -> object:
            try:
                return self._client.execute_command("EVALSHA", SHA1[script], *rest)
            except redis.exceptions.NoScriptError:
                return self._client.execute_command("EVAL", source(script), *rest)

        return self._ask(ask)

    def _pipeline(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Send *commands* in one round trip, and return their replies as they come."""
        if not commands:
            return []

        def ask() -> object:
            with self._client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                pipeline.response_callbacks = {}
                return pipeline.execute()

        return cast("list[Any]", self._ask(ask))

    def _ask(self, ask: Callable[[], object]) -> object:
        """Return what *ask* returns. Raises: StoreDown or StoreRefused, in words for the user."""
        try:
            return ask()
        except redis.exceptions.TimeoutError as error:
            raise StoreDown(f"cannot use {self.label}: no answer within {TIMEOUT_S:g}s") from error
        except redis.exceptions.RedisError as error:
            if isinstance(error.__context__, OSError):  # not a word from the server
                raise StoreDown(
                    f"cannot reach {self.label}: {said_by(error.__context__)}"
                ) from error
            fault = faults.understand(server_words(error), self._address)
            kind = StoreRefused if fault.denied else StoreDown
            raise kind(f"cannot use {self.label}: {fault.why}") from error


def _lease(job: str, index: int, value: bytes, left: int, is_open: int) -> Lease:
    held = Held(value)
    return Lease(
        job=job,
        index=index,
        owner=held.owner,
        token=held.token,
        px=held.px,
        left=left,
        released=not is_open,
    )


def _counts(fields: list[bytes]) -> dict[str, int]:
    pairs = zip(fields[::2], fields[1::2], strict=True)
    return {name.decode(): int(value) for name, value in pairs}
