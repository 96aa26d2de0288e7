"""Every option of `run`: one row says its flags, variable, TOML key, values, default and help.

The light parser, the click command, the environment, the files and `config show` all follow these
rows; what stands here once is true everywhere. An option that has no row is refused as unknown.
A default here is what core/spec.py does when it is told nothing (a test compares the two).
"""

from __future__ import annotations

from cronguard.config import values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class ConfigError(Exception):
    """The options, the environment or the files are wrong; the text says what to do."""


class Option:
    """One option. `metavar` is empty for a switch, which takes no value on the command line.

    `flags` short before long, none for what files and variables alone may say · `in_files`
    whether it has a TOML key · `is_many` whether each time that it is said adds to the others, with
    `between` in between · `read` turns text to the value, or raises ValueError.
    """

    __slots__ = (
        "between",
        "choices",
        "default",
        "flags",
        "help",
        "in_files",
        "is_many",
        "metavar",
        "name",
        "read",
        "variable",
    )

    def __init__(
        self,
        name: str,
        flags: str,
        metavar: str,
        read: Callable[[str], object] | None,
        default: str,
        text: str,
        *,
        variable: bool = True,
        in_files: bool = True,
        is_many: bool = False,
        between: str = " ",
    ) -> None:
        self.name = name
        self.flags = flags.split()
        self.variable = "CRONGUARD_" + name.upper() if variable else ""
        self.in_files = in_files
        self.is_many = is_many
        self.between = between
        self.metavar = metavar
        self.choices = () if read else tuple(metavar.split("|"))
        self.read = read or self._choose
        self.default = default
        self.help = text

    def _choose(self, text: str) -> str:
        if text in self.choices:
            return text
        wanted = ", ".join(self.choices[:-1]) + " or " + self.choices[-1]
        raise ValueError(f"{values.shown(text)} is not known; write {wanted}")

    @property
    def is_switch(self) -> bool:
        """Whether it is said by its mere presence."""
        return not self.metavar

    @property
    def may_be_bare(self) -> bool:
        """Whether it may be said without its value."""
        return self.metavar[:1] == "["

    @property
    def called(self) -> str:
        """How messages name it: flag and variable both."""
        return " / ".join(self.flags[-1:] + ([self.variable] if self.variable else []))


NAME = Option(
    "name", "-n --name", "JOB", values.job_name, "",
    "The job's name, which is the lock's name. Default: the command's name and a hash of it.",
    in_files=False,
)  # fmt: skip
STORE = Option(
    "store", "--store", "URL", values.plain, "",
    "Where the lock is: redis://, rediss://, unix:// or sqlite:///path. "
    "Default: SQLite in the state folder of this host.",
)  # fmt: skip
STORE_FILE = Option(
    "store_file", "", "PATH", values.plain, "",
    "A file that holds the store's URL, password and all.",
)  # fmt: skip
PASSWORD_FILE = Option(
    "password_file", "", "PATH", values.plain, "",
    "A file that holds the password for the store's URL.",
)  # fmt: skip
NAMESPACE = Option(
    "namespace", "--namespace", "PREFIX", values.namespace, "cg",
    "What all keys in the store begin with.",
)  # fmt: skip
TIMEOUT = Option(
    "timeout", "-t --timeout", "DUR|auto", values.run_timeout, "none",
    "The longest a run may last; then it is stopped, and ends with status 124. auto: 150 % of what "
    "95 % of the job's recent successes took; none before there are 20 of them.",
)  # fmt: skip
KILL_AFTER = Option(
    "kill_after", "-k --kill-after", "DUR", values.duration, "10s",
    "How long after the polite signal comes KILL.",
)  # fmt: skip
SIGNAL = Option(
    "signal", "-s --signal", "SIG", values.signum, "TERM",
    "The polite signal that asks the command to end.",
)  # fmt: skip
TTL = Option(
    "ttl", "--ttl", "DUR", values.duration, "30s",
    "How long the lock outlives its last heartbeat. It suits any job; leave it.",
)  # fmt: skip
WAIT = Option(
    "wait", "-w --wait", "DUR|forever", values.wait, "0",
    "When another run holds the lock: wait for it in a fair queue, instead of skipping.",
)  # fmt: skip
REPLACE = Option(
    "replace", "--replace", "", values.switch, "false",
    "When another run holds the lock: stop that run, wait until all of it is dead, and take over. "
    "With --wait, for at most so long.",
)  # fmt: skip
SLOTS = Option(
    "slots", "--slots", "N", values.slots, "1",
    "How many runs of the job may be under way at a time. The same on every host.",
)  # fmt: skip
LOCK = Option(
    "lock", "--lock", "NAME", values.locks, "none",
    "A further lock that the run needs, and that other jobs may name, too: of those that share "
    "one, one runs at a time. Say it again for each; a run has all of them or none.",
    is_many=True,
)  # fmt: skip
MIN_HOLD = Option(
    "min_hold", "--min-hold", "DUR", values.duration, "0",
    "Keep the lock at least so long from the start, also when the command ends sooner.",
)  # fmt: skip
JITTER = Option(
    "jitter", "--jitter", "DUR", values.duration, "0",
    "Wait a random time, up to this, before asking for the lock.",
)  # fmt: skip
RETRIES = Option(
    "retries", "--retries", "N", values.retries, "0",
    "Run the command again, up to so many times, if it fails by itself: under the same lock, and "
    "only when nothing of the attempt before is left.",
)  # fmt: skip
RETRY_DELAY = Option(
    "retry_delay", "--retry-delay", "DUR", values.duration, "10s",
    "The pause before the first of --retries; doubled for each further one, up to 10m (or this, if "
    "it is longer). --timeout is for all attempts and pauses together.",
)  # fmt: skip
ONCE = Option(
    "once", "--once", "[PERIOD]", values.once, "off",
    "At most one run for each multiple of PERIOD (without a value: of 1m), over all hosts and by "
    "the store's clock; with --schedule for each time of that. A run is for the nearest one.",
)  # fmt: skip
SCHEDULE = Option(
    "schedule", "--schedule", "CRON", values.schedule, "none",
    "The job's schedule, in cron's five fields: at most one run for each time, over all hosts.",
)  # fmt: skip
TZ = Option(
    "tz", "--tz", "ZONE", values.zone, "local",
    "The time zone of --schedule. Name it where hosts are in several.",
)  # fmt: skip
FORCE_SLOT = Option(
    "force_slot", "--force-slot", "", values.switch, "false",
    "Run now, whether or not there was a run for this slot, and leave it to the schedule's own.",
    variable=False, in_files=False,
)  # fmt: skip
ON_STORE_ERROR = Option(
    "on_store_error", "--on-store-error", "fail|run|local", None, "fail",
    "When the store cannot be reached: refuse, run unguarded, or guard on this host only.",
)  # fmt: skip
STORE_TIMEOUT = Option(
    "store_timeout", "--store-timeout", "DUR", values.positive, "5s",
    "How long to try before the store counts as not to be reached.",
)  # fmt: skip
MIN_REPLICAS = Option(
    "min_replicas", "--min-replicas", "N", values.replicas, "0",
    "How many replicas of the Redis server must have the lock before it counts, so that a failover "
    "cannot lose it.",
)  # fmt: skip
ON_LEASE_LOST = Option(
    "on_lease_lost", "--on-lease-lost", "stop|continue", None, "stop",
    "What becomes of the command when its lock is lost while it runs.",
)  # fmt: skip
STRAGGLERS = Option(
    "stragglers", "--stragglers", "kill|wait|leave", None, "kill",
    "What becomes of background processes when the command has ended.",
)  # fmt: skip
DEAD_MAN = Option(
    "dead_man", "--dead-man", "auto|required|off", None, "auto",
    "The kernel timer that kills a run whose supervisor hangs, before its lock expires.",
)  # fmt: skip
ISOLATION = Option(
    "isolation", "--isolation", "auto|group|cgroup|pidns", None, "auto",
    "What holds the command's process tree: its process group and a walk through its descendants; "
    "a control group (v2) as well; or a PID namespace, out of which nothing can get: in it process "
    "numbers are small, mounts are its own, and an ordinary user cannot become another (sudo). "
    "auto: a control group where one can be made, if the walk does not do.",
)  # fmt: skip
NICE = Option(
    "nice", "--nice", "N", values.nice, "none",
    "The command's priority, from -20 (first) to 19 (last).",
)  # fmt: skip
IONICE = Option(
    "ionice", "--ionice", "CLASS[:LEVEL]", values.ionice, "none",
    "Its priority at disks: idle, best-effort:0 to 7, or realtime:0 to 7.",
)  # fmt: skip
RLIMIT_AS = Option(
    "rlimit_as", "--rlimit-as", "SIZE", values.most, "none",
    "How much address space each of its processes may have (RLIMIT_AS).",
)  # fmt: skip
MEMORY_MAX = Option(
    "memory_max", "--memory-max", "SIZE", values.most, "none",
    "How much memory the whole tree may have, where a control group (v2) can be had; the kernel "
    "kills it when it wants more.",
)  # fmt: skip
CPU_QUOTA = Option(
    "cpu_quota", "--cpu-quota", "PERCENT", values.percent, "none",
    "How much processor time the whole tree may have, where a control group (v2) can be had: 50% "
    "of one, 200% is two.",
)  # fmt: skip
SKIP_EXIT_CODE = Option(
    "skip_exit_code", "-E --skip-exit-code", "N", values.skip_status, "0",
    "The exit status when the run is skipped.",
)  # fmt: skip
SUCCESS_EXIT_STATUS = Option(
    "success_exit_status", "--success-exit-status", "N[,N...]", values.statuses, "0",
    "The exit statuses of the command that are a success, all of them: 0,2 or 0,10-19.",
)  # fmt: skip
FAIL_ON_OUTPUT = Option(
    "fail_on_output", "--fail-on-output", "REGEX", values.patterns, "none",
    "A run counts as failed when a line of its output matches this regular expression, whatever "
    "the exit status; where that is 0 it is 123 instead. Say it again for each.",
    is_many=True, between="\n",
)  # fmt: skip
FAIL_ON_STDERR = Option(
    "fail_on_stderr", "--fail-on-stderr", "", values.switch, "false",
    "A run counts as failed when its command writes anything to stderr.",
)  # fmt: skip
MIN_RUNTIME = Option(
    "min_runtime", "--min-runtime", "DUR", values.duration, "0",
    "A run counts as failed when its command ends sooner than this.",
)  # fmt: skip
WARN_AFTER = Option(
    "warn_after", "--warn-after", "DUR", values.limit, "none",
    "Warn each time that the run has lasted so long again, on stderr, in the record and to the "
    "reporters; it goes on.",
)  # fmt: skip
QUIET = Option(
    "quiet", "-q --quiet", "", values.switch, "false",
    "Show the command's output only if it fails.",
)  # fmt: skip
TAIL_BYTES = Option(
    "tail_bytes", "--tail-bytes", "SIZE", values.tail, "16k",
    "How much of the output's begin, and of its end, the record keeps; 0 keeps nothing of it.",
)  # fmt: skip
PREFIX = Option(
    "prefix", "--prefix", "TEXT", values.prefix, "none",
    "What each line of the output begins with: a text with {job}, {run_id}, {host}, {time} (UTC) "
    "and {stream}.",
)  # fmt: skip
LOG = Option(
    "log", "--log", "FILE|DIR", values.path, "none",
    "A file that the output goes to as well, with a line where each run begins and ends; in a "
    "folder, JOB.log.",
)  # fmt: skip
LOG_FORMAT = Option(
    "log_format", "--log-format", "text|json", None, "text",
    "What the log has: the output as it is, or a JSON object for each line of it.",
)  # fmt: skip
LOG_SIZE = Option(
    "log_size", "--log-size", "SIZE", values.size, "10M",
    "A log that is larger gets the time added to its name, and a new one is begun; 0: never.",
)  # fmt: skip
LOG_AGE = Option(
    "log_age", "--log-age", "DUR", values.limit, "none",
    "The same with a log that a run finds older than this.",
)  # fmt: skip
LOG_KEEP = Option(
    "log_keep", "--log-keep", "N", values.files, "5",
    "How many of those old files are kept.",
)  # fmt: skip
REPORT = Option(
    "report", "--report", "NAME", values.names, "none",
    "Which of the reporters in the configuration, [reporters.NAME], are told of the run. Say it "
    "again for each. They are told by a process of its own, when the lock is given back.",
    is_many=True,
)  # fmt: skip
NO_REPORT = Option(
    "no_report", "--no-report", "", values.switch, "false",
    "Tell no reporter of this run.",
    variable=False, in_files=False,
)  # fmt: skip
REPORT_TIMEOUT = Option(
    "report_timeout", "--report-timeout", "DUR", values.duration, "5s",
    "How long to wait, when the command has ended, until the reporters are told. What is not told "
    "by then is kept on this host, and told with the next run or `cronguard flush`.",
)  # fmt: skip
REDACT = Option(
    "redact", "", "REGEX", values.patterns, "none",
    "Regular expressions, a list of them in files, a line each in the variable: what they match in "
    "a word of the command, in a reason, a warning or the output is neither recorded nor told.",
    is_many=True, between="\n",
)  # fmt: skip
SHELL = Option(
    "shell", "--shell", "TEXT", values.plain, "",
    "Run this text with /bin/sh, in place of a command after --.",
    variable=False, in_files=False,
)  # fmt: skip
CONFIG = Option(
    "config", "-c --config", "FILE", values.plain, "",
    "A further configuration file, read last.",
    in_files=False,
)  # fmt: skip
DRY_RUN = Option(
    "dry_run", "--dry-run", "", values.switch, "false",
    "Show what would be run, and where each value comes from; do nothing.",
    variable=False, in_files=False,
)  # fmt: skip
DEBUG = Option(
    "debug", "--debug", "", values.switch, "false",
    "Say more, with tracebacks.",
    in_files=False,
)  # fmt: skip

OPTIONS = (
    NAME, STORE, STORE_FILE, PASSWORD_FILE, NAMESPACE, TIMEOUT, KILL_AFTER, SIGNAL, TTL, WAIT,
    REPLACE, SLOTS, LOCK, ONCE, SCHEDULE, TZ, FORCE_SLOT, MIN_HOLD, JITTER, RETRIES, RETRY_DELAY,
    ON_STORE_ERROR, STORE_TIMEOUT, MIN_REPLICAS, ON_LEASE_LOST, STRAGGLERS, DEAD_MAN, ISOLATION,
    NICE, IONICE, RLIMIT_AS, MEMORY_MAX, CPU_QUOTA,
    SKIP_EXIT_CODE, SUCCESS_EXIT_STATUS, FAIL_ON_OUTPUT, FAIL_ON_STDERR, MIN_RUNTIME, WARN_AFTER,
    QUIET, TAIL_BYTES, PREFIX, LOG, LOG_FORMAT, LOG_SIZE, LOG_AGE, LOG_KEEP,
    REPORT, NO_REPORT, REPORT_TIMEOUT, REDACT, SHELL, CONFIG, DRY_RUN, DEBUG,
)  # fmt: skip
IN_SPEC = (
    NAMESPACE, TIMEOUT, KILL_AFTER, SIGNAL, TTL, WAIT, REPLACE, SLOTS, LOCK, ONCE, SCHEDULE, TZ,
    FORCE_SLOT, MIN_HOLD, JITTER, RETRIES, RETRY_DELAY, ON_STORE_ERROR, STORE_TIMEOUT,
    MIN_REPLICAS, ON_LEASE_LOST, STRAGGLERS, DEAD_MAN, ISOLATION, SKIP_EXIT_CODE, QUIET,
    REPORT, REPORT_TIMEOUT, REDACT, SUCCESS_EXIT_STATUS, FAIL_ON_OUTPUT, FAIL_ON_STDERR,
    NICE, IONICE, RLIMIT_AS, MEMORY_MAX, CPU_QUOTA,
    MIN_RUNTIME, WARN_AFTER, TAIL_BYTES, PREFIX, LOG, LOG_FORMAT, LOG_SIZE, LOG_AGE, LOG_KEEP,
)  # fmt: skip
"""What goes into the JobSpec under its own name."""
OF_CODE = (
    NAMESPACE, TIMEOUT, TTL, WAIT, REPLACE, SLOTS, LOCK, ONCE, SCHEDULE, TZ, FORCE_SLOT, MIN_HOLD,
    JITTER, ON_STORE_ERROR, STORE_TIMEOUT, MIN_REPLICAS, REDACT, REPORT, REPORT_TIMEOUT, WARN_AFTER,
)  # fmt: skip
"""What of these counts for Python code under a lease; the others are about commands."""
