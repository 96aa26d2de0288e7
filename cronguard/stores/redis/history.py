"""The history side on Redis: for the commands that read and steer. Blocks; on redis-py.

Everything that changes something is one of the job's scripts, so that it happens as a whole.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import redis

from cronguard.core.decode import readable
from cronguard.core.record import KEPT_FAILURES, KEPT_RUNS
from cronguard.core.spec import is_job_name
from cronguard.core.words import printable
from cronguard.stores.address import parse
from cronguard.stores.contract import Damaged, Lease, Overview, StoreDown, StoreRefused
from cronguard.stores.redis import calls, damage, faults, keys, seen
from cronguard.stores.redis.client import TIMEOUT_S, connect, said_by, server_words
from cronguard.stores.redis.greeting import check_server
from cronguard.stores.redis.link import Broken
from cronguard.stores.redis.scripts import SHA1, source
from cronguard.stores.redis.server import read_facts, read_hello, read_run_id
from cronguard.stores.redis.sweeping import SCAN_COUNT, Sweeping, globbed
from cronguard.stores.redis.understood import NONSENSE, understood

if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.core.spec import Claim
    from cronguard.stores.address import Address
    from cronguard.stores.contract import Close

AT_A_TIME = 500
"""Jobs that are asked about in one round trip: the server keeps all replies until we read them."""


def open_history(url: str, namespace: str) -> RedisHistory:
    """Return the history side of the store at *url*. Raises: ValueError if the URL is wrong."""
    address = parse(url)
    if address.kind == "cluster":
        from cronguard.stores.redis.cluster_history import ClusterHistory  # noqa: PLC0415

        return ClusterHistory(address, namespace)
    if address.kind == "sentinel":
        from cronguard.stores.redis.sentinel_history import SentinelHistory  # noqa: PLC0415

        return SentinelHistory(address, namespace)
    return RedisHistory(address, namespace)


class RedisHistory(Sweeping):
    """A `History` (see stores/contract.py) on one Redis or Valkey server."""

    indexed = True
    greeted = False

    def __init__(self, address: Address, namespace: str) -> None:
        self.label = address.label
        self._address = address
        self._namespace = namespace
        self._client: Any = self._connect(address)

    def _connect(self, address: Address) -> Any:
        return connect(address)

    @understood
    def jobs(self) -> list[str]:
        """Return the names of all jobs that ever asked for a lease, sorted."""
        index = keys.jobs(self._namespace)
        try:
            found = self._ask(lambda: self._client.zrange(index, 0, -1))
        except Damaged as error:
            raise Damaged(damage.described("the list of jobs", self.label, [index])) from error
        return job_names(cast("list[bytes]", found))

    @understood
    def leases(self, jobs: list[str]) -> dict[str, list[Lease]]:
        """Return the live leases of each of *jobs*; a job without one has an empty list."""
        rows = _all_sound(self._run_each("overview", jobs, "leases"))
        return {job: [seen.lease(job, *row) for row in found] for job, [found] in rows.items()}

    @understood
    def overview(self, jobs: list[str], *, live: bool = False) -> dict[str, Overview]:
        """Return all that is asked about many jobs, by one script each."""
        found = self._run_each("overview", jobs, "live" if live else "all")
        return {
            job: Overview([], [], None, {}, {}, str(parts))
            if isinstance(parts, Damaged)
            else seen.overview(job, *parts)
            for job, parts in found.items()
            if isinstance(parts, Damaged) or len(parts) > 1
        }

    @understood
    def waiters(self, job: str) -> list[str]:
        """Return the run ids that stand in the queue, first one first."""
        name = self._prefix(job)
        first, expiry = self._pipeline(
            [("ZRANGE", f"{name}w", 0, -1), ("ZRANGE", f"{name}wx", 0, -1, "WITHSCORES")]
        )
        now = self._clock(job)
        until = dict(zip(expiry[::2], expiry[1::2], strict=True))
        return [
            run_id.decode("utf-8", "replace")
            for run_id in first
            if float(until.get(run_id, 0)) > now
        ]

    @understood
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

    @understood
    def skips(self, job: str, limit: int) -> list[dict[str, object]]:
        """Return the newest *limit* records of skips."""
        if limit <= 0:
            return []
        [newest] = self._pipeline([("ZREVRANGE", f"{self._prefix(job)}k", 0, limit - 1)])
        return self._records(job, newest)

    @understood
    def last(self, jobs: list[str]) -> dict[str, dict[str, object]]:
        """Return the newest record of a run (not a skip) of each of *jobs* that has one."""
        _all_sound(self._run_each("sweep", jobs))
        ids = self._pipeline([("ZREVRANGE", f"{self._prefix(job)}h", 0, 0) for job in jobs])
        having = [(job, found[0]) for job, found in zip(jobs, ids, strict=True) if found]
        texts = self._pipeline([("HGET", f"{self._prefix(job)}r", id_) for job, id_ in having])
        pairs = zip(having, texts, strict=True)
        return {job: found for (job, _), text in pairs if (found := readable(text))}

    @understood
    def counters(self, jobs: list[str]) -> dict[str, dict[str, int]]:
        """Return each job's counters."""
        found = self._pipeline([("HGETALL", f"{self._prefix(job)}n") for job in jobs])
        return {job: seen.counts(fields) for job, fields in zip(jobs, found, strict=True)}

    @understood
    def recent(self, jobs: list[str], limit: int) -> dict[str, list[dict[str, object]]]:
        """Return the newest *limit* records of runs of each of *jobs*, up to their output."""
        found = self._run_each("recent", jobs, str(limit))
        return {
            job: []
            if isinstance(texts, Damaged)
            else [record for text in texts if (record := readable(text))]
            for job, texts in found.items()
        }

    @understood
    def find(self, run_id: str) -> list[dict[str, object]]:
        """Return the records whose run id begins with *run_id*."""
        if not run_id:
            return []
        found, damaged = [], []
        for job in self.jobs():
            try:
                ids = self._ids(job, run_id)
                if ids:
                    self._run("sweep", job)
                    found += self._records(job, ids)
            except Damaged as error:
                damaged.append(error)
        if damaged and not found:
            raise damaged[0]
        return found

    def ask_stop(self, job: str, run_id: str, by: str) -> None:
        """Leave word for that run to stop, and push it."""
        self._run("stop", job, run_id, by)

    @understood
    def unlock(self, lease: Lease, by: str) -> bool:
        """Free exactly this lease, and let its holder never renew or reclaim it."""
        its = lease.owner.run_id, lease.token, lease.index
        return bool(self._run("unlock", lease.job, *its, by))

    def pause(self, job: str, until: int | None, reason: str, by: str) -> None:
        """Refuse the job's runs until that moment (ms since the epoch), or until `resume`."""
        text = json.dumps({"until": until, "reason": reason, "by": by})
        self._pipeline([("HSET", f"{self._prefix(job)}c", "pause", text)])

    def resume(self, job: str) -> bool:
        """Let the job run again; False if it was not paused."""
        return bool(self._pipeline([("HDEL", f"{self._prefix(job)}c", "pause")])[0])

    @understood
    def paused(self, job: str) -> dict[str, object] | None:
        """Return what `pause` left (`until`, `reason`, `by`), or None."""
        [text] = self._pipeline([("HGET", f"{self._prefix(job)}c", "pause")])
        return readable(text) if text else None

    @understood
    def deliver(self, claim: Claim, close: Close) -> None:
        """Do a Close that could not be done when the run ended."""
        call = calls.close(claim, close, self.indexed)
        reply = cast("list[bytes]", self._call(call.name, claim.job, call.keys, call.args))
        if reply[0] != b"closed":
            raise StoreDown(f"the record was refused ({reply[2].decode('utf-8', 'replace')})")

    @understood
    def fence(self, resource: str, token: int) -> int:
        """Note that *token* was seen for *resource*; return the highest that was."""
        key = keys.resource(self._namespace, resource)
        try:
            return int(cast("bytes", self._ask(lambda: self._script("fence", [key], [token]))))
        except Damaged as error:
            what = f"the resource {printable(resource)}"
            raise Damaged(damage.described(what, self.label, [key])) from error

    @understood
    def facts(self) -> dict[str, object]:
        """Return what `doctor` reports; what we may not ask for is None."""
        return cast("dict[str, object]", self._ask(lambda: read_facts(self._client)))

    def baffled(self, error: Exception) -> StoreRefused:
        """Return what to say of replies that no Redis sends."""
        what = f"{type(error).__name__}: {error}"
        return StoreRefused(
            f"cannot use {self.label}: its answer makes no sense ({printable(what, 120)}); "
            "see that it is Redis or Valkey itself that answers there"
        )

    @understood
    def process(self) -> str:
        """Return what tells the server's process from any other; nothing if it does not say."""
        return cast("str", self._ask(lambda: read_run_id(self._client)))

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _prefix(self, job: str) -> str:
        return keys.prefix(self._namespace, job)

    def _clock(self, _job: str) -> int:
        seconds, micros = cast("tuple[int, int]", self._ask(self._client.time))
        return seconds * 1000 + micros // 1000

    def _ids(self, job: str, run_id: str) -> list[bytes]:
        """Return the job's run ids that begin so."""
        name = f"{self._prefix(job)}r"
        pattern = globbed(run_id) + "*"
        scan = self._client.hscan_iter
        found = self._about(job, lambda: list(scan(name, match=pattern, count=SCAN_COUNT)))
        return [id_ for id_, _ in cast("list[tuple[bytes, bytes]]", found)]

    def _records(self, job: str, ids: list[bytes]) -> list[dict[str, object]]:
        if not ids:
            return []
        [texts] = self._pipeline([("HMGET", f"{self._prefix(job)}r", *ids)])
        return [found for text in texts if (found := readable(text))]

    def _run(self, script: str, job: str, *args: calls.Part) -> object:
        """Run a script that works on one job."""
        return self._call(script, job, keys.whole(self._namespace, job), list(args))

    def _run_each(self, script: str, jobs: list[str], *args: calls.Part) -> dict[str, Any]:
        """Run a script on each of *jobs*, many in one round trip; a reply may be a Damaged."""
        found: dict[str, Any] = {}
        try:
            for job in jobs[:1]:
                found[job] = self._run(script, job, *args)  # now the server knows the script
        except Damaged as error:
            found[jobs[0]] = error
        for begin in range(1, len(jobs), AT_A_TIME):
            some = jobs[begin : begin + AT_A_TIME]
            names = [keys.whole(self._namespace, job) for job in some]
            replies = self._replies([("EVALSHA", SHA1[script], 2, *name, *args) for name in names])
            for job, reply in zip(some, replies, strict=True):
                found[job] = self._damaged(job) if isinstance(reply, Exception) else reply
        return found

    def _call(self, script: str, job: str, names: list[str], args: list[calls.Part]) -> object:
        return self._about(job, lambda: self._script(script, names, args))

    def _script(self, script: str, names: list[str], args: list[calls.Part]) -> object:
        rest = len(names), *names, *args
        try:
            return self._client.execute_command("EVALSHA", SHA1[script], *rest)
        except redis.exceptions.NoScriptError:
            return self._client.execute_command("EVAL", source(script), *rest)

    def _pipeline(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Send *commands* in one round trip, and return their replies as they come."""
        replies = self._replies(commands)
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, Exception):
                begin = keys.prefix(self._namespace, "").partition("}")[0]
                raise self._damaged(str(damage.key_of(command))[len(begin) :].partition("}")[0])
        return replies

    def _replies(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Send *commands* in one round trip; where a key is damaged, the reply is the error."""
        if not commands:
            return []

        def ask() -> object:
            with self._client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                pipeline.response_callbacks = {}
                return damage.sound(pipeline.execute(raise_on_error=False))

        return cast("list[Any]", self._ask(ask))

    def _about(self, job: str, ask: Callable[[], object]) -> object:
        """Return what *ask* returns, which is about one job. Raises: as `_ask`."""
        try:
            return self._ask(ask)
        except Damaged:
            raise self._damaged(job) from None

    def _damaged(self, job: str) -> Damaged:
        """Return what to say of a job some key of which is not of its kind."""
        tried = damage.probes(self._prefix(job))
        replies = zip(tried, self._replies(tried), strict=True)
        names = [key for (_, key, *_), reply in replies if isinstance(reply, Exception)]
        return Damaged(damage.described(f"job {job}", self.label, names))

    def _greet(self) -> None:
        """See once that it is what the URL says: a node of a Cluster would seem to be empty."""
        hello = read_hello(self._client)
        self.greeted = True
        said = {name.encode(): value.encode() for name, value in hello.items()}
        try:
            check_server(said, self._address.kind)
        except Broken as broken:
            if broken.denied:  # a replica may be read
                raise StoreRefused(f"cannot use {self.label}: {broken.why}") from None

    def _ask(self, ask: Callable[[], object]) -> object:
        """Return what *ask* returns. Raises: StoreDown or StoreRefused, in words for the user."""
        try:
            if not self.greeted:
                self._greet()
            return ask()
        except redis.exceptions.TimeoutError as error:
            raise StoreDown(f"cannot use {self.label}: no answer within {TIMEOUT_S:g}s") from error
        except redis.exceptions.RedisError as error:
            if isinstance(error.__context__, OSError):  # not a word from the server
                raise StoreDown(
                    f"cannot reach {self.label}: {said_by(error.__context__, self._address)}"
                ) from error
            fault = faults.understand(server_words(error), self._address)
            if damage.is_damage(error):
                raise Damaged(f"cannot use {self.label}: {fault.why}") from error
            kind = StoreRefused if fault.denied else StoreDown
            raise kind(f"cannot use {self.label}: {fault.why}") from error
        except NONSENSE as error:  # from redis-py
            raise self.baffled(error) from error


def _all_sound(found: dict[str, Any]) -> dict[str, Any]:
    """Return *found*. Raises: Damaged, if a job of them is."""
    for reply in found.values():
        if isinstance(reply, Damaged):
            raise reply
    return found


def job_names(found: list[bytes]) -> list[str]:
    """Return those of *found* that are names of jobs, sorted: others may write here, too."""
    names = [name.decode("utf-8", "replace") for name in found]
    return sorted([name for name in names if is_job_name(name)])
