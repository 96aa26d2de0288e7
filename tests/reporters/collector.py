"""A server that takes traces as OTLP/HTTP demands, and refuses what its specification forbids.

After opentelemetry.io/docs/specs/otlp and the comments in trace.proto. What does not hold to them
is answered with 400 and the reason, so that a test sees it as a report that was let go.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.reporters.receiver import Answer, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterable
    from http.server import BaseHTTPRequestHandler

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

    from tests.reporters.receiver import Request

PROTOBUF = "application/x-protobuf"
FROM_NS, TO_NS = 1_500_000_000 * 10**9, 5_000_000_000 * 10**9
"""Of 2017 and 2128: what is given in another unit lies beyond."""


class Collector(Receiver):
    """Takes traces at `path`; what it took stands in `taken`."""

    def __init__(self, path: str = "/v1/traces") -> None:
        super().__init__()
        self.path = path
        self.taken: list[ExportTraceServiceRequest] = []
        self.usual = Answer(headers={"Content-Type": PROTOBUF}, body=b"")
        self.check = self._check
        self._found = ExportTraceServiceRequest()

    def _check(self, request: Request) -> None:
        self._found = checked(request, self.path)

    def _answer(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.status == 200:
            self.taken.append(self._found)
        super()._answer(handler, answer)

    @property
    def spans(self) -> list[Span]:
        """Every span that was taken, in order."""
        return [
            span
            for request in self.taken
            for of_one in request.resource_spans
            for scope in of_one.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self) -> dict[str, object]:
        """The attributes of the only resource of the last request."""
        (of_one,) = self.taken[-1].resource_spans
        return attributes(of_one.resource.attributes)


def took(rejected: int, message: str) -> Answer:
    """Return an answer to a request of which so many spans were refused."""
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    return Answer(headers={"Content-Type": PROTOBUF}, body=body)


def attributes(found: Iterable[KeyValue]) -> dict[str, object]:
    """Return attributes by name. Raises: AssertionError if one is there twice, or is empty."""
    said: dict[str, object] = {}
    for one in found:
        assert one.key, "an attribute without a name"
        assert one.key not in said, f"{one.key} is there twice"
        kind = one.value.WhichOneof("value")
        assert kind, f"{one.key} has no value"
        value = MessageToDict(one.value)
        said[one.key] = one.value.int_value if kind == "int_value" else next(iter(value.values()))
    return said


def checked(request: Request, path: str) -> ExportTraceServiceRequest:
    """Return what a request has. Raises: AssertionError if it is not as it must be."""
    assert (request.method, request.path) == ("POST", path), "method or path"
    assert request.headers["Content-Type"] == PROTOBUF, "content type"
    packing = request.headers.get("Content-Encoding", "identity")
    assert packing in ("identity", "gzip"), f"content encoding {packing}"
    body = gzip.decompress(request.body) if packing == "gzip" else request.body
    found = ExportTraceServiceRequest.FromString(body)
    assert found.resource_spans, "no resource"
    for of_one in found.resource_spans:
        assert attributes(of_one.resource.attributes)["service.name"], "service.name"
        for scope in of_one.scope_spans:
            assert scope.scope.name, "the scope's name"
            _check_trace(list(scope.spans))
    return found


def _check_trace(spans: list[Span]) -> None:
    """Look at all that one run sends: one trace, its ids, its times, its tree."""
    assert spans, "no spans"
    for span in spans:
        _check_span(span)
    assert len({span.trace_id for span in spans}) == 1, "several traces"
    ids = {span.span_id: span for span in spans}
    assert len(ids) == len(spans), "two spans of one id"
    for span in spans:
        above = ids.get(span.parent_span_id)
        if above is not None:
            assert above.start_time_unix_nano <= span.start_time_unix_nano, f"{span.name}: start"
            assert span.end_time_unix_nano <= above.end_time_unix_nano, f"{span.name}: end"
        elif span.parent_span_id:
            assert len(spans) == 1, f"{span.name}: its parent is nowhere"


def _check_span(span: Span) -> None:
    assert len(span.trace_id) == 16, "trace_id"
    assert any(span.trace_id), "trace_id of zeros"
    assert len(span.span_id) == 8, "span_id"
    assert any(span.span_id), "span_id of zeros"
    assert len(span.parent_span_id) in (0, 8), "parent_span_id"
    assert span.parent_span_id != span.span_id, "its own parent"
    assert span.name, "name"
    assert span.kind == Span.SPAN_KIND_INTERNAL, "kind"
    assert FROM_NS < span.start_time_unix_nano <= span.end_time_unix_nano < TO_NS, "times"
    attributes(span.attributes)
    for event in span.events:
        assert event.name, "an event without a name"
        assert FROM_NS < event.time_unix_nano < TO_NS, "time of an event"
        attributes(event.attributes)
    for link in span.links:
        assert (len(link.trace_id), len(link.span_id)) == (16, 8), "link"
    if span.status.code != Status.STATUS_CODE_ERROR:
        assert not span.status.message, "a description of no error"
