"""What a run asks of its job's history, for the process that tells: found_dead, missed, unusual.

It loads what reads histories (redis-py, perhaps), which the keeper never does.
"""

from __future__ import annotations

from cronguard.core import report
from cronguard.runtime import spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    Record = dict[str, object]


class Asked:
    """One question; *facts* as the keeper hands them over (teller.py).

    `run_id` who asks · `at` when it has ended, in ms since the epoch · `record` its own, if given.
    """

    def __init__(self, facts: Record, state: str) -> None:
        self.state = state
        self.namespace = str(facts["namespace"])
        self.job = str(facts["job"])
        self.run_id = str(facts["run_id"])
        self.at = int(str(facts["at"]))
        self.record = str(facts.get("record") or "")
        self._store = str(facts["store"])
        self._to: list[str] = list(facts["to"])  # type: ignore[call-overload]
        self._config = None if facts["config"] is None else str(facts["config"])

    def history(self, runs: int, skips: int = 0) -> list[Record]:
        """Return the newest records, runs before skips. Raises: whatever a store may."""
        from cronguard.stores.open import open_history  # noqa: PLC0415 - loads redis-py, perhaps

        history = open_history(self._store, self.namespace)
        try:
            found = history.runs(self.job, runs)
            return [*found, *history.skips(self.job, skips)] if skips else found
        finally:
            history.close()

    def keep(
        self,
        record: str,
        kind: str,
        run_id: str,
        at: int,
        *,
        streak: int = 0,
        warning: str | None = None,
    ) -> None:
        """Keep a report of a run, for those who asked. Raises: OSError."""
        text = report.encode(
            record,
            kind=kind,
            run_id=run_id,
            job=self.job,
            namespace=self.namespace,
            streak=streak,
            at=at,
            to=self._to,
            config=self._config,
            warning=warning,
        )
        spool.put(self.state, self.job, report.file_name(at, run_id, kind), text)
