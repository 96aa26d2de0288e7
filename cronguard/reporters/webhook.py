"""Webhooks: a POST for each report, to a program of one's own or to a chat.

    [reporters.chat]
    type = "webhook"
    url_file = "/etc/cronguard/slack-url"   # or url = "https://…": who knows it may post
    template = "slack"                      # or teams, discord; json is usual
    text = "<!channel> {job} failed on {host}: {reason}"    # in its own markup; else what is usual
    output = true                           # false: without the output's tail

    [reporters.hook]
    type = "webhook"
    url = "https://example.com/hook"
    secret_file = "/etc/cronguard/hook-secret"  # signs: whsec_ and base64 of 24 to 64 random bytes
    headers = { Authorization = "Bearer …" }
    body = '{"alert": "{job}", "took_ms": {duration_ms}}'   # instead of the JSON below
    content_type = "application/json"

Fields are those of the record, and `event`, `failures`, `namespace` and `warning`. In a `body` of
JSON a field within quotes is escaped for them, and one outside is a JSON value of its own; in a
`body` of another type it is as it is.

The JSON has `type` (`run.` and the event), `timestamp` (when it happened), `id`, and `data`:
`summary` (a line of what happened), `namespace`, `failures` (in a row, null if nobody knows),
`warning` (null but for one), and `record`, as `cronguard show --json` has it.

Requests are those of Standard Webhooks 1.0, so that receivers have a library in their language:
`webhook-id`, `webhook-timestamp`, and with a secret `webhook-signature: v1,BASE64` of HMAC-SHA256
over `ID.TIMESTAMP.BODY`, one for each secret (two while one is replaced by another). Road not
taken: a header of our own like that of Stripe, which each receiver would have to write code for.
The id is the same whenever a report is sent again; it is the `Idempotency-Key`, too (a draft of
the IETF: a string in quotes).

Each chat's rules stand in chats.py. Discord says only with `wait=true` whether it kept a message,
so that is added. Connectors of Teams, which its Workflows replaced, say 200 to what they refuse.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from cronguard.config.reporter_webhook import HEADERS
from cronguard.core import record as records
from cronguard.reporters import chats
from cronguard.reporters.contract import EXTRA, Never, NotNow, Report, Reporter
from cronguard.reporters.http import Answer, Sender, judge
from cronguard.reporters.summary import headline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_JSON = "application/json"
_CHATS = {"slack": chats.slack, "teams": chats.teams, "discord": chats.discord}
_PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64
_TOKEN = re.compile(r'\\.|"|\{([a-z_]+)\}', re.DOTALL)
_REFUSED = b"Webhook message delivery failed"


class Webhook(Reporter):
    """Posts to one address."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Take the settings. Raises: ValueError if they cannot be used."""
        super().__init__(settings)
        self.template = str(settings.get("template") or "json")
        self.text = str(settings.get("text") or "")
        self.body = str(settings.get("body") or "")
        self.content_type = str(settings.get("content_type") or _JSON)
        self.url = _address(str(settings.get("url") or ""), self.template)
        self._keys = _keys(str(settings.get("secret") or ""))
        self._headers = _headers(settings.get("headers"))
        self._check_body()
        self._sender = Sender(settings)

    def _check_body(self) -> None:
        if self.body and (self.text or self.template != "json"):
            raise ValueError("body is a form of its own; leave out template and text, or body")
        if self.text and self.template == "json":
            raise ValueError("text is for a chat; set template to slack, teams or discord, or body")
        if not self.body and self.content_type != _JSON:
            raise ValueError("content_type is for a body of your own; set body, or leave it out")
        if self.body and self.is_json:
            try:
                json.loads(fill_json(self.body, _known))
            except ValueError as error:
                why = f"body: with its fields filled it is no JSON ({error})"
                raise ValueError(f"{why}; write {{field}} within quotes, or as a value") from None

    @property
    def is_json(self) -> bool:
        """Whether `body` is JSON."""
        kind = self.content_type.partition(";")[0].strip().lower()
        return kind == _JSON or kind.endswith("+json")

    def tell(self, report: Report, timeout: float) -> None:
        """Post. Raises: NotNow, Never."""
        id_ = message_id(report)
        body = self._content(report, id_)
        now = int(time.time())
        fields = {
            **self._headers,
            "Content-Type": self.content_type,
            "Idempotency-Key": f'"{id_}"',
            "webhook-id": id_,
            "webhook-timestamp": str(now),
        }
        if self._keys:
            fields["webhook-signature"] = signature(self._keys, id_, now, body)
        self._sender.send("POST", self.url, body, fields, timeout=timeout, judged_by=self._judge)

    def _content(self, report: Report, id_: str) -> bytes:
        if self.body:
            filled = fill_json(self.body, report.field) if self.is_json else report.fill(self.body)
            return filled.encode("utf-8", "replace")
        is_told = bool(self.settings.get("output", True))
        chat = _CHATS.get(self.template)
        if chat is not None:
            said = chat(report, self.text, report.text("output_tail") if is_told else "")
        else:
            said = message(report, id_, with_output=is_told)
        return _dumps(said).encode("utf-8", "replace")

    def _judge(self, where: str, answer: Answer) -> Answer:
        """Say what an answer means. Raises: NotNow, Never."""
        if self.template == "teams" and answer.body.startswith(_REFUSED):
            text = f"{where} refuses: {answer.said}"
            raise NotNow(text, 30) if b"429" in answer.body else Never(text)
        return judge(where, answer)


def message_id(report: Report) -> str:
    """Return what is the same whenever this report is sent, and different for any other."""
    parts = (report.namespace, report.job, report.run_id, report.event, str(report.at))
    told = "\n".join(parts).encode("utf-8", "replace")
    return f"cg_{hashlib.sha256(told).hexdigest()[:32]}"


def message(report: Report, id_: str, *, with_output: bool) -> dict[str, object]:
    """Return the JSON that stands at the head of this module."""
    record = dict(report.record)
    if not with_output:
        record.pop("output_tail", None)
    return {
        "type": f"run.{report.event}",
        "timestamp": records.utc(report.at),
        "id": id_,
        "data": {
            "summary": headline(report),
            "namespace": report.namespace,
            "failures": report.failures,
            "warning": report.warning,
            "record": record,
        },
    }


def signature(keys: list[bytes], id_: str, now: int, body: bytes) -> str:
    """Return a signature by each key; *now* in seconds since the epoch."""
    signed = f"{id_}.{now}.".encode() + body
    made = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    return " ".join([f"v1,{base64.b64encode(one).decode('ascii')}" for one in made])


def fill_json(template: str, field: Callable[[str], tuple[bool, object]]) -> str:
    """Return *template*, which is JSON but for its fields, with these; *field* as Report.field."""
    inside = False

    def put(found: re.Match[str]) -> str:
        nonlocal inside
        if found[0] == '"':
            inside = not inside
        if found[1] is None:
            return found[0]
        known, value = field(found[1])
        if not known:
            return found[0]
        if not inside:
            return _dumps(value)
        return _dumps("" if value is None else str(value))[1:-1]

    return _TOKEN.sub(put, template)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _known(name: str) -> tuple[bool, object]:
    """Return a value for each field that a record may have, to try a body with."""
    return name in EXTRA or name in records.FIELDS, "x"


def _address(url: str, template: str) -> str:
    if not url:
        raise ValueError("it has no url; set url or url_file")
    try:
        found = parse_url(url)
    except LocationParseError:
        found = None
    if found is None or found.scheme not in ("http", "https") or not found.host:
        raise ValueError("url: it is no URL; write https://HOST/…")
    if template == "discord" and "wait=" not in (found.query or ""):
        query = f"{found.query}&wait=true" if found.query else "wait=true"
        return found._replace(query=query).url
    return url


def _keys(text: str) -> list[bytes]:
    """Return the keys in *text*. Raises: ValueError, which does not show them."""
    keys = []
    for one in text.split():
        bare = one.removeprefix(_PREFIX).rstrip("=")
        try:
            key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
            raise ValueError(
                "secret: it is not the base64 of 24 to 64 bytes; make one with "
                "`echo whsec_$(openssl rand -base64 32)`"
            )
        keys.append(key)
    return keys


def _headers(said: object) -> dict[str, str]:
    """Return headers of a table, or of the line `NAME: VALUE` of a file."""
    if isinstance(said, str) and said:
        name, colon, value = said.partition(":")
        if not colon:
            raise ValueError("headers_file: it takes one line, NAME: VALUE")
        return {name.strip(): HEADERS.one(name.strip(), value.strip())}
    return dict(said) if isinstance(said, dict) else {}
