"""Healthchecks, at healthchecks.io or on one's own server: a ping for each report.

    [reporters.healthchecks]
    url_file = "/etc/cronguard/ping-url"    # or url = "https://hc-ping.com/UUID": one check

    [reporters.healthchecks]
    ping_key_file = "/etc/cronguard/ping-key"
    slug = "{job}"                          # what it may not hold becomes a dash
    create = true                           # make a check that is not there yet
    api = "https://hc.example.com/ping"     # a server of one's own; else https://hc-ping.com
    body_limit = "100k"                     # how much of the output to send, if the server takes it
    output = true                           # false: no output

| event | ping |
|---|---|
| start | `/start` |
| success, recovery | success |
| failure | `/N`, the exit status of a command that failed; else `/fail` |
| stop | `/fail`: its work is not done; `/log` if another run replaced it, which pings by itself |
| skip | `/log`: the run in its way pings by itself; success if the job is paused, which is meant |
| warning | `/log` |

After the service's documentation (Pinging API; measuring script run time): each ping has the run's
id as `rid`, a UUID, by which the service finds the start of a run and measures how long it took. A
body is kept up to `Ping-Body-Limit` bytes *from its start*, so what is too long is cut here, at its
start, as the end of an output counts. The limit is known from the answer to an earlier ping; before
that it is what servers have unless told otherwise: 100 kB at hc-ping.com, 10 kB elsewhere. If the
server then says that it kept less, the end is sent once more, as `/log`.

hc-ping.com answers with 200, too, where it ignores a ping: `OK (not found)`, `OK (rate limited)`,
the latter to more than some five pings a minute for one check. A ping counts when it comes in: the
body says it if that is much later than what it tells of. Where many hosts compete for a job, their
skips alone are more than that: such a log is let go without a word, as waiting for its turn it
would hold up what counts; and they can be left out (`on`, with `paused`).
"""

from __future__ import annotations

import hashlib
import time
from uuid import UUID

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from cronguard.core import record as records
from cronguard.core import telling
from cronguard.core.words import span
from cronguard.reporters.contract import Never, NotNow, Report, Reporter
from cronguard.reporters.http import Answer, Sender, judge
from cronguard.reporters.summary import headline, tail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PUBLIC = "https://hc-ping.com"
_PUBLIC_LIMIT, _USUAL_LIMIT = 100_000, 10_000
_SLUG = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_SLUG_LENGTH = 100
_LATE_MS = 120_000
_PATIENCE_SECONDS = 60.0
_TYPE = {"Content-Type": "text/plain; charset=utf-8"}


class Limited(NotNow):
    """The service takes no more pings for that check in this minute."""


class Healthchecks(Reporter):
    """Pings one check, or the check of each job."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Take the settings. Raises: ValueError if they cannot be used."""
        super().__init__(settings)
        self.url = str(settings.get("url") or "")
        self.key = str(settings.get("ping_key") or "")
        self.api = str(settings.get("api") or PUBLIC).rstrip("/")
        if bool(self.url) == bool(self.key):
            raise ValueError("it takes url, or ping_key with slug; set one of them")
        _check("url" if self.url else "api", self.url or self.api)
        if self.key and not set(self.key.lower()) <= _SLUG:
            raise ValueError("ping_key: it has letters, digits, - and _ alone")
        usual = _PUBLIC_LIMIT if (self.url or self.api).startswith(PUBLIC) else _USUAL_LIMIT
        said = settings.get("body_limit")
        self._most = said if isinstance(said, int) else None
        self._limit = usual if self._most is None else self._most
        self._sender = Sender(settings)

    def tell(self, report: Report, timeout: float) -> None:
        """Ping. Raises: NotNow, Never."""
        until = time.monotonic() + timeout
        action = action_of(report)
        body = self._body(report, int(time.time() * 1000))
        try:
            self._ping(report, action, body, timeout)
        except Limited:
            if report.event == telling.SKIP and action == "/log":
                return
            raise
        left = until - time.monotonic()
        if len(body) > self._limit and left > 0:
            try:
                self._ping(report, "/log", self._body(report, report.at), left)
            except (NotNow, Never):
                pass  # the ping itself has come through

    def _ping(self, report: Report, action: str, body: bytes, timeout: float) -> None:
        url = self._address(report, action)
        answer = self._sender.send("POST", url, body, _TYPE, timeout=timeout, judged_by=_judge)
        limit = answer.headers.get("Ping-Body-Limit", "")
        if limit.isascii() and limit.isdecimal() and len(limit) < 10:
            self._limit = int(limit) if self._most is None else min(int(limit), self._most)

    def _address(self, report: Report, action: str) -> str:
        run = f"rid={run_uuid(report.run_id)}"
        if self.url:
            address, mark, query = self.url.partition("#")[0].partition("?")
            return f"{address.rstrip('/')}{action}?{query}{'&' if mark and query else ''}{run}"
        name = slug(report.fill(str(self.settings.get("slug") or "{job}")))
        create = "create=1&" if self.settings.get("create") else ""
        return f"{self.api}/{self.key}/{name}{action}?{create}{run}"

    def _body(self, report: Report, now: int) -> bytes:
        """Return a line of what happened, and as much of the output's end as fits."""
        head = headline(report)
        if now - report.at > _LATE_MS:
            head += f" (told {span(now - report.at)} late)"
        line = f"{head}\n".encode("utf-8", "replace")[: self._limit]
        said = report.text("output_tail") if self.settings.get("output", True) else ""
        if report.event == telling.START or not said:
            return line
        return line + tail(f"\n{said}", self._limit - len(line)).encode()


def action_of(report: Report) -> str:
    """Return what stands after the address of a check; the head of this module says why."""
    reason = report.text("reason")
    match report.event:
        case telling.START:
            return "/start"
        case telling.SUCCESS | telling.RECOVERY:
            return ""
        case telling.STOP:
            return "/log" if reason == "replaced" else "/fail"
        case telling.SKIP:
            return "" if reason == "paused" else "/log"
        case telling.FAILURE:
            status = report.number("exit_status")
            is_plain = report.text("outcome") == records.FAILED
            return f"/{status}" if is_plain and status is not None and 0 < status < 256 else "/fail"
    return "/log"


def slug(text: str) -> str:
    """Return what the service takes as a slug, from *text*, as near to it as can be."""
    shown = "".join([c if c in _SLUG else "-" for c in text.lower()]).strip("-")
    if shown and len(shown) <= _SLUG_LENGTH:
        return shown
    mark = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{shown[: _SLUG_LENGTH - 9]}-{mark}".lstrip("-")


def run_uuid(run_id: str) -> str:
    """Return a run's id as a UUID in the form that the service demands: in lower case, dashed."""
    try:
        return str(UUID(hex=run_id))
    except ValueError:  # a record of another make
        return str(UUID(hex=hashlib.sha256(run_id.encode("utf-8", "replace")).hexdigest()[:32]))


def _check(name: str, url: str) -> None:
    try:
        found = parse_url(url)
    except LocationParseError:
        found = None
    if found is None or found.scheme not in ("http", "https") or not found.host:
        raise ValueError(f"{name}: it is no URL; write https://HOST/…")
    if name == "url" and not (found.path or "").strip("/"):
        raise ValueError("url: it names no check; copy the whole ping URL")


def _judge(where: str, answer: Answer) -> Answer:
    """Say what an answer means: 200 is not always one. Raises: NotNow, Never."""
    if answer.status == 409:
        raise Never(f"{where} knows several checks with this slug; rename one, or use its url")
    is_ok = 200 <= answer.status < 300
    if answer.status == 404 or (is_ok and answer.body.startswith(b"OK (not found)")):
        hint = "look at url, or ping_key and slug; create = true makes a check that is not there"
        raise Never(f"{where} knows no such check; {hint}")
    if is_ok and answer.body.startswith(b"OK (rate limited)"):
        raise Limited(f"{where} takes no more pings for this check in a minute", _PATIENCE_SECONDS)
    return judge(where, answer)
