"""Secrets on their way into records and messages: masked by what they look like, or by value."""

from __future__ import annotations

MASK = "***"
_SPACE = " \t\r\n;&|()"
_WORDS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "api-key", "api_key")


def command(argv: list[str], secrets: tuple[str, ...] = ()) -> list[str]:
    """Return *argv* for the record: passwords in URLs and after telling names are masked.

    `--password=x`, `PASSWORD=x`, `--token x` and `redis://user:x@host` are recognised, also among
    the words of one argument (`sh -c`, --shell); a secret without a telling name cannot be.
    """
    shown: list[str] = []
    mask_next = False
    for arg in argv:
        printable, mask_next = _argument(text(arg, secrets), mask_next)
        shown.append(printable)
    return shown


def _argument(arg: str, mask_next: bool) -> tuple[str, bool]:
    """Mask one argument; return it, and whether what follows it is a secret."""
    words = _split(arg) if _hints_at_secret(arg) else []
    if len(words) < 2:
        return _word(arg, mask_next)
    if mask_next and not arg.startswith("-"):
        return MASK, False
    mask_next = False
    for i in range(0, len(words), 2):
        if words[i]:
            words[i], mask_next = _word(words[i], mask_next)
    return "".join(words), False


def _word(word: str, mask_next: bool) -> tuple[str, bool]:
    if mask_next and not word.startswith("-"):
        return MASK, False
    name, equals, _value = word.partition("=")
    if not _names_secret(name):
        return word, False
    if equals:
        return f"{name}={MASK}", False
    return word, name.startswith("--")


def _split(arg: str) -> list[str]:
    """Return words and the space between them in turn. A quoted text is one word."""
    pieces = [""]
    quote = ""
    for c in arg:
        if quote or c not in _SPACE:
            if c == quote:
                quote = ""
            elif not quote and c in "'\"":
                quote = c
            if len(pieces) % 2 == 0:
                pieces.append("")
        elif len(pieces) % 2:
            pieces.append("")
        pieces[-1] += c
    return pieces


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


def _hints_at_secret(arg: str) -> bool:
    lower = arg.lower()
    return any(word in lower for word in _WORDS)


def _names_secret(name: str) -> bool:
    return _hints_at_secret(name) and " " not in name and "/" not in name
