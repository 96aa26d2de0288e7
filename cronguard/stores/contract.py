"""What every store promises. One suite, tests/contract/, holds them all to it.

A store has two sides. The *lease side* (`LeaseStore`) is on the hot path: requests go in, replies
come out as events, and nothing in it ever blocks the loop. The *history side* (`History`) serves
the commands that read and steer; it may block, and it may use any library.

The promises of the lease side, which the suite attacks one by one:

* Atomic: each request happens as a whole or not at all.
* Idempotent by run id: an Acquire that is asked again by the run that already holds the lease is
  Granted again, with the same token, and lasts its full time from then. It changes no record.
  (But for `at_least`, which raises the token, also in the record.)
* At most `slots` runs of a job hold a lease at a time. The index tells them apart.
* The token rises with every grant of a job, whatever was lost before: max(last + 1, clock).
* First in, first out: a run that does not queue, or queued later, never passes one that waits. A
  waiter that has not asked for `queue_for` ms leaves the queue.
* A Renew only ever extends: it creates nothing, and works when the store is out of memory.
* A Close gives back only what is this run's, can be repeated, stores the end record whether or not
  the lease was still there, and never keeps a lease because the record was refused. With
  `min_hold` the lease stays until that long after its grant, but the run is over.
* A Reclaim takes a vanished lease again only if no other run was granted that index since, or the
  slot that the run is for, which it uses up again.
* Unless something else is asked for, what a holder left behind closes its record as `abandoned`.
* Two runs of a job whose `settings` differ never hold leases side by side: Refused, `conflict`.
* With a `rule` a run is for one slot, chosen by the store's clock at its first answer, and told in
  the grant and in the record. A grant uses it up: Refused, `slot_done`, for every other run. It is
  free again after a Close with `forget_slot`, and when the run that used it was abandoned.
* A paused job is Refused, `paused`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from cronguard.core.events import Event
    from cronguard.core.spec import Claim, Owner
else:
    Protocol = object


class Request:
    """One question to a store. `name` is what messages call it."""

    __slots__ = ()
    name = ""


class Acquire(Request):
    """Ask for a lease.

    `record` the encoded start record, with `"token":null` for the store to fill in ·
    `queue_for` 0: answer Held when there is none; else stand in the queue, and leave it when not
    heard of for so many ms · `evict` run id of a holder that is proven dead: its lease is free ·
    `replace` who asks the run that is in the way (of several, the oldest), and those that wait
    before this one, to stop; empty: nobody ·
    `at_least` a grant's token is no lower, also that of a lease which is held already: so all
    servers of a quorum come to have one token · `slot` what the run is for, where that is known; a
    lease that is held already is moved to it: so they come to have one slot · `until` the moment,
    in monotonic ms, from which on nobody waits for the answer: what must be given back is given
    back by then.
    Replies: Granted, Held, Queued, Refused, OffSchedule, Unavailable, Denied.
    """

    __slots__ = ("at_least", "evict", "queue_for", "record", "replace", "slot", "until")
    name = "acquire"

    def __init__(
        self,
        record: str,
        *,
        queue_for: int = 0,
        evict: str | None = None,
        at_least: int = 0,
        slot: int = 0,
        until: int | None = None,
        replace: str = "",
    ) -> None:
        self.slot = slot
        self.replace = replace
        self.record = record
        self.queue_for = queue_for
        self.evict = evict
        self.at_least = at_least
        self.until = until


class Renew(Request):
    """Extend the lease to its full time. Replies: Renewed, Gone, Taken, Unavailable, Denied."""

    __slots__ = ("index", "token")
    name = "renew"

    def __init__(self, token: int, index: int) -> None:
        self.token = token
        self.index = index


class Reclaim(Request):
    """Take a vanished lease again, same token. Replies: Renewed, Taken, Unavailable, Denied."""

    __slots__ = ("index", "token")
    name = "reclaim"

    def __init__(self, token: int, index: int) -> None:
        self.token = token
        self.index = index


class Close(Request):
    """End the run: give back the lease (`release`), leave the queue, store the record.

    `record` the encoded end record, or None: the grant is undone as if it had never been (no
    `min_hold`; the start record goes, nothing counts), within the attempt or not at all ·
    `outcome` and `reason` as in the record, for the counters · `ended_wall` ms since the epoch,
    for the indexes · `forget_slot` the schedule slot was not used after all.
    Replies: Closed, Unavailable, Denied.
    """

    __slots__ = ("ended_wall", "forget_slot", "outcome", "reason", "record", "release")
    name = "release"

    def __init__(
        self,
        record: str | None,
        *,
        outcome: str,
        reason: str = "",
        ended_wall: int,
        release: bool = True,
        forget_slot: bool = False,
    ) -> None:
        self.record = record
        self.outcome = outcome
        self.reason = reason
        self.ended_wall = ended_wall
        self.release = release
        self.forget_slot = forget_slot


class LeaseStore(Protocol):
    """The lease side: made for one Claim, used by one loop, never blocking.

    `label` names the store in messages and records, without secrets: `redis://10.0.0.5:6379/0`.
    Requests may be sent while others are under way; each gets exactly one reply, in order.
    """

    label: str

    def send(self, request: Request, now: int) -> None:
        """Begin one attempt of *request*; *now* is in monotonic ms. Never raises for a fault."""

    def watches(self) -> list[tuple[int, int]]:
        """Return (descriptor, poll(2) events) pairs to wait for."""

    def wake_at(self) -> int | None:
        """Return when `events` wants to be called though no descriptor is ready, or None."""

    def events(self, now: int) -> list[Event]:
        """Do what can be done without waiting, and return the replies that are complete.

        Besides replies: Woken when something happened that is worth asking again for, StopAsked
        when the store pushes that at once, and Flawed, once, when it is not what its URL says.
        """

    def watch_job(self, now: int) -> None:
        """From now on report Woken (it is our turn in the queue) and StopAsked as they happen.

        Best effort: a store that cannot push reports nothing, and the machine asks in time.
        """

    def close(self) -> None:
        """Let go of descriptors. Leases stay as they are."""


class Met(Protocol):
    """What this host remembers of the servers of its stores."""

    def known(self, server: str) -> str:
        """Return the id of the process that last answered as *server*, or nothing."""

    def learn(self, server: str, run_id: str) -> None:
        """Note which process answers as *server* now."""


class Lease:
    """A live lease as a reader sees it; ms: `left` until it expires, `quiet` since its renewal."""

    __slots__ = ("index", "job", "left", "owner", "px", "quiet", "released", "token")

    def __init__(
        self,
        *,
        job: str,
        index: int,
        owner: Owner,
        token: int,
        px: int,
        left: int,
        released: bool = False,
    ) -> None:
        self.job = job
        self.index = index
        self.owner = owner
        self.token = token
        self.px = px
        self.left = left
        self.quiet = max(px - left, 0)
        self.released = released


class Stray:
    """A key of others in Redis that never expires.

    `store` the label of the server that has it · `size` in bytes and `head`, its beginning, if it
    was looked at and is text, else None.
    """

    __slots__ = ("head", "key", "size", "store")

    def __init__(self, store: str, key: str, size: int = 0, head: bytes | None = None) -> None:
        self.store = store
        self.key = key
        self.size = size
        self.head = head


class Overview:
    """What a reader sees of one job at one moment.

    `waiting` run ids in the queue, first one first · `last` the newest record of a run, not of a
    skip · `records` those of runs that hold a lease, by run id; the store may have lost some ·
    `paused` what `pause` left, also when its time is over, or None · `damage` why nothing of this
    is known, or empty.
    """

    __slots__ = ("counters", "damage", "last", "leases", "paused", "records", "waiting")

    def __init__(
        self,
        leases: list[Lease],
        waiting: list[str],
        last: dict[str, object] | None,
        counters: dict[str, int],
        records: dict[str, dict[str, object]],
        damage: str = "",
        paused: dict[str, object] | None = None,
    ) -> None:
        self.leases = leases
        self.waiting = waiting
        self.last = last
        self.counters = counters
        self.records = records
        self.paused = paused
        self.damage = damage


class History(Protocol):
    """The history side. Blocks; raises StoreDown when the store cannot answer, Damaged of a job.

    Records are dicts as core/record.py says, newest first. Reading a job closes the records of
    runs whose keeper vanished (`running`, but no lease of theirs) as `abandoned`.
    """

    label: str

    def jobs(self) -> list[str]:
        """Return the names of all jobs that ever asked for a lease, sorted."""

    def leases(self, jobs: list[str]) -> dict[str, list[Lease]]:
        """Return the live leases of each of *jobs*; a job without one has an empty list."""

    def overview(self, jobs: list[str], *, live: bool = False) -> dict[str, Overview]:
        """Return all that is asked about many jobs, for each of *jobs*; fast also for thousands.

        With *live* only of those that have a live lease, and of those that cannot be read.
        """

    def waiters(self, job: str) -> list[str]:
        """Return the run ids that stand in the queue, first one first."""

    def runs(self, job: str, limit: int) -> list[dict[str, object]]:
        """Return the newest *limit* records of runs (not skips), and the failures kept beyond."""

    def skips(self, job: str, limit: int) -> list[dict[str, object]]:
        """Return the newest *limit* records of skips."""

    def last(self, jobs: list[str]) -> dict[str, dict[str, object]]:
        """Return the newest record of a run (not a skip) of each of *jobs* that has one."""

    def counters(self, jobs: list[str]) -> dict[str, dict[str, int]]:
        """Return each job's counters.

        One per outcome; `skipped:REASON`; `skips_since_run` since the last grant;
        `failures_in_a_row`; `last_start`, `last_success`, `last_failure` in ms since the epoch.
        """

    def recent(self, jobs: list[str], limit: int) -> dict[str, list[dict[str, object]]]:
        """Return the newest *limit* records of runs of each of *jobs*, up to their output.

        Without what follows `output_bytes`, so that many can be read; `limit` is 1 or more. What
        cannot be read is an empty list: `overview` says why. Closes nothing.
        """

    def find(self, run_id: str) -> list[dict[str, object]]:
        """Return the records whose run id begins with *run_id*."""

    def ask_stop(self, job: str, run_id: str, by: str) -> None:
        """Leave word for that run to stop, and push it where the store can."""

    def unlock(self, lease: Lease, by: str) -> bool:
        """Free exactly this lease, and let its holder never renew or reclaim it.

        Returns False if it had changed hands, or was gone already.
        """

    def pause(self, job: str, until: int | None, reason: str, by: str) -> None:
        """Refuse the job's runs until that moment (ms since the epoch), or until `resume`."""

    def resume(self, job: str) -> bool:
        """Let the job run again; False if it was not paused."""

    def paused(self, job: str) -> dict[str, object] | None:
        """Return what `pause` left (`until`, `reason`, `by`), or None.

        Also when `until` has passed: the pause is over then, and nobody has cleared it up.
        """

    def deliver(self, claim: Claim, close: Close) -> None:
        """Do a Close that could not be done when the run ended."""

    def locks(self) -> list[str]:
        """Return the further locks (`--lock`) that may be held, with their mark, sorted.

        Each can be given to `leases` and the like in the place of a job. In Redis this looks at
        every key of the server.
        """

    def left_behind(self, jobs: list[str]) -> dict[str, list[dict[str, object]]]:
        """Return the records that say `running` though their run has no lease. Changes nothing.

        What cannot be read is left out.
        """

    def close_left_behind(self, job: str) -> list[str]:
        """Close these records as `abandoned`; return the ids of their runs."""

    def bound(self, lease: Lease) -> bool:
        """Give exactly this lease its expiry back, if it has none or one that is too far away.

        A holder that lives renews it in time, so this takes it from nobody. False if there was
        nothing to do.
        """

    def prune(self, job: str, before: int, batch: int, *, dry_run: bool = False) -> int:
        """Forget up to *batch* records of runs and skips that ended before (ms since the epoch).

        Never that of a run that is open or holds a lease; counters stay. With *dry_run* only tells
        how many.
        """

    def reset(self, job: str) -> bool:
        """Forget the job: records, counters, queue and pause; False if a run holds a lease.

        What keeps runs apart stays: the last token, slots that are used up, a lock that is only
        kept for `min_hold`.
        """

    def strays(
        self, pattern: str | None = None, tick: Callable[[], None] = lambda: None
    ) -> list[Stray]:
        """Return keys that never expire and are not ours: those under our prefix.

        With a *pattern* (a glob) those of text that match it, to be given to `uproot`; never one of
        cronguard's, of any namespace. *tick* is called now and then: it may take long.
        """

    def uproot(self, strays: list[Stray]) -> list[Stray]:
        """Remove these, but none that changed or got an expiry; return those that are gone."""

    def fence(self, resource: str, token: int) -> int:
        """Note that *token* was seen for *resource*; return the highest that was, itself included.

        More than *token* means that it is stale. Nothing is forgotten by time.
        """

    def facts(self) -> dict[str, object]:
        """Return what `doctor` reports: `version`, `clock` (ms since 1970), and the store's own."""

    def close(self) -> None:
        """Let go of the store."""


class StoreDown(Exception):
    """The store cannot be reached, or does not answer. The text says which and why, no secrets."""


class StoreRefused(StoreDown):
    """The store will never answer this: wrong password, missing permission, not a store at all."""


class Damaged(StoreDown):
    """What the store keeps of one job cannot be read; the others' can. The text says what."""
