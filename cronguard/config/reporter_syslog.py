"""What the sections of the type syslog may say. See cronguard/reporters/syslog.py."""

from __future__ import annotations

from cronguard.config.datagrams import Place, place
from cronguard.config.reporter_rows import Setting, one_of, text
from cronguard.config.values import shown

LOCAL = "unix:///dev/log"
FACILITIES = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7,
    "uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11, "local0": 16, "local1": 17, "local2": 18,
    "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}  # fmt: skip
SCHEMES = {"udp": 514, "tcp": 514, "tls": 6514}
_EXAMPLE = "write udp://HOST:514, tcp://HOST:514, tls://HOST:6514 or unix:///dev/log"
_TAG = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/")


def where(value: str) -> tuple[str, Place]:
    """Return how a message goes (`udp`, `tcp`, `tls`, `unix`), and where to. Raises: ValueError."""
    scheme, mark, rest = value.partition("://")
    if scheme == "unix" and mark:
        return scheme, place(value)
    if scheme not in SCHEMES or not mark or "/" in rest or "@" in rest:
        raise ValueError(f"it is no address of syslog; {_EXAMPLE}")
    bare = rest[rest.rfind("]") + 1 :] if rest[:1] == "[" else rest
    return scheme, place(rest if ":" in bare else f"{rest}:{SCHEMES[scheme]}")


def address(value: object) -> str:
    """Return where messages go, as it was written."""
    where(text(value))
    return str(value)


def tag(value: object) -> str:
    """Return the name of a program, as every form of syslog takes it."""
    if not 0 < len(text(value)) <= 32 or not _TAG.issuperset(str(value)):
        raise ValueError(f"{shown(str(value))} is no tag; it is up to 32 of A-Z a-z 0-9 _ . / -")
    return str(value)


SETTINGS = (
    Setting("address", address, LOCAL, "udp://, tcp:// or tls://HOST:PORT, or unix:///PATH."),
    Setting("format", one_of("rfc5424", "rfc3164"), "", "Default: rfc3164 locally, else rfc5424."),
    Setting("facility", one_of(*FACILITIES), "cron", "What the messages are about."),
    Setting("tag", tag, "cronguard", "The program's name (APP-NAME)."),
    Setting("ca", text, "", "A file of certificates to trust, instead of the host's."),
)
