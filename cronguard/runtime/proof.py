"""The proof that a whole run is dead on this host, so that its lease need not be waited for.

A keeper that vanished leaves a lease behind. That its process is gone proves nothing: its tree may
live. Only its guardian, as subreaper, learns from the kernel (ECHILD) that no process of the tree
is left, and then leaves a mark: a file named by the run id in the state folder, which only its own
user can write to. A killed guardian leaves none, and then the lease's time decides.

Roads not taken: looking for the pids (another container's look the same, and daemons have none we
know), a flock inherited by the tree (a daemon that closes its descriptors drops it, a killed
guardian as well), the process group (setsid leaves it).
"""

from __future__ import annotations

import os
from errno import ELOOP

from cronguard.runtime import identity
from cronguard.runtime.tree import start_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Owner

MARKS = "dead"
KEEP_SECONDS = 86_400


def leave_mark(state: str | None, run_id: str) -> None:
    """Leave the word that nothing of this run is left alive. Only its guardian may do so."""
    if state is None:
        return
    folder = os.path.join(state, MARKS)
    try:
        make_private(folder)
        flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(os.path.join(folder, run_id), flags, 0o600))
    except OSError:
        pass  # no proof then: the lease's time decides


def make_private(folder: str) -> None:
    """Make a folder of the state folder, and that one too, for nobody else's eyes.

    Raises: OSError, also where a link stands in the place of the state folder: it is not followed.
    """
    state = os.path.dirname(folder)
    os.makedirs(state, 0o700, exist_ok=True)
    if os.path.islink(state):
        raise OSError(ELOOP, os.strerror(ELOOP), state)
    os.makedirs(folder, 0o700, exist_ok=True)


def is_gone(state: str | None, holder: Owner) -> bool:
    """Tell whether *holder* is proven dead with its whole tree: same host, keeper gone, mark left.

    Same host means the same boot and the same PID namespace: two containers share a kernel, but
    not their pids. A process with the keeper's number counts only if it started when it did.
    """
    if state is None or not holder.run_id.isalnum() or not is_here(holder):
        return False
    if keeper_lives(holder):
        return False
    try:
        mark = os.lstat(os.path.join(state, MARKS, holder.run_id))
    except OSError:
        return False
    return mark.st_uid == os.geteuid()


def is_here(holder: Owner) -> bool:
    """Tell whether *holder* ran on this boot of this host, in this PID namespace."""
    return (
        holder.boot_id != ""
        and holder.boot_id == identity.boot_id()
        and holder.pid_ns != ""
        and holder.pid_ns == identity.pid_namespace()
    )


def keeper_lives(holder: Owner) -> bool:
    """Tell whether the keeper of *holder*, which ran here, is still there."""
    return holder.pid_start != 0 and start_of(holder.pid) == holder.pid_start


def forget_marks(state: str, run_id: str, now_wall: int) -> None:
    """Remove the mark of a run whose lease was taken over, and marks that nobody asked for."""
    folder = os.path.join(state, MARKS)
    oldest = now_wall // 1000 - KEEP_SECONDS
    try:
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if name == run_id or os.lstat(path).st_mtime < oldest:
                os.unlink(path)
    except OSError:
        pass  # another run tidies up at the same moment
