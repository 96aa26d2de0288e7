"""Secrets on their way into records and messages: masked by what they look like, or by value."""

from __future__ import annotations

MASK = "***"
_WORDS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "api-key", "api_key")


def command(argv: list[str], secrets: tuple[str, ...] = ()) -> list[str]:
    """Return *argv* for the record: passwords in URLs and after telling names are masked.

    `--password=x`, `PASSWORD=x`, `--token x` and `redis://user:x@host` are recognised; a secret
    that stands in argv without a name cannot be.
    """
    shown: list[str] = []
    mask_next = False
    for arg in argv:
        printable = text(arg, secrets)
        if mask_next and not arg.startswith("-"):
            printable = MASK
        mask_next = False
        name, equals, _value = printable.partition("=")
        if _names_secret(name):
            if equals:
                printable = f"{name}={MASK}"
            elif name.startswith("--"):
                mask_next = True
        shown.append(printable)
    return shown


def text(value: str, secrets: tuple[str, ...] = ()) -> str:
    """Return *value* as valid text without the passwords of URLs, and without *secrets*."""
    if not value.isascii():
        value = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    for secret in secrets:
        if len(secret) > 3:
            value = value.replace(secret, MASK)
    return mask_urls(value) if "://" in value else value


def mask_urls(value: str) -> str:
    """Mask the password of each `scheme://user:password@host` in *value*."""
    pieces = value.split("://")
    for i, piece in enumerate(pieces[1:], 1):
        end = len(piece)
        for stop in " \t\r\n/?#'\"<>":
            at = piece.find(stop)
            if at >= 0:
                end = min(end, at)
        authority, rest = piece[:end], piece[end:]
        userinfo, at_sign, host = authority.rpartition("@")
        if at_sign and ":" in userinfo:
            user = userinfo.partition(":")[0]
            pieces[i] = f"{user}:{MASK}@{host}{rest}"
    return "://".join(pieces)


def _names_secret(name: str) -> bool:
    last = name.lower().lstrip("-")
    return any(word in last for word in _WORDS) and " " not in last and "/" not in last
