"""Records that the store could not take, kept on this host until it can. Nothing is lost.

One file a record, 0600, in a folder of the state folder; written whole or not at all. Each run that
has reached its store delivers what waits for that store, after its own lock is given back.
"""

from __future__ import annotations

import os
from select import poll

from cronguard.core import events as ev
from cronguard.core import record as records
from cronguard.core.spec import Claim, Owner
from cronguard.runtime.clock import now_ms
from cronguard.runtime.proof import make_private
from cronguard.stores import contract

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = "outbox"
DELIVER_MS = 2_000
AT_ONCE = 50


def keep(state: str, store: str, claim: Claim, close: contract.Close) -> None:
    """Keep *close* for *store* (its label). Raises: OSError."""
    folder = os.path.join(state, FOLDER)
    make_private(folder)
    text = records.encode(
        {
            "store": store,
            "namespace": claim.namespace,
            "job": claim.job,
            "px": claim.px,
            "slots": claim.slots,
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
    if state is None:
        return []
    folder = os.path.join(state, FOLDER)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in sorted(names) if name.endswith(".json")]


def load(path: str) -> tuple[str, Claim, contract.Close] | None:
    """Return (store label, claim, close) of a file, or None if it is not one of ours."""
    import json  # noqa: PLC0415  (7 ms that only a run with something to deliver spends)

    try:
        with open(path, encoding="ascii") as file:
            kept = json.load(file)
        claim = Claim(
            kept["job"],
            Owner(kept["run_id"]),
            kept["px"],
            namespace=kept["namespace"],
            slots=kept["slots"],
        )
        close = contract.Close(
            kept["record"],
            outcome=kept["outcome"],
            reason=kept["reason"],
            ended_wall=kept["ended_wall"],
        )
        return kept["store"], claim, close
    except (OSError, ValueError, KeyError, TypeError):
        return None


def deliver(
    paths: list[str], label: str, open_lease: Callable[[Claim], contract.LeaseStore]
) -> int:
    """Deliver what waits for the store *label*, for a bounded time; returns how many went."""
    until = now_ms() + DELIVER_MS
    done = 0
    for path in paths[:AT_ONCE]:
        kept = load(path)
        if kept is None or kept[0] != label:
            continue
        if not _ask(open_lease(kept[1]), kept[2], until):
            break
        os.unlink(path)
        done += 1
    return done


def _ask(store: contract.LeaseStore, close: contract.Close, until: int) -> bool:
    try:
        store.send(close, now_ms())
        while (now := now_ms()) < until:
            for event in store.events(now):
                return isinstance(event, ev.Closed)
            poller = poll()
            for number, wanted in store.watches():
                poller.register(number, wanted)
            poller.poll(max(min((store.wake_at() or until), until) - now, 0))
        return False
    finally:
        store.close()
