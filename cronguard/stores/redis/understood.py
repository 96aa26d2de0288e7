"""Replies that no Redis sends, told in words for the user."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")
NONSENSE = (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError)
"""What reading a reply of another shape ends in, here or in redis-py."""


def understood(read: Callable[..., Answer]) -> Callable[..., Answer]:
    """Have a method of a history say it in words for the user when it cannot read the replies."""

    @wraps(read)
    def reading(history: Any, *args: Any, **named: Any) -> Answer:
        try:
            return read(history, *args, **named)
        except NONSENSE as error:
            raise history.baffled(error) from error

    return reading
