"""`cronguard doctor`: can the promises be kept here? Each check on a line, with what to do."""

from __future__ import annotations

import os
from contextlib import closing

import click

from cronguard.admin import check_host, check_store
from cronguard.admin.common import Here, with_store
from cronguard.admin.findings import FAILED, OK, WARNING, Finding, worst
from cronguard.admin.output import say, say_json, say_table
from cronguard.config import options as opt
from cronguard.config.options import ConfigError
from cronguard.config.resolve import Settings
from cronguard.config.store import folder, mask
from cronguard.core import exits
from cronguard.core.lease import FULL_TTL_MS, LeaseTimes, ttl_problem
from cronguard.core.words import printable
from cronguard.stores.contract import StoreDown, StoreRefused
from cronguard.stores.open import open_history

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import History

_COLUMNS = ["CHECK", "RESULT", "WHAT"]
_LONGEST = 2000


class Place:
    """What holds for the job: where the lock is, and how long a grant lasts."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.store()
        self.namespace = str(settings.value(opt.NAMESPACE) or opt.NAMESPACE.default)
        ttl = settings.value(opt.TTL)
        self.ttl = ttl if isinstance(ttl, int) else FULL_TTL_MS
        self.ttl_source = settings.sources["ttl"]
        self.dead_man = str(settings.value(opt.DEAD_MAN) or opt.DEAD_MAN.default)
        replicas = settings.value(opt.MIN_REPLICAS)
        self.min_replicas = replicas if isinstance(replicas, int) else 0
        self.isolation = str(settings.value(opt.ISOLATION) or opt.ISOLATION.default)
        self.source = settings.sources["store"]
        self.state = folder(settings.environ)

    @property
    def is_redis(self) -> bool:
        """Whether users and rights are a question at all."""
        return not self.url.startswith("sqlite:")

    @property
    def times(self) -> LeaseTimes:
        """The times of a lease; the default's where the TTL is wrong."""
        return LeaseTimes(FULL_TTL_MS if ttl_problem(self.ttl) else self.ttl)


class Doctor:
    """One examination: what was found, and whether the store was to be reached."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.label = ""
        self.acl = ""
        self.sentinel_acl = ""
        self.store_down = False

    def examine(self, here: Here, job: str) -> None:
        """Do all checks; one that cannot be done does not keep the others from being done."""
        self.found.append(check_host.configuration(here.flags, os.environ))
        try:
            settings = Settings(here.flags, os.environ)
            self.found += check_host.permissions(settings.files)
            settings.for_job(job)
            place = Place(settings)
        except ConfigError as error:
            if self.found[0].level == OK:
                todo = "see `cronguard config check`"
                self.found[0] = Finding("configuration", FAILED, str(error), todo)
            self.found += check_host.kill_layers(opt.DEAD_MAN.default, opt.ISOLATION.default)
            return
        self._store(place)
        self.found.append(check_host.state_folder(place.state, _is_in(place)))
        self.found.append(check_host.waiting_records(place.state, self.label))
        self.found.append(check_host.waiting_reports(place.state))
        self.found += check_host.timing(place.ttl, place.ttl_source)
        self.found += check_host.kill_layers(place.dead_man, place.isolation)

    def _store(self, place: Place) -> None:
        try:
            history = open_history(place.url, place.namespace)
        except ValueError as error:
            text = f"{place.source}: {error}"
            self.found.append(Finding("store", FAILED, text, "correct its URL"))
            return
        except StoreDown as error:  # a Cluster is asked for its nodes first of all
            self.found.append(self._down(place, error))
            return
        with closing(history):
            self.label = history.label
            if place.is_redis:
                self._rights_needed(place)
                self.found += check_store.tls(place.url)
            try:
                self._reached(place, history)
            except StoreDown as error:
                self.found.append(self._down(place, error))

    def _down(self, place: Place, error: StoreDown) -> Finding:
        self.store_down = True
        todo = _refused_todo(place) if isinstance(error, StoreRefused) else _down_todo(place)
        return Finding("store", FAILED, _why(error, self.label), todo)

    def _rights_needed(self, place: Place) -> None:
        from cronguard.admin.check_rights import (  # noqa: PLC0415 - redis-py, 200 ms
            least,
            least_of_sentinels,
        )

        self.acl = least(place.url, place.namespace, replicas=place.min_replicas > 0)
        self.sentinel_acl = least_of_sentinels(place.url)

    def _reached(self, place: Place, history: History) -> None:
        self.found.append(check_store.reach(history, place.times.attempt))
        facts, off, error = check_store.ask(history)
        self.found += check_store.about(facts, place.times.px)
        self.found += check_store.group(facts, place.url, place.min_replicas)
        self.found.append(check_store.clock(facts, off, error))
        if place.is_redis:
            from cronguard.admin.check_rights import rights, rights_there  # noqa: PLC0415

            replicas = place.min_replicas > 0
            whoami = facts.get("whoami")
            self.found.append(rights(place.url, place.namespace, whoami, replicas=replicas))
            self.found += rights_there(place.url)
        self.found += check_store.names(history)

    @property
    def status(self) -> int:
        """The exit status that says it all."""
        if self.store_down:
            return exits.STORE_DOWN
        return exits.NO if worst(self.found) == FAILED else exits.DONE

    def as_json(self) -> dict[str, object]:
        """Return everything for programs."""
        return {
            "result": worst(self.found),
            "store": self.label or None,
            "checks": [finding.as_json() for finding in self.found],
            "acl": self.acl or None,
            "sentinel_acl": self.sentinel_acl or None,
        }

    def summary(self) -> str:
        """Return how many checks were how good."""
        levels = [finding.level for finding in self.found]
        failed, warnings = levels.count(FAILED), levels.count(WARNING)
        if not failed and not warnings:
            return "All is well."
        checks = "Nothing" if not failed else "1 check" if failed == 1 else f"{failed} checks"
        return f"{checks} failed; {warnings} warning{'' if warnings == 1 else 's'}."


def _is_in(place: Place) -> bool:
    """Tell whether the lock itself lies in the state folder."""
    return place.state is not None and place.url.startswith(f"sqlite://{place.state}/")


def _why(error: StoreDown, label: str) -> str:
    text = mask(str(error))
    return text if label in text else f"cannot use {label}: {text}"


def _down_todo(place: Place) -> str:
    if not place.is_redis:
        return f"it is named by {place.source}"
    return f"check that it runs there, and that this host may reach it; {place.source} names it"


def _refused_todo(place: Place) -> str:
    return f"check user, password and rights; {place.source} names it"


@click.command()
@click.argument("job", required=False, default="")
@with_store
def command(*, here: Here, job: str) -> int:
    """Check store, state folder, timing and kernel: can a run (of JOB) be guarded here?

    It starts and kills processes of its own, for about half a second; no job is touched.
    Status 0: all is well, or there are warnings; 1: something failed; 69: no store.
    """
    doctor = Doctor()
    doctor.examine(here, job)
    if here.as_json:
        say_json(doctor.as_json())
        return doctor.status
    rows = [
        [finding.check, finding.level, printable(finding.line, _LONGEST)]
        for finding in doctor.found
    ]
    say_table(_COLUMNS, rows, "")
    say(f"\n{doctor.summary()}")
    if doctor.acl:
        say(f"\nThe least that its Redis user needs:\n  {printable(doctor.acl, _LONGEST)}")
    if doctor.sentinel_acl:
        say(f"\nAnd that of its sentinels:\n  {printable(doctor.sentinel_acl, _LONGEST)}")
    return doctor.status
