"""Records that the store could not take, kept on this host until it can. Nothing is lost.

One file a record, 0600, in a folder of the state folder; written whole or not at all. Each run that
has reached its store delivers what waits for that store, after its own lock is given back.

What none of ours wrote, or a newer one did, is set aside under another name by the first run that
meets it, which says so; `doctor` goes on to. It is never deleted, and never in the way of others.
"""

from __future__ import annotations

import os
from select import poll
from stat import S_ISREG

from cronguard.core import events as ev
from cronguard.core import record as records
from cronguard.core.decode import decode
from cronguard.core.spec import Claim, Owner, is_job_name
from cronguard.runtime.clock import now_ms
from cronguard.runtime.proof import make_private
from cronguard.stores import contract

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = "outbox"
ASIDE = ".aside"
"""What is added to the name of a file that cannot be delivered."""
SCHEMA = 1
DELIVER_MS = 2_000
AT_ONCE = 50
MOST_BYTES = 4 << 20
"""More than any record of ours takes, however its output is escaped."""
_MOST = 1 << 53


class Kept:
    """What a file holds: a Close, for a run of `claim`, that the store with this label lacks."""

    __slots__ = ("claim", "close", "store")

    def __init__(self, store: str, claim: Claim, close: contract.Close) -> None:
        self.store = store
        self.claim = claim
        self.close = close


def keep(state: str, store: str, claim: Claim, close: contract.Close) -> None:
    """Keep *close* for *store* (its label). Raises: OSError."""
    folder = os.path.join(state, FOLDER)
    make_private(folder)
    text = records.encode(
        {
            "schema": SCHEMA,
            "store": store,
            "namespace": claim.namespace,
            "job": claim.job,
            "px": claim.px,
            "slots": claim.slots,
            "replicas": claim.replicas,
            "run_id": claim.owner.run_id,
            "record": close.record,
            "outcome": close.outcome,
            "reason": close.reason,
            "ended_wall": close.ended_wall,
        }
    )
    path = os.path.join(folder, f"{claim.owner.run_id}.json")
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    number = os.open(path + ".new", flags, 0o600)
    try:
        data = text.encode("ascii")
        if os.write(number, data) != len(data):
            raise OSError(28, "no space left on device")
    finally:
        os.close(number)
    os.rename(path + ".new", path)


def waiting(state: str | None) -> list[str]:
    """Return the files that wait to be delivered; the usual answer is none."""
    return _ending(state, ".json")


def aside(state: str | None) -> list[str]:
    """Return the files that were set aside."""
    return _ending(state, ASIDE)


def _ending(state: str | None, end: str) -> list[str]:
    if state is None:
        return []
    folder = os.path.join(state, FOLDER)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in sorted(names) if name.endswith(end)]


def load(path: str) -> Kept | None:
    """Return what is in a file, or None if it is not one of ours. Raises: OSError."""
    try:
        return _understood(_Facts(decode(_read(path))))
    except ValueError:
        return None


def _understood(facts: _Facts) -> Kept:
    """Return what a file says. Raises: ValueError for what none of ours, or a newer one, says."""
    if facts.number("schema", SCHEMA) != SCHEMA:
        raise ValueError("the same words may mean another thing")
    record = facts.text("record") if facts.has("record") else None
    if record is not None and not decode(record):
        raise ValueError("no record")
    claim = Claim(
        facts.name("job"),
        Owner(facts.text("run_id")),
        facts.number("px"),
        namespace=facts.name("namespace"),
        slots=facts.number("slots"),
        replicas=facts.number("replicas", 0),  # none in a file of an earlier version
    )
    outcome, reason = facts.text("outcome"), facts.text("reason")
    if outcome not in records.OUTCOMES:
        raise ValueError("no outcome")
    close = contract.Close(
        record, outcome=outcome, reason=reason, ended_wall=facts.number("ended_wall")
    )
    return Kept(facts.text("store"), claim, close)


class _Facts:
    """What a file says, taken by name. Each raises ValueError for what is not of the kind."""

    def __init__(self, kept: dict[str, object]) -> None:
        self._kept = kept

    def has(self, name: str) -> bool:
        """Tell whether it says anything of that."""
        return self._kept.get(name) is not None

    def text(self, name: str) -> str:
        """Return a text, which stores can keep."""
        value = self._kept.get(name)
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(name)
        value.encode()  # ValueError for half a surrogate pair
        return value

    def name(self, name: str) -> str:
        """Return the name of a job or a namespace."""
        value = self.text(name)
        if not is_job_name(value):
            raise ValueError(name)
        return value

    def number(self, name: str, default: object = None) -> int:
        """Return a whole number in bounds."""
        value = self._kept.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST:
            raise ValueError(name)
        return value


def _read(path: str) -> str:
    """Return the text of a file; none if it is no file or too long to be ours. Raises: OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO would hold us
    number = os.open(path, flags)
    with open(number, "rb") as file:
        found = os.fstat(number)
        if not S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
            return ""
        return file.read(MOST_BYTES).decode("ascii", "replace")


def deliver(
    paths: list[str], label: str, open_lease: Callable[[Claim], contract.LeaseStore]
) -> tuple[int, list[str]]:
    """Deliver what waits for the store *label*, for a bounded time.

    Returns how many went, and the new names of those that it set aside. Begins elsewhere each time,
    so that none is for ever behind one that its store does not take.
    """
    until = now_ms() + DELIVER_MS
    first = os.getpid() % len(paths) if paths else 0
    done, odd = 0, list[str]()
    for path in paths[first:] + paths[:first]:
        if done == AT_ONCE or now_ms() >= until:
            break
        try:
            event = _deliver(path, label, open_lease, until)
            if isinstance(event, ev.Closed):
                os.unlink(path)
                done += 1
            elif isinstance(event, ev.Unavailable):
                break
        except ValueError:
            odd += _set_aside(path)
        except OSError:  # another run has delivered it as well, or it is not ours to read
            pass
    return done, odd


def _deliver(
    path: str, label: str, open_lease: Callable[[Claim], contract.LeaseStore], until: int
) -> ev.Event | None:
    """Return what became of a file; None if it waits for another store.

    Raises: OSError, and ValueError for what cannot be delivered.
    """
    kept = load(path)
    if kept is None:
        raise ValueError(path)
    return _ask(open_lease(kept.claim), kept.close, until) if kept.store == label else None


def _set_aside(path: str) -> list[str]:
    """Give a file another name, and return that; nothing if another run did it."""
    try:
        os.rename(path, path + ASIDE)
    except OSError:
        return []
    return [path + ASIDE]


def _ask(store: contract.LeaseStore, close: contract.Close, until: int) -> ev.Event:
    try:
        store.send(close, now_ms())
        while (now := now_ms()) < until:
            for event in store.events(now):
                return event
            poller = poll()
            for number, wanted in store.watches():
                poller.register(number, wanted)
            poller.poll(max(min((store.wake_at() or until), until) - now, 0))
        return ev.Unavailable(close.name, "it took too long")
    finally:
        store.close()
