"""A server that takes envelopes as Sentry's does, and refuses what its documentation forbids.

After develop.sentry.dev: envelopes, envelope items, check-ins, event payloads. What does not hold
to them is answered with 400 and the reason, so that a test sees it as a report that was let go.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from sentry_sdk.envelope import Envelope

KEY = "0123456789abcdef0123456789abcdef"
PROJECT = "42"
_ID = re.compile(r"[0-9a-f]{32}")
_SLUG = re.compile(r"(?!\d+$)[a-z0-9_-]{1,50}")
_TAG = re.compile(r"[a-zA-Z0-9_.:-]{1,32}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_UNITS = ("year", "month", "week", "day", "hour", "minute")
_CONFIG = {
    "schedule", "timezone", "checkin_margin", "max_runtime", "failure_issue_threshold",
    "recovery_threshold", "owner",
}  # fmt: skip
_CHECK_IN = {
    "check_in_id", "monitor_slug", "status", "duration", "environment", "release", "monitor_config",
    "contexts",
}  # fmt: skip


class Relay:
    """Takes envelopes at `dsn`.

    `answers` are given before all is well: (status, headers), with `text` · `fault` is `silent` for
    no answer at all, `gone` for a connection that breaks off.
    """

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.bodies: list[bytes] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.requests = 0
        self.text = b"{}"
        self.fault = ""
        self._over = threading.Event()
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                relay.requests += 1
                if relay.fault:
                    relay.fail(self)
                    return
                status, headers, text = relay.answer(self, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Say nothing of who hangs up before all is said."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.dsn = f"http://{KEY}@127.0.0.1:{self._server.server_port}/{PROJECT}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and text for a request."""
        try:
            envelope = taken(request.path, dict(request.headers), body)
        except AssertionError as error:
            return 400, {}, f"refused: {error}".encode()
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        if status == 200:
            self.envelopes.append(envelope)
            self.bodies.append(body)
        return status, headers, self.text

    def fail(self, request: BaseHTTPRequestHandler) -> None:
        """Answer in no way that helps."""
        if self.fault == "silent":
            self._over.wait()
        request.close_connection = True

    @property
    def items(self) -> list[tuple[str, Any]]:
        """Every item that was taken, in order: its type, and its JSON or its bytes."""
        return [
            (str(item.type), payload(item.get_bytes(), str(item.type)))
            for envelope in self.envelopes
            for item in envelope
        ]

    def of_type(self, kind: str) -> list[Any]:
        """Every item of one type."""
        return [found for type_, found in self.items if type_ == kind]


def payload(data: bytes, kind: str) -> Any:
    """Return an item's payload: JSON, but for attachments."""
    return data if kind == "attachment" else json.loads(data)


def taken(path: str, headers: dict[str, str], body: bytes) -> Envelope:
    """Return the envelope in a request. Raises: AssertionError if Sentry would refuse it."""
    assert path == f"/api/{PROJECT}/envelope/", f"path {path}"
    assert headers["Content-Type"] == "application/x-sentry-envelope", "content type"
    scheme, _, fields = headers["X-Sentry-Auth"].partition(" ")
    said = dict(field.split("=", 1) for field in fields.split(", "))
    assert scheme == "Sentry", "X-Sentry-Auth"
    assert said["sentry_key"] == KEY, "the key"
    assert said["sentry_version"] == "7", "the version"
    envelope = Envelope.deserialize(body)
    assert _MOMENT.fullmatch(envelope.headers["sent_at"]), "sent_at"
    kinds = [str(item.type) for item in envelope]
    assert kinds in (["check_in"], ["event"], ["event", "attachment"]), f"items {kinds}"
    for item in envelope:
        assert item.headers["length"] == len(item.get_bytes()), "length"
        data = payload(item.get_bytes(), str(item.type))
        if item.type == "check_in":
            _take_check_in(data)
        elif item.type == "event":
            assert envelope.headers["event_id"] == data["event_id"], "event_id of the envelope"
            _take_event(data)
        else:
            assert re.fullmatch(r"[^/]+", item.headers["filename"]), "filename"
            assert item.headers["attachment_type"] == "event.attachment", "attachment_type"
    return envelope


def _take_check_in(said: dict[str, Any]) -> None:
    assert not set(said) - _CHECK_IN, f"fields {set(said) - _CHECK_IN}"
    assert _ID.fullmatch(said["check_in_id"]), "check_in_id"
    assert int(said["check_in_id"], 16), "check_in_id of nobody"
    assert _SLUG.fullmatch(said["monitor_slug"]), f"slug {said['monitor_slug']}"
    assert said["status"] in ("in_progress", "ok", "error"), "status"
    duration = said.get("duration", 0)
    assert isinstance(duration, int | float), "duration"
    assert 0 <= duration * 1000 < 1 << 31, "duration"
    assert _ID.fullmatch(said["contexts"]["trace"]["trace_id"]), "trace_id"
    config = said.get("monitor_config")
    if config is not None:
        _take_config(config)


def _take_config(config: dict[str, Any]) -> None:
    assert not set(config) - _CONFIG, f"config {set(config) - _CONFIG}"
    schedule = config["schedule"]
    if schedule["type"] == "crontab":
        assert set(schedule) == {"type", "value"}, "crontab"
        assert len(schedule["value"].split()) == 5, "crontab"
    else:
        assert set(schedule) == {"type", "value", "unit"}, "interval"
        assert schedule["type"] == "interval", "interval"
        assert isinstance(schedule["value"], int), "interval"
        assert schedule["value"] > 0, "interval"
        assert schedule["unit"] in _UNITS, "unit"
    for name in ("checkin_margin", "max_runtime"):
        assert isinstance(config.get(name, 1), int), name
        assert 1 <= config.get(name, 1) <= 40_320, name
    for name in ("failure_issue_threshold", "recovery_threshold"):
        assert 1 <= config.get(name, 1) <= 720, name


def _take_event(said: dict[str, Any]) -> None:
    assert _ID.fullmatch(said["event_id"]), "event_id"
    assert _MOMENT.fullmatch(said["timestamp"]), "timestamp"
    assert said["platform"] == "other", "platform"
    assert said["level"] in ("fatal", "error", "warning", "info", "debug"), "level"
    assert all(isinstance(part, str) for part in said["fingerprint"]), "fingerprint"
    for name, value in said["tags"].items():
        assert _TAG.fullmatch(name), f"tag {name}"
        assert isinstance(value, str), name
        assert 0 < len(value) <= 200, name
        assert "\n" not in value, name
    unwelcome = {"exception", "threads", "modules", "breadcrumbs", "extra", "user", "request"}
    assert not unwelcome & set(said), f"fields {unwelcome & set(said)}"
