"""Mail: through a server (SMTP), or the sendmail of this host.

    [reporters.mail]
    to = ["ops@example.com", "The Team <team@example.com>"]
    from = "cronguard@example.com"      # else cronguard at this host
    host = "smtp.example.com"           # without it: /usr/sbin/sendmail, or sendmail = "/…"
    tls = "starttls"                    # or "tls" (from the first byte on), or "none"
    port = 587                          # the default; 465 for tls, 25 for none
    user = "cronguard"
    password_file = "/etc/cronguard/mail-password"
    ca = "/etc/cronguard/ca.pem"        # to trust instead of the host's
    subject = "{job}: {outcome}"        # else: [web-3] backup: failed (exit 3)
    output = false                      # leave the output's tail out

The server's certificate is checked. A server that offers no STARTTLS gets nothing, as somebody in
the line may have taken the offer away; no password goes over a line that is not encrypted, but to
this host itself. What the server answers decides: 4xx is for later, 5xx for never (RFC 5321,
4.2.1). If some of the addresses are refused, the others have got it, and it is not sent again.

If the line breaks right after the mail, nobody knows whether it was taken; it is sent once more,
with the same Message-ID. How mail looks, and why, stands in mail_text.py.
"""

from __future__ import annotations

import os
import re
import smtplib
import ssl

from cronguard.config.reporter_mail import Address, parsed
from cronguard.core.redact import MASK
from cronguard.core.words import printable
from cronguard.reporters import programs
from cronguard.reporters.contract import Never, NotNow, Report, Reporter
from cronguard.reporters.mail_text import message
from cronguard.reporters.streams import LATE, Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from email.message import EmailMessage

SENDMAIL = "/usr/sbin/sendmail"
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_HERE = ("localhost", "127.0.0.1", "::1")
_TRY_AGAIN = 75
_ANSWER = 2_000
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


class Mail(Reporter):
    """Sends a mail for each report."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Take the settings. Raises: ValueError if they cannot be used."""
        super().__init__(settings)
        self._host = self._text("host")
        self._tls = self._text("tls") or "starttls"
        port = settings.get("port")
        self._port = port if isinstance(port, int) else _PORTS[self._tls]
        self._user, self._password = self._text("user"), self._text("password")
        to = settings.get("to")
        self._to = [parsed(str(one)) for one in to] if isinstance(to, list | tuple) else []
        self._from = parsed(self._text("from")) if self._text("from") else usual_sender()
        self._refuse_what_cannot_be()
        self._context = None
        if self._host and self._tls != "none":
            try:
                self._context = ssl.create_default_context(cafile=self._text("ca") or None)
            except OSError as error:
                raise ValueError(f"ca: {error.strerror or error}") from None

    def tell(self, report: Report, timeout: float) -> None:
        """Send it. Raises: NotNow, Never."""
        mail = message(
            report,
            self._from,
            self._to,
            subject=self._text("subject"),
            with_output=bool(self.settings.get("output", True)),
        )
        if not self._host:
            self._hand_to_sendmail(mail, timeout)
            return
        where = f"{self._host}:{self._port}"
        with Deadline(timeout) as deadline:
            try:
                refused = self._send(mail, deadline)
            except smtplib.SMTPRecipientsRefused as error:
                raise self._refusal(where, error.recipients) from None
            except smtplib.SMTPResponseException as error:
                if deadline.is_over:  # the answer is cut, and may mean anything
                    raise NotNow(f"{where}: {LATE}") from None
                said = f"{where} answers {self._said(error.smtp_code, error.smtp_error)}"
                raise (Never if 500 <= error.smtp_code < 600 else NotNow)(said) from None
            except smtplib.SMTPServerDisconnected:
                raise NotNow(f"{where}: {deadline.why(EOFError())}") from None
            except smtplib.SMTPException as error:  # it cannot do what we need
                raise Never(f"{where}: {printable(error, 200)}") from None
            except OSError as error:
                raise NotNow(f"{where}: {deadline.why(error)}") from None
        if refused:
            raise Never(f"{self._refusal(where, refused)}; all others have got it")

    def _text(self, key: str) -> str:
        return str(self.settings.get(key) or "")

    def _refuse_what_cannot_be(self) -> None:
        if not self._to:
            raise ValueError("it has nobody to write to; set to")
        if self._host and self._text("sendmail"):
            raise ValueError("both host and sendmail are there; remove one")
        if not self._host and (self._user or self._password):
            raise ValueError("user and password are for a server; set host")
        if bool(self._user) != bool(self._password):
            raise ValueError("user and password go together; set both, or neither")
        if not (self._user + self._password).isascii():
            raise ValueError("user and password may have ASCII letters only, as SMTP has them")
        if self._password and self._tls == "none" and self._host not in _HERE:
            raise ValueError("a password needs a line that is encrypted; use starttls or tls")

    def _send(self, mail: EmailMessage, deadline: Deadline) -> Mapping[str, tuple[int, bytes]]:
        """Send it; return who was refused. Raises: SMTPException, OSError, NotNow."""
        session = _Session(self._host, self._port, deadline, self._tls, self._context)
        try:
            if self._tls == "starttls":
                session.ehlo()
                if not session.has_extn("starttls"):
                    raise NotNow(f"{self._host} offers no STARTTLS, and gets nothing without")
                session.starttls(context=self._context)
            if self._user:
                session.login(self._user, self._password)
            to = [str(one) for one in self._to]
            refused = session.sendmail(str(self._from), to, mail.as_bytes())
            try:
                session.quit()
            except (smtplib.SMTPException, OSError):  # it has the mail
                pass
            return refused
        finally:
            session.close()

    def _hand_to_sendmail(self, mail: EmailMessage, timeout: float) -> None:
        program = self._text("sendmail") or SENDMAIL
        argv = [program, "-i", "-f", str(self._from), "--", *[str(one) for one in self._to]]
        raw = mail.as_bytes(policy=mail.policy.clone(linesep="\n"))
        try:
            ended = programs.run(argv, raw, None, timeout)
        except OSError as error:
            raise NotNow(f"cannot start {program}: {error.strerror}; set host") from None
        if ended.status is None or ended.status == _TRY_AGAIN or ended.status < 0:
            raise NotNow(f"{program} {ended.how()}")
        if ended.status:
            raise Never(f"{program} {ended.how()}")

    # -- what was answered ------------------------------------------------------------------------

    def _said(self, code: int, text: bytes | str) -> str:
        said = text[:_ANSWER].decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        if self._password:
            said = said.replace(self._password, MASK)
        return f"{code}: {printable(' '.join(said.split()), 200)}"

    def _refusal(self, where: str, refused: Mapping[str, tuple[int, bytes]]) -> NotNow | Never:
        """Return what it means that these were refused, if nobody else was taken."""
        each = [f"{who}, {self._said(*answer)}" for who, answer in refused.items()]
        text = f"{where} refuses {'; '.join(each[:3])}"
        is_over = all(500 <= code < 600 for code, _ in refused.values())
        return Never(text) if is_over else NotNow(text)


class _Session(smtplib.SMTP):
    """A conversation that ends in time, encrypted from the first byte on for `tls`."""

    def __init__(
        self, host: str, port: int, deadline: Deadline, tls: str, context: ssl.SSLContext | None
    ) -> None:
        self._deadline = deadline
        self._first = context if tls == "tls" else None
        name = os.uname().nodename  # else the library asks the resolver for it
        super().__init__(host, port, name if _HOST.fullmatch(name) else "[127.0.0.1]")

    def _get_socket(self, host: str, port: int, _timeout: object) -> socket.socket:
        target = self._deadline.connect(host, port)
        if self._first is None:
            return target
        try:
            return self._first.wrap_socket(target, server_hostname=host)
        except BaseException:
            target.close()
            raise


def usual_sender() -> Address:
    """Return cronguard at this host."""
    name = os.uname().nodename
    return Address("cronguard", "cronguard", name if _HOST.fullmatch(name) else "localhost")
