"""Runs for the tests of the reporter for Sentry, and that reporter as a section says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cronguard.config.reporters import target
from cronguard.core import record as records
from cronguard.reporters.contract import Report
from cronguard.reporters.registry import make
from tests.reporters.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cronguard.reporters.contract import Reporter

RUN = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
OTHER = "ffffffffffffffffffffffffffffffff"
CRON = {"once_ms": None, "cron": "30 2 * * *", "tz": "Europe/Berlin"}
START, END = 1_767_225_600_000, 1_767_225_672_500


@pytest.fixture(name="relay")
def relay_without_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    for name in ("SENTRY_DSN", "SENTRY_ENVIRONMENT", "SENTRY_RELEASE"):
        monkeypatch.delenv(name, raising=False)
    with Relay() as one:
        yield one


def sentry(relay: Relay, **settings: object) -> Reporter:
    """Return the reporter that a section says, with what a receiver on this host needs."""
    section = {"dsn": relay.dsn, "allow_http": True, "allow_private": True, **settings}
    found = target("sentry", {key: (value, "test") for key, value in section.items()}, {})
    return make("sentry", found.values)


def record(**facts: object) -> dict[str, object]:
    """Return the record of a run of 72.5 s."""
    usual: dict[str, object] = {
        "job": "backup",
        "run_id": RUN,
        "host": "web-3",
        "user": "ops",
        "pid": 77,
        "command": ["/opt/backup", "--all"],
        "queued_at": records.utc(START),
        "started_at": records.utc(START),
        "ended_at": records.utc(END),
        "duration_ms": END - START,
        "outcome": records.SUCCEEDED,
        "exit_status": 0,
        "version": "0.1",
    }
    return records.complete({**usual, **facts})


def report(event: str, at: Any = END, warning: Any = None, **facts: Any) -> Report:
    """Return what is told of that run."""
    said = record(**facts)
    return Report(event, said, namespace="cg", at=at, failures=1, warning=warning)


FAILED = {"outcome": records.FAILED, "exit_status": 3, "output_tail": "it\nbroke\n"}
RUNS = {"outcome": records.RUNNING, "ended_at": None, "duration_ms": None, "exit_status": None}


def check_in(relay: Relay) -> dict[str, Any]:
    """Return the only check-in that has come."""
    (found,) = relay.of_type("check_in")
    return dict(found)
