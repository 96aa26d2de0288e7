"""What the user reads: what happened, why, and what to do. Imported when there is something to say.

One function a topic of `actions.Say`; a text begins with `JOB: ` and may go on in further lines,
indented. What comes from elsewhere (host names, error texts) is made printable.
"""

from __future__ import annotations

from cronguard.core import lease, lease_messages
from cronguard.core.durations import ENOUGH_RUNS
from cronguard.core.spec import REPLACED_BY
from cronguard.core.words import Context, printable, signal_name, size_text, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.core.spec import JobSpec, Owner

QUIET_TOPICS = frozenset(("skipped", "queued", "stragglers", "recovered", "auto_timeout_few"))
"""What `--quiet` keeps to itself: nothing of this needs anybody to act."""
WITHHELD_TOPICS = frozenset(("attempt_failed", "attempts_failed", "still_running"))
"""What `--quiet` says only if the run fails in the end, as the output."""


def render(
    topic: str,
    facts: dict[str, object],
    spec: JobSpec,
    store: str,
    run_id: str,
    command_hash: str = "",
) -> str:
    """Return the text of *topic*, without the leading `cronguard: `."""
    return TOPICS[topic](Context(facts, spec, store, run_id, command_hash))


def _skipped(c: Context) -> str:
    reason = c.facts["reason"]
    if reason == "slot_done":
        return (
            f"{c.job}: not started: {c.text('why') or 'another run was the one for this slot'}.\n"
            f"  A run that leaves the schedule alone starts with --force-slot.{c.other_command()}"
        )
    if reason == "replaced":
        return (
            f"{c.job}: not started: while it waited for the lock it was {c.text('why')}, which was "
            "started with --replace."
        )
    if reason == "paused":
        return (
            f"{c.job}: not started: the job is paused{c.because()}.\n"
            f"  Let it run again with `cronguard resume {c.job}`."
        )
    if reason == "wait_expired":
        return (
            f"{c.job}: not started: waited {span(c.spec.wait or 0)} for {c.the_lock()}, and it is "
            f"still held ({c.holder()}).\n"
            "  Wait longer with --wait, or look at it with `cronguard ps`."
        )
    left = c.ms("left")
    usual = max(c.spec.ttl + lease.TAKEOVER_MS, c.spec.min_hold)
    odd = (
        f"\n  The store would keep this lock for {span(left)} more without a heartbeat, which no "
        "run asked for: was its clock set back? If the holder is gone, use "
        f"`cronguard unlock {c.job} --force`."
        if left > usual + 1000
        else ""
    )
    if c.facts.get("over"):
        return (
            f"{c.job}: not started: the run that had the lock is over ({c.holder()}), but the lock "
            f"is kept for {span(left)} more (--min-hold).\n"
            f"  Wait for it with --wait, or free it with `cronguard unlock {c.job}`."
            f"{c.other_command()}{odd}"
        )
    return (
        f"{c.job}: not started: another run holds {c.the_lock()} ({c.holder()}).\n"
        f"  Wait for it with --wait 10m, or look at it with `cronguard status {_job_of(c)}`."
        f"{c.other_command()}{odd}"
    )


def _job_of(c: Context) -> str:
    """Return the job whose run is in the way."""
    owner: Owner | None = c.facts.get("holder")  # type: ignore[assignment]
    return printable(owner.job, 128) if owner is not None and owner.job else c.job


def _queued(c: Context) -> str:
    limit = f" for up to {span(c.spec.wait)}" if c.spec.wait else ""
    if c.spec.replace:
        return (
            f"{c.job}: asked {c.holder()} to stop; waiting{limit} until all of it is dead."
            f"{c.other_command()}"
        )
    return f"{c.job}: waiting{limit} for {c.the_lock()}, held by {c.holder()}.{c.other_command()}"


def _conflict(c: Context) -> str:
    return (
        f"{c.job}: not started: {c.text('why')}.\n"
        "  Give the job the same --slots and --ttl on every host, or one of them another --name."
    )


def _denied(c: Context) -> str:
    return (
        f"{c.job}: not started: cannot use {c.store}: {c.text('why')}.\n"
        "  Check --store / CRONGUARD_STORE, or try `cronguard doctor`."
    )


def _store_unavailable(c: Context) -> str:
    return (
        f"{c.job}: not started: cannot reach {c.store}: {c.text('why')} "
        f"(tried for {span(c.spec.store_timeout)}).\n"
        "  Check --store / CRONGUARD_STORE, try `cronguard doctor`, or choose with "
        "--on-store-error whether it shall run anyway."
    )


def _store_local(c: Context) -> str:
    return (
        f"{c.job}: cannot reach {c.store}: {c.text('why')}; guarding on this host only "
        "(--on-store-error local): a run on another host would not be noticed."
    )


def _store_unguarded(c: Context) -> str:
    return (
        f"{c.job}: cannot reach {c.store}: {c.text('why')}; RUNNING UNGUARDED (--on-store-error "
        "run): nothing keeps a second run from starting beside it."
    )


def _stopped_early(c: Context) -> str:
    if c.facts["reason"] == "signal":
        return f"{c.job}: not started: got {signal_name(c.ms('signum'))} before the lock."
    return f"{c.job}: not started: stopped {c.text('reason')} before it got the lock."


def _not_started(c: Context) -> str:
    why = c.text("why")
    hint = ""
    if "not found in PATH" in why:
        hint = "\n  cron's PATH is short: write the command with its full path."
    elif "cannot be executed" in why:
        hint = "\n  Check that it is a program, and that this user may execute it (chmod +x)."
    elif "was not found" in why:
        hint = "\n  Check the path, and that the file is on this host."
    return f"{c.job}: not started: {why}.{hint}"


def _stragglers(c: Context) -> str:
    left = c.ms("left")
    those = "a background process" if left == 1 else f"{left} background processes"
    return (
        f"{c.job}: the command ended and left {those} behind; stopping (keep the lock until they "
        "end with --stragglers wait, or let them go with --stragglers leave)."
    )


def _stop_asked(c: Context) -> str:
    by = c.text("by")
    if by.startswith(REPLACED_BY):
        return f"{c.job}: stopping: {by}, which was started with --replace."
    return f"{c.job}: stopping: asked by {by}."


def _timed_out(c: Context) -> str:
    return (
        f"{c.job}: timed out after {span(c.ms('timeout'))} (--timeout): sent "
        f"{signal_name(c.spec.signal)}, KILL follows after {span(c.spec.kill_after)}."
    )


def _auto_timeout_few(c: Context) -> str:
    return (
        f"{c.job}: no timeout yet: --timeout auto takes {ENOUGH_RUNS} runs that succeeded; "
        f"so far on record: {c.ms('successes')}."
    )


def _auto_timeout_unknown(c: Context) -> str:
    return (
        f"{c.job}: this run has no timeout: how long its like took, which --timeout auto goes by, "
        f"could not be read: {c.text('why')}."
    )


def _failed_how(c: Context) -> str:
    signum = c.ms("signum")
    how = f"was ended by {signal_name(signum)}" if signum else f"exited with {c.ms('status')}"
    if c.facts.get("fault"):
        how += f", and counts as failed: {c.text('fault')}"
    return f"{c.job}: attempt {c.ms('attempt')} of {c.spec.retries + 1} {how}"


def _counts_as_failed(c: Context) -> str:
    return f"{c.job}: counts as failed (exit status {c.ms('status')}): {c.text('why')}."


def _oom_killed(c: Context) -> str:
    limit = c.ms("limit")
    whose = f"--memory-max ({size_text(limit)})" if limit else "this host, or a group around it,"
    todo = "Give it more with --memory-max, or" if limit else "Find out who took it, or"
    return (
        f"{c.job}: killed by the kernel, as {whose} had no memory left.\n"
        f"  {todo} see what it was doing with `cronguard logs {c.run[:12]}`."
    )


def _limits_refused(c: Context) -> str:
    why, _, remedy = str(c.facts.get("why", "")).partition("\n")
    return f"{c.job}: not started: {printable(why)}\n  {printable(remedy.strip())}."


def _limits_unmet(c: Context) -> str:
    asked = [("--memory-max", c.spec.memory_max), ("--cpu-quota", c.spec.cpu_quota)]
    flags = [flag for flag, value in asked if value]
    it = "them" if len(flags) > 1 else "it"
    return (
        f"{c.job}: runs without {' and '.join(flags)}: {c.text('why')} (run it as root, in a unit "
        f"with Delegate=yes, or leave {it} out)."
    )


def _still_running(c: Context) -> str:
    return f"{c.job}: still running after {span(c.ms('since'))} (--warn-after); it goes on."


def _attempt_failed(c: Context) -> str:
    return f"{_failed_how(c)}; trying again in {span(c.ms('pause'))} (--retries)."


def _attempts_failed(c: Context) -> str:
    why = c.text("why")
    return f"{_failed_how(c)}; " + (f"not trying again: {why}." if why else "that was the last.")


def _not_started_again(c: Context) -> str:
    return (
        f"{c.job}: attempt {c.ms('attempt')} of {c.spec.retries + 1} could not be started: "
        f"{c.text('why')}; not trying again."
    )


def _stopped_resting(c: Context) -> str:
    by = c.text("by")
    if not by:
        how = f"got {signal_name(c.ms('signum'))}"
    else:
        how = by if by.startswith(REPLACED_BY) else f"stopped by {by}"
    return f"{c.job}: {how} {c.in_the_pause()}; not trying again."


def _guardian_died_resting(c: Context) -> str:
    return (
        f"{c.job}: cronguard's guardian process was killed {c.in_the_pause()}; not trying again.\n"
        "  Look for the OOM killer, or a careless `kill`, in this host's kernel log."
    )


def _suspended(c: Context) -> str:
    left = c.facts.get("left")
    if not isinstance(left, int):
        return f"{c.job}: stopped by the terminal; `fg` goes on."
    return (
        f"{c.job}: stopped by the terminal; the lock is not renewed while stopped: without `fg` "
        f"within {span(left)} the run is killed."
    )


def _unkillable(c: Context) -> str:
    return f"{c.job}: cannot end the run: {c.text('why')}; keeping the lock until it is gone."


def _guardian_died(c: Context) -> str:
    return f"{c.job}: cronguard's guardian process was killed; killing the run with it."


def _guardian_died_early(c: Context) -> str:
    return (
        f"{c.job}: not started: cronguard's guardian process was killed.\n"
        "  Look for the OOM killer, or a careless `kill`, in this host's kernel log."
    )


def _isolation_refused(c: Context) -> str:
    why, _, remedy = str(c.facts.get("why", "")).partition("\n")
    return (
        f"{c.job}: not started: --isolation {c.spec.isolation} cannot be had: {printable(why)}\n"
        f"  {printable(remedy.strip())}."
    )


def _log_refused(c: Context) -> str:
    return (
        f"{c.job}: not started: cannot open the log {printable(c.spec.log)}: {c.text('why')}.\n"
        "  Check --log / CRONGUARD_LOG, and that the folder is there and this user may write to it."
    )


def _log_failed(c: Context) -> str:
    return f"{c.job}: something is missing in its log {c.text('path')}: {c.text('why')}."


def _log_stuck(c: Context) -> str:
    return f"{c.job}: its log {c.text('path')} could not be begun anew: {c.text('why')}."


def _record_kept_nowhere(c: Context) -> str:
    return f"{c.job}: the record of run {c.run} could not be kept on this host: {c.text('why')}."


def _records_set_aside(c: Context) -> str:
    count = c.ms("count")
    what, were = (f"{count} kept records", "were") if count > 1 else ("a kept record", "was")
    return (
        f"{c.job}: {what} cannot be delivered (damaged, or of a newer cronguard), and {were} set "
        f"aside: {c.text('path')}\n"
        "  Look at it; rename it without .aside to have a newer cronguard deliver it."
    )


def _spill_failed(c: Context) -> str:
    return (
        f"{c.job}: --quiet cannot keep the output any longer ({c.text('why')}); showing it from "
        "here on."
    )


def _odd_rule(c: Context) -> str:
    return f"{c.job}: {c.text('why')}."


def _name_shared(c: Context) -> str:
    return (
        f"{c.job}: different commands take turns under this name on this host, and so keep each "
        f"other from running.\n  Give each its own --name; `cronguard why {c.job}` shows which."
    )


def _notify_failed(c: Context) -> str:
    return (
        f"{c.job}: systemd cannot be told how the run stands: {c.text('why')} (NOTIFY_SOCKET).\n"
        "  The run goes on; it is tried again now and then."
    )


def _redact_failed(c: Context) -> str:
    return (
        f"{c.job}: a text is not in the record, as redact could not be done on it: "
        f"{c.text('why')}.\n"
        "  Nothing that it would have hidden is kept. Correct the pattern in redact / "
        "CRONGUARD_REDACT."
    )


def _report_trouble(c: Context) -> str:
    return f"{c.job}: {c.text('what')}."


def _tls_unverified(c: Context) -> str:
    return (
        f"{c.job}: tls_verify=false: anyone on the way to {c.text('store')} can pose as it.\n"
        "  Name the authority that signed its certificate with ?tls_ca=FILE instead."
    )


TOPICS: dict[str, Callable[[Context], str]] = lease_messages.TOPICS | {
    text.__name__[1:]: text
    for text in (
        _skipped,
        _queued,
        _conflict,
        _denied,
        _store_unavailable,
        _store_local,
        _store_unguarded,
        _stopped_early,
        _not_started,
        _stragglers,
        _stop_asked,
        _timed_out,
        _auto_timeout_few,
        _auto_timeout_unknown,
        _counts_as_failed,
        _oom_killed,
        _limits_refused,
        _limits_unmet,
        _still_running,
        _attempt_failed,
        _attempts_failed,
        _not_started_again,
        _stopped_resting,
        _guardian_died_resting,
        _suspended,
        _unkillable,
        _guardian_died,
        _guardian_died_early,
        _isolation_refused,
        _log_refused,
        _log_failed,
        _log_stuck,
        _record_kept_nowhere,
        _records_set_aside,
        _spill_failed,
        _odd_rule,
        _name_shared,
        _notify_failed,
        _redact_failed,
        _report_trouble,
        _tls_unverified,
    )
}
