"""Who is in front at our terminal: the command while it runs, then we, or the shell."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal


def suspend(child: int, *, in_front: bool) -> bool:
    """Stop, so that the shell takes over; when we go on, tell whether we are in front again.

    By TSTP, which the kernel ignores where no shell could say `fg`: then it just goes on. *child*
    leads the command's process group, which is put in front again; *in_front*: it was.
    """
    if not is_in_front():  # else `fg` came while it ran behind, and now is its turn
        if in_front:  # come back, unless the shell has put us behind
            put_in_front(os.getpgrp())
        os.kill(os.getpid(), signal.SIGTSTP)
    if not is_in_front():
        return False  # `bg`
    put_in_front(child)
    return True


def put_in_front(group: int) -> None:
    """Have *group* read from our terminal, if there still is one."""
    try:
        os.tcsetpgrp(0, group)
    except OSError:
        pass  # it was closed


def is_in_front() -> bool:
    """Tell whether our group reads from our terminal."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False  # the terminal was closed
