"""What the run's machine can want done. The runtime does it, in order, without asking why."""

from __future__ import annotations


class Action:
    """Something the machine wants done."""

    __slots__ = ()


class Acquire(Action):
    """Ask for the lease; `evict` names a holder that is proven dead, `until` ends the attempt."""

    __slots__ = ("evict", "until")

    def __init__(self, evict: str | None, until: int) -> None:
        self.evict = evict
        self.until = until


class Renew(Action):
    """Extend the lease."""

    __slots__ = ("index", "token")

    def __init__(self, token: int, index: int) -> None:
        self.token = token
        self.index = index


class Reclaim(Action):
    """Take the vanished lease again, if nobody had it since."""

    __slots__ = ("index", "token")

    def __init__(self, token: int, index: int) -> None:
        self.token = token
        self.index = index


class Close(Action):
    """Give back what is ours (`release`), leave the queue, and store the end record."""

    __slots__ = ("forget_slot", "release")

    def __init__(self, release: bool, forget_slot: bool) -> None:
        self.release = release
        self.forget_slot = forget_slot


class UseLocalStore(Action):
    """From now on ask the embedded store of this host."""

    __slots__ = ()


class Watch(Action):
    """Hear from the store what happens to the job as it happens."""

    __slots__ = ()


class Arm(Action):
    """Let the kernel kill us at this moment, whatever we do."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        self.at = at


class Disarm(Action):
    """Call the kernel off."""

    __slots__ = ()


class Spawn(Action):
    """Start the command, for the first time or again."""

    __slots__ = ()


class Rest(Action):
    """Nothing of the run is left, and it goes on: be at hand until the next Spawn."""

    __slots__ = ()


class Signal(Action):
    """Send this signal to the child's process group, and wake it if it is stopped."""

    __slots__ = ("signum",)

    def __init__(self, signum: int) -> None:
        self.signum = signum


class Forward(Action):
    """Send this signal to the child's process group, and nothing else."""

    __slots__ = ("signum",)

    def __init__(self, signum: int) -> None:
        self.signum = signum


class Kill(Action):
    """Kill every process of the run, wherever it hides."""

    __slots__ = ()


class Leave(Action):
    """Let go of the processes that are left."""

    __slots__ = ()


class Suspend(Action):
    """Give the terminal back and stop ourselves, as the child did."""

    __slots__ = ("signum",)

    def __init__(self, signum: int) -> None:
        self.signum = signum


class Say(Action):
    """Tell the user; the text stands in core/messages.py under this topic."""

    __slots__ = ("facts", "topic")

    def __init__(self, topic: str, facts: dict[str, object]) -> None:
        self.topic = topic
        self.facts = facts


class Warn(Action):
    """Tell the user, the record and the reporters of what is odd about a run that goes on."""

    __slots__ = ("facts", "topic")

    def __init__(self, topic: str, facts: dict[str, object]) -> None:
        self.topic = topic
        self.facts = facts


class Spool(Action):
    """Keep the record on this host: the store cannot take it now."""

    __slots__ = ()


class Exit(Action):
    """The run is over; end with this status."""

    __slots__ = ("status",)

    def __init__(self, status: int) -> None:
        self.status = status
