"""The history side on a Redis Cluster: the same, over redis-py's cluster client.

There is no index of jobs: the masters are scanned for what every job has (`{ns}:{job}:n`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import redis

from cronguard.stores.contract import StoreDown, StoreRefused
from cronguard.stores.redis import damage, faults, keys
from cronguard.stores.redis.client import connect_cluster, said_by, server_words
from cronguard.stores.redis.greeting import SENTINEL
from cronguard.stores.redis.history import RedisHistory, job_names
from cronguard.stores.redis.scripts import SHA1, source
from cronguard.stores.redis.server import merged, read_cluster, read_facts
from cronguard.stores.redis.sweeping import SCAN_COUNT, globbed
from cronguard.stores.redis.understood import understood

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cronguard.stores.address import Address

_NO_CLUSTER = "cluster support disabled"
_EXHAUSTED = "TTL exhausted"
"""What the cluster client says when it was sent on, or told to try again, too often."""
_REPLACED = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)
_SERVER_SAID = (redis.exceptions.ResponseError, redis.exceptions.AuthenticationError)
_TEXTS = {sha: name for name, sha in SHA1.items()}
_SINGLY = (redis.exceptions.AskError, redis.exceptions.TryAgainError)
"""Replies to a part of a pipeline that the cluster client knows how to follow (MOVED, too)."""


class ClusterHistory(RedisHistory):
    """A `History` (see stores/contract.py) on a Redis Cluster."""

    indexed = False
    greeted = True  # by the cluster client

    def _connect(self, address: Address) -> Any:
        return self._ask(lambda: connect_cluster(address))

    @understood
    def jobs(self) -> list[str]:
        """Return the names of all jobs that ever asked for a lease, sorted."""
        before, after = f"{keys.prefix(self._namespace, ' ')}n".split(" ")
        pattern = f"{globbed(before)}*{globbed(after)}"

        def scan() -> object:
            masters = self._client.get_primaries()
            scans = [node.redis_connection.scan_iter(pattern, SCAN_COUNT) for node in masters]
            return {name[len(before) : -len(after)] for found in scans for name in found}

        return job_names(list(cast("set[bytes]", self._read(scan))))

    @understood
    def facts(self) -> dict[str, object]:
        """Return what `doctor` reports, of all masters: where they differ, what is worst."""

        def read() -> object:
            masters = self._client.get_primaries()
            clients = [node.redis_connection for node in masters]
            facts = merged([read_facts(client) for client in clients])
            facts |= {"nodes": len(self._client.get_nodes()), "masters": len(masters)}
            return facts | _whole([read_cluster(client) for client in clients])

        return cast("dict[str, object]", self._read(read))

    def _pages(self, pattern: str, kind: str) -> Iterator[list[bytes]]:
        """Yield the keys that match, some at a time, of one master after the other."""
        masters = self._read(self._client.get_primaries)
        for node in cast("list[Any]", masters):
            yield from self._scan(node.redis_connection, pattern, kind)

    def _clock(self, job: str) -> int:
        """Return the clock of the node that has the job."""

        def read() -> object:
            node = self._client.get_node_from_key(keys.fence(self._namespace, job))
            return node.redis_connection.time()

        seconds, micros = cast("tuple[int, int]", self._read(read))
        return seconds * 1000 + micros // 1000

    def _replies(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Send *commands*, those for one node in one round trip; replies as of one server."""
        if not commands:
            return []
        return cast("list[Any]", self._read(lambda: self._by_node(commands)))

    def _by_node(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        places: dict[str, tuple[Any, list[int]]] = {}
        for number, command in enumerate(commands):
            node = self._client.get_node_from_key(damage.key_of(command))
            places.setdefault(node.name, (node, []))[1].append(number)
        replies: list[Any] = [None] * len(commands)
        for node, numbers in places.values():
            with node.redis_connection.pipeline(transaction=False) as pipeline:
                for number in numbers:
                    pipeline.execute_command(*commands[number])
                pipeline.response_callbacks = {}
                found = pipeline.execute(raise_on_error=False)
            for number, reply in zip(numbers, found, strict=True):
                replies[number] = self._settled(commands[number], reply)
        return replies

    def _settled(self, command: tuple[Any, ...], reply: Any) -> Any:
        """Return a part's reply; ask once more, singly, where another node has the key."""
        if isinstance(reply, redis.exceptions.NoScriptError):
            return self._client.execute_command("EVAL", source(_TEXTS[command[1]]), *command[2:])
        if isinstance(reply, _SINGLY):
            return self._client.execute_command(*command)
        return damage.sound([reply])[0]

    def _read(self, read: Callable[[], object]) -> object:
        """Return what *read* returns; after learning anew who has what, if a node is gone.

        Raises: as `_ask`. Only for what may be asked twice, and goes to nodes by their name.
        """

        def again() -> object:
            try:
                return read()
            except redis.exceptions.AuthenticationError:
                raise
            except _REPLACED:
                self._client.nodes_manager.initialize()
                return read()

        return self._ask(again)

    def _ask(self, ask: Callable[[], object]) -> object:
        """Return what *ask* returns. Raises: StoreDown or StoreRefused, in words for the user."""
        try:
            return super()._ask(lambda: _patiently(ask))
        except redis.exceptions.SlotNotCoveredError as error:
            raise StoreDown(f"cannot use {self.label}: no node has all of its slots") from error
        except redis.exceptions.RedisClusterException as error:
            raise self._unusable(error) from error

    def _unusable(self, error: BaseException) -> StoreDown:
        """Return why none of the nodes can be asked: what the last of them said counts."""
        for cause in _causes(error):
            if isinstance(cause, OSError):
                why = said_by(cause, self._address)
                return StoreDown(f"cannot reach {self.label}: none of its nodes answers ({why})")
            if isinstance(cause, _SERVER_SAID):
                return self._refusal(server_words(cause))
        return StoreDown(f"cannot reach {self.label}: none of its nodes answers")

    def _refusal(self, words: str) -> StoreDown:
        """Return what an error reply to the first question means."""
        if _NO_CLUSTER in words.lower():
            return StoreRefused(
                f"cannot use {self.label}: it is no node of a Redis Cluster: "
                "write redis://host:6379/0"
            )
        if "unknown command" in words:
            return StoreRefused(f"cannot use {self.label}: {SENTINEL}")
        fault = faults.understand(words, self._address)
        kind = StoreRefused if fault.denied else StoreDown
        return kind(f"cannot use {self.label}: {fault.why}")


def _patiently(ask: Callable[[], object]) -> object:
    """Return what *ask* returns; say it as the server does if the job's keys keep on moving."""
    try:
        return ask()
    except redis.exceptions.ClusterError as error:
        if _EXHAUSTED not in str(error):
            raise
        raise redis.exceptions.TryAgainError("TRYAGAIN the slot is not here as a whole") from error


def _causes(error: BaseException) -> list[BaseException]:
    """Return what led to *error*, the last first."""
    found: list[BaseException] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def _whole(views: list[dict[str, str]]) -> dict[str, object]:
    """Return whether the Cluster is up and whole as the masters see it: the worst view counts."""
    states = [view.get("cluster_state") for view in views]
    slots = [int(view.get("cluster_slots_ok", "-1")) for view in views]
    down = [state for state in states if state not in ("ok", None)]
    state = down[0] if down else (None if None in states else "ok")
    return {"cluster_state": state, "slots": None if min(slots) < 0 else min(slots)}
