"""A place to run the real command in: its own state, store, environment; nothing left behind.

Every process below a lab carries a mark in its environment, so that it is found wherever it hides:
other session, other group, orphaned, stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import cronguard.stores.sqlite.history  # noqa: F401  (as another user we might not find it)
from cronguard.stores.open import open_history

PATIENCE_S = 20.0
ROOT = Path(__file__).parents[2]


def until(what: str, holds: Callable[[], object], patience: float = PATIENCE_S) -> object:
    """Wait until *holds* gives something true and return it; say what was waited for if not."""
    end = time.monotonic() + patience
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience:g} s for: {what}")
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Tell whether *pid* is there and not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class Lab:
    """One store, one state folder, any number of runs."""

    def __init__(self, folder: Path, store: str, *, user: int | None = None) -> None:
        self.folder = folder
        self.store = store
        self.user = user
        self.interpreter = sys.executable
        self.mark = uuid.uuid4().hex
        self.started: list[subprocess.Popen[bytes]] = []
        self.state = folder / "state"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LC_ALL": "C",
            "LAB_MARK": self.mark,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", ""),
            "CRONGUARD_STATE_DIR": str(self.state),
            "CRONGUARD_STORE": store,
        }
        if user is not None:
            folder.chmod(0o755)
            os.chown(folder, user, user)

    # -- starting ---------------------------------------------------------------------------------

    def argv(self, *args: str) -> list[str]:
        """Return the command line of `cronguard` with *args*."""
        return [self.interpreter, "-m", "cronguard", *args]

    def start(self, *args: str, **options: object) -> subprocess.Popen[bytes]:
        """Start `cronguard ARGS` in the background; stdout and stderr are pipes."""
        settings: dict[str, object] = {
            "env": self.env,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": self.folder,
        }
        if self.user is not None:
            settings |= {"user": self.user, "group": self.user, "extra_groups": []}
        env = options.pop("env", None)
        if isinstance(env, dict):
            settings["env"] = self.env | env
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            self.argv(*args), **(settings | options)
        )
        self.started.append(process)
        return process

    def call(self, *args: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        """Run `cronguard ARGS` to its end."""
        process = self.start(*args, **options)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def call_inside(self, before: list[str], *args: str) -> subprocess.CompletedProcess[bytes]:
        """Run `BEFORE... cronguard ARGS` to its end: under prlimit, unshare, env, a shell."""
        options: dict[str, object] = {}
        if self.user is not None:
            options = {"user": self.user, "group": self.user, "extra_groups": []}
        process = subprocess.Popen(  # type: ignore[call-overload]
            [*before, *self.argv(*args)],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            **options,
        )
        self.started.append(process)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def script(self, name: str, text: str) -> str:
        """Write an executable file and return its path."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def python(self, text: str) -> list[str]:
        """Return a command that runs *text* in Python, isolated."""
        return [self.interpreter, "-I", "-c", text]

    def start_ready(self, *args: str, **options: object) -> subprocess.Popen[bytes]:
        """Start `cronguard ARGS` and wait until its command says `ready`."""
        process = self.start(*args, **options)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == b"ready\n", (line, process.stderr and process.stderr.read())
        return process

    # -- looking ----------------------------------------------------------------------------------

    def marked(self) -> list[int]:
        """Return all living processes that belong to this lab."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if self.mark.encode() in environment and is_alive(int(entry.name)):
                found.append(int(entry.name))
        return found

    def guardian_of(self, keeper: int) -> int:
        """Return the guardian below *keeper*."""
        children = Path(f"/proc/{keeper}/task/{keeper}/children")
        return int(str(until("a guardian", lambda: children.read_text().split()[:1])[0]))  # type: ignore[index]

    def records(self, job: str) -> list[dict[str, object]]:
        """Return the records of the job's runs, newest first."""
        return self.ask(lambda history: history.runs(job, 1000))  # type: ignore[return-value]

    def skips(self, job: str) -> list[dict[str, object]]:
        """Return the records of the job's skips, newest first."""
        return self.ask(lambda history: history.skips(job, 1000))  # type: ignore[return-value]

    def ask(self, question: Callable[..., object]) -> object:
        """Ask the store's history side something, as the user whose files they are."""
        become = self.user is not None and self.store.startswith("sqlite:")
        if become:
            os.seteuid(self.user)  # type: ignore[arg-type]
        try:
            history = open_history(self.store, "cg")
            try:
                return question(history)
            finally:
                history.close()
        finally:
            if become:
                os.seteuid(0)

    def said(self, name: str) -> str:
        """Return what a child wrote into the file *name* so far."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    # -- the end ----------------------------------------------------------------------------------

    def clear(self) -> list[int]:
        """Kill whatever is left and return it."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        end = time.monotonic() + 10
        left = self.marked()
        while left and time.monotonic() < end:
            time.sleep(0.01)
            left = self.marked()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return left


def lines_of(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield what *process* writes to stdout, line by line."""
    assert process.stdout is not None
    for line in process.stdout:
        yield line.decode().rstrip("\n")
