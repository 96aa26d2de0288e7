"""Where everything of a job is kept in Redis. The hash tag keeps a job in one Cluster slot.

    {ns}:{job}:l:<i>     a lease: `run_id:token:granted_ms:px:facts`, with the lease's own expiry
    {ns}:{job}:s:<slot>  a slot that is used up, in ms since the epoch: the lease
    {ns}:{job}:f         hash: n last token, o its owner, n<i> o<i> the same per index,
                         u<i> the slot that the lease used up, a<i> at which request it was got,
                         t last queue ticket, c settings of the last grant
    {ns}:{job}:w         zset of waiters by ticket       {ns}:{job}:wx  the same by expiry, ms
    {ns}:{job}:c         hash: run id -> who asked for its stop; `pause` -> JSON (until, reason, by)
    {ns}:{job}:r         hash: run id -> record
    {ns}:{job}:o         zset of open runs by index: granted, and not closed
    {ns}:{job}:h         zset of runs by time, ms        {ns}:{job}:x   older failures, kept
    {ns}:{job}:k         zset of skips by time           {ns}:{job}:n   hash of counters
    {ns}:{job}:e         channel: `free RUN_ID...` to the next in the queue, `stop RUN_ID BY`
    {ns}:{job}:-         never exists
    {ns}:fence:{<resource>}  the highest token that `fence` has seen for a resource; for ever
    {ns}:jobs            zset of job names by when they were last heard of; not in a Cluster

Every script but renew gets `{ns}:{job}:f` as its first key and makes the others from it, as the
number of lease keys is the store's to know, not the caller's. Its second key never exists: while a
Cluster moves the job's slot, a request that names both a key and one that is not there is answered
TRYAGAIN. So no script ever sees one half of a job.
"""

from __future__ import annotations

KINDS = ("f", "w", "wx", "c", "r", "o", "h", "x", "k", "n", "e", "-")
"""What stands behind `{ns}:{job}:`, besides `l:` and `s:` with a number."""


def prefix(namespace: str, job: str) -> str:
    """Return what the names of all keys of *job* begin with."""
    return f"{namespace}:{{{job}}}:"


def fence(namespace: str, job: str) -> str:
    """Return the key that stands for the job: scripts make the others from it."""
    return f"{namespace}:{{{job}}}:f"


def whole(namespace: str, job: str) -> list[str]:
    """Return the keys of a script that must find all of the job in one place, or nothing."""
    return [fence(namespace, job), f"{prefix(namespace, job)}-"]


def jobs(namespace: str) -> str:
    """Return the key of the index of jobs."""
    return f"{namespace}:jobs"


def resource(namespace: str, name: str) -> str:
    """Return the key that keeps the highest token that was seen for a resource."""
    return f"{namespace}:fence:{{{name}}}"


def channel(namespace: str, job: str) -> str:
    """Return the channel on which the job's events are pushed."""
    return f"{namespace}:{{{job}}}:e"
