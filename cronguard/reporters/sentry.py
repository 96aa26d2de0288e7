"""Sentry: check-ins of a cron monitor for each run, an issue for each failure.

    [reporters.sentry]
    dsn_file = "/etc/cronguard/sentry"  # or dsn = "https://KEY@HOST/PROJECT"; else SENTRY_DSN
    environment = "production"          # else SENTRY_ENVIRONMENT, else production
    release = "shop@2.3"                # else SENTRY_RELEASE, else none
    monitor = "{job}"                   # the monitor's slug; what it may not hold becomes a dash
    margin = "5m"                       # how late a run may begin before it counts as missed
    max_runtime = "1h"                  # how long one may last; else a minute more than --timeout
    failure_issue_threshold = 2         # so many failures in a row make an issue of the monitor
    recovery_threshold = 1              # so many successes in a row close it
    owner = "team:ops"
    tags = { team = "ops", for = "{user}" }
    check_ins = true                    # false: issues alone
    errors = true                       # false: check-ins alone
    heartbeat = true                    # a skip says that the run in its way goes on
    output = true                       # the output's tail goes with the issue, as a file

The monitor is made, and kept, as the run's --schedule and --tz or its --once PERIOD say; without
them it must be there already. Which of its settings are not said here stay as they are in Sentry.
`on`, `after`, `changes` and `mute` keep check-ins back, too, and what does not check in is missed:
leave them, and use the thresholds, or mute the monitor in Sentry. What is sent for which outcome,
and why, stands in sentry_items.py.

Envelopes are made with the classes of sentry-sdk, and sent by http.py. Roads not taken: its client,
which would add what it finds in this process (modules, argv, frames, variables, the name of the
host), reads a dozen variables of the environment, follows redirects, and sends from a thread.

Check-ins and events go in envelopes of their own, as Sentry demands. Where it takes no more of
them, it says for how long: for some minutes the report waits; for longer it is let go, as Sentry
demands as well: a quota that is used up for the rest of the month must not keep check-ins back.
"""

from __future__ import annotations

import math
import os
import time
from datetime import UTC, datetime

from sentry_sdk.envelope import Envelope, Item, PayloadRef
from sentry_sdk.utils import Dsn

from cronguard import __version__
from cronguard.core.redact import MASK
from cronguard.core.words import span
from cronguard.reporters.contract import Never, NotNow, Report, Reporter
from cronguard.reporters.http import Answer, Sender, judge
from cronguard.reporters.sentry_items import Items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE_SECONDS = 600
"""How long a report may wait for Sentry to take more; everything after it waits, too."""
_UNSAID_SECONDS = 60
_MONITOR = ("monitor", "")
_EVENT = ("error", "default", "")
"""Categories that a limit may name; none is all of them."""


class Limited(NotNow):
    """Sentry takes no more of that for now: `after` seconds."""


class Sentry(Reporter):
    """Tells one project."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Take the settings. Raises: ValueError if they cannot be used."""
        super().__init__(settings)
        self._sender = Sender(settings)
        found = str(settings.get("dsn") or os.environ.get("SENTRY_DSN") or "")
        if not found:
            raise ValueError("it has no DSN; set dsn, dsn_file or SENTRY_DSN")
        try:
            found.encode("ascii")
            dsn = Dsn(found)
            port = dsn.port
        except ValueError:  # its text has parts of the DSN
            raise ValueError("the DSN cannot be read; it is https://KEY@HOST/PROJECT") from None
        if dsn.scheme == "http" and not self._sender.allow_http:
            raise ValueError("the DSN is not encrypted; use https:, or set allow_http = true")
        self._key = dsn.public_key.encode()
        host = f"[{dsn.host}]" if ":" in dsn.host else dsn.host
        at = "" if port == {"http": 80, "https": 443}[dsn.scheme] else f":{port}"
        self._url = f"{dsn.scheme}://{host}{at}{dsn.path}api/{dsn.project_id}/envelope/"
        self._headers = {
            "Content-Type": "application/x-sentry-envelope",
            "X-Sentry-Auth": dsn.to_auth(f"cronguard/{__version__}").to_header(),
            "User-Agent": f"cronguard/{__version__}",
        }
        self._limits: dict[str, float] = {}
        environment = settings.get("environment") or os.environ.get("SENTRY_ENVIRONMENT")
        release = settings.get("release") or os.environ.get("SENTRY_RELEASE")
        self._items = Items(
            {**settings, "release": release},
            str(environment or "production"),
            f"{dsn.host}/{dsn.project_id}",
        )

    def tell(self, report: Report, timeout: float) -> None:
        """Send what the report is. Raises: NotNow, Never."""
        until = time.monotonic() + timeout
        refused = []
        for envelope, categories in self._envelopes(report):
            try:
                self._send(envelope, categories, until)
            except Limited as error:
                if error.after <= PATIENCE_SECONDS:
                    raise
                refused.append(str(error))
        if refused:
            raise Never("; ".join(refused))

    def _envelopes(self, report: Report) -> Iterator[tuple[Envelope, tuple[str, ...]]]:
        """Yield them with their categories: the check-in first, as its moment counts."""
        now = time.time()
        sent_at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        headers = {"sent_at": sent_at.replace("+00:00", "Z")}
        if self.settings.get("check_ins", True):
            check_in = self._items.check_in(report, int(now * 1000))
            if check_in is not None:
                item = Item(PayloadRef(json=check_in), type="check_in")
                yield Envelope(headers, [item]), _MONITOR
        if self.settings.get("errors", True):
            event = self._items.event(report)
            if event is not None:
                items = [Item(PayloadRef(json=event), type="event")]
                output = self._items.output(report)
                if output:
                    file = {"filename": "output.txt", "attachment_type": "event.attachment"}
                    kind = "text/plain; charset=utf-8"
                    items.append(Item(output, file, type="attachment", content_type=kind))
                yield Envelope({"event_id": event["event_id"], **headers}, items), _EVENT

    def _send(self, envelope: Envelope, categories: tuple[str, ...], until: float) -> None:
        def heard(where: str, answer: Answer) -> Answer:
            self._note_limits(answer)
            if answer.status == 429:
                raise self._limited(where, categories)
            body = answer.body.replace(self._key, MASK.encode())  # it may say whom it did not know
            return judge(where, Answer(answer.status, answer.headers, body))

        if self._left(categories) > 0:  # it has said so already
            raise self._limited("Sentry", categories)
        left = until - time.monotonic()
        if left <= 0:
            raise NotNow("there was no time left")
        body = envelope.serialize()
        self._sender.send("POST", self._url, body, self._headers, timeout=left, judged_by=heard)

    # -- limits -----------------------------------------------------------------------------------

    def _note_limits(self, answer: Answer) -> None:
        """Keep what an answer says of limits; any answer may."""
        now = time.monotonic()
        found = limits(answer.headers.get("X-Sentry-Rate-Limits", ""))
        if not found and answer.status == 429:
            found = {"": answer.retry_after or _UNSAID_SECONDS}
        for category, seconds in found.items():
            self._limits[category] = max(self._limits.get(category, 0.0), now + seconds)

    def _left(self, categories: tuple[str, ...]) -> float:
        """Return for how many seconds none of *categories* is taken."""
        now = time.monotonic()
        return max([self._limits.get(category, 0.0) - now for category in categories])

    def _limited(self, where: str, categories: tuple[str, ...]) -> Limited:
        after = max(self._left(categories), 1.0)
        what = "check-ins" if categories == _MONITOR else "events"
        return Limited(f"{where} takes no more {what} for {span(int(after * 1000))}", after)


def limits(header: str) -> dict[str, float]:
    """Return the seconds by category in `60:error;monitor:organization, 2700::key`; "" is all."""
    found: dict[str, float] = {}
    for limit in header.split(","):
        seconds_text, _, rest = limit.strip().partition(":")
        try:
            seconds = float(seconds_text)
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds > 0:
            for category in rest.partition(":")[0].split(";"):
                found[category] = max(found.get(category, 0.0), seconds)
    return found
