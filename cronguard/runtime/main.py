"""`cronguard run`, from the command line to the exit status."""

from __future__ import annotations

import gc
import os
from errno import EAGAIN, EMFILE, ENOMEM

from cronguard.core import exits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.config.resolve import Resolved
    from cronguard.config.rules import Plan
    from cronguard.core.spec import Claim, JobSpec, Owner
    from cronguard.runtime.criteria import Criteria
    from cronguard.runtime.keeper import Keeper
    from cronguard.runtime.limits import Limits
    from cronguard.runtime.notify import Notifier
    from cronguard.runtime.output import Output
    from cronguard.runtime.redaction import Redaction
    from cronguard.runtime.teller import Teller

_PROCESSES = "See `ulimit -u`, and the limit of processes of its control group"
_FILES = "See `ulimit -n`; a run needs 32"
_LIMITS = {EAGAIN: _PROCESSES, ENOMEM: "See `ulimit -v`, and free memory", EMFILE: _FILES}


def run(argv: list[str], changed: dict[bytes, bytes] | None = None) -> int:
    """Guard one run of a command; *argv* is what follows `cronguard run`.

    *changed* is what the command finds in its environment in place of what is in ours.
    """
    gc.disable()  # nothing to collect until the command runs, and no page dirtied that is shared
    hold_standard_descriptors()
    if os.getpid() == 1:
        from cronguard.runtime.init import step_aside  # noqa: PLC0415

        step_aside()
    from cronguard.config.options import ConfigError  # noqa: PLC0415
    from cronguard.config.resolve import NeedsClick, from_argv  # noqa: PLC0415
    from cronguard.runtime.claims import refuse_wrong_address  # noqa: PLC0415

    try:
        resolved = from_argv(argv, os.environ)
        unverified = refuse_wrong_address(resolved.spec.store, resolved.sources["store"])
    except NeedsClick:
        from cronguard.admin.cli import explain_run  # noqa: PLC0415

        return explain_run(argv)
    except (ConfigError, ValueError) as error:
        os.write(2, f"cronguard: {error}\n".encode("utf-8", "replace"))
        return exits.OWN_FAILURE
    if resolved.dry_run:
        from cronguard.admin.dry_run import show  # noqa: PLC0415
        from cronguard.runtime.cage import chosen  # noqa: PLC0415

        return show(resolved, chosen(), _auto_timeout(resolved))
    try:
        return _guard(resolved, unverified, changed or {})
    except Exception as error:  # noqa: BLE001  (the one place where a bug becomes a message)
        os.write(2, explain_bug(error, resolved).encode("utf-8", "replace"))
        return exits.OWN_FAILURE


def _auto_timeout(resolved: Resolved) -> str:
    """Say what `--timeout auto` is now, where it was asked for."""
    if not resolved.auto_timeout:
        return ""
    from cronguard.config.values import duration_text  # noqa: PLC0415
    from cronguard.core.durations import ENOUGH_RUNS  # noqa: PLC0415
    from cronguard.runtime.auto_timeout import look  # noqa: PLC0415

    found = look(resolved.spec)
    if found.timeout is not None:
        return f"{duration_text(found.timeout)} now"
    if found.trouble:
        return f"none now ({found.trouble})"
    return f"none yet ({found.successes} of {ENOUGH_RUNS} successes)"


def explain_bug(error: Exception, resolved: Resolved) -> str:
    """Return what to say of an error of our own; the store's password is in no line of it."""
    from cronguard.core.redact import text  # noqa: PLC0415

    said = f"cronguard: {resolved.spec.name}: internal error: {type(error).__name__}: {error}\n"
    if resolved.debug:
        from traceback import format_exception  # noqa: PLC0415

        said += "".join(format_exception(error))
    else:
        said += "  Run it with --debug for the details, and please report them.\n"
    return text(said, resolved.secrets)


def hold_standard_descriptors() -> None:
    """Open /dev/null on those of 0, 1, 2 that are closed, or our pipes would land there."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # the lowest free number is this one
            os.set_inheritable(number, True)


def _guard(resolved: Resolved, unverified: str, changed: dict[bytes, bytes]) -> int:
    """Be the keeper of one run, unless this process may not even have what that takes."""
    try:
        keeper = _prepare(resolved, changed)
    except OSError as error:
        return _refused(resolved.spec.name, error)
    if unverified:
        keeper.say("tls_unverified", {"store": unverified})
    status = keeper.serve()
    from cronguard.runtime.afterwards import finish  # noqa: PLC0415  (when the run is over)

    finish(keeper)
    return status


def _refused(name: str, error: OSError) -> int:
    """Say which limit kept us from starting; nothing was asked for yet."""
    why = os.strerror(error.errno or 0).lower()
    os.write(
        2,
        f"cronguard: {name}: not started: cronguard itself could not start: {why}.\n"
        f"  {_LIMITS.get(error.errno or 0, 'Try `cronguard doctor`')}.\n".encode(),
    )
    return exits.OWN_FAILURE


def _prepare(resolved: Resolved, changed: dict[bytes, bytes]) -> Keeper:
    """Fork the guardian before anything heavy is loaded, then make the keeper. Raises: OSError."""
    from cronguard.runtime import launch, proof, signals  # noqa: PLC0415
    from cronguard.runtime.child import Stdio, original_environment  # noqa: PLC0415
    from cronguard.runtime.clock import Wall, now_ms  # noqa: PLC0415
    from cronguard.runtime.identity import this_run  # noqa: PLC0415

    spec, state = resolved.spec, resolved.state
    asked = None
    if resolved.auto_timeout:
        from cronguard.runtime.auto_timeout import Asked  # noqa: PLC0415  (only when asked for)

        asked = Asked(spec)
    wake = signals.listen()
    terminal = _terminal()
    if terminal is not None:
        signals.ignore_terminal()
    criteria, limits = _criteria(spec, resolved.secrets), _limits(spec)
    refusal = _refusal(spec, limits)
    owner = this_run(Wall().at(now_ms()), spec.command, os.environ)
    output, no_log = _output(spec, state, owner, criteria)
    stdio = Stdio(output.out, output.err, terminal)
    stdio.limits = limits
    link = launch.start(
        [os.fsencode(word) for word in spec.command],
        original_environment() | changed,
        stdio,
        lambda: proof.leave_mark(state, owner.run_id),
        output.readers,
        spec.isolation,
        limits,
    )
    try:
        output.start()
    except OSError:
        link.send(b"bye")
        os.waitpid(link.pid, 0)
        raise
    os.umask(0o077)  # what we write is ours alone; the guardian has kept the command's

    from cronguard.core.lease import LeaseTimes  # noqa: PLC0415
    from cronguard.core.machine import Run  # noqa: PLC0415
    from cronguard.runtime.claims import claim_of, plan_of  # noqa: PLC0415
    from cronguard.runtime.keeper import Keeper  # noqa: PLC0415
    from cronguard.runtime.minder import Minder  # noqa: PLC0415

    found = None
    if asked is not None:
        found = asked.answer(spec.store_timeout, wake)
        spec.timeout = found.timeout
    times = LeaseTimes(spec.ttl)
    plan = plan_of(spec, Wall().at(now_ms()), resolved.period)
    claim = claim_of(spec, owner, times.px, plan)
    run_ = Run(spec, times, seed=int(owner.run_id[:8], 16))
    keeper = Keeper(
        run_,
        claim,
        Minder(link, spec.command[0]),
        output,
        wake,
        state=state,
        secrets=resolved.secrets,
        terminal=terminal is not None,
        refusal=refusal or no_log,
        schedule=plan.schedule if plan else None,
        announced=plan.announced if plan else None,
        teller=_teller(resolved, claim, plan),
        redaction=_redaction(spec.redact),
        criteria=criteria,
        notifier=_notifier(owner.run_id),
        limits=limits,
    )
    if keeper.notifier is not None and resolved.debug:
        keeper.notifier.say = keeper.say
    if found is not None and found.timeout is None:
        topic = "auto_timeout_unknown" if found.trouble else "auto_timeout_few"
        keeper.say(topic, {"successes": found.successes, "why": found.trouble})
    for why in plan.odd if plan else []:
        keeper.say("odd_rule", {"why": why})
    return keeper


def _teller(resolved: Resolved, claim: Claim, plan: Plan | None) -> Teller | None:
    """Return who tells the reporters of the run, if it has any."""
    if not resolved.targets:
        return None
    from cronguard.runtime.teller import of  # noqa: PLC0415  (only with reporters)

    return of(resolved, claim, plan)


def _redaction(patterns: str) -> Redaction | None:
    """Return who applies the user's own patterns to what is recorded, if there are any."""
    if not patterns:
        return None
    from cronguard.runtime.redaction import Redaction  # noqa: PLC0415  (only when asked for)

    return Redaction(patterns)


def _output(
    spec: JobSpec, state: str | None, owner: Owner, listener: Criteria | None
) -> tuple[Output, tuple[str, str] | None]:
    """Return where the command's output goes, and what keeps it from going to its log."""
    from cronguard.runtime.output import Output  # noqa: PLC0415

    log, prefixed, why = None, None, ""
    if spec.log:
        from cronguard.runtime.log import Log  # noqa: PLC0415  (only when asked for)
        from cronguard.runtime.logfile import NoLog  # noqa: PLC0415

        try:
            log = Log(spec)
        except NoLog as error:
            why = str(error)
    if spec.prefix:
        from cronguard.runtime.prefix import maker  # noqa: PLC0415  (only when asked for)

        prefixed = maker(spec, owner)
    apart = spec.fail_on_stderr or (log is not None and spec.log_format == "json")
    output = Output(
        spec.quiet,
        state,
        keep=spec.tail_bytes,
        apart=apart or "{stream}" in spec.prefix,
        listener=listener,
        log=log,
        prefixed=prefixed,
    )
    return output, ("log_refused", why) if why else None


def _limits(spec: JobSpec) -> Limits | None:
    """Return what the command is limited to, if it is; find a control group where it takes one."""
    if spec.nice is None and not (
        spec.ionice or spec.rlimit_as or spec.memory_max or spec.cpu_quota
    ):
        return None
    from cronguard.runtime.limits import Limits  # noqa: PLC0415  (only when asked for)

    limits = Limits(spec)
    if limits.group is not None:
        limits.group.settle()
    return limits


def _notifier(run_id: str) -> Notifier | None:
    """Return who tells systemd how the run stands, if it asks for that."""
    if "NOTIFY_SOCKET" not in os.environ:
        return None
    from cronguard.runtime.notify import notifier  # noqa: PLC0415  (only below a service manager)

    return notifier(os.environ, run_id)


def _criteria(spec: JobSpec, secrets: tuple[str, ...]) -> Criteria | None:
    """Return who listens for what makes the run count as failed, if that is asked for."""
    if not (spec.fail_on_output or spec.fail_on_stderr):
        return None
    from cronguard.runtime.criteria import Criteria  # noqa: PLC0415  (only when asked for)

    return Criteria(spec, secrets)


def _refusal(spec: JobSpec, limits: Limits | None) -> tuple[str, str] | None:
    """Return what of this host keeps the command from starting as asked for, and why."""
    why = _isolation_refused(spec.isolation)
    if why:
        return "isolation_refused", why
    why = limits.refusal() if limits is not None else ""
    return ("limits_refused", why) if why else None


def _isolation_refused(isolation: str) -> str:
    """Say why the command cannot be isolated as asked for, and what to do; nothing if it can."""
    if isolation == "cgroup":
        from cronguard.runtime import cage  # noqa: PLC0415  (only when asked for)

        why, remedy = cage.refusal(), cage.REMEDY
    elif isolation == "pidns":
        from cronguard.runtime import pidns_init as pidns  # noqa: PLC0415  (only when asked for)

        (why, _), remedy = pidns.examine(), pidns.REMEDY
    else:
        return ""
    return f"{why}.\n  {remedy}" if why else ""


def _terminal() -> int | None:
    """Return 0 if a person sits at our terminal and we are in its foreground."""
    try:
        if os.isatty(0) and os.isatty(1) and os.isatty(2) and os.tcgetpgrp(0) == os.getpgrp():
            return 0
    except OSError:
        pass
    return None
