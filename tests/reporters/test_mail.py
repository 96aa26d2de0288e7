"""Mail is what RFC 5322 wants, comes to a real server, and what that answers decides."""

from __future__ import annotations

import socket
import time
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cronguard.config.options import ConfigError
from cronguard.config.reporters import target
from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters.contract import Never, NotNow, Report, Reporter
from cronguard.reporters.registry import make
from tests.certificates import Certificates
from tests.reporters import postoffice
from tests.reporters.postoffice import Line, Postoffice
from tests.reporters.samples import HOSTILE, ended, skipped, started, warned

if TYPE_CHECKING:
    from collections.abc import Iterator

TO = "ops@example.com"
PASSWORD = "canary-9f3b-password"
FAILED = ended(records.FAILED, exit_status=3, output_tail="it\nbroke\n", output_bytes=9)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def office() -> Iterator[Postoffice]:
    with Postoffice() as one:
        yield one


def mail(port: int = 0, /, **settings: object) -> Reporter:
    """Return the reporter that a section says, by default for a server without TLS."""
    usual: dict[str, object] = {"from": "cron@example.com", "to": TO}
    if port:
        usual |= {"host": "127.0.0.1", "port": port, "tls": "none"}
    said = {key: (value, "test") for key, value in {**usual, **settings}.items()}
    return make("mail", target("mail", said, {}).values)


# -- how it looks ----------------------------------------------------------------------------------


def test_a_failure_is_told_with_its_facts_and_output(office: Postoffice) -> None:
    """In plain text, from and to whom it should be."""
    to = [TO, "The Team, all of it <team@example.com>"]
    mail(office.port, to=to, **{"from": "Der Wächter <cron@example.com>"}).tell(FAILED, 10)
    (letter,) = office.letters
    assert letter.sender == "cron@example.com"
    assert letter.to == [TO, "team@example.com"]
    found = letter.mail
    assert found["Subject"] == "[web-3] backup: failed (exit 3)"
    assert found["From"].addresses[0].display_name == "Der Wächter"
    assert found["To"].addresses[1].display_name == "The Team, all of it"
    assert found["Auto-Submitted"] == "auto-generated"
    assert found["Date"].datetime.timestamp() * 1000 == FAILED.at
    assert found.get_content_type() == "text/plain"
    text = letter.text
    assert text.startswith("backup failed (exit 3), on web-3.\n")
    assert f"run:         {FAILED.run_id}\n" in text
    assert "took:        1.5s\n" in text
    assert text.endswith("Output (its end, of 9 bytes):\n\nit\nbroke\n")
    assert not found.defects


def test_output_may_be_left_out(office: Postoffice) -> None:
    """As it may hold what is for few people."""
    mail(office.port, output=False).tell(FAILED, 10)
    assert "broke" not in office.letters[0].text


def test_what_is_sent_again_has_the_same_id_and_a_thread_keeps_a_job_together(
    office: Postoffice,
) -> None:
    """A failure and the recovery of another run refer to the same; other jobs to another."""
    one = mail(office.port)
    over = ended(event=telling.RECOVERY, failures=2)
    other = ended(records.FAILED, job="other")
    for report in (FAILED, FAILED, over, other):
        one.tell(report, 10)
    first, again, recovery, elsewhere = [letter.mail for letter in office.letters]
    assert first["Message-ID"] == again["Message-ID"] != recovery["Message-ID"]
    assert FAILED.run_id in first["Message-ID"]
    assert first["References"] == recovery["References"] != elsewhere["References"]
    assert recovery["Subject"] == "[web-3] backup: succeeded again (after 2 failures)"


def test_each_warning_of_a_run_is_a_mail_of_its_own(office: Postoffice) -> None:
    """They have one event and one run."""
    run = "ab" * 16
    mail(office.port).tell(warned(run, at=1_000), 10)
    mail(office.port).tell(warned(run, at=2_000), 10)
    assert len({letter.mail["Message-ID"] for letter in office.letters}) == 2


EVENTS = [
    (started("0" * 32), "started"),
    (ended(), "succeeded after 1.5s"),
    (ended(records.FAILED, failures=3), "failed (exit 1) (3 failures in a row)"),
    (ended(records.FAILED, signal=9), "failed (killed by KILL)"),
    (ended(records.TIMED_OUT), "timed out after 1.5s"),
    (ended(records.ABANDONED), "vanished: cronguard was killed, or its host went down"),
    (ended(records.STOPPED, reason="signal"), "was stopped after 1.5s: signal"),
    (skipped(), "was skipped: held"),
    (warned("0" * 32), "still running"),
    (Report("failure", {"job": "j", "run_id": "?"}, namespace="x", at=0, failures=None), "ended: "),
]


@pytest.mark.parametrize(("report", "headline"), EVENTS)
def test_every_event_is_a_mail(office: Postoffice, report: Report, headline: str) -> None:
    """With what happened in its subject, and no defect."""
    mail(office.port).tell(report, 10)
    (letter,) = office.letters
    assert letter.mail["Subject"].partition(": ")[2].strip() == headline.strip()
    assert not letter.mail.defects


def test_hostile_facts_stay_where_they_are_put(office: Postoffice) -> None:
    """No line of a record becomes a header, a dot alone ends nothing, no control gets through."""
    evil = f"x\r\nBcc: all@example.com\r\n\r\n{HOSTILE}"
    record = dict(ended(records.FAILED).record)
    record |= {"host": evil, "user": evil, "reason": evil, "command": [evil], "run_id": evil}
    record["output_tail"] = f"one\n.\nQUIT\n{evil}\x1b[2J"
    report = Report("failure", record, namespace="cg", at=0, failures=1)
    mail(office.port, subject="{host} {reason} {command}").tell(report, 10)
    (letter,) = office.letters
    assert letter.to == [TO]
    assert not letter.mail.defects
    assert set(letter.mail.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
        "Auto-Submitted", "X-Cronguard-Job", "X-Cronguard-Event", "MIME-Version",
        "Content-Type", "Content-Transfer-Encoding",
    }  # fmt: skip
    text = letter.text
    assert "one\n.\nQUIT\n" in text
    assert all(c.isprintable() or c == "\n" for c in text)
    assert max(len(line) for line in letter.raw.split(b"\r\n")) <= 998


def test_a_huge_output_is_a_mail_with_short_lines(office: Postoffice) -> None:
    """Of at most 998 bytes, as RFC 5322 has it."""
    mail(office.port).tell(ended(records.FAILED, output_tail="ü" * 200_000), 20)
    (letter,) = office.letters
    assert max(len(line) for line in letter.raw.split(b"\r\n")) <= 998
    assert "ü" * 200_000 in letter.text


# -- on the line -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_it_is_encrypted_and_logs_in(certificates: Certificates, tls: str) -> None:
    """By a certificate that is checked, in either way of TLS."""
    login = ("me", PASSWORD)
    with Postoffice(certificates, tls=tls, login=login if tls == "starttls" else None) as office:
        said = {"user": "me", "password": PASSWORD} if tls == "starttls" else {}
        one = mail(office.port, tls=tls, ca=certificates.path("ca"), **said)
        one.tell(FAILED, 10)
    (letter,) = office.letters
    assert letter.is_encrypted
    assert letter.user == ("me" if tls == "starttls" else "")


@pytest.mark.parametrize("tls", ["starttls", "tls"])
@pytest.mark.parametrize(
    ("certificate", "ca"), [("server", "stranger"), ("elsewhere", "ca"), ("expired", "ca")]
)
def test_a_certificate_that_does_not_fit_gets_nothing(
    certificates: Certificates, tls: str, certificate: str, ca: str
) -> None:
    """Of an unknown authority, for another host, too old."""
    with Postoffice(certificates, tls=tls, certificate=certificate) as office:
        with pytest.raises(NotNow, match="TLS failed"):
            mail(office.port, tls=tls, ca=certificates.path(ca)).tell(FAILED, 10)
        assert not office.letters


def test_a_server_without_starttls_gets_nothing(office: Postoffice) -> None:
    """Somebody in the line may have taken the offer away."""
    with pytest.raises(NotNow, match="offers no STARTTLS"):
        mail(office.port, tls="starttls").tell(FAILED, 10)
    assert not office.letters


def test_a_wrong_password_is_said_and_not_shown(certificates: Certificates) -> None:
    """The server will not take it later, either."""
    with Postoffice(certificates, tls="starttls", login=("me", "another")) as office:
        said = {"user": "me", "password": PASSWORD, "ca": certificates.path("ca")}
        with pytest.raises(Never, match="answers 535") as error:
            mail(office.port, tls="starttls", **said).tell(FAILED, 10)
    assert PASSWORD not in str(error.value)


def test_a_password_that_is_echoed_is_masked() -> None:
    """Servers say what they like."""
    with Postoffice(login=("me", PASSWORD)) as one:
        one.data = f"554 what is {PASSWORD}"
        with pytest.raises(Never, match=r"what is \*\*\*"):
            mail(one.port, user="me", password=PASSWORD).tell(FAILED, 10)


def test_a_server_that_knows_no_login_is_never_told(office: Postoffice) -> None:
    """It would have to be set up otherwise."""
    with pytest.raises(Never, match="No suitable authentication method"):
        mail(office.port, user="me", password=PASSWORD).tell(FAILED, 10)


@pytest.mark.parametrize("what", ["from_", "rcpt", "data"])
@pytest.mark.parametrize(("answer", "means"), [("451 later", NotNow), ("550 no", Never)])
def test_what_is_answered_decides(
    office: Postoffice, what: str, answer: str, means: type[Exception]
) -> None:
    """4xx is for later, 5xx for never, to whatever was said."""
    setattr(office, what, {TO: answer} if what == "rcpt" else answer)
    with pytest.raises(means, match=answer.replace(" ", ": ")):
        mail(office.port).tell(FAILED, 10)
    assert not office.letters


def test_who_is_refused_does_not_keep_it_from_the_others(office: Postoffice) -> None:
    """And they do not get it twice."""
    office.rcpt["gone@example.com"] = "450 mailbox busy"
    with pytest.raises(Never, match=r"gone@example.com, 450: mailbox busy; all others have got it"):
        mail(office.port, to=[TO, "gone@example.com"]).tell(FAILED, 10)
    assert office.letters[0].to == [TO]


def test_one_busy_mailbox_of_several_refused_is_tried_again(office: Postoffice) -> None:
    """Nobody has got it, so nobody gets it twice."""
    office.rcpt |= {TO: "450 busy", "gone@example.com": "550 gone"}
    with pytest.raises(NotNow):
        mail(office.port, to=[TO, "gone@example.com"]).tell(FAILED, 10)


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_a_server_that_falls_silent_is_left_in_time(office: Postoffice, command: str) -> None:
    """Wherever it does so."""
    office.silent = command
    begun = time.monotonic()
    with pytest.raises(NotNow, match="no answer in time"):
        mail(office.port).tell(FAILED, 0.5)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("speak", [postoffice.silent, postoffice.dripping, postoffice.endless])
@pytest.mark.parametrize("tls", ["none", "tls"])
def test_whatever_a_server_says_it_is_left_in_time(tls: str, speak: object) -> None:
    """Also if it goes on for ever, by letters or by lines, or in the handshake."""
    begun = time.monotonic()
    with Line(speak) as line, pytest.raises(NotNow):  # type: ignore[arg-type]
        mail(line.port, tls=tls).tell(FAILED, 0.5)
    assert time.monotonic() - begun < 10


def test_a_line_that_breaks_is_tried_later() -> None:
    """And one that is not there."""
    with Line(postoffice.rude) as line, pytest.raises(NotNow, match=f":{line.port}: "):
        mail(line.port).tell(FAILED, 5)
    with pytest.raises(NotNow, match="connection refused"):
        mail(line.port).tell(FAILED, 5)
    with pytest.raises(NotNow, match="cannot be looked up"):
        mail(25, host="nobody.invalid").tell(FAILED, 5)


def refusing(greeting: bytes) -> object:
    """Return who refuses to talk at all."""

    def speak(connection: socket.socket, _over: object) -> None:
        connection.sendall(greeting)
        connection.recv(100)

    return speak


@pytest.mark.parametrize(("greeting", "means"), [(b"421 busy\r\n", NotNow), (b"554 no\r\n", Never)])
def test_a_greeting_may_be_a_refusal(greeting: bytes, means: type[Exception]) -> None:
    """For now, or for good."""
    with Line(refusing(greeting)) as line, pytest.raises(means):  # type: ignore[arg-type]
        mail(line.port).tell(FAILED, 5)


# -- sendmail --------------------------------------------------------------------------------------


def sendmail(folder: Path, script: str) -> str:
    """Return a program in the place of sendmail."""
    path = folder / "sendmail"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_sendmail_gets_the_mail_on_stdin(tmp_path: Path) -> None:
    """With its envelope as arguments, and lines as this system has them."""
    program = sendmail(tmp_path, f'printf "%s\\n" "$@" > {tmp_path}/args; cat > {tmp_path}/mail')
    mail(sendmail=program, to=["root", TO]).tell(FAILED, 10)
    arguments = (tmp_path / "args").read_text().split()
    assert arguments == ["-i", "-f", "cron@example.com", "--", "root", TO]
    raw = (tmp_path / "mail").read_bytes()
    assert b"\r" not in raw
    found = message_from_bytes(raw, policy=policy.default)
    assert found["Subject"] == "[web-3] backup: failed (exit 3)"
    assert found["To"].addresses[0].addr_spec == "root"
    assert not found.defects


@pytest.mark.parametrize(
    ("script", "means", "text"),
    [
        ("exit 75", NotNow, "exited with 75"),
        ("echo nobody there; exit 67", Never, "exited with 67: nobody there"),
        ("sleep 60", NotNow, "its time was over"),
    ],
)
def test_what_sendmail_answers_decides(
    tmp_path: Path, script: str, means: type[Exception], text: str
) -> None:
    """By sysexits.h; one that hangs is stopped."""
    with pytest.raises(means, match=text):
        mail(sendmail=sendmail(tmp_path, script)).tell(FAILED, 1)


def test_no_sendmail_is_told_with_what_to_do(tmp_path: Path) -> None:
    """It may be installed later."""
    with pytest.raises(NotNow, match=r"cannot start .*: No such file or directory; set host"):
        mail(sendmail=str(tmp_path / "none")).tell(FAILED, 5)


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("to", "a b@example.com"),
        ("to", "-oQ/tmp@example.com"),
        ("to", []),
        ("to", "x@y@z"),
        ("to", "<>"),
        ("from", "a@b\nBcc: c@d"),
        ("from", "@example.com"),
        ("port", 0),
        ("port", "25"),
        ("tls", "ssl"),
        ("sendmail", "sendmail"),
    ],
)
def test_what_cannot_be_is_refused_before_a_run(key: str, value: object) -> None:
    """Where the section is read."""
    with pytest.raises(ConfigError, match=f"{key}: "):
        mail(**{key: value})


WRONG: list[tuple[dict[str, object], str]] = [
    ({"to": ()}, "set to"),
    ({"host": "h", "sendmail": "/s"}, "remove one"),
    ({"user": "me", "password": "x"}, "set host"),
    ({"host": "h", "user": "me"}, "go together"),
    ({"host": "h", "user": "me", "password": "ü"}, "ASCII"),
    ({"host": "h", "user": "me", "password": "x", "tls": "none"}, "encrypted"),
    ({"host": "h", "ca": "/nowhere"}, "ca: "),
]


@pytest.mark.parametrize(("settings", "text"), WRONG)
def test_what_does_not_go_together_is_refused(settings: dict[str, object], text: str) -> None:
    """With what to do."""
    with pytest.raises(ValueError, match=text):
        make("mail", {"to": (TO,), **settings})


def test_ports_follow_from_the_encryption() -> None:
    """Those of RFC 8314, and 25."""
    from cronguard.reporters.mail import Mail

    ports = {tls: Mail({"to": (TO,), "host": "h", "tls": tls})._port for tls in ("tls", "none", "")}
    assert ports == {"tls": 465, "none": 25, "": 587}
