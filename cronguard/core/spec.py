"""What is to be run, and by whom: frozen once resolved, before anything starts."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME_LENGTH = 128
_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_REST = _FIRST | frozenset("._:-")


def is_job_name(name: str) -> bool:
    """Tell whether *name* matches `[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`."""
    return 0 < len(name) <= NAME_LENGTH and name[0] in _FIRST and _REST.issuperset(name)


class JobSpec:
    """The resolved description of a job. Attributes are options of `run`; durations in ms.

    `once` is the period of its slots, 0 without; `schedule` is empty without one.
    `timeout` and `wait` are None for "none" and "forever"; `wait` 0 means: skip when held.
    `lock` the names of further locks, in order, with spaces between; so `report` of reporters.
    `redact` and `fail_on_output` regular expressions, a line each.
    `warn_after` is None for "never", `nice` for "as it is"; sizes are 0 for "no limit".
    `command` is argv; with `shell` it is already `["/bin/sh", "-c", text]`.
    """

    __slots__ = (
        "command",
        "cpu_quota",
        "dead_man",
        "fail_on_output",
        "fail_on_stderr",
        "force_slot",
        "ionice",
        "isolation",
        "jitter",
        "kill_after",
        "lock",
        "log",
        "log_age",
        "log_format",
        "log_keep",
        "log_size",
        "memory_max",
        "min_hold",
        "min_replicas",
        "min_runtime",
        "name",
        "namespace",
        "nice",
        "on_lease_lost",
        "on_store_error",
        "once",
        "prefix",
        "quiet",
        "redact",
        "replace",
        "report",
        "report_timeout",
        "retries",
        "retry_delay",
        "rlimit_as",
        "schedule",
        "signal",
        "skip_exit_code",
        "slots",
        "store",
        "store_timeout",
        "stragglers",
        "success_exit_status",
        "tail_bytes",
        "timeout",
        "ttl",
        "tz",
        "wait",
        "warn_after",
    )

    def __init__(
        self,
        *,
        name: str,
        command: list[str],
        store: str,
        namespace: str = "cg",
        timeout: int | None = None,
        kill_after: int = 10_000,
        signal: int = 15,
        ttl: int = 30_000,
        wait: int | None = 0,
        replace: bool = False,
        slots: int = 1,
        lock: str = "",
        once: int = 0,
        schedule: str = "",
        tz: str = "local",
        force_slot: bool = False,
        min_hold: int = 0,
        jitter: int = 0,
        retries: int = 0,
        retry_delay: int = 10_000,
        on_store_error: str = "fail",
        store_timeout: int = 5_000,
        min_replicas: int = 0,
        on_lease_lost: str = "stop",
        stragglers: str = "kill",
        dead_man: str = "auto",
        isolation: str = "auto",
        skip_exit_code: int = 0,
        quiet: bool = False,
        report: str = "",
        report_timeout: int = 5_000,
        redact: str = "",
        success_exit_status: tuple[int, ...] = (0,),
        fail_on_output: str = "",
        fail_on_stderr: bool = False,
        min_runtime: int = 0,
        warn_after: int | None = None,
        log: str = "",
        log_format: str = "text",
        log_size: int = 10 << 20,
        log_age: int | None = None,
        log_keep: int = 5,
        prefix: str = "",
        tail_bytes: int = 16_384,
        nice: int | None = None,
        ionice: str = "",
        rlimit_as: int = 0,
        memory_max: int = 0,
        cpu_quota: int = 0,
    ) -> None:
        self.name = name
        self.command = command
        self.store = store
        self.namespace = namespace
        self.timeout = timeout
        self.kill_after = kill_after
        self.signal = signal
        self.ttl = ttl
        self.wait = wait
        self.replace = replace
        self.slots = slots
        self.lock = lock
        self.once = once
        self.schedule = schedule
        self.tz = tz
        self.force_slot = force_slot
        self.min_hold = min_hold
        self.jitter = jitter
        self.retries = retries
        self.retry_delay = retry_delay
        self.on_store_error = on_store_error
        self.store_timeout = store_timeout
        self.min_replicas = min_replicas
        self.on_lease_lost = on_lease_lost
        self.stragglers = stragglers
        self.dead_man = dead_man
        self.isolation = isolation
        self.skip_exit_code = skip_exit_code
        self.quiet = quiet
        self.report = report
        self.report_timeout = report_timeout
        self.redact = redact
        self.success_exit_status = success_exit_status
        self.fail_on_output = fail_on_output
        self.fail_on_stderr = fail_on_stderr
        self.min_runtime = min_runtime
        self.warn_after = warn_after
        self.log = log
        self.log_format = log_format
        self.log_size = log_size
        self.log_age = log_age
        self.log_keep = log_keep
        self.prefix = prefix
        self.tail_bytes = tail_bytes
        self.nice = nice
        self.ionice = ionice
        self.rlimit_as = rlimit_as
        self.memory_max = memory_max
        self.cpu_quota = cpu_quota


LOCK_MARK = "@"
"""What a lock's name has before it where a job's would stand; no name of a job begins so."""
REPLACED_BY = "replaced by "
"""How the word begins that a run leaves for the one that it replaces. No user has such a name."""


class Owner:
    """Who asks for, or holds, a lease: the facts others need to name it, or to prove it dead.

    `run_id` is 128 random bits in hex and alone decides whose a lease is; the rest is for people
    and for the proof of death on the same host. `pid_start` (clock ticks since boot) tells a
    process from a later one with its number; `boot_id` and `pid_ns` tell one host, and one
    container on it, from another. Unknown facts are empty strings or 0. `since_wall` is in ms
    since the epoch. `command_hash` is empty for Python code, which is no command. `job` is told
    only where a lease is of a lock that several jobs share.
    """

    __slots__ = (
        "boot_id",
        "command_hash",
        "host",
        "job",
        "pid",
        "pid_ns",
        "pid_start",
        "run_id",
        "since_wall",
        "user",
    )

    def __init__(
        self,
        run_id: str,
        *,
        host: str = "",
        user: str = "",
        pid: int = 0,
        pid_start: int = 0,
        boot_id: str = "",
        pid_ns: str = "",
        since_wall: int = 0,
        command_hash: str = "",
        job: str = "",
    ) -> None:
        self.run_id = run_id
        self.host = host
        self.user = user
        self.pid = pid
        self.pid_start = pid_start
        self.boot_id = boot_id
        self.pid_ns = pid_ns
        self.since_wall = since_wall
        self.command_hash = command_hash
        self.job = job

    def facts(self) -> dict[str, object]:
        """Return everything but the run id, as a store keeps it beside the lease."""
        facts = {name: getattr(self, name) for name in OWNER_FACTS}
        if not self.job:
            del facts["job"]
        return facts


OWNER_FACTS = tuple(name for name in Owner.__slots__ if name != "run_id")


def owner_from(run_id: str, facts: Mapping[str, object]) -> Owner:
    """Rebuild an owner from what `facts` gave; what is missing or of another type is unknown."""
    owner = Owner(run_id)
    for name in OWNER_FACTS:
        value = facts.get(name)
        if isinstance(value, type(getattr(owner, name))):
            setattr(owner, name, value)
    return owner


class Claim:
    """All a store needs to know to lease a job to a run.

    `px` how long the store keeps an unrenewed lease, in ms · `slots` how many runs at a time ·
    `settings` what must agree between all hosts that run this job · `min_hold` ms to keep the
    lease from its grant · `rule` which slot of a schedule a grant uses up (core/slot.py), or
    nothing, and `slot_px` how long the store remembers that · `replicas` how many replicas of the
    server must have a grant or a renewal before it counts.
    """

    __slots__ = (
        "job",
        "min_hold",
        "namespace",
        "owner",
        "px",
        "replicas",
        "rule",
        "slot_px",
        "slots",
    )

    def __init__(
        self,
        job: str,
        owner: Owner,
        px: int,
        *,
        namespace: str = "cg",
        slots: int = 1,
        min_hold: int = 0,
        rule: str = "",
        slot_px: int = 0,
        replicas: int = 0,
    ) -> None:
        self.job = job
        self.owner = owner
        self.px = px
        self.namespace = namespace
        self.slots = slots
        self.min_hold = min_hold
        self.rule = rule
        self.slot_px = slot_px
        self.replicas = replicas

    @property
    def is_lock(self) -> bool:
        """Whether it is of a lock that several jobs share, and not of a job."""
        return self.job.startswith(LOCK_MARK)

    @property
    def settings(self) -> str:
        """What two hosts must agree on; `px=35000 slots=1`. Jobs that share a lock need not."""
        if self.is_lock:
            return "slots=1"
        return f"px={self.px} slots={self.slots}"
