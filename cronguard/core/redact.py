"""Secrets on their way into records and messages: masked by what they look like, or by value."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"
_SPACE = " \t\r\n;&|()"
_WORDS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "api-key", "api_key")
HINTS = (
    *_WORDS, "access_key", "access-key", "accesskey", "private", "_pwd", "authorization", "cookie",
    "bearer ", "akia", "asia", "gh", "github_", "glpat-", "xox", "xapp-", "_live_", "sk-", "aiza",
    "npm_", "pypi-", "hf_", "dop_v1_", "sg.", "eyj",
)  # fmt: skip
"""A text without any of them has nothing that telltale.py would find."""
_ENDS = (
    "password", "passwd", "passphrase", "secret", "token", "apikey", "api_key", "access_key",
    "secret_key", "private_key", "encryption_key", "_pwd", "_pass", "dsn",
)  # fmt: skip
"""A variable or an option whose name ends so has a secret for its value."""
_USERS = ("-u", "--user", "--proxy-user")
"""What comes after these may be `me:password`."""
_ALL, _PASSWORD = "all", "password"
_OWN = "CRONGUARD_TOKEN"
_LEAST_KNOWN = 6
_PLAIN = frozenset(("enabled", "disabled", "default", "required", "optional"))


def command(argv: list[str], secrets: tuple[str, ...] = ()) -> list[str]:
    """Return *argv* for the record: passwords in URLs and after telling names are masked.

    `--password=x`, `PASSWORD=x`, `--token x`, `-u me:x` and `redis://user:x@host` are recognised,
    also among the words of one argument (`sh -c`, --shell); a secret without a telling name cannot
    be.
    """
    shown: list[str] = []
    mask_next = ""
    for arg in argv:
        printable, mask_next = _argument(text(arg, secrets), mask_next)
        shown.append(printable)
    return shown


def _argument(arg: str, mask_next: str) -> tuple[str, str]:
    """Mask one argument; return it, and what of the one that follows it is a secret."""
    words = _split(arg) if _hints_at_secret(arg) or "-u" in arg else []
    if len(words) < 2:
        return _word(arg, mask_next)
    if mask_next and not arg.startswith("-"):
        return (MASK if mask_next == _ALL else _of_user(arg)), ""
    mask_next = ""
    for i in range(0, len(words), 2):
        if words[i]:
            words[i], mask_next = _word(words[i], mask_next)
    return "".join(words), ""


def _word(word: str, mask_next: str) -> tuple[str, str]:
    if mask_next and not word.startswith("-"):
        return (MASK if mask_next == _ALL else _of_user(word)), ""
    name, equals, value = word.partition("=")
    if name in _USERS:
        return (f"{name}={_of_user(value)}", "") if equals else (word, _PASSWORD)
    if not _names_secret(name):
        return word, ""
    if equals:
        return f"{name}={MASK}", ""
    return word, _ALL if name.startswith("--") else ""


def _of_user(word: str) -> str:
    """Mask the password of `me:password`; `1000:1000` and `C:/x` are no such thing."""
    user, _, password = word.partition(":")
    quote = password[-1:] if password[-1:] in ("'", '"') else ""
    password = password.removesuffix(quote)
    is_one = password and not password.isdecimal() and password[0] not in "/\\"
    return f"{user}:{MASK}{quote}" if is_one else word


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
    if "://" in value:
        value = mask_urls(value)
    lower = value.lower()
    for hint in HINTS:
        if hint in lower:
            from cronguard.core.telltale import mask  # noqa: PLC0415 - most texts need it not

            return mask(value)
    return value


def known(environ: Iterable[tuple[str, str]], argv: list[str]) -> tuple[str, ...]:
    """Return the secrets that a command is given, the longest first, to be masked by value.

    By the names of variables and of options, and out of URLs. What is shorter than 6 letters, or a
    plain word, would mask half of a text, and is left.
    """
    found: set[str] = set()
    for name, value in environ:
        if name != _OWN and name.lower().endswith(_ENDS):
            found.add(value)
        if "://" in value:
            found.update(_of_urls(value))
    is_next, before = False, ""
    for arg in argv:
        if before in _USERS and _of_user(arg) != arg:
            found.add(arg.partition(":")[2])
        before = arg
        name, equals, value = arg.partition("=")
        if is_next and arg[:1] != "-":
            found.add(arg)
        is_secret = " " not in name and name.lower().replace("-", "_").endswith(_ENDS)
        is_next = is_secret and not equals and name[:2] == "--"
        if is_secret and equals:
            found.add(value)
        if "://" in arg:
            found.update(_of_urls(arg))
    good = [one for one in found if len(one) >= _LEAST_KNOWN and one.lower() not in _PLAIN]
    return tuple(sorted(good, key=len, reverse=True))


def _of_urls(value: str) -> list[str]:
    """Return the passwords that `mask_urls` would mask in *value*."""
    found = []
    for piece in value.split("://")[1:]:
        password = _userinfo(piece)[0].partition(":")[2]
        if password and password != MASK:
            found.append(password)
    return found


def mask_urls(value: str) -> str:
    """Mask the password of each `scheme://user:password@host` in *value*."""
    pieces = value.split("://")
    for i, piece in enumerate(pieces[1:], 1):
        userinfo, rest = _userinfo(piece)
        if ":" in userinfo:
            user = userinfo.partition(":")[0]
            pieces[i] = f"{user}:{MASK}@{rest}"
    return "://".join(pieces)


def _userinfo(piece: str) -> tuple[str, str]:
    """Return what stands before, and behind, the last `@` of the authority at *piece*'s start."""
    end = len(piece)
    for stop in " \t\r\n/?#'\"<>":
        at = piece.find(stop, 0, end)
        if at >= 0:
            end = at
    userinfo, at_sign, host = piece[:end].rpartition("@")
    return (userinfo, host + piece[end:]) if at_sign else ("", piece)


def _hints_at_secret(arg: str) -> bool:
    lower = arg.lower()
    return any(word in lower for word in _WORDS)


def _names_secret(name: str) -> bool:
    return _hints_at_secret(name) and " " not in name and "/" not in name
