"""A request on its way to the server, and what became of it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.redis.calls import Call


class Asked:
    """One request under way; `tag` is the caller's. `deadline` ends its only attempt."""

    __slots__ = (
        "barred",
        "begun",
        "call",
        "deadline",
        "hops",
        "in_full",
        "resent",
        "sent_at",
        "tag",
    )

    def __init__(self, call: Call, tag: object, sent_at: int, deadline: int) -> None:
        self.call = call
        self.tag = tag
        self.sent_at = sent_at
        self.deadline = deadline
        self.in_full = False  # with the script's text, as the server does not know it
        self.resent = False  # on a second connection, as the first one broke
        self.hops = 0
        self.begun = False  # the route knows of this attempt
        self.barred = ""  # why nothing may be granted


class Answer:
    """What became of a request (`asked`), or a push of the server (`asked` is None).

    `reply` what the script returned, when `why` is empty; else why there is none, or why it does
    not count: too few replicas have it.
    """

    __slots__ = ("asked", "denied", "reply", "why")

    def __init__(
        self, asked: Asked | None, reply: list[object], why: str = "", denied: bool = False
    ) -> None:
        self.asked = asked
        self.reply = reply
        self.why = why
        self.denied = denied
