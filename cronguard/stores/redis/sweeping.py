"""The part of the history side on Redis that finds what is left over, and clears it.

Everything that changes something is a script, which looks again before it does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from cronguard.core.decode import readable
from cronguard.core.record import utc
from cronguard.core.spec import LOCK_MARK, is_job_name
from cronguard.stores.contract import Damaged, Stray
from cronguard.stores.redis import keys
from cronguard.stores.redis.scripts import SHA1
from cronguard.stores.redis.understood import understood

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cronguard.stores.contract import Lease

SCAN_COUNT = 500
_GLOB = str.maketrans({char: "\\" + char for char in "\\*?[]"})
_KINDS = "|".join([*keys.KINDS, r"l:\d+", r"s:\d+"])
_OURS = re.compile(rf".+:\{{{LOCK_MARK}?([^{{}}]*)\}}:({_KINDS})", re.DOTALL)
_RESOURCE = re.compile(r".+:fence:\{.*\}", re.DOTALL)


class Sweeping:
    """What `RedisHistory` is made of besides itself."""

    indexed: bool
    label: str
    _namespace: str
    _client: Any
    _ask: Callable[..., object]
    _call: Callable[..., object]
    _replies: Callable[..., list[Any]]
    _run: Callable[..., object]
    _run_each: Callable[..., dict[str, Any]]

    @understood
    def left_behind(self, jobs: list[str]) -> dict[str, list[dict[str, object]]]:
        """Return the records that say `running` though their run has no lease."""
        return {
            job: [record for text in found[1::2] if (record := readable(text))]
            for job, found in self._run_each("sweep", jobs, "look").items()
            if not isinstance(found, Damaged)
        }

    @understood
    def close_left_behind(self, job: str) -> list[str]:
        """Close these records; return the ids of their runs."""
        found = cast("list[bytes]", self._run("sweep", job))
        return [run_id.decode("utf-8", "replace") for run_id in found[::2]]

    def bound(self, lease: Lease) -> bool:
        """Give exactly this lease its expiry back."""
        its = lease.owner.run_id, lease.token, lease.index
        return bool(self._run("bound", lease.job, *its, lease.px))

    @understood
    def prune(self, job: str, before: int, batch: int, *, dry_run: bool = False) -> int:
        """Forget up to *batch* records that ended before that moment."""
        words = before, utc(before), batch, "look" if dry_run else "do"
        return int(cast("int", self._run("prune", job, *words)))

    def reset(self, job: str) -> bool:
        """Forget the job, unless a run of it holds a lease."""
        names = keys.whole(self._namespace, job)
        names += [keys.jobs(self._namespace)] if self.indexed else []
        return bool(self._call("reset", job, names, [job]))

    @understood
    def strays(
        self, pattern: str | None = None, tick: Callable[[], None] = lambda: None
    ) -> list[Stray]:
        """Return keys of others without an expiry, by SCAN."""
        if pattern is None:
            begin = globbed(f"{self._namespace}:")
            found = [_text(key) for key in self._endless(f"{begin}*", "", tick)]
            # `{ns}:x` may be a namespace, too, with an index of jobs.
            return [Stray(self.label, key) for key in found if not key.endswith(":jobs")]
        matching = self._endless(pattern, "string", tick)
        looks = self._scripted("look", [(key,) for key in matching])
        pairs = zip(matching, looks, strict=True)
        return [Stray(self.label, _text(key), *looked) for key, looked in pairs if looked]

    @understood
    def uproot(self, strays: list[Stray]) -> list[Stray]:
        """Remove these keys of text, unless they changed; return those that are gone."""
        wanted = [stray for stray in strays if stray.store == self.label and stray.head is not None]
        words = [(_bytes(stray.key), stray.size, stray.head) for stray in wanted]
        done = self._scripted("uproot", words)
        return [stray for stray, gone in zip(wanted, done, strict=True) if gone]

    def _endless(self, pattern: str, kind: str, tick: Callable[[], None]) -> list[bytes]:
        """Return the keys that match, are not ours and have no expiry, sorted."""
        found: set[bytes] = set()
        for page in self._pages(pattern, kind):
            tick()
            others = [key for key in page if not is_ours(_text(key), self._namespace)]
            replies = self._replies([("PTTL", key) for key in others])
            found.update([key for key, left in zip(others, replies, strict=True) if left == -1])
        return sorted(found)

    def _pages(self, pattern: str, kind: str) -> Iterator[list[bytes]]:
        """Yield the keys that match, some at a time."""
        yield from self._scan(self._client, pattern, kind)

    def _scan(self, client: Any, pattern: str, kind: str) -> Iterator[list[bytes]]:
        cursor: object = 0
        while True:
            options = {"match": pattern, "count": SCAN_COUNT, "_type": kind or None}

            def ask(at: object = cursor, options: dict[str, Any] = options) -> object:
                return client.scan(at, **options)

            cursor, page = cast("tuple[object, list[bytes]]", self._ask(ask))
            yield page
            if not cursor:
                return

    def _scripted(self, script: str, calls: list[tuple[Any, ...]]) -> list[Any]:
        """Run a script on each key, with what follows it, many in one round trip."""
        found: list[Any] = []
        for key, *words in calls[:1]:
            found.append(self._call(script, "", [key], words))  # now the server knows the script
        for begin in range(1, len(calls), SCAN_COUNT):
            some = calls[begin : begin + SCAN_COUNT]
            found += self._replies([("EVALSHA", SHA1[script], 1, *call) for call in some])
        return found


def is_ours(key: str, namespace: str) -> bool:
    """Tell whether a key is one of cronguard's, in this or another namespace."""
    if key == keys.jobs(namespace) or _RESOURCE.fullmatch(key):
        return True
    found = _OURS.fullmatch(key)
    return found is not None and is_job_name(found[1])


def globbed(text: str) -> str:
    """Return *text* as a pattern that matches just that."""
    return text.translate(_GLOB)


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
