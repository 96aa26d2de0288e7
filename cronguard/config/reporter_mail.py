"""What the sections of the type mail may say. See cronguard/reporters/mail.py."""

from __future__ import annotations

import re

from cronguard.config.reporter_rows import Setting, one_of, switch, text, texts
from cronguard.config.values import shown

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~][A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{0,63}"
_DOMAIN = (
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_ADDRESS = re.compile(rf"({_LOCAL})(?:@({_DOMAIN}))?")
_NAMED = re.compile(r"(.*?)\s*<([^<>]+)>")


class Address:
    """Of a person: `name`, which may be empty; `user` and `domain`, which is empty for local ones.

    Text is what SMTP takes, without the name.
    """

    __slots__ = ("domain", "name", "user")

    def __init__(self, name: str, user: str, domain: str) -> None:
        self.name = name
        self.user = user
        self.domain = domain

    def __str__(self) -> str:
        return f"{self.user}@{self.domain}" if self.domain else self.user


def parsed(value: str) -> Address:
    """Return an address: `ops@example.com`, `root`, `The Team <ops@example.com>`."""
    named = _NAMED.fullmatch(value.strip())
    name, inner = (named[1], named[2]) if named else ("", value.strip())
    found = _ADDRESS.fullmatch(inner)
    if found is None or len(inner) > 254:
        raise ValueError(f"{shown(value)} is no address; write NAME@HOST or The Team <NAME@HOST>")
    return Address(name.strip().strip('"'), found[1], found[2] or "")


def address(value: object) -> str:
    """Return one address, as it was written."""
    parsed(text(value))
    return str(value)


def addresses(value: object) -> tuple[str, ...]:
    """Return addresses, each once; a single one need not be in a list."""
    found = tuple(dict.fromkeys(address(one) for one in texts(value)))
    if not 0 < len(found) <= 100:
        raise ValueError("it takes 1 to 100 addresses")
    return found


def port(value: object) -> int:
    """Return the number of a port."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65_536:
        raise ValueError("it takes a number from 1 to 65535, without quotes")
    return value


def program(value: object) -> str:
    """Return the path of a program, from the root on."""
    if text(value)[0] != "/":
        raise ValueError("it takes the path of a program from the root on: /usr/sbin/sendmail")
    return text(value)


SETTINGS = (
    Setting("host", text, "", "The mail server; without it, sendmail is used."),
    Setting("port", port, None, "Its port. Default: 587, with tls 465, with none 25."),
    Setting("tls", one_of("starttls", "tls", "none"), "starttls", "How it is encrypted."),
    Setting("ca", text, "", "A file of certificates to trust, instead of the host's."),
    Setting("user", text, "", "Who logs in there."),
    Setting("password", text, "", "With what password.", is_secret=True),
    Setting("sendmail", program, "", "The program to send with. Default: /usr/sbin/sendmail."),
    Setting("from", address, "", "Who sends it. Default: cronguard at this host."),
    Setting("to", addresses, (), "Who gets it: an address, or a list of them."),
    Setting("subject", text, "", "Its subject, with fields of the record."),
    Setting("output", switch, True, "The output's tail stands in it."),
)
