"""OpenTelemetry: a trace for each run, over OTLP/HTTP in protobuf. The extra [otel].

    [reporters.otlp]
    endpoint = "https://otlp.example.com"   # /v1/traces is added; or endpoint_file
    headers_file = "/etc/cronguard/otlp"    # NAME: VALUE; or headers = { api-key = "…" }
    service = "cronguard"                   # service.name, with fields of the record
    attributes = { "deployment.environment.name" = "production" }
    compression = "gzip"                    # or none
    output = true                           # false: without the output's tail

What a section does not say, the environment does, as for every program that speaks OTLP:
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (as it stands) or OTEL_EXPORTER_OTLP_ENDPOINT, …_HEADERS and
…_COMPRESSION alike, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. With OTEL_SDK_DISABLED=true
nothing is sent. What one variable says by mistake is refused, without its text: it may be a secret.

Which spans there are stands in otlp_spans.py. By the OTLP specification 429, 502, 503 and 504 are
tried again, and Retry-After is kept to. So is 500, which it forbids to exporters whose spans might
then be there twice: ours have the ids of their run, and an outage must cost no report. A server
that took a part, or has something to say, has taken the request: that is said, and nothing is sent
again.

Roads not taken: opentelemetry-sdk with its exporter, which sends from threads, tries again for
longer than we have, follows redirects, and makes up ids of its own; gRPC, which needs one
package more for the same servers.
"""

from __future__ import annotations

import gzip
import os
from importlib import import_module
from urllib.parse import unquote

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from cronguard import __version__
from cronguard.config.reporter_otlp import COMPRESSIONS, HEADERS, lacks
from cronguard.core.words import printable
from cronguard.reporters.contract import Never, NotNow, Report, Reporter, Told
from cronguard.reporters.http import Answer, Sender, judge
from cronguard.reporters.otlp_spans import resource, spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

PATH = "/v1/traces"
_TYPE = "application/x-protobuf"
_RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"
_AGAIN = (429, 500, 502, 503, 504)
_SAID = 200


class Otlp(Reporter):
    """Sends to one server."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Take the settings. Raises: ValueError if they cannot be used."""
        super().__init__(settings)
        self.is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        if self.is_disabled:
            return
        self._wire = _wire()
        self._url = _endpoint(str(settings.get("endpoint") or ""))
        self._is_packed = _compression(str(settings.get("compression") or "")) == "gzip"
        self._headers = {
            "User-Agent": f"cronguard/{__version__}",
            **_headers(settings.get("headers")),
            "Content-Type": _TYPE,
            **({"Content-Encoding": "gzip"} if self._is_packed else {}),
        }
        self._resource = _split(os.environ.get(_RESOURCE, ""), _RESOURCE)
        if os.environ.get("OTEL_SERVICE_NAME"):
            self._resource["service.name"] = os.environ["OTEL_SERVICE_NAME"]
        self._sender = Sender(settings)

    def tell(self, report: Report, timeout: float) -> None:
        """Send the spans that the report is. Raises: NotNow, Never, Told."""
        if self.is_disabled:
            return
        found = spans(report, with_output=bool(self.settings.get("output", True)))
        body = self._wire.request(found, resource(report) | self._of_resource(report))
        if self._is_packed:
            body = gzip.compress(body, mtime=0)
        answer = self._sender.send(
            "POST",
            self._url,
            body,
            self._headers,
            timeout=timeout,
            judged_by=self._judge,
            well_known=PATH,
        )
        self._remark(answer, len(found))

    def _of_resource(self, report: Report) -> dict[str, str]:
        """Return the attributes that the section says, or else the environment."""
        own = self.settings.get("attributes")
        said = dict(own) if isinstance(own, dict) else {}
        if self.settings.get("service"):
            said["service.name"] = str(self.settings["service"])
        found = self._resource | {name: report.fill(str(value)) for name, value in said.items()}
        return {printable(name): printable(value, 2_000) for name, value in found.items()}

    def _judge(self, where: str, answer: Answer) -> Answer:
        """Say what an answer means, by the specification. Raises: NotNow, Never."""
        if answer.status < 400:
            return judge(where, answer)
        text = f"{where} answers {answer.status}"
        said = self._wire.said(answer.body) if _is_protobuf(answer) else answer.said
        text += f": {printable(said, _SAID)}" if said else ""
        if answer.status in _AGAIN:
            raise NotNow(text, answer.retry_after)
        raise Never(text)

    def _remark(self, answer: Answer, sent: int) -> None:
        """Say what a server has to say of what it took. Raises: Told, Never."""
        lost, said = self._wire.refused(answer.body) if _is_protobuf(answer) else (0, "")
        if not lost and not said:
            return
        because = f": {answer.masked(printable(said, _SAID))}" if said else ""
        if lost >= sent:
            raise Never(f"the server refused all {sent} spans{because}")
        if lost:
            raise Told(f"the server refused {lost} of {sent} spans{because}")
        raise Told(f"the server took it, and says{because}")


def _wire() -> ModuleType:
    """Return the module that needs the package. Raises: ValueError if that is missing."""
    try:
        return import_module("cronguard.reporters.otlp_wire")
    except ModuleNotFoundError:
        raise ValueError(lacks() or "a part of opentelemetry-proto is missing") from None


def _is_protobuf(answer: Answer) -> bool:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() == _TYPE


# -- what the section says, or the environment -----------------------------------------------------


def _of_environment(name: str) -> tuple[str, str]:
    """Return what OTEL_EXPORTER_OTLP_… says, that for traces before that for all, and its name."""
    for found in (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        if os.environ.get(found):
            return os.environ[found], found
    return "", ""


def _endpoint(said: str) -> str:
    """Return where traces go. Raises: ValueError, without the address: it may have a secret."""
    if said:
        return _address(said, "endpoint", is_base=True)
    said, name = _of_environment("ENDPOINT")
    if not said:
        raise ValueError(
            "it has no endpoint; set endpoint, endpoint_file or OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    protocol, which = _of_environment("PROTOCOL")
    if protocol.strip().lower() == "grpc":
        why = f"{which} is grpc, which cronguard does not speak"
        raise ValueError(f"{why}; set endpoint to where the server takes http/protobuf (port 4318)")
    return _address(said, name, is_base="TRACES" not in name)


def _address(said: str, name: str, *, is_base: bool) -> str:
    """Return an address; of a base, with the path of traces, unless it ends with it."""
    try:
        found = parse_url(said.strip())
    except LocationParseError:
        found = None
    if found is None or found.scheme not in ("http", "https") or not found.host:
        raise ValueError(f"{name}: it is no URL; write https://HOST/…")
    path = (found.path or "").rstrip("/")
    if not is_base or path.endswith(PATH):
        return found._replace(fragment=None).url
    return found._replace(path=path + PATH, fragment=None).url


def _compression(said: str) -> str:
    found, name = (said, "") if said else _of_environment("COMPRESSION")
    if found and found not in COMPRESSIONS:
        raise ValueError(f"{name}: it takes one of {', '.join(COMPRESSIONS)}")
    return found or "gzip"


def _headers(said: object) -> dict[str, str]:
    """Return headers: of a table, of the line of a file, or of the environment."""
    if isinstance(said, dict) and said:
        return dict(said)
    if isinstance(said, str) and said:
        name, colon, value = said.partition(":")
        is_line = colon and "=" not in name
        found = {name.strip(): value.strip()} if is_line else _split(said, "headers_file")
        return _checked(found, "headers_file")
    text, which = _of_environment("HEADERS")
    return _checked(_split(text, which), which)


def _checked(found: dict[str, str], where: str) -> dict[str, str]:
    """Return *found*. Raises: ValueError, which shows none of it, as any part may be the secret."""
    for number, (name, value) in enumerate(found.items(), 1):
        try:
            HEADERS.one(name, value)
        except ValueError:
            why = f"its header {number} has a name or a value that no request may have"
            raise ValueError(f"{where}: {why}; write NAME=VALUE,…, percent-encoded") from None
    return found


def _split(text: str, where: str) -> dict[str, str]:
    """Return `NAME=VALUE,NAME=VALUE`, percent-decoded, as W3C Baggage has it.

    Raises: ValueError, which shows none of it.
    """
    found: dict[str, str] = {}
    for number, one in enumerate(text.split(","), 1):
        name, equals, value = one.partition("=")
        if not one.strip():
            continue
        if not equals or not name.strip():
            raise ValueError(f"{where}: its part {number} is not NAME=VALUE; write NAME=VALUE,…")
        found[unquote(name.strip())] = unquote(value.strip())
    return found
