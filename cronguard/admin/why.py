"""`cronguard why`: the last skip or failure of a job in a sentence, and what to do about it.

One row an outcome and reason. A reason that has no row is told in its own words: for `not_started`
and `store_unavailable` it is the cause itself.
"""

from __future__ import annotations

import click

from cronguard.admin import render
from cronguard.admin.common import ALL_KEPT, Here, is_job, no_such_job, wall_now, with_store
from cronguard.admin.output import say, say_json
from cronguard.admin.pause import pause_json, pause_text, standing
from cronguard.admin.sharing import LOOK_BACK, sharing
from cronguard.core import record as rec
from cronguard.core.exits import COUNTS_AS_FAILED
from cronguard.core.moments import wall_ms
from cronguard.core.words import printable, signal_name, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import Lease

_STORE = "Check --store / CRONGUARD_STORE with `cronguard config show {job}`."
_RESUME = "Let it run again with `cronguard resume {job}`."
_LOGS = "See its output with `cronguard logs {run}`."
_OWN_NAMES = "Give each command its own --name: under one they keep each other from running."
ANY = "*"

EXPLAINED: dict[tuple[str, str], tuple[str, str]] = {
    (rec.SKIPPED, "held"): (
        "was skipped: another run held the lock ({holder})",
        (
            "Let it wait with --wait 10m; if the holder hangs, give the job a --timeout, "
            "or `cronguard stop {in_the_way}`."
        ),
    ),
    (rec.SKIPPED, "wait_expired"): (
        "was skipped: it waited {waited} for the lock, and another run still held it ({holder})",
        "Let it wait longer with --wait, or give the job a --timeout.",
    ),
    (rec.SKIPPED, "slot_done"): (
        "was skipped: another run was the one for its slot of the schedule, {slot} ({holder})",
        (
            "That is what --once and --schedule are for; nothing is to be done. To run it all the "
            "same, use --force-slot."
        ),
    ),
    (rec.SKIPPED, "paused"): (
        "was skipped: the job was paused",
        _RESUME,
    ),
    (rec.SKIPPED, "replaced"): (
        "was skipped: while it waited, a newer run took its place (--replace)",
        "Nothing is to be done, unless runs come faster than they can start.",
    ),
    (rec.SKIPPED, ANY): ("was skipped: {reason}", "See all of it with `cronguard show {run}`."),
    (rec.FAILED, ""): ("failed: the command {ended}", _LOGS),
    (rec.FAILED, "unguarded"): (
        (
            "failed: the command {ended}; it ran unguarded, as the store could not be reached "
            "(--on-store-error run)"
        ),
        _LOGS,
    ),
    (rec.FAILED, "guardian_killed"): (
        "failed: cronguard's guardian process was killed, and the run with it",
        "Look for the OOM killer, or a careless `kill`, in the kernel's log of {host}.",
    ),
    (rec.FAILED, "oom_killed"): (
        "failed: the kernel of {host} killed it for want of memory (--memory-max, or the host's)",
        "Give it more with --memory-max, or less to do at a time. " + _LOGS,
    ),
    (rec.FAILED, "child_lost"): (
        "failed: the command's process vanished without an exit status",
        "Look in the kernel's log of {host}.",
    ),
    (rec.FAILED, ANY): ("failed: the command {ended}; {reason}", _LOGS),
    (rec.TIMED_OUT, ANY): (
        "timed out: it ran for {lasted}, longer than its --timeout, and was stopped",
        "Give it more with --timeout, or see where it hung with `cronguard logs {run}`.",
    ),
    (rec.STOPPED, "signal"): (
        (
            "was stopped: cronguard got signal {signal} on {host} (a shutdown, a service "
            "manager, or Ctrl-C)"
        ),
        "If that was not meant, look who sends signals there.",
    ),
    (rec.STOPPED, "replaced"): (
        "was stopped: a newer run, started with --replace, took its place",
        "Nothing is to be done, unless runs are replaced before they can finish.",
    ),
    (rec.STOPPED, ANY): (
        "was stopped {reason}",
        "Ask them; the next run starts as usual.",
    ),
    (rec.LEASE_LOST, "not_renewed"): (
        (
            "lost its lock: the store did not answer its heartbeats in time; it was stopped before "
            "another run could start"
        ),
        f"Look at the network and the store at that time. {_STORE}",
    ),
    (rec.LEASE_LOST, "taken"): (
        (
            "lost its lock: it was unlocked, or lost by the store, and given to another "
            "({holder}); it was killed at once"
        ),
        (
            "If nobody used `cronguard unlock`, see whether the store drops keys (eviction, "
            "FLUSHALL, failover)."
        ),
    ),
    (rec.LEASE_LOST, ANY): ("lost its lock ({reason}) and was stopped", _STORE),
    (rec.NOT_STARTED, "conflict"): (
        "was not started: another run had the job's lock with another --slots or --ttl ({holder})",
        "Give the job the same settings on every host, or another --name.",
    ),
    (rec.NOT_STARTED, "guardian_killed"): (
        "was not started: cronguard's guardian process was killed before the command began",
        "Look for the OOM killer, or a careless `kill`, in the kernel's log of {host}.",
    ),
    (rec.NOT_STARTED, "isolation_refused"): (
        "was not started: {host} cannot hold it as --isolation asks",
        "See what it can with `cronguard doctor` there, or leave it to --isolation auto.",
    ),
    (rec.NOT_STARTED, "limits_refused"): (
        "was not started: its user on {host} may not have --nice, --ionice or --rlimit-as as asked",
        "Run it as root, or ask for less.",
    ),
    (rec.NOT_STARTED, "log_refused"): (
        "was not started: its log (--log) could not be opened on {host}",
        "See that the folder is there, and that its user may write to it.",
    ),
    (rec.NOT_STARTED, "dead_man_required"): (
        "was not started: the kernel of {host}, or its limits, refuse the dead man's timer",
        "`ulimit -i` must not be 0 there; or do without it: --dead-man auto.",
    ),
    (rec.NOT_STARTED, "store_denied"): (
        "was not started: the store refused it for good (password or permissions)",
        _STORE,
    ),
    (rec.NOT_STARTED, ANY): (
        "was not started: {reason} (status {status})",
        "Check the command's path and permissions on {host}; cron's PATH is short.",
    ),
    (rec.STORE_UNAVAILABLE, ANY): (
        "was not started: the store could not be reached: {reason}",
        f"{_STORE} --on-store-error says whether it shall run anyway.",
    ),
    (rec.ABANDONED, ANY): (
        (
            "was abandoned: cronguard itself vanished on {host} while it ran (SIGKILL, out of "
            "memory, or the host went down)"
        ),
        "Look in the log of {host} at that time; the command was killed with it.",
    ),
}


def explain(record: render.Record, now: int) -> tuple[str, str]:
    """Return (what happened and why, what to do) of a record that is no success."""
    outcome, reason = str(record.get("outcome")), str(record.get("reason") or "")
    text, todo = EXPLAINED.get((outcome, reason)) or EXPLAINED.get(
        (outcome, ANY), ("ended: {reason}", "See all of it with `cronguard show {run}`.")
    )
    facts = _facts(record, now)
    when = render.moment(render.when_of(record), now)
    return (
        f"{facts['job']}: run {facts['run']} {text.format(**facts)}. That was {when}.",
        todo.format(**facts),
    )


def _facts(record: render.Record, now: int) -> dict[str, str]:
    signum = render.number(record.get("signal"))
    holder = record.get("holder")
    status = render.word(record.get("exit_status"))
    wait, lasted = (render.number(record.get(key)) for key in ("wait_ms", "duration_ms"))
    return {
        "job": render.word(record.get("job")),
        "run": render.short(record.get("run_id")),
        "host": render.word(record.get("host")),
        "reason": render.word(record.get("reason")),
        "status": status,
        "slot": render.moment(wall_ms(record.get("slot")), now),
        "signal": signal_name(signum) if signum else "-",
        "ended": _ended(signum, status) + _tries(render.number(record.get("attempt"))),
        "holder": _holder(holder, now) if isinstance(holder, dict) else "it is not known whose",
        "in_the_way": _job_of(holder) or render.word(record.get("job")),
        "waited": span(wait),
        "lasted": span(lasted),
    }


def _ended(signum: int, status: str) -> str:
    if signum == 9 or status == "137":
        return "was ended by KILL, which is what the kernel sends when memory runs out"
    if signum:
        return f"was ended by signal {signal_name(signum)}"
    if status == str(COUNTS_AS_FAILED):
        return "ended, and counts as failed with status 123"
    known = {"126": " (found but not executable)", "127": " (a command was not found)"}
    return f"exited with status {status}{known.get(status, '')}"


def _tries(attempts: int) -> str:
    return f" in the last of {attempts} attempts" if attempts > 1 else ""


def _job_of(holder: object) -> str:
    """Return the job of a run that had a lock which jobs share."""
    is_named = isinstance(holder, dict) and holder.get("job")
    return render.word(holder["job"]) if isinstance(holder, dict) and is_named else ""


def _holder(holder: dict[str, object], now: int) -> str:
    parts = [render.word(holder.get("host"))]
    if holder.get("lock"):
        words = (f"the lock {render.word(holder['lock'])}", f"job {_job_of(holder) or '-'}")
        parts = [f"{words[0]}: {words[1]}", *parts]
    if holder.get("pid"):
        parts.append(f"pid {render.word(holder['pid'])}")
    if holder.get("run_id"):
        parts.append(f"run {render.short(holder['run_id'])}")
    if since := wall_ms(holder.get("since")):
        parts.append(f"since {render.moment(since, now)}")
    return ", ".join(parts)


def last_trouble(runs: list[render.Record], skips: list[render.Record]) -> render.Record | None:
    """Return the newest record of a job that is a skip or a failure; both newest first."""
    failed = [r for r in runs if rec.is_failure(str(r.get("outcome")))]
    found = [*failed[:1], *skips[:1]]
    return max(found, key=lambda r: render.when_of(r) or 0, default=None)


def since_then(leases: list[Lease], last: render.Record | None, counters: dict[str, int]) -> str:
    """Return what became of the job since."""
    live = [lease for lease in leases if not lease.released]
    skips = counters.get("skips_since_run", 0)
    times = "once" if skips == 1 else f"{skips} times"
    skipped = f" It was skipped {times} since its last start." if skips else ""
    if live:
        age = wall_now() - live[0].owner.since_wall
        return f"It runs now: {render.holder(live[0])}, for {span(max(age, 0))}.{skipped}"
    if last is not None and last.get("outcome") == rec.SUCCEEDED:
        return f"Its last run succeeded {render.ago(render.when_of(last), wall_now())}.{skipped}"
    row = counters.get("failures_in_a_row", 0)
    return (f"{row} runs failed in a row." if row > 1 else "It does not run now.") + skipped


@click.command()
@click.argument("job")
@with_store
def command(*, here: Here, job: str) -> int:
    """Explain the last skip or failure of JOB, and what to do."""
    with here.history(job) as history:
        if not is_job(history, job):
            return no_such_job(history, job)
        runs, skips = history.runs(job, ALL_KEPT), history.skips(job, LOOK_BACK)
        leases = history.leases([job]).get(job, [])
        last, counters = history.last([job]).get(job), history.counters([job]).get(job, {})
        left = history.paused(job)
    now = wall_now()
    trouble = last_trouble(runs, skips)
    commands = sharing([*runs[:LOOK_BACK], *skips])
    pause = standing(left, now)
    what, todo = explain(trouble, now) if trouble else (f"{job}: no skip or failure is kept.", "")
    then = since_then(leases, last, counters)
    if pause:
        then = f"It is {pause_text(pause, now)}. {then}"
        todo = todo if f"resume {job}" in todo else f"{todo} {_RESUME.format(job=job)}".strip()
    if commands:
        then += f" Different commands take turns under this name: {' and '.join(commands)}."
        todo = f"{todo} {_OWN_NAMES}".strip()
    if here.as_json:
        doing = {
            "why": what,
            "now": then,
            "do": todo or None,
            "commands": commands,
            "paused": pause_json(pause),
        }
        say_json({"job": job, **doing, "record": trouble})
    else:
        say("\n  ".join(part for part in (printable(what, 2000), then, todo) if part))
    return 0
