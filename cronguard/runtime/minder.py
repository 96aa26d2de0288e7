"""The keeper's side of the guardian: what it says becomes events, what it should do is sent to it.

A guardian that is killed is replaced: its orphans are ours then, as we are a subreaper too. One
that is stopped, and so does not start the command, is woken; one that does not answer when
everything is to be killed is woken, and then killed.
"""

from __future__ import annotations

import gc
import os
from select import poll

from cronguard.core import events as ev
from cronguard.core.attempts import OOM_KILLED
from cronguard.runtime.clock import now_ms
from cronguard.runtime.tree import Tree, is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from cronguard.core.events import Event
    from cronguard.runtime.launch import Link
else:
    import _signal as signal

NUDGE_MS = 1_000
GIVE_UP_MS = 3_000
REAP_EVERY_MS = 10


class Minder:
    """Speaks with one guardian, and does its last duty when it cannot.

    `child` the command's pid once it runs · `used` what the tree has used so far: user and system
    time in us, largest resident size in kB.
    """

    def __init__(self, link: Link, command: str) -> None:
        self._link = link
        self._command = command
        self.child = 0
        self.used = (0, 0, 0)
        self._oom = ""
        self._alive = True
        self._spawning = False
        self._killing_since: int | None = None
        self._nudge_at = 0
        self._heard_at = 0
        self._orphans = Tree()

    # -- what the loop asks -----------------------------------------------------------------------

    def watches(self) -> list[int]:
        """Return the descriptors to wait for."""
        return [self._link.control.fileno()] if self._alive else []

    def wake_at(self) -> int | None:
        """Return when `events` wants to be called though nothing was heard."""
        if self._killing_since is None:
            return self._nudge_at if self._spawning and self._alive else None
        return self._nudge_at if self._alive else now_ms() + REAP_EVERY_MS

    def events(self, now: int) -> list[Event]:
        """Return what has happened to the tree since the last time."""
        heard: list[Event] = []
        while self._alive:
            words = self._link.receive()
            if words is None:
                self._alive = False
                self._take_over()
                heard.append(ev.GuardianDied())
            elif words and words[0][:4] == b"oom ":
                self._oom = words[0][4:].decode()
            elif words:
                self._heard_at = now
                heard.append(self._understand(words[0].decode("utf-8", "replace").split(" ")))
            else:
                break
        if self._killing_since is not None and self._see_to_killing(now, self._killing_since):
            heard.append(ev.TreeDead())
        elif self._spawning and self._alive and now >= self._nudge_at:
            self._nudge_at = now + NUDGE_MS
            os.kill(self._link.pid, signal.SIGCONT)
        return heard

    def _understand(self, words: list[str]) -> Event:
        match words:
            case ["spawned", pid]:
                self.child = int(pid)
                self._spawning = False
                gc.enable()
                return ev.Spawned(self.child)
            case ["failed", errno]:
                from cronguard.runtime.child import explain  # noqa: PLC0415  (rarely needed)

                self._spawning = False
                return ev.NotSpawned(*explain(int(errno), self._command))
            case ["exited", status, left, *used]:
                self._note_used(used)
                whose, self._oom = self._oom, ""
                exited = ev.Exited(int(status), int(left), OOM_KILLED if whose else "")
                exited.is_own_limit = whose == "own"
                return exited
            case ["stopped", signum]:
                return ev.Suspended(int(signum))
            case ["dead", *used]:
                self._note_used(used)
                self._killing_since = None
                return ev.TreeDead()
            case [_, *text]:
                return ev.Unkillable(" ".join(text))
        raise ValueError("an empty message")

    def _take_over(self) -> None:
        """Be what the guardian was: its orphans are ours now."""
        hold = self._link.hold
        if hold.isolation != "group" or hold.cage:
            from cronguard.runtime.cage import Cage  # noqa: PLC0415  (when a guardian was killed)

            me = os.getpid()
            self._orphans.cage = Cage(lambda pid: is_below(pid, me), hold.cage, hold.group)
        if hold.cage and self._orphans.cage is not None:
            self._orphans.cage.adopt()
            self._orphans.cage_after = 0
        self._orphans.reap()

    def _note_used(self, words: list[str]) -> None:
        user_us, system_us, rss_kb = words
        self.used = (int(user_us), int(system_us), int(rss_kb))

    def _see_to_killing(self, now: int, since: int) -> bool:
        """Do what the guardian should, or see that it does; return True when the tree is dead."""
        if not self._alive:
            self._orphans.kill()
            if not self._orphans.reap():
                return False
            self._killing_since = None
            return True
        if now >= self._nudge_at:
            self._nudge_at = now + NUDGE_MS
            is_silent = self._heard_at < since and now - since >= GIVE_UP_MS
            os.kill(self._link.pid, signal.SIGKILL if is_silent else signal.SIGCONT)
        return False

    # -- what the guardian shall do ---------------------------------------------------------------

    def spawn(self, additions: list[bytes], *, may_follow: bool, in_front: bool) -> None:
        """Start the command, with these `NAME=value` added to its environment.

        *may_follow*: it may have to be started again; *in_front*: give it the terminal, if any.
        """
        how = (b"again" if may_follow else b"once", b"front" if in_front else b"behind")
        self._link.send(b"spawn", *how, *additions)
        self._spawning = True
        self._nudge_at = now_ms() + NUDGE_MS

    def signal(self, signum: int) -> None:
        """Ask everybody to end, and wake up who is stopped."""
        self._link.send(b"signal", b"%d" % signum)

    def forward(self, signum: int) -> None:
        """Hand a signal on to the child's process group."""
        self._link.send(b"forward", b"%d" % signum)

    def kill(self, now: int) -> None:
        """Kill everybody, until nobody is left."""
        self._killing_since = now
        self._nudge_at = now + NUDGE_MS
        self._link.send(b"kill")

    def leave(self) -> None:
        """Let go of what the child left behind."""
        self._link.send(b"leave")

    def dismiss(self) -> None:
        """Let the guardian go, and leave no zombie; one that does not answer is killed."""
        if not self._alive:
            return
        self._link.send(b"bye")
        poller = poll()
        poller.register(self._link.control.fileno(), 0)  # POLLHUP is always reported
        if not poller.poll(NUDGE_MS):
            os.kill(self._link.pid, signal.SIGKILL)
        os.waitpid(self._link.pid, 0)
