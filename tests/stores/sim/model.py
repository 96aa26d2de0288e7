"""A Redis server in memory: what the job's scripts do with the lease and the fence, and no more.

It speaks in commands and replies as a client packs and hiredis returns them, so the product's own
client talks to it. One slot, no queue, no records: what a quorum asks for. That it does what the
scripts do is a test of its own (test_quorum_walks.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from hiredis.hiredis import PushNotification, ReplyError

from cronguard.core.slot import nearest
from cronguard.stores.redis.scripts import SHA1

Reply = object
NAMES = {sha: name for name, sha in SHA1.items()}


class Lease:
    """What the server keeps under `l:0`."""

    def __init__(self, run: str, token: int, granted: int, px: int, facts: str) -> None:
        self.run = run
        self.token = token
        self.granted = granted
        self.px = px
        self.facts = facts
        self.ends_at = 0

    def value(self) -> bytes:
        return f"{self.run}:{self.token}:{self.granted}:{self.px}:{self.facts}".encode()


class Fence:
    """What it keeps under `f`: the last token, that of the index, who was granted it, and when.

    `ask` which of its owner's requests that was.
    """

    def __init__(self) -> None:
        self.last = 0
        self.token: int | None = None
        self.owner = ""
        self.ask = 0
        self.settings = ""
        self.slot = 0


class Data:
    """All that a restart can lose."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.fence = Fence()
        self.open: set[str] = set()
        self.ended: set[str] = set()
        self.slots: dict[int, str] = {}  # who used which; none is forgotten by time
        self.never: set[str] = set()  # runs that did not start, or were abandoned

    def copy(self) -> Data:
        """Return what a snapshot of this moment would bring back."""
        twin = Data()
        if self.lease is not None:
            twin.lease = Lease(*[getattr(self.lease, name) for name in _LEASE])
            twin.lease.ends_at = self.lease.ends_at
        twin.fence.__dict__.update(self.fence.__dict__)
        twin.open = set(self.open)
        twin.ended = set(self.ended)
        twin.slots = dict(self.slots)
        twin.never = set(self.never)
        return twin


_LEASE = ("run", "token", "granted", "px", "facts")


class Model:
    """One process of a server; *clock* tells its wall clock in ms, *uptime* its age in s.

    `fsync` what it says about its append-only file: always, everysec, or nothing when it has none.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        uptime: Callable[[], int],
        *,
        data: Data | None = None,
        fsync: str = "",
        may_info: bool = True,
        name: str = "0" * 40,
    ) -> None:
        self.clock = clock
        self.uptime = uptime
        self.data = data or Data()
        self.fsync = fsync
        self.may_info = may_info
        self.name = name
        self.known: set[str] = set()

    def do(self, words: list[bytes]) -> Reply:
        """Execute one command."""
        verb = words[0].decode()
        if verb in ("EVAL", "EVALSHA"):
            return self._script(verb, words)
        if verb == "HELLO":
            return {
                b"server": b"redis",
                b"version": b"7.2.0",
                b"mode": b"standalone",
                b"role": b"master",
            }
        if verb == "TIME":
            now = self.clock()
            return [str(now // 1000).encode(), str(now % 1000 * 1000).encode()]
        if verb == "INFO":
            return self._info(words[1])
        if verb == "CONFIG":
            policy = self.fsync.encode() or b"everysec"
            return {b"appendfsync": policy, b"no-appendfsync-on-rewrite": b"no"}
        if verb == "SUBSCRIBE":
            return PushNotification([b"subscribe", words[1], 1])
        raise AssertionError(f"the model does not know {verb}")

    def _info(self, section: bytes) -> Reply:
        if not self.may_info:
            return ReplyError("NOPERM this user has no permissions to run the 'info' command")
        if section == b"server":
            return (
                f"# Server\r\nrun_id:{self.name}\r\nuptime_in_seconds:{self.uptime()}\r\n".encode()
            )
        return f"# Persistence\r\naof_enabled:{int(bool(self.fsync))}\r\n".encode()

    def _script(self, verb: str, words: list[bytes]) -> Reply:
        sha = words[1].decode() if verb == "EVALSHA" else hashlib.sha1(words[1]).hexdigest()
        if verb == "EVALSHA" and sha not in self.known:
            return ReplyError("NOSCRIPT No matching script.")
        self.known.add(sha)
        keys = int(words[2])
        args = [word.decode() for word in words[3 + keys :]]
        now = self.clock()
        lease = self.data.lease
        if lease is not None and now >= lease.ends_at:
            self.data.lease = None
        return getattr(self, f"_{NAMES[sha]}")(args, now)

    def _acquire(self, args: list[str], now: int) -> Reply:
        run, facts, px, settings, evict = args[0], args[1], int(args[2]), args[4], args[6]
        at_least, ask, not_after = int(args[11]), int(args[12]), int(args[14])
        data, fence = self.data, self.data.fence
        slot = nearest(args[7], now) if args[7] else 0
        is_late = 0 < not_after < now or run in data.ended
        if is_late or slot is None:
            return _says("late" if is_late else "off", now)
        if data.lease is not None and data.lease.run == run:
            if not_after < 0:
                return _says("barred", now)
            if args[7].isdigit() and not self._moved(run, slot):
                return _says("refused", now, "slot_done", _value(data.slots[slot]), slot)
            if data.lease.token < at_least:
                fence.last = max(fence.last, at_least)
                fence.token, fence.owner = at_least, run
                data.lease.token = at_least
            data.lease.ends_at = now + px
            fence.ask = max(fence.ask, ask)
            return [*_says("granted", now, data.lease.token), 0, _slot(fence.slot), 0]
        if evict in data.open and data.lease is not None and data.lease.run == evict:
            data.lease = None
            data.open.discard(evict)
            data.never.add(evict)
        if user := self._user_of(slot, run):
            return _says("refused", now, "slot_done", _value(user), slot)
        if data.lease is not None:
            if fence.settings and fence.settings != settings:
                return [*_says("refused", now, "conflict", fence.settings), data.lease.value()]
            left, over = data.lease.ends_at - now, int(data.lease.run not in data.open)
            return [*_says("held", now), data.lease.value(), left, over, _slot(slot)]
        if not_after < 0:
            return _says("barred", now)
        fence.last = fence.token = max(fence.last + 1, now, at_least)
        fence.owner, fence.settings, fence.ask = run, settings, ask
        data.lease = Lease(run, fence.last, now, px, facts)
        data.lease.ends_at = now + px
        data.never |= data.open - {run}
        data.open = {run}
        fence.slot = slot
        if slot:
            data.slots[slot] = run
        return [*_says("granted", now, fence.last), 0, _slot(slot), 0]

    def _moved(self, run: str, slot: int) -> bool:
        """Have the lease for this slot now; let go of it where another run used that."""
        data = self.data
        if self._user_of(slot, run):
            data.lease = None
            data.open.discard(run)
            return False
        if data.slots.get(data.fence.slot) == run:
            del data.slots[data.fence.slot]
        data.slots[slot], data.fence.slot = run, slot
        return True

    def _user_of(self, slot: int, run: str) -> str:
        data = self.data
        user = data.slots.get(slot, run)
        if user == run or user in data.never:
            return ""
        is_live = data.lease is not None and data.lease.run == user
        return user if is_live or user not in data.open else ""

    def _renew(self, args: list[str], now: int) -> Reply:
        lease = self.data.lease
        if lease is None:
            return _says("gone", now)
        if (lease.run, str(lease.token)) != (args[0], args[1]):
            return [*_says("taken", now), lease.value()]
        lease.ends_at = now + int(args[2])
        return [*_says("renewed", now), None]

    def _reclaim(self, args: list[str], now: int) -> Reply:
        run, facts, px, settings, token, granted, slot, not_after = (*args[:5], *args[6:8], args[9])
        lease, fence = self.data.lease, self.data.fence
        if 0 < int(not_after) < now or run in self.data.ended:
            return _says("late", now)
        if lease is not None:
            if (lease.run, str(lease.token)) != (run, token):
                return [*_says("taken", now), lease.value()]
            lease.ends_at = now + int(px)
            return [*_says("renewed", now), None]
        fenced = fence.token is not None and (str(fence.token), fence.owner) != (token, run)
        if fenced or fence.settings not in ("", settings):
            return [*_says("taken", now), None]
        if slot:
            if user := self._user_of(int(slot), run):
                return [*_says("taken", now), _value(user)]
            fence.slot = int(slot)
            self.data.slots[fence.slot] = run
        fence.last = max(fence.last, int(token))
        fence.token, fence.owner, fence.settings = int(token), run, settings
        self.data.lease = Lease(run, int(token), int(granted or now), int(px), facts)
        self.data.lease.ends_at = now + int(px)
        self.data.open.add(run)
        return [*_says("renewed", now), None]

    def _close(self, args: list[str], now: int) -> Reply:
        run, release = args[0], args[2] == "1"
        if len(args) > 14:  # a grant is undone
            is_later = self.data.lease is not None and self.data.lease.run == run
            is_later = is_later and self.data.fence.ask > int(args[14])
            if is_later or 0 < int(args[15]) < now:
                return _says("late", now)
        elif args[6]:
            self.data.ended.add(run)
        if args[5] == "1":
            self.data.slots = {at: user for at, user in self.data.slots.items() if user != run}
        self.data.never.discard(run)
        if args[7] == "not_started":
            self.data.never.add(run)
        self.data.open.discard(run)
        if release and self.data.lease is not None and self.data.lease.run == run:
            self.data.lease = None
        return _says("closed", now)


def _slot(slot: int) -> bytes:
    return str(slot or "").encode()


def _value(run: str) -> str:
    return f"{run}:1:1:1:{{}}"


def _says(word: str, *facts: object) -> list[object]:
    return [word.encode(), *[str(fact).encode() for fact in facts]]
