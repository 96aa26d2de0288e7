"""`cronguard top`: what runs, and who waits, as it changes.

One thread reads the store; the main one draws, and heeds the keys. So `q` works, and the age of
what is shown goes on, also while a store that has gone away is waited for. Each try after that
connects anew: it may come back at another address.

Road not taken: rich's own refresh thread, which would draw what the other one is just changing.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from cronguard.admin import render
from cronguard.admin.common import Here, say_damaged, wall_now, with_store
from cronguard.admin.output import say, say_json, say_table
from cronguard.admin.ps import COLUMNS, Live, Scene, look
from cronguard.config import values
from cronguard.config.options import ConfigError
from cronguard.core import exits
from cronguard.core.record import utc
from cronguard.core.words import printable, span
from cronguard.stores.contract import StoreDown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_SHORTEST_MS = 100
_TICK_MS = 1000
"""How often the ages are drawn anew, though nothing new was read."""
_LAST_WORDS_S = 1.0
_DROPPED = ("RUN", "LOCK LEFT", "WAITING", "PID", "USUALLY", "MEMORY", "HEARTBEAT", "CPU", "HOST")
"""What a narrow terminal does without, in this order; after the command."""
_COMMAND_AT_LEAST = 12


class Shot:
    """What was seen at one moment (ms since the epoch), and what of the processor each run took.

    *before* is the shot to measure from; for a run that it does not show, its start counts.
    """

    def __init__(self, scene: Scene, at: int, before: Shot | None = None) -> None:
        self.scene = scene
        self.at = at
        self.cpu = {run.lease.owner.run_id: _percent(run, at, before) for run in scene.runs}

    def used(self, run_id: str) -> tuple[int, int] | None:
        """Return the processor time of a run, and when that was; None if it is not known."""
        for run in self.scene.runs:
            if run.lease.owner.run_id == run_id and run.usage is not None:
                return run.usage.cpu_ms, self.at
        return None

    def rows(self, now: int) -> list[list[str]]:
        """Return the lines of the table."""
        percents = [self.cpu[run.lease.owner.run_id] for run in self.scene.runs]
        return [
            run.row(now, "-" if percent is None else f"{percent} %")
            for run, percent in zip(self.scene.runs, percents, strict=True)
        ]

    def as_json(self) -> dict[str, object]:
        """Return it for programs."""
        runs = [
            run.as_json() | {"cpu_percent": self.cpu[run.lease.owner.run_id]}
            for run in self.scene.runs
        ]
        waiting = [
            {"job": job, "queued": len(ids), "run_ids": ids}
            for job, ids in self.scene.waiting.items()
        ]
        return {"at": utc(self.at), "runs": runs, "waiting": waiting}


def _percent(run: Live, at: int, before: Shot | None) -> int | None:
    if run.usage is None:
        return None
    known = before.used(run.lease.owner.run_id) if before else None
    spent, since = known or (0, run.lease.owner.since_wall)
    return max(run.usage.cpu_ms - spent, 0) * 100 // max(at - since, 1)


def fitted(columns: list[str], rows: list[list[str]], width: int) -> list[str]:
    """Return the table's lines, with as many of its columns as *width* has room for."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    command = columns.index("COMMAND")
    kept = list(range(len(columns)))

    def needed() -> int:
        return sum(widths[at] + 2 for at in kept) - 2

    others = needed() - widths[command]
    if others + min(widths[command], _COMMAND_AT_LEAST) > width:
        kept.remove(command)
    for name in _DROPPED:
        if command in kept or needed() <= width:
            break
        kept.remove(columns.index(name))
    lines = render.aligned([columns[at] for at in kept], [[row[at] for at in kept] for row in rows])
    return [line[:width] for line in lines.split("\n")]


def frame(shot: Shot, label: str, trouble: str, now: int, size: tuple[int, int]) -> list[str]:
    """Return the lines of the screen, for its (width, height)."""
    width, height = size
    scene = shot.scene
    queued = sum(map(len, scene.waiting.values()))
    lines = [f"{printable(label)}: {len(scene.runs)} running, {queued} waiting; q ends this"]
    if trouble:
        lines.append(f"{span(max(now - shot.at, 0))} old: {printable(trouble)}")
    below = [f"waiting: {waiters(scene)}"] if scene.waiting else []
    below += [printable(text) for text in scene.damage]
    table = fitted(COLUMNS, shot.rows(now), width) if scene.runs else ["Nothing runs."]
    room = max(height - len(lines) - len(below) - 1, 2)
    if len(table) > room:
        left = len(table) - room + 1
        table = [*table[: room - 1], f"and {left} more"]
    return [line[:width] for line in [*lines, "", *table, *below]]


def waiters(scene: Scene) -> str:
    """Return which jobs are waited for, and by how many runs: `backup 2, mail 1`."""
    return ", ".join(f"{render.word(job)} {len(ids)}" for job, ids in scene.waiting.items())


class Watcher(threading.Thread):
    """Reads the store again and again. `trouble` says why it cannot, `bug` is an error of ours."""

    def __init__(self, here: Here, first: Shot, interval_ms: int) -> None:
        super().__init__(daemon=True)
        self.shot = first
        self.trouble = ""
        self.bug: Exception | None = None
        self._here = here
        self._interval_s = interval_ms / 1000
        self._over = threading.Event()
        self.news, self._tell = os.pipe()

    def run(self) -> None:
        """Read until it is over."""
        try:
            while not self._over.wait(self._interval_s):
                try:
                    self._read_on()
                except (StoreDown, ConfigError) as error:
                    self.trouble = str(error)
                    self._wake()
        except Exception as error:  # noqa: BLE001  the main thread makes a message of it
            self.bug = error
            self._wake()

    def _read_on(self) -> None:
        with self._here.history() as history:
            while True:
                self.shot = Shot(look(history), wall_now(), self.shot)
                self.trouble = ""
                self._wake()
                if self._over.wait(self._interval_s):
                    return

    def _wake(self) -> None:
        if not self._over.is_set():
            os.write(self._tell, b"x")

    def end(self) -> None:
        """Let it end; what it waits for meanwhile is left to the end of the process."""
        self._over.set()
        self.join(_LAST_WORDS_S)


class _Signalled(BaseException):
    """A signal asked us to end, with the terminal as it was."""

    def __init__(self, signum: int) -> None:
        self.signum = signum


def _on_signal(signum: int, _frame: FrameType | None) -> None:
    raise _Signalled(signum)


@contextmanager
def _keys() -> Iterator[list[int]]:
    """Give what to read keys from, each as it is pressed; the terminal is put right afterwards."""
    if not os.isatty(0):
        yield []
        return
    before = termios.tcgetattr(0)
    tty.setcbreak(0)
    try:
        yield [0]
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _is_the_end(pressed: bytes) -> bool:
    """Tell whether that is `q`, or the terminal has gone."""
    return not pressed or b"q" in pressed.lower()


def _watch(here: Here, label: str, first: Shot, interval_ms: int) -> int:
    """Draw until `q` or Ctrl-C; return the status."""
    from rich.console import Console  # noqa: PLC0415 - 60 ms, for terminals alone
    from rich.live import Live as Screen  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    watcher = Watcher(here, first, interval_ms)

    def drawn() -> Text:
        size = console.size
        room = (size.width, size.height)
        lines = frame(watcher.shot, label, watcher.trouble, wall_now(), room)
        bold = (0, 1, 3) if len(lines) > 1 and lines[1] else (0, 2)
        text = Text(no_wrap=True, overflow="crop")
        for number, line in enumerate(lines):
            style = "bold" if number in bold else ""
            text.append(f"{line}\n" if number < len(lines) - 1 else line, style)
        return text

    with _keys() as keys, Screen(console=console, screen=True, auto_refresh=False) as screen:
        watcher.start()
        try:
            while watcher.bug is None:
                screen.update(drawn(), refresh=True)
                ready, _, _ = select.select([*keys, watcher.news], [], [], _TICK_MS / 1000)
                if watcher.news in ready:
                    os.read(watcher.news, 4096)
                if 0 in ready and _is_the_end(os.read(0, 64)):
                    return exits.DONE
        finally:
            watcher.end()
    raise watcher.bug


def _interval(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    try:
        interval = values.positive(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if interval < _SHORTEST_MS:
        raise click.BadParameter(f"{text} is too often for a store; the shortest is 100ms")
    return interval


@click.command()
@click.option(
    "--interval",
    callback=_interval,
    default="2s",
    metavar="DUR",
    show_default=True,
    help="How often the store is asked.",
)
@click.option("--once", is_flag=True, help="Show it once; so it is where there is no terminal.")
@with_store
def command(*, here: Here, interval: int, once: bool) -> int:
    """Show what runs on every host, and who waits, as it changes; `q` or Ctrl-C ends it.

    The columns are those of `cronguard ps`, but for CPU: what of a processor the run's processes
    took since the store was last asked (at first, since their start). If the store goes away, what
    is shown stays, with its age.
    """
    with here.history() as history:
        shot = Shot(look(history), wall_now())
        label = history.label
    if here.as_json:
        say_json(shot.as_json())
    elif once or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        say_table(COLUMNS, shot.rows(shot.at), "Nothing runs.")
        if shot.scene.waiting:
            say(f"waiting: {waiters(shot.scene)}")
    else:
        return _until_told(lambda: _watch(here, label, shot, interval))
    return say_damaged(shot.scene.damage)


def _until_told(watch: Callable[[], int]) -> int:
    """Return what *watch* returns, or the status for the signal that ended it."""
    before = {one: signal.signal(one, _on_signal) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        return watch()
    except KeyboardInterrupt:
        return exits.DONE
    except _Signalled as told:
        return exits.of_signal(told.signum)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
