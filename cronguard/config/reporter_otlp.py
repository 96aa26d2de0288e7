"""What the sections of the type otlp may say. See cronguard/reporters/otlp.py."""

from __future__ import annotations

import sys

from cronguard.config.reporter_headers import Headers
from cronguard.config.reporter_rows import Setting, one_of, switch, text
from cronguard.config.values import shown

COMPRESSIONS = ("gzip", "none")
HEADERS = Headers('{ api-key = "…" }', "-_.", "content-encoding")


def attributes(value: object) -> dict[str, str]:
    """Return attributes by name: `{ "deployment.environment.name" = "production" }`."""
    if not isinstance(value, dict):
        example = '{ "deployment.environment.name" = "production" }'
        raise ValueError(f"it takes a table of texts; write {example}")  # noqa: TRY004
    for name, said in value.items():
        if not 0 < len(name) <= 200 or not name.isprintable() or isinstance(said, dict):
            raise ValueError(f"{shown(name)} is no name of an attribute; put it in quotes")
        try:
            text(said)
        except ValueError as error:
            raise ValueError(f"{shown(name)}: {error}") from None
    return dict(value)


def lacks() -> str:
    """Return what to do about the package that is not installed, or ""."""
    from importlib.util import find_spec  # noqa: PLC0415 - runs that report need not know

    try:
        found = find_spec("opentelemetry.proto.trace")
    except ModuleNotFoundError:
        found = None
    if found is not None:
        return ""
    install = f"{sys.executable} -m pip install 'cronguard-supervisor[otel]'"
    return f"the package opentelemetry-proto is not installed; do `{install}`"


SETTINGS = (
    Setting("endpoint", text, "", "Where to send to; /v1/traces is added.", is_secret=True),
    Setting("headers", HEADERS.read, {}, "More headers, by name.", is_secret=True),
    Setting("service", text, "", "Default: OTEL_SERVICE_NAME, or cronguard; as {job}."),
    Setting("attributes", attributes, {}, "More attributes of the resource, by name."),
    Setting("compression", one_of(*COMPRESSIONS), "", "gzip, which is the default, or none."),
    Setting("output", switch, True, "The output's end is an attribute of the trace."),
)
