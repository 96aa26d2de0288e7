"""Syslog: a line for each report, to this host's daemon or to another host.

    [reporters.syslog]
    address = "tls://logs.example.com:6514"   # or tcp://HOST, udp://HOST; else unix:///dev/log
    format = "rfc5424"                        # what goes to /dev/log is rfc3164
    facility = "daemon"                       # else cron
    tag = "cronguard"
    ca = "/etc/cronguard/ca.pem"              # for tls://: to trust instead of the host's

A failure is an error, a stop or warning a warning, a skip or recovery a notice, all else info. The
facts stand in the structured data of RFC 5424, or at the end of the line. See syslog_text.py.

TCP and TLS carry messages with their length before them (RFC 6587, 3.4.1; RFC 5425). Nothing in
syslog is ever confirmed. What can be seen is seen: a datagram that this host refuses; a stream that
breaks off before the other side has heard that this was all.
"""

from __future__ import annotations

import errno
import socket
import ssl

from cronguard.config.reporter_syslog import FACILITIES, LOCAL, where
from cronguard.reporters import datagrams
from cronguard.reporters.contract import NotNow, Report, Reporter
from cronguard.reporters.streams import Deadline
from cronguard.reporters.syslog_text import rfc3164, rfc5424

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_FAREWELL_SECONDS = 1.0
"""How long the other side may take to close its end, too; many never do."""
_REFUSAL_SECONDS = 0.3


class Syslog(Reporter):
    """Sends lines."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Take the settings. Raises: ValueError if they cannot be used."""
        super().__init__(settings)
        self._how, self._place = where(str(settings.get("address") or LOCAL))
        usual = "rfc3164" if self._how == "unix" else "rfc5424"
        self._form = rfc5424 if (settings.get("format") or usual) == "rfc5424" else rfc3164
        self._facility = FACILITIES[str(settings.get("facility") or "cron")]
        self._tag = str(settings.get("tag") or "cronguard")
        self._context = None
        if self._how == "tls":
            try:
                self._context = ssl.create_default_context(
                    cafile=str(settings.get("ca") or "") or None
                )
            except OSError as error:
                raise ValueError(f"ca: {error.strerror or error}") from None

    def tell(self, report: Report, timeout: float) -> None:
        """Send the line. Raises: NotNow."""
        message = self._form(report, self._facility, self._tag)
        if self._how == "udp":
            datagrams.send(self._place, [message], timeout)
        elif self._how == "unix":
            self._tell_local(message, timeout)
        else:
            with Deadline(timeout) as deadline:
                try:
                    self._stream(f"{len(message)} ".encode() + message, deadline)
                except OSError as error:
                    raise NotNow(f"{self._place}: {deadline.why(error)}") from None

    def _tell_local(self, message: bytes, timeout: float) -> None:
        """Tell the daemon, whose socket takes datagrams, or a stream (as syslog-ng's may)."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as target:
                target.settimeout(timeout)
                target.connect(self._place.path)
                target.send(message)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise self._local_trouble(error) from None
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as target:
                    target.settimeout(timeout)
                    target.connect(self._place.path)
                    target.sendall(message + b"\0")  # as syslog(3) ends it there
            except OSError as inner:
                raise self._local_trouble(inner) from None

    def _local_trouble(self, error: OSError) -> NotNow:
        why = "it takes nothing more" if isinstance(error, TimeoutError) else error.strerror
        return NotNow(f"{self._place}: {str(why or error).lower()}; is a syslog daemon there?")

    def _stream(self, frame: bytes, deadline: Deadline) -> None:
        plain = deadline.connect(self._place.host, self._place.port)
        with plain:
            if self._context is None:
                plain.sendall(frame)
                _say_farewell(plain, deadline)
                return
            with self._context.wrap_socket(plain, server_hostname=self._place.host) as encrypted:
                encrypted.sendall(frame)
                _hear_refusal(encrypted, deadline)
                try:
                    encrypted.unwrap().close()
                except OSError:  # many close without a word
                    pass


def _hear_refusal(target: ssl.SSLSocket, deadline: Deadline) -> None:
    """Listen for a moment: with TLS 1.3 our certificate is missed after all was sent."""
    target.settimeout(min(deadline.left, _REFUSAL_SECONDS))
    try:
        target.recv(1)
    except (TimeoutError, ssl.SSLEOFError):
        pass


def _say_farewell(target: socket.socket, deadline: Deadline) -> None:
    """Say that this was all, and see whether the other side breaks off. Raises: OSError."""
    target.shutdown(socket.SHUT_WR)
    target.settimeout(min(deadline.left, _FAREWELL_SECONDS))
    try:
        while target.recv(4096):
            pass
    except TimeoutError:  # it stays, and has it
        pass
