"""What counts as a failure of a command, and when a run that goes on is worth a warning.

A command fails with a status that is none of `--success-exit-status`, and by whatever is at fault
with it all the same: what it has said (`--fail-on-output`, `--fail-on-stderr`; who reads it tells),
or that it was over too soon (`--min-runtime`).

The exit status of the run is the command's own in any case, unless that is 0 and the run counts as
failed: then nobody who looks at it alone may take it for a success. Loaded by runs that ask for any
of this.
"""

from __future__ import annotations

from cronguard.core.words import span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import JobSpec


def fault(spec: JobSpec, status: int, took: int, said: str) -> str:
    """Say why a command that ended with *status* counts as failed; "" where the status tells all.

    *took* in ms; *said* is what is at fault with its output.
    """
    if status not in spec.success_exit_status:
        usual = status != 0
        return "" if usual else f"status 0 is not one of {_listed(spec)} (--success-exit-status)"
    if said:
        return said
    if took < spec.min_runtime:
        return f"it ended after {span(took)}, sooner than {span(spec.min_runtime)} (--min-runtime)"
    return ""


def _listed(spec: JobSpec) -> str:
    return ", ".join([str(status) for status in spec.success_exit_status])


def next_warning(started_at: int, every: int, now: int) -> int:
    """Return the next moment after *now* that is a whole number of *every* after the start."""
    return started_at + ((now - started_at) // every + 1) * every
