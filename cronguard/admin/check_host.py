"""What `doctor` looks at on this host: files, folders, what waits, and what the kernel does."""

from __future__ import annotations

import os
import stat

from cronguard.admin import check_config, render
from cronguard.admin.findings import FAILED, OK, WARNING, Finding
from cronguard.core import lease
from cronguard.core.lease import LeaseTimes
from cronguard.core.redact import mask_urls
from cronguard.core.words import span
from cronguard.reporters import spool
from cronguard.runtime import limit_group, outbox, selftest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.config.files import Files

_ASKED = {"cgroup": selftest.CGROUP, "pidns": selftest.PIDNS}
_HELD_BY = {
    "group": "the process group dies with its lifelines, what left it by the guardian's walk",
    "cgroup": "as group, and the command is started in a control group that is killed as one",
    "auto": "as group, and what survives that is killed as one in a control group",
    "pidns": "the kernel kills all with the first process of their PID namespace",
}
_ROOM_BYTES = 10 << 20
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def configuration(flags: dict[str, list[str]], environ: Mapping[str, str]) -> Finding:
    """Tell whether files and variables are right, as `config check` does."""
    files, problems = check_config.check(flags, environ)
    if problems:
        where, text = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        todo = "see `cronguard config check`"
        return Finding("configuration", FAILED, f"{where}: {text}{more}", todo)
    return Finding("configuration", OK, ", ".join(files) or "no file, which is fine")


def permissions(files: Files | None) -> list[Finding]:
    """Find what others could change though we do what it says: files, and root's commands."""
    found = []
    for path in files.read if files is not None else []:
        why = _changeable(path)
        if why:
            todo = f"`chmod go-w {path}`, and give it to the user of the jobs"
            found.append(Finding("permissions", WARNING, why, todo))
    if os.geteuid() == 0 and files is not None:
        for job, (command, _source) in sorted(files.commands.items()):
            why = _changeable_above(command[0])
            if why:
                text = f"job {job} runs as root, and {why}"
                todo = "let root alone own and change it"
                found.append(Finding("permissions", WARNING, text, todo))
    return found


def _changeable_above(path: str) -> str:
    """Say who else could put another program at *path*: at it, or at a folder on the way."""
    if path[:1] != "/":
        return ""
    real = os.path.realpath(path)
    while real != "/":
        why = _changeable(real)
        if why:
            return why
        real = os.path.dirname(real)
    return ""


def _changeable(path: str) -> str:
    """Say who but us and root can change *path*, or nothing."""
    try:
        facts = os.stat(path)
    except OSError:
        return ""
    mode = stat.S_IMODE(facts.st_mode)
    if facts.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to user {facts.st_uid}, who can change it"
    sticky = stat.S_ISDIR(facts.st_mode) and mode & stat.S_ISVTX
    own_group = facts.st_gid == facts.st_uid
    if mode & (stat.S_IWOTH if own_group else _OTHERS) and not sticky:
        return f"others can change {path} (mode {mode:04o})"
    return ""


# -- the state folder -----------------------------------------------------------------------------


def state_folder(state: str | None, is_store: bool) -> Finding:
    """Tell whether the state folder can be used; *is_store* if the lock itself lies there."""
    bad = FAILED if is_store else WARNING
    if state is None:
        text = (
            "there is none, as this user has no home: a record that the store cannot take is lost"
        )
        return Finding("state folder", bad, text, "set CRONGUARD_STATE_DIR")
    try:
        facts = os.lstat(state)
    except FileNotFoundError:
        return _can_be_made(state, bad)
    except OSError as error:
        why = f"{state}: {_words(error)}"
        return Finding("state folder", bad, why, "choose another with CRONGUARD_STATE_DIR")
    mode = stat.S_IMODE(facts.st_mode)
    text, todo = f"{state}, mode {mode:04o}", ""
    if not stat.S_ISDIR(facts.st_mode):
        text, todo = f"{state} is not a folder", "choose another with CRONGUARD_STATE_DIR"
    elif why := _changeable(state):
        text, todo = why, f"`chmod 700 {state}`, and let its user own it"
    elif not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        text = f"{state} cannot be written to by this user"
        todo = "give it to them, or choose another with CRONGUARD_STATE_DIR"
    if todo:
        return Finding("state folder", bad, text, todo)
    return _room(state, text)


def _can_be_made(state: str, bad: str) -> Finding:
    above = os.path.dirname(state)
    while above != "/" and not os.path.lexists(above):
        above = os.path.dirname(above)
    if os.access(above, os.W_OK | os.X_OK) and os.path.isdir(above):
        return Finding("state folder", OK, f"{state}, which is made when it is needed")
    text = f"{state} does not exist, and this user cannot make it in {above}"
    return Finding("state folder", bad, text, "make it, or choose another with CRONGUARD_STATE_DIR")


def _room(state: str, text: str) -> Finding:
    room = os.statvfs(state)
    if room.f_flag & os.ST_RDONLY:
        todo = "choose another with CRONGUARD_STATE_DIR"
        return Finding("state folder", FAILED, f"{state} is on a read-only file system", todo)
    free = room.f_bavail * room.f_frsize
    if free < _ROOM_BYTES:
        text = f"{state}: only {free >> 10} kB are free on its disk"
        return Finding("state folder", WARNING, text, "free some space there")
    return Finding("state folder", OK, text)


def waiting_records(state: str | None, label: str) -> Finding:
    """Tell which records wait on this host for a store that could not take them."""
    paths = outbox.waiting(state) + outbox.aside(state)
    if not paths:
        return Finding("outbox", OK, "no record waits for its store")
    kept = {path: _kept_in(path) for path in paths}
    stores = sorted({one.store for one in kept.values() if one is not None})
    odd = [path for path, one in kept.items() if one is None or path.endswith(outbox.ASIDE)]
    text = f"{_count(len(paths), 'record')} of runs wait for {mask_urls(', '.join(stores)) or '?'}"
    if odd:
        text = f"{text}, {len(odd)} of them unreadable"
        todo = f"look at {odd[0]}: a newer cronguard may read it; remove what is of no more use"
        return Finding("outbox", WARNING, text, todo)
    todo = "the next run that reaches its store delivers them"
    if label not in stores:
        todo += "; no run with the store that is configured now will"
    return Finding("outbox", WARNING, text, todo)


def waiting_reports(state: str | None) -> Finding:
    """Tell how many reports wait on this host for their reporters."""
    count = sum(len(spool.look(state, job)) for job in spool.jobs(state)) if state else 0
    if not count:
        return Finding("reports", OK, "no report waits to be told")
    todo = "`cronguard report list` shows for whom, and `cronguard flush` says why"
    return Finding("reports", WARNING, f"{_count(count, 'report')} wait to be told", todo)


def _kept_in(path: str) -> outbox.Kept | None:
    try:
        return outbox.load(path)
    except OSError:
        return None


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


# -- time and the kernel --------------------------------------------------------------------------


def timing(ttl: int, source: str) -> list[Finding]:
    """Say in words what follows from the TTL; core/lease.py has the rule."""
    problem = lease.ttl_problem(ttl)
    if problem:
        todo = "leave --ttl / CRONGUARD_TTL out"
        return [Finding("timing", FAILED, f"{source}: {problem}", todo)]
    times = LeaseTimes(ttl)
    beat = (
        f"ttl {exact(ttl)} ({source}): a heartbeat every {exact(times.every)}; one that fails is "
        f"tried again, {exact(times.attempt)} an attempt and up to {exact(times.backoff)} between; "
        f"all that needs a ttl of {exact(times.shortest_ttl())}"
    )
    loss = (
        f"after {exact(times.give_up_at(0))} without an answer the command is asked to stop, after "
        f"{exact(times.give_up_at(0) + times.grace)} it is killed, after {exact(times.kill_at(0))} "
        f"the kernel kills what is left; after {exact(times.ends_at(0))} the lock is not ours "
        f"(clocks may differ by {lease.CLOCK_ERROR_PERMILLE / 10:g}%), after {exact(times.px)} it "
        "is free"
    )
    return [Finding("timing", OK, beat), Finding("lock loss", OK, loss)]


def exact(ms: int) -> str:
    """Return a duration without rounding: `26.998s`, `200ms`, `2h`."""
    if ms < 1000:
        return f"{ms}ms"
    return span(ms) if ms >= 120_000 and ms % 60_000 == 0 else f"{ms / 1000:g}s"


def kill_layers(dead_man: str, isolation: str) -> list[Finding]:
    """Run the self-test: which of the means to end a run hold here."""
    try:
        found = selftest.findings()
    except OSError as error:
        text = f"the self-test could not be run: {render.word(_words(error))}"
        return [Finding("self-test", WARNING, text, "run it again when the host is less busy")]
    layers = [_layer(one, dead_man) for one in found]
    return [*layers, _isolation(found, isolation), _group_limits()]


def _group_limits() -> Finding:
    """Say whether memory and time of a run can be limited from here; few runs ask for it."""
    why = limit_group.prospects()
    if why:
        text = f"--memory-max and --cpu-quota cannot be had, and such runs go on without: {why}"
        return Finding("limits", OK, text)
    return Finding("limits", OK, "--memory-max and --cpu-quota can be had")


def _isolation(found: list[selftest.Finding], isolation: str) -> Finding:
    """Say what holds the tree of a run, and whether what was asked for can be had."""
    holds = {one.layer: one.holds for one in found}
    layer = _ASKED.get(isolation)
    if layer and not holds.get(layer):
        why = next((one.text for one in found if one.layer == layer), "it was not tested")
        text = f"{isolation} cannot be had, and every run is refused: {why}"
        remedy = selftest.REMEDIES[layer]
        return Finding("isolation", FAILED, text, remedy[0].lower() + remedy[1:])
    if isolation != "auto":
        return Finding("isolation", OK, f"{isolation}: {_HELD_BY[isolation]}")
    if holds.get(selftest.CGROUP):
        return Finding("isolation", OK, f"auto, which is cgroup here: {_HELD_BY['auto']}")
    return Finding("isolation", OK, f"auto, which is group here: {_HELD_BY['group']}")


def _layer(found: selftest.Finding, dead_man: str) -> Finding:
    if found.holds is not False:
        return Finding(found.layer, OK, found.text)
    if found.layer == selftest.TIMER:
        if dead_man == "off":
            return Finding(found.layer, OK, f"{found.text}; --dead-man is off")
        text = f"{found.text}; a stopped or starved cronguard is not killed before its lock ends"
        todo = "see that `ulimit -i` is not 0 and no seccomp filter forbids timer_create"
        return Finding(found.layer, FAILED if dead_man == "required" else WARNING, text, todo)
    if found.layer == selftest.PIDFD:
        text = f"{found.text}; processes deep in the tree are ended one generation after the other"
        return Finding(found.layer, WARNING, text, "use Linux 5.3 or later, and allow pidfd_open")
    if found.layer == selftest.PIDNS:
        text = f"one can be made, but {found.text}"
        return Finding(found.layer, WARNING, text, "leave it to --isolation auto here")
    todo = "a run may outlive its lock here: use another kernel or container setting, or report it"
    return Finding(found.layer, FAILED, found.text, todo)
