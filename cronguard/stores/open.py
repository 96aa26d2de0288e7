"""From a store's URL to the store. Each is imported only when it is the one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Claim
    from cronguard.stores.contract import History, LeaseStore, Met


def open_lease(
    url: str, claim: Claim, attempt: int, met: Met | None = None, locks: str = ""
) -> LeaseStore:
    """Return the lease side of the store at *url*; one attempt may last *attempt* ms.

    *met* remembers the servers, to notice that one restarted without its data. *locks* are the
    names of further locks that a run of the job needs, in order, with spaces between.
    """
    if locks:
        from cronguard.stores.together import open_together  # noqa: PLC0415

        return open_together(claim, locks, lambda one: open_lease(url, one, attempt, met))
    scheme, _, path = url.partition("://")
    if scheme == "sqlite":
        from cronguard.stores.sqlite.lease import open_lease as in_sqlite  # noqa: PLC0415

        return in_sqlite(path, claim)
    if " " in url:
        from cronguard.stores.quorum import open_lease as in_quorum  # noqa: PLC0415

        return in_quorum(url, claim, attempt, met)
    from cronguard.stores.redis.lease import open_lease as in_redis  # noqa: PLC0415

    return in_redis(url, claim, attempt, met)


def open_history(url: str, namespace: str) -> History:
    """Return the history side of the store at *url*. Raises: StoreDown."""
    scheme, _, path = url.partition("://")
    if scheme == "sqlite":
        from cronguard.stores.sqlite.history import open_history as in_sqlite  # noqa: PLC0415

        return in_sqlite(path, namespace)
    if " " in url:
        from cronguard.stores.quorum_history import open_history as in_quorum  # noqa: PLC0415

        return in_quorum(url, namespace)
    from cronguard.stores.redis.history import open_history as in_redis  # noqa: PLC0415

    return in_redis(url, namespace)
