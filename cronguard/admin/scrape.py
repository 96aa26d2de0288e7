"""Reads a fleet's metrics out of the store: each time anew, and never for longer than allowed.

The store is read in a thread of its own, as no library promises an end: a name may resolve for
minutes, a file system may hang. Who asks waits so long and no longer. While a reading is under way
nobody begins another, so a store that hangs costs one thread. It is a daemon: nobody waits for it
at the end.

The road not taken: numbers that were read before, shown again while the store is down. They would
look like a fleet that is well.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import Future, wait

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as as_prometheus
from prometheus_client.openmetrics.exposition import generate_latest as as_openmetrics

from cronguard.admin.common import Here, wall_now
from cronguard.admin.metrics import add_job
from cronguard.admin.survey import Survey
from cronguard.admin.verdict import Limits
from cronguard.config.options import ConfigError
from cronguard.core.record import KEPT_RUNS
from cronguard.core.sheet import Sheet
from cronguard.core.words import printable, span
from cronguard.stores.contract import StoreDown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client.core import Metric

_AT_A_TIME = 100
"""Jobs whose records are in memory at once."""
_NEVER = sys.maxsize


class Scraper:
    """prometheus-client's collector: what it collects is what the store says now.

    *timeout_ms* bounds each reading. `error` is why the newest one failed, or None. *tell* gets a
    line for people when that changes.
    """

    def __init__(
        self,
        here: Here,
        timeout_ms: int,
        grace_ms: int,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.error: BaseException | None = None
        self._here = here
        self._timeout_ms = timeout_ms
        self._limits = Limits(_NEVER, _NEVER, grace_ms, None)
        self._tell = tell
        self._lock = threading.Lock()
        self._reading: Future[Sheet] | None = None
        self._errors = 0
        self._told = ""

    def describe(self) -> list[Metric]:
        """Return what it may collect, so that registering reads nothing."""
        return Sheet().families()

    def collect(self) -> list[Metric]:
        """Return the metrics of this moment; those of a store that is down say so, and no more."""
        began = time.monotonic()
        read, error = self._read()
        own = Sheet()
        with self._lock:
            self.error = error
            self._errors += error is not None
            self._tell_change()
            own.put("cronguard_up", error is None)
            own.put("cronguard_scrape_errors", self._errors)
            own.put("cronguard_scrape_duration_seconds", time.monotonic() - began)
        both = [*own.families(), *(read.families() if read else [])]
        return [family for family in both if family.samples]

    def registry(self) -> CollectorRegistry:
        """Return a registry with this alone: nothing of this process is told."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def text(self, kind: str) -> bytes:
        """Return the metrics as `prometheus` or `openmetrics` text, in UTF-8."""
        write = as_openmetrics if kind == "openmetrics" else as_prometheus
        return bytes(write(self.registry()))

    def _read(self) -> tuple[Sheet | None, BaseException | None]:
        reading = self._under_way()
        wait([reading], self._timeout_ms / 1000)
        if not reading.done():
            return None, StoreDown(f"the store was not read within {span(self._timeout_ms)}")
        error = reading.exception()
        return (None, error) if error else (reading.result(), None)

    def _under_way(self) -> Future[Sheet]:
        """Return the reading that is under way, or begin one."""
        with self._lock:
            if self._reading is None or self._reading.done():
                self._reading = Future()
                work = threading.Thread(target=self._fill, args=(self._reading,), daemon=True)
                work.start()
            return self._reading

    def _fill(self, reading: Future[Sheet]) -> None:
        try:
            reading.set_result(self._sheet())
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            reading.set_exception(error)

    def _sheet(self) -> Sheet:
        """Return what the store says. Raises: StoreDown, ConfigError."""
        sheet = Sheet()
        with self._here.history() as history:
            survey = Survey(self._here, self._limits)
            jobs = survey.jobs(history)
            for begin in range(0, len(jobs), _AT_A_TIME):
                now, some = wall_now(), jobs[begin : begin + _AT_A_TIME]
                records = history.recent(some, KEPT_RUNS)
                for one in survey.each(history, some, now):
                    add_job(sheet, one, records[one.job], survey.missed(one, now))
        return sheet

    def _tell_change(self) -> None:
        text = why(self.error) if self.error else ""
        if text != self._told:
            self._tell(text or "the store can be read again")
        self._told = text


def why(error: BaseException) -> str:
    """Return what to say of a reading that failed. An error of our own may quote anything."""
    if isinstance(error, StoreDown | ConfigError):
        return str(error)
    return f"internal error: {printable(type(error).__name__)}"
