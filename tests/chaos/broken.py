"""cronguard with one bug built in, for chaos to find: `python -m tests.chaos.broken run ...`.

CHAOS_BROKEN names the bug. It is put into this process alone, and only into the side that speaks
to Redis; all else is the product as it is.

    deaf       a renewal or reclaim counts as granted whatever the server answered
    careless   the end of a run frees the lease whoever holds it
    late       a lease counts from the moment its reply was read, not from when it was asked for

Nothing of this is caught by a run that goes well: for each there is a hunt (hunts.py) that does.
"""

from __future__ import annotations

import os
import sys
from hashlib import sha1

from cronguard.core.events import Event, Renewed
from cronguard.stores.redis import scripts, wire
from cronguard.stores.redis.lease import RedisLease
from tests.chaos.product import VARIABLE

_replied = RedisLease._replied
_source = scripts.source


def deaf() -> None:
    """Take every answer to a renewal for yes."""

    def replied(self: RedisLease, name: str, sent_at: int, raw: list[object], now: int) -> Event:
        event = _replied(self, name, sent_at, raw, now)
        if name in ("renew", "reclaim") and not isinstance(event, Renewed):
            return Renewed(sent_at, self._granted or 0, None)
        return event

    RedisLease._replied = replied  # type: ignore[method-assign]


def careless() -> None:
    """Free the lease without looking whose it is."""
    check, none = b"if is_of(value, run) then", b"if value then"
    text = _source("close")
    assert text.count(check) == 1, "the script has changed, and this bug with it"
    text = text.replace(check, none)
    scripts.SHA1["close"] = sha1(text).hexdigest()
    vars(wire)["source"] = lambda name: text if name == "close" else _source(name)


def late() -> None:
    """Count from the reply."""

    def replied(self: RedisLease, name: str, sent_at: int, raw: list[object], now: int) -> Event:
        return _replied(self, name, max(now, sent_at), raw, now)

    RedisLease._replied = replied  # type: ignore[method-assign]


BUGS = {"deaf": deaf, "careless": careless, "late": late}


def main() -> int:
    """Be cronguard, with the bug."""
    BUGS[os.environ[VARIABLE]]()
    from cronguard.__main__ import main as product

    return product()


if __name__ == "__main__":
    sys.exit(main())
