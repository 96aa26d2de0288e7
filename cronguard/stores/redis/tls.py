"""TLS over a socket that never blocks: the `ssl` module does it in memory, we move the bytes.

Verification of certificate and host name is on unless the URL says otherwise.
Road not taken: SSLSocket on our non-blocking socket (it wants `socket.socket`, 5 ms at start).
"""

from __future__ import annotations

import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address


_UNSIGNED = "name the authority that signed it with ?tls_ca=FILE in the store URL"
_MISNAMED = "name the host as it does, or say its name with ?tls_server_name=NAME in the store URL"
_CERTIFICATE = {  # by the X509_V_ERR_ of OpenSSL's x509_vfy.h
    9: "it is not valid yet: set the clock of this host, or of the one that made it",
    10: "renew it on the server, and see that this host's clock is right",
    18: _UNSIGNED,
    19: _UNSIGNED,
    20: _UNSIGNED,
    21: _UNSIGNED,
    62: _MISNAMED,
    64: _MISNAMED,
}
_OURS = "add ?tls_cert=FILE&tls_key=FILE to the store URL"
_WANTS_OURS = f"it wants a certificate of ours: {_OURS}"
_HUNG_UP = "it closed the connection"
_HANDSHAKE = {
    "WRONG_VERSION_NUMBER": "it speaks no TLS there: write redis:// for rediss://, or its TLS port",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_OURS,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _WANTS_OURS,  # what TLS 1.2 has to say of that
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the authority that signed ours (tls_cert)",
    _HUNG_UP: f"if it wants a certificate of ours, {_OURS}",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "ours has expired: renew the file that tls_cert names",
}


class TlsRefused(Exception):
    """The peer is not who it should be, or does not speak TLS with us."""


def explained(error: ssl.SSLError) -> str:
    """Return why there is no TLS with it, and what to change."""
    if isinstance(error, ssl.SSLCertVerificationError):
        todo = _CERTIFICATE.get(error.verify_code, "")
        what = f"its TLS certificate is not valid: {error.verify_message.rstrip('.')}"
    else:
        reason = error.reason or _HUNG_UP
        todo = _HANDSHAKE.get(reason, "")
        what = f"TLS with it failed: {reason.lower().replace('_', ' ')}"
    return f"{what}; {todo}" if todo else what


def hung_up(why: str, address: Address) -> str:
    """Return *why* a connection ended in its beginning, and what to change if that was TLS.

    Who wants a certificate says so and hangs up, and the word may be lost on the way.
    """
    wanting = address.tls and not address.tls_cert
    return f"{why}; {_HANDSHAKE[_HUNG_UP]}" if wanting else why


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
    """One TLS session in memory. `failed` why it is of no more use, once it is not."""

    __slots__ = ("_address", "_in", "_out", "_plain", "_session", "failed", "heard", "ready")

    def __init__(self, address: Address) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._plain = bytearray()
        name = address.tls_server_name or address.host
        self._session = context(address).wrap_bio(self._in, self._out, server_hostname=name)
        self._address = address
        self.ready = False
        self.heard = False  # it has answered
        self.failed = ""

    def reset(self, why: str) -> str:
        """Return what to say of a connection that was reset."""
        return why if self.heard else hung_up(why, self._address)

    def write(self, data: bytes | bytearray) -> None:
        """Take plain bytes, for the next `advance`; they wait until the session stands."""
        self._plain += data

    def advance(self, received: bytes) -> bytes:
        """Take encrypted bytes, and return what they say: also what came before it failed."""
        if received:
            self._in.write(received)
        parts: list[bytes] = []
        try:
            if not self.ready:
                self._session.do_handshake()
                self.ready = True
            if self._plain:
                self._session.write(self._plain)
                self._plain.clear()
            while part := self._session.read(65_536):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.failed = explained(error)
        self.heard = self.heard or bool(parts)
        return b"".join(parts)

    def to_send(self) -> bytes:
        """Return the encrypted bytes that are to be sent."""
        return self._out.read()
