"""A terminal with a person at it: a pty, and an interactive shell with job control."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time

from tests.process.lab import PATIENCE_S, Lab, is_alive

PROMPT = "PROMPT> "


class Terminal:
    """One pty, with *command* (a shell, unless said otherwise) as its session's leader."""

    def __init__(self, lab: Lab, command: list[str] | None = None) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 400, 0, 0))
        self.shown = ""
        shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
        env = lab.env | {
            "PS1": PROMPT,
            "TERM": "dumb",
            "CG": " ".join(lab.argv("run", "-n", "job")),
        }
        self.process = subprocess.Popen(
            command or shell,
            env=env,
            cwd=lab.folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        lab.started.append(self.process)
        if command is None:
            self.wait_for(PROMPT)

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self.master, text.encode())

    def enter(self, line: str) -> None:
        """Type a line, and forget what was shown before."""
        self.shown = ""
        self.type(line + "\n")
        self.wait_for(line + "\r\n")

    def wait_for(self, text: str, patience: float = PATIENCE_S) -> str:
        """Wait until *text* is shown; return what stood before it, and forget both."""
        end = time.monotonic() + patience
        while text not in self.shown:
            left = end - time.monotonic()
            if left < 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"waited for {text!r} and saw {self.shown!r}")
            try:
                self.shown += os.read(self.master, 65_536).decode("utf-8", "replace")
            except OSError:  # EIO: the other side has gone
                raise AssertionError(
                    f"the terminal was left before {text!r}: {self.shown!r}"
                ) from None
        before, _, self.shown = self.shown.partition(text)
        return before

    def foreground(self) -> int:
        """Return the process group that the keys reach."""
        return int.from_bytes(fcntl.ioctl(self.master, termios.TIOCGPGRP, b"\0" * 4), "little")

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        """End the shell, and what it started."""
        if self.master >= 0:
            os.close(self.master)
        if is_alive(self.process.pid):
            os.kill(self.process.pid, signal.SIGHUP)
            os.kill(self.process.pid, signal.SIGCONT)
        self.process.wait(PATIENCE_S)
