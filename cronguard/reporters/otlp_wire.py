"""Spans as OTLP has them, in protobuf, and what a server answers. The only file with that package.

Loaded on use, as the package opentelemetry-proto is there only with the extra [otel].
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as trace

from cronguard import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.reporters.otlp_span import Span, Value

_NS = 1_000_000
_MOST = (1 << 63) - 1
_SAMPLED = trace.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | 1
"""Its trace is recorded, and its parent is of this process."""


def request(spans: list[Span], resource: Mapping[str, Value]) -> bytes:
    """Return the body of a request that has these spans."""
    scope = trace.ScopeSpans(
        scope=InstrumentationScope(name="cronguard", version=__version__),
        spans=[_span(one) for one in spans],
    )
    of_one = trace.ResourceSpans(
        resource=Resource(attributes=_attributes(resource)), scope_spans=[scope]
    )
    return ExportTraceServiceRequest(resource_spans=[of_one]).SerializeToString()


def refused(body: bytes) -> tuple[int, str]:
    """Return how many spans a server did not take of a request that it took, and what it says."""
    try:
        found = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return 0, ""
    return max(found.rejected_spans, 0), found.error_message


def said(body: bytes) -> str:
    """Return what a server says in a refusal, which is a google.rpc.Status.

    Its code and message have the numbers and kinds of our own message's fields; so the package that
    has a class for it is not needed.
    """
    try:
        return ExportTracePartialSuccess.FromString(body).error_message
    except DecodeError:
        return ""


def _span(one: Span) -> trace.Span:
    code = trace.Status.STATUS_CODE_ERROR if one.error else trace.Status.STATUS_CODE_UNSET
    return trace.Span(
        trace_id=bytes.fromhex(one.trace_id),
        span_id=bytes.fromhex(one.span_id),
        parent_span_id=bytes.fromhex(one.parent_id),
        flags=_SAMPLED,
        name=one.name,
        kind=trace.Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=one.started_at * _NS,
        end_time_unix_nano=one.ended_at * _NS,
        attributes=_attributes(one.attributes),
        events=[
            trace.Span.Event(time_unix_nano=at * _NS, name=name, attributes=_attributes(found))
            for at, name, found in one.events
        ],
        links=[
            trace.Span.Link(trace_id=bytes.fromhex(of), span_id=bytes.fromhex(to))
            for of, to in one.links
        ],
        status=trace.Status(code=code, message=one.error),
    )


def _attributes(found: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in found.items()]


def _value(value: Value) -> AnyValue:
    if isinstance(value, list):
        found = AnyValue()
        found.array_value.values.extend([_value(one) for one in value])
        return found
    if isinstance(value, int) and abs(value) <= _MOST:
        return AnyValue(int_value=value)
    return AnyValue(string_value=str(value))
