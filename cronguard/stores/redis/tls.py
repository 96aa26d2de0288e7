"""TLS over a socket that never blocks: the `ssl` module does it in memory, we move the bytes.

Verification of certificate and host name is on unless the URL says otherwise.
Road not taken: SSLSocket on our non-blocking socket (it wants `socket.socket`, 5 ms at start).
"""

from __future__ import annotations

import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address


class TlsRefused(Exception):
    """The peer is not who it should be, or does not speak TLS with us."""


def context(address: Address) -> ssl.SSLContext:
    """Return how to speak TLS to *address*. Raises: TlsRefused if its files cannot be used."""
    try:
        made = ssl.create_default_context(cafile=address.tls_ca or None)
        if not address.tls_verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if address.tls_cert:
            made.load_cert_chain(address.tls_cert, address.tls_key or None)
    except (OSError, ValueError) as error:
        files = address.tls_ca, address.tls_cert, address.tls_key
        names = ", ".join([name for name in files if name])
        raise TlsRefused(f"its TLS files cannot be used ({names}): {error}") from error
    return made


class Tls:
    """One TLS session in memory."""

    __slots__ = ("_in", "_out", "_plain", "_session", "ready")

    def __init__(self, address: Address) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._plain = bytearray()
        name = address.tls_server_name or address.host
        self._session = context(address).wrap_bio(self._in, self._out, server_hostname=name)
        self.ready = False

    def write(self, data: bytes | bytearray) -> None:
        """Take plain bytes; they wait until the session stands."""
        self._plain += data
        self.advance(b"")

    def advance(self, received: bytes) -> bytes:
        """Take encrypted bytes, and return what they say. Raises: TlsRefused."""
        if received:
            self._in.write(received)
        try:
            if not self.ready:
                self._session.do_handshake()
                self.ready = True
            if self._plain:
                self._session.write(self._plain)
                self._plain.clear()
            return self._read()
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLCertVerificationError as error:
            raise TlsRefused(f"its TLS certificate is not valid: {error.verify_message}") from error
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            raise TlsRefused(f"TLS with it failed: {reason}") from error

    def to_send(self) -> bytes:
        """Return the encrypted bytes that are to be sent."""
        return self._out.read()

    def _read(self) -> bytes:
        parts = []
        try:
            while part := self._session.read(65_536):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        return b"".join(parts)
