"""Commands for tests to guard: each says `ready` when it is what its name says.

Run as `python -I children.py NAME ARG...`; `command` gives that line.
"""

from __future__ import annotations

import os
import signal
import sys
import time


def command(name: str, *args: object, interpreter: str = sys.executable) -> list[str]:
    """Return the command line of the child *name*."""
    return [interpreter, "-I", __file__, name, *[str(arg) for arg in args]]


def say(text: str = "ready") -> None:
    """Write one line, unbuffered."""
    os.write(1, text.encode() + b"\n")


def detach(said: str = "") -> bool:
    """Fork a daemon: another session, no terminal, an orphan. True in the daemon."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        if said:
            with open(said, "w") as file:
                file.write(str(os.getpid()))
        os.close(writer)
        return True
    os.wait()
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    return False


def daemon(said: str, then: str = "stay", deaf: str = "") -> None:
    """Leave a daemon behind, its pid in the file *said*; then `stay` or `end`."""
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if detach(said):
        time.sleep(600)
    say()
    if then == "stay":
        time.sleep(600)


def family(count: str) -> None:
    """Be a process with *count* children and as many daemons, all deaf to TERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(int(count)):
        if os.fork() == 0 or detach():
            time.sleep(600)
    say()
    time.sleep(600)


def bomb(kind: str) -> None:
    """Fork for ever, as fast as the limit lets us; `setsid` leaves the session each time."""
    say()
    while True:
        try:
            if os.fork() == 0 and kind == "setsid":
                os.setsid()
        except OSError:
            time.sleep(0.001)


def beat(path: str) -> None:
    """Write the boot clock into *path* every few ms."""
    number = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    _write_clock(number)
    say()
    while True:
        _write_clock(number)
        time.sleep(0.002)


def _write_clock(number: int) -> None:
    os.pwrite(number, b"%020d" % time.clock_gettime_ns(time.CLOCK_BOOTTIME), 0)


def tell_signals(*numbers: str) -> None:
    """Say each signal that comes; USR2 ends it."""
    wanted = {int(number) for number in numbers} | {signal.SIGUSR2}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    say()
    while (number := signal.sigwait(wanted)) != signal.SIGUSR2:
        say(f"got {int(number)}")


def stop_self() -> None:
    """Stop, as from SIGSTOP, and never go on unless somebody says so."""
    say()
    os.kill(os.getpid(), signal.SIGSTOP)
    say("continued")
    time.sleep(600)


def become_root(path: str) -> None:
    """Become root by the setuid setpriv at *path*, and sleep: an ordinary user cannot kill that."""
    say()
    os.execv(path, [path, "--reuid", "0", "--regid", "0", "--clear-groups", "sleep", "600"])


def zoo(folder: str, *kinds: str) -> None:
    """Start one process of each of *kinds*, all but the first deaf to TERM; `ready` when all are.

    `KIND:WORD` hands the word on. Each is called `zoo-KIND`, and tells its number in *folder*.
    """
    for text in kinds:
        kind, _, word = text.partition(":")
        reader, writer = os.pipe()
        if fork_beside(kind) == 0:
            hide(kind, word, folder, writer)
        os.close(writer)
        os.read(reader, 1)
        os.close(reader)
    say()
    time.sleep(600)


def fork_beside(kind: str) -> int:
    """Fork; a `sibling` is no child of ours, but of our parent (CLONE_PARENT)."""
    calls = {"x86_64": 56, "aarch64": 220}
    number = calls.get(os.uname().machine)
    if kind != "sibling" or number is None:
        return os.fork()
    import ctypes

    return int(ctypes.CDLL(None).syscall(number, 0x8000 | signal.SIGCHLD, 0, 0, 0, 0))


def hide(kind: str, word: str, folder: str, writer: int) -> None:
    """Be one of the zoo: do what *kind* says, and never return."""
    if kind != "plain":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind in ("session", "stopped", "setuid", "mover", "sibling"):
        os.setsid()
    if kind in ("daemon", "setuid"):
        if os.fork():
            os._exit(0)
        os.setsid()
        os.chdir("/")
    if kind == "mover":
        with open(word, "w") as file:
            file.write("0")
    with open(f"{folder}/zoo-{kind}", "w") as file:
        file.write(str(os.getpid()))
    os.write(writer, b"x")
    if kind == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "daemon":
        os.closerange(0, 64)
    if kind == "nohup":
        os.execvp("nohup", ["nohup", "sleep", "600"])
    if kind == "nested":
        os.execvp("unshare", ["unshare", "--pid", "--fork", "sleep", "600"])
    os.execv(word if kind == "setuid" else "/bin/sleep", [f"zoo-{kind}", "600"])


def main(name: str, *args: str) -> None:
    """Do what *name* says."""
    known = (daemon, family, bomb, beat, tell_signals, stop_self, become_root, zoo)
    {one.__name__: one for one in known}[name](*args)


if __name__ == "__main__":
    main(*sys.argv[1:])
