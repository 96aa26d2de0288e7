"""The job of the chaos runs: a tree of processes, each of which writes down that it lives.

    PYTHON -I -S -E testimony.py FOLDER KIND DURATION_MS ENDING

FOLDER is `history/testimony`; below it, this makes a folder for the job (CRONGUARD_JOB), and in
that a file for each process: RUN_ID.PID, as seen from its own PID namespace. What is in a file was
written by plain write(2) into the kernel's memory, so it is there whatever kills the process; all
that is needed is a file system that no fault touches.

    line  `token 7 host web-1 run 12 role command kind child,daemon intent 0`, HEAD_BYTES long
    two 64-bit little-endian numbers: the first and the last sign of life, in ns on CLOCK_BOOTTIME

`run` is the driver's number of the run: CHAOS_RUN in the keeper's environment, which cronguard
hands on; `-` without. A file may be empty: its process was killed before it could say anything.

KIND is `plain` (the command alone) or some of these with commas between:

    child   in the command's process group
    daemon  in a session of its own, an orphan
    deaf    in the command's process group, and ignores TERM

They live until somebody kills them, or STAY_MS after the command should have ended. The command
ends after DURATION_MS: with the status ENDING, or, if that is `signal`, by OWN_SIGNAL. Just before,
it writes RUN_ID.over: the status that cronguard is to exit with.

This is read and started 10,000 times: it imports what is built into the interpreter, nothing else.
"""

import posix
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

HEAD_BYTES = 256
TICK_S = 0.002
STAY_MS = 30_000
"""Twice as long as the store keeps a lease of 10 s: a survivor has time to be one."""
OWN_SIGNAL = 10
"""SIGUSR1: nobody else sends it, and it leaves no core."""
MEMBERS = ("child", "daemon", "deaf")


def boot_ns() -> int:
    """Return ns since boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def variable(name: str) -> str:
    """Return a variable of the environment; `-` without."""
    value: bytes = posix.environ.get(name.encode(), b"-")
    return value.decode()


def head(role: str, kind: str, ending: str) -> bytes:
    """Return the first line, padded."""
    facts = f"token {variable('CRONGUARD_TOKEN')} host {posix.uname().nodename}"
    facts += f" run {variable('CHAOS_RUN')} role {role} kind {kind} intent {ending}"
    return facts.encode().ljust(HEAD_BYTES - 1) + b"\n"


def testify(stem: str, role: str, kind: str, ending: str) -> int:
    """Give the first sign of life; return the file for the next ones."""
    born = boot_ns().to_bytes(8, "little")
    path = f"{stem}.{posix.getpid()}"
    file = posix.open(path, posix.O_CREAT | posix.O_EXCL | posix.O_WRONLY | posix.O_CLOEXEC, 0o644)
    posix.write(file, head(role, kind, ending) + born + born)
    return file


def live(file: int, until_ns: int) -> None:
    """Show life every few ms."""
    while True:
        now = boot_ns()
        posix.pwrite(file, now.to_bytes(8, "little"), HEAD_BYTES + 8)
        if now >= until_ns:
            return
        time.sleep(TICK_S)


def be(role: str, stem: str, kind: str, ending: str, until_ns: int) -> None:
    """Be a further process of the tree; never returns."""
    if role == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if role == "daemon":
        posix.setsid()
        if posix.fork():
            posix._exit(0)
    try:
        live(testify(stem, role, kind, ending), until_ns)
    finally:
        posix._exit(0)


def end(file: int, stem: str, ending: str) -> None:
    """Say that it is over, and how; then end so. Never returns."""
    status = 128 + OWN_SIGNAL if ending == "signal" else int(ending)
    over = posix.open(f"{stem}.over", posix.O_CREAT | posix.O_WRONLY | posix.O_CLOEXEC, 0o644)
    posix.write(over, b"%d\n" % status)
    live(file, 0)
    if ending == "signal":
        posix.kill(posix.getpid(), OWN_SIGNAL)
    posix._exit(status)


def main(folder: str, kind: str, duration_ms: str, ending: str) -> None:
    """Be the command."""
    until_ns = boot_ns() + int(duration_ms) * 1_000_000
    place = f"{folder}/{variable('CRONGUARD_JOB')}"
    try:
        posix.mkdir(place, 0o755)
    except FileExistsError:
        pass
    stem = f"{place}/{variable('CRONGUARD_RUN_ID')}"
    file = testify(stem, "command", kind, ending)
    for role in kind.split(","):
        if role not in MEMBERS:
            assert role == "plain", role
        elif (pid := posix.fork()) == 0:
            be(role, stem, kind, ending, until_ns + STAY_MS * 1_000_000)
        elif role == "daemon":
            posix.waitpid(pid, 0)  # the one between; the daemon is nobody's child here
    live(file, until_ns)
    end(file, stem, ending)


if __name__ == "__main__":
    main(*sys.argv[1:])
