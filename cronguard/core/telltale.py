"""Secrets in any text, found by what stands before them, or by what they look like.

    password=x  "token": "x"  --api-key x  <secret>x</secret>  PASSWORD_PROD='x'
    Authorization: …  Cookie: …  Bearer x  AKIA…  ghp_…  eyJ….….…  -----BEGIN … PRIVATE KEY-----

Rather a word too much is masked than one too little: a value ends only with its quote, or with
white space. Loaded where a text has one of HINTS in it. Reads each text a fixed number of times, in
whole or by lines, so none of them takes long; `re` would take 8 ms to load, before the lock is
given back.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MASK = "***"
WORDS = (
    "password", "passwd", "passphrase", "secret", "token", "apikey", "api-key", "api_key",
    "access_key", "access-key", "accesskey", "private_key", "private-key", "privatekey",
    "secret_key", "_pwd",
)  # fmt: skip
"""With one of these a name tells that its value is a secret."""
_HEADERS = ("authorization", "cookie")
_BEARER = "bearer "
_LOOKS = (
    "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xoxb-",
    "xoxp-", "xoxa-", "xoxs-", "xapp-", "sk_live_", "rk_live_", "sk-", "AIza", "npm_", "pypi-",
    "hf_", "dop_v1_", "SG.", "eyJ",
)  # fmt: skip
"""How keys of well-known services begin."""
_LEAST = 16
"""So many letters, at the least, follow such a beginning."""
_BEGIN, _KEY, _END = "-----BEGIN ", "PRIVATE KEY-----", "-----END "
HINTS = (*WORDS, *_HEADERS, _BEARER, *[look.lower() for look in _LOOKS], _KEY.lower())
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_KEY_LETTERS = _NAME | frozenset(".~+/=")
_PLACES = ("file", "path")
_QUOTES = "'\"`"
_LONGEST_NAME = 64


def mask(text: str) -> str:
    """Return *text* with MASK in the place of what looks like a secret."""
    lower = _lower(text)
    spans: list[tuple[int, int]] = []
    for word in WORDS:
        _each(lower, word, spans, lambda at, end: _named(text, at, end))
    for word in _HEADERS:
        _each(lower, word, spans, lambda at, end: _header(text, at, end))
    _each(lower, _BEARER, spans, lambda _, end: _letters(text, end, 8))
    for look in _LOOKS:
        _each(text, look, spans, lambda at, end: _key(text, at, end))
    _each(text, _KEY, spans, lambda at, end: _private_key(text, at, end))
    return _without(text, spans)


def _lower(text: str) -> str:
    """Return *text* in small letters, each where it was."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join([c.lower() if c.isascii() else c for c in text])


def _each(
    text: str,
    word: str,
    spans: list[tuple[int, int]],
    secret_of: Callable[[int, int], tuple[int, int] | None],
) -> None:
    """Add the secret of each *word* in *text*, if it has one; look on behind it, also if empty."""
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        found = secret_of(at, end)
        if found is not None:
            if found[1] > found[0]:
                spans.append(found)
            end = max(end, found[1])
        at = text.find(word, end)


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    pieces: list[str] = []
    done = 0
    for start, end in sorted(spans):
        if start >= done:
            pieces += (text[done:start], MASK)
        done = max(done, end)
    return "".join([*pieces, text[done:]])


# -- by name ---------------------------------------------------------------------------------------


def _named(text: str, at: int, end: int) -> tuple[int, int] | None:
    """Return where the value of the name is that has its word from *at* to *end*."""
    name_end = _skip(text, end, _NAME, _LONGEST_NAME)
    rest = text[end:name_end]
    if rest[:1].islower() and text[end - 1].islower():
        return None  # `tokens`, `secretary`
    nothing = name_end, name_end
    if rest[1:].lower() in _PLACES:
        return nothing
    name_start = at
    while name_start > max(at - _LONGEST_NAME, 0) and text[name_start - 1] in _NAME:
        name_start -= 1
    after = text[name_end : name_end + 1]
    if after == ">" and text[name_start - 1 : name_start] == "<":
        stop = text.find("<", name_end)
        return name_end + 1, stop if stop >= 0 else len(text)
    if text.startswith("--", name_start) and after in (" ", "\t"):
        start = _skip_space(text, name_end)
        return nothing if text.startswith("-", start) else _value(text, start)
    start = _behind_sign(text, name_end)
    if start < 0:
        return nothing
    found = _value(text, start)
    is_count = rest.strip("_-") and text[found[0] : found[1]].rstrip(",;.)").isdecimal()
    return nothing if is_count else found  # `token_count=5`


def _behind_sign(text: str, at: int) -> int:
    """Return where what follows `=`, `:`, `=>` or `:=` begins; -1 without one of them."""
    if text[at : at + 1] and text[at] in _QUOTES:
        at += 1
    at = _skip_space(text, at)
    sign = text[at : at + 1]
    if sign not in ("=", ":") or text.startswith("://", at):
        return -1
    at += 2 if text[at + 1 : at + 2] in ("=", ">") else 1
    return _skip_space(text, at)


def _value(text: str, at: int) -> tuple[int, int]:
    """Return where the value that begins at *at* is, within its line."""
    line_end = _line_end(text, at)
    if at < line_end and text[at] in _QUOTES:
        stop = text.find(text[at], at + 1, line_end)
        return at + 1, stop if stop >= 0 else line_end
    end = at
    while end < line_end and not text[end].isspace():
        end += 1
    return at, end


def _header(text: str, at: int, end: int) -> tuple[int, int] | None:
    """Return the rest of a header's line, or as far as the quote that it stands in."""
    start = _behind_sign(text, end)
    if start < 0:
        return None
    line_end = _line_end(text, start)
    before = text[at - 1 : at]
    if start < line_end and text[start] in _QUOTES:
        return _value(text, start)
    while before and before in _NAME:  # Proxy-Authorization, Set-Cookie
        at -= 1
        before = text[at - 1 : at]
    stop = text.find(before, start, line_end) if before and before in _QUOTES else -1
    return start, stop if stop >= 0 else line_end


# -- by looks --------------------------------------------------------------------------------------


def _letters(text: str, at: int, least: int) -> tuple[int, int] | None:
    end = _skip(text, at, _KEY_LETTERS, len(text))
    return (at, end) if end - at >= least else None


def _key(text: str, at: int, end: int) -> tuple[int, int] | None:
    if text[at - 1 : at].isalnum():
        return None
    found = _letters(text, end, _LEAST)
    if found is None:
        return None
    is_other = text.startswith("eyJ", at) and text.count(".", end, found[1]) < 2
    return found[1] if is_other else at, found[1]


def _private_key(text: str, at: int, end: int) -> tuple[int, int] | None:
    """Return a key's lines: from its head on, or those before its foot where its head is cut."""
    near = max(at - _LONGEST_NAME, text.rfind("\n", 0, at) + 1)
    head, foot = text.rfind(_BEGIN, near, at), text.rfind(_END, near, at)
    if head > foot:
        stop = text.find(_END, end)
        return end, stop if stop >= 0 else len(text)
    if foot < 0:
        return None
    start = foot
    while start > 0:
        before = text.rfind("\n", 0, start - 1) + 1
        if not _KEY_LETTERS.issuperset(text[before:start].strip()):
            break
        start = before
    return start, foot


def _skip(text: str, at: int, letters: frozenset[str], most: int) -> int:
    end = min(at + most, len(text))
    while at < end and text[at] in letters:
        at += 1
    return at


def _skip_space(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t"):
        at += 1
    return at


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return end if end >= 0 else len(text)
