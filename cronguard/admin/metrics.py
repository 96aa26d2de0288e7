"""What of a fleet becomes metrics: the values of each job, as the store knows them.

A counter is one of the store's counters, or a sum of some, as these only rise (until `reset`). What
comes from the records that are kept may fall, so it is a gauge, or says in its help what it covers.
So is `abandoned`: a keeper that turns out to be alive takes its run back.

Nor can a stranger make as many series as he likes: outcomes and reasons are ours, hosts are those
of leases that live.
"""

from __future__ import annotations

from cronguard.admin.figures import Figures
from cronguard.core.record import RUNNING
from cronguard.core.sheet import Sheet, add_counts, add_last, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.admin.figures import Record
    from cronguard.admin.survey import Surveyed


def add_job(sheet: Sheet, one: Surveyed, runs: list[Record], missed: int | None) -> None:
    """Put all of one job into *sheet*: what the survey knows, its newest *runs*, what it missed.

    *runs* newest first, at most KEPT_RUNS, up to their output · *missed* None where nobody said
    when it is due.
    """
    job, seen = one.job, one.facts.seen
    sheet.put("cronguard_damaged", bool(seen.damage), job)
    if seen.damage:
        return
    figures, counters = Figures(job, runs, seen.counters), seen.counters
    add_counts(sheet, job, counters)
    sheet.put("cronguard_consecutive_failures", counters.get("failures_in_a_row", 0), job)
    sheet.put("cronguard_consecutive_skips", counters.get("skips_since_run", 0), job)
    _add_now(sheet, one)
    sheet.put_spread("cronguard_run_duration_seconds", figures.durations.values, job)
    sheet.put_spread("cronguard_lock_wait_seconds", figures.waits.values, job)
    gap = figures.longest_gap
    sheet.put("cronguard_heartbeat_longest_gap_seconds", seconds(gap), job)
    ended = [run for run in runs if run.get("outcome") != RUNNING]
    statuses = (run.get("exit_status") for run in ended)
    status = next((one for one in statuses if type(one) is int), None)
    add_last(sheet, job, status, ended[0] if ended else {})
    if missed is not None:
        sheet.put("cronguard_overdue", missed > 0, job)
        sheet.put("cronguard_missed_runs", missed, job)


def _add_now(sheet: Sheet, one: Surveyed) -> None:
    job, facts = one.job, one.facts
    sheet.put("cronguard_running_runs", len(facts.live), job)
    sheet.put("cronguard_waiting_runs", len(facts.seen.waiting), job)
    sheet.put("cronguard_paused", facts.paused, job)
    for lease in sorted(facts.live, key=lambda lease: -lease.quiet):
        host = lease.owner.host
        sheet.put("cronguard_heartbeat_age_seconds", seconds(lease.quiet), job, host)
