"""The names of our metrics and what they mean: users' dashboards and alerts rely on both.

Base units, and as labels only the job, its host where that matters, and what a count is split by.
They are the same ones whoever tells them: `export metrics` out of the store, or a reporter out of
what it heard of the runs of one host.
"""

from __future__ import annotations

from cronguard.core.record import (
    ABANDONED,
    FAILED,
    KEPT_RUNS,
    LEASE_LOST,
    NOT_STARTED,
    OUTCOMES,
    RUNNING,
    SKIPPED,
    STOPPED,
    STORE_UNAVAILABLE,
    SUCCEEDED,
    TIMED_OUT,
)

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
LADDER = (
    *(10, 50, 100, 250, 500),
    *(SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND),
    *(MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE),
    *(HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR),
)
"""The upper bounds of the histogram's bars, in ms; the last bar has none."""
IN_THE_WAY = ("held", "wait_expired", "replaced")
"""The reasons of skips that say that runs are in each other's way."""
ENDED = (SUCCEEDED, FAILED, TIMED_OUT, STOPPED, LEASE_LOST, NOT_STARTED, STORE_UNAVAILABLE)
"""The outcomes that are counted once and for all."""
assert {*ENDED, RUNNING, SKIPPED, ABANDONED} == set(OUTCOMES)
SURELY_HELD = (SUCCEEDED, FAILED, TIMED_OUT, LEASE_LOST)
REASONS, OTHER = (*IN_THE_WAY, "slot_done", "paused"), "other"
"""What skips are told by, also while there is none: else the first would be no increase."""

NAMESPACE = "namespace"
"""A label beside those of the table, where several namespaces are told in one place."""
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
_JOB = ("job",)
_RECENT = f"of the last {KEPT_RUNS} runs, so it can fall"
_WINDOW = "no counter but a window: use it without rate()"

TABLE: dict[str, tuple[str, tuple[str, ...], str]] = {
    "cronguard_up": (GAUGE, (), "Whether the store could be read: 1, or 0 with nothing but this."),
    "cronguard_scrape_errors": (
        COUNTER,
        (),
        "Scrapes that could not read the store, since this exporter started.",
    ),
    "cronguard_scrape_duration_seconds": (GAUGE, (), "How long it took to read the store."),
    "cronguard_damaged": (
        GAUGE,
        _JOB,
        "1 where the store cannot read what it has of the job; nothing else of it is told then.",
    ),
    "cronguard_runs": (
        COUNTER,
        ("job", "outcome"),
        "Runs that ended, by outcome; without skips and abandoned runs, which have their own.",
    ),
    "cronguard_abandoned_runs": (
        GAUGE,
        _JOB,
        "Runs whose cronguard vanished; a run that turns out to be alive is taken off again.",
    ),
    "cronguard_skips": (COUNTER, ("job", "reason"), "Runs that were skipped, by reason."),
    "cronguard_lock_attempts": (
        COUNTER,
        _JOB,
        "Runs that asked for the lock and ended, skipped ones included and abandoned ones not.",
    ),
    "cronguard_lock_acquired": (
        COUNTER,
        _JOB,
        "Runs that ended after they had the lock: succeeded, failed, timed out, or lost it.",
    ),
    "cronguard_lock_contended": (
        COUNTER,
        _JOB,
        "Runs that were skipped as another held the lock; those that waited: see the lock's wait.",
    ),
    "cronguard_lock_errors": (
        COUNTER,
        _JOB,
        "Runs that did not start as they could not reach the store, counted when it was back.",
    ),
    "cronguard_last_start_timestamp_seconds": (GAUGE, _JOB, "When a run last got the lock."),
    "cronguard_last_success_timestamp_seconds": (GAUGE, _JOB, "When a run last succeeded."),
    "cronguard_last_failure_timestamp_seconds": (
        GAUGE,
        _JOB,
        "When a run last ended in another way than by success or a skip.",
    ),
    "cronguard_last_exit_status": (
        GAUGE,
        _JOB,
        "Exit status of the newest run that ended and has one.",
    ),
    "cronguard_last_run_duration_seconds": (
        GAUGE,
        _JOB,
        "How long the newest run took that ended.",
    ),
    "cronguard_last_run_cpu_seconds": (
        GAUGE,
        _JOB,
        "Processor time (user and system) of the newest run that ended.",
    ),
    "cronguard_last_run_max_rss_bytes": (
        GAUGE,
        _JOB,
        "Most memory of one process of the newest run that ended.",
    ),
    "cronguard_run_duration_seconds": (
        HISTOGRAM,
        _JOB,
        f"How long those took that succeeded {_RECENT}; {_WINDOW}.",
    ),
    "cronguard_lock_wait_seconds": (
        HISTOGRAM,
        _JOB,
        f"How long for the lock was waited in those that ended {_RECENT}; {_WINDOW}.",
    ),
    "cronguard_heartbeat_longest_gap_seconds": (
        GAUGE,
        _JOB,
        f"Longest time without a heartbeat {_RECENT}.",
    ),
    "cronguard_heartbeat_age_seconds": (
        GAUGE,
        ("job", "host"),
        "Time since the last heartbeat of the run on that host; of several, the longest.",
    ),
    "cronguard_running_runs": (GAUGE, _JOB, "Runs that are under way."),
    "cronguard_waiting_runs": (GAUGE, _JOB, "Runs that wait for the lock."),
    "cronguard_consecutive_failures": (GAUGE, _JOB, "Failures since the last success."),
    "cronguard_consecutive_skips": (GAUGE, _JOB, "Skips since the last start."),
    "cronguard_paused": (GAUGE, _JOB, "1 while the job is paused."),
    "cronguard_overdue": (
        GAUGE,
        _JOB,
        "1 while a run is overdue, as `cronguard check` tells; none where nobody says when.",
    ),
    "cronguard_missed_runs": (
        GAUGE,
        _JOB,
        "How many times the job was due since its last start, while it is overdue (100 at most).",
    ),
}
"""Each metric: what it is, its labels, its help. The name of a counter ends in `_total` outside."""
