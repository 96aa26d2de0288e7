"""The history side on the master that sentinels name: the same, and what they say besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import redis

from cronguard.stores.contract import StoreDown, StoreRefused
from cronguard.stores.redis.client import said_by, sentinels
from cronguard.stores.redis.history import RedisHistory
from cronguard.stores.redis.sentinel import NAME_IT
from cronguard.stores.redis.understood import understood

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_SENTINEL = "unknown command 'SENTINEL'"


class SentinelHistory(RedisHistory):
    """A `History` (see stores/contract.py) on the master that sentinels name."""

    @understood
    def facts(self) -> dict[str, object]:
        """Return what `doctor` reports; `sentinels` is what each of them says."""
        return super().facts() | {"sentinels": self._sentinels()}

    def _sentinels(self) -> dict[str, str]:
        """Return by sentinel the master that it names, or `-` and why it names none."""
        asked = sentinels(self._address).sentinels
        views = {}
        for node, client in zip(self._address.nodes, asked, strict=True):
            views[self._address.at(*node).server] = _view(client, self._address.master)
            client.close()
        return views

    def _ask(self, ask: Callable[[], object]) -> object:
        """Return what *ask* returns. Raises: StoreDown or StoreRefused, in words for the user."""
        try:
            return super()._ask(ask)
        except StoreDown as error:
            cause = error.__cause__
            if _NO_SENTINEL in str(cause):
                raise StoreRefused(f"cannot use {self.label}: it is no Sentinel") from cause
            if not isinstance(cause, redis.sentinel.MasterNotFoundError):
                raise
            found = self._sentinels()
            name = self._address.master
            if all(view == _unknown(name) for view in found.values()):
                raise StoreRefused(
                    f"cannot use {self.label}: its sentinels know no master {name!r}: {NAME_IT}"
                ) from cause
            views = "; ".join([f"{name} {view}" for name, view in found.items()])
            raise StoreDown(
                f"cannot reach {self.label}: no sentinel names a master that answers ({views})"
            ) from error


def _unknown(name: str) -> str:
    return f"- knows no master {name!r}"


def _view(client: Any, name: str) -> str:
    try:
        node = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", name)
    except redis.exceptions.RedisError as error:
        why = error.__context__ if isinstance(error.__context__, OSError) else error
        return f"- {said_by(why) if isinstance(why, OSError) else why}"
    if not node:
        return _unknown(name)
    try:
        host, port = cast("tuple[Any, Any]", node)
        return f"{host.decode() if isinstance(host, bytes) else host}:{int(port)}"
    except (TypeError, ValueError):
        return "- answered what names no master"
