"""The comment at the end of a crontab's line that has its options: `... # cronguard: timeout=10m`.

Read by `cronguard-sh`, so on the hot path, and by `cronguard crontab`. Keys are the names of the
options of `run`; a switch stands alone or as `=true`; a value with spaces is quoted. Whether the
mark is a comment or data, such as in `grep '# cronguard:'`, is decided as a shell would: by the
quotes before it. Where they do not add up it cannot be told, and the line is refused rather than
run without the options that it may have.
"""

from __future__ import annotations

from cronguard.config.options import OPTIONS, ConfigError
from cronguard.config.values import shown

MARK = "# cronguard:"
_BLANK = " \t\r\n"
_BEFORE_A_COMMENT = frozenset(_BLANK + ";&|()<>")
_ESCAPED = frozenset(("", '"', "\\", "$", "`"))
"""What a backslash in double quotes escapes."""
_OPTIONS = {
    option.name: option
    for option in OPTIONS
    if option.flags and option.name not in ("shell", "dry_run")
}


class Line:
    """A line of a crontab as `cronguard-sh` sees it.

    `bare` the command without the comment · `options` what the comment says, as flags of `run`
    · `is_run` whether it begins with `cronguard run` itself.
    """

    __slots__ = ("bare", "is_run", "options")

    def __init__(self, bare: str, options: list[str]) -> None:
        self.bare = bare
        self.options = options
        self.is_run = begins_with_run(bare)


def read(text: str) -> Line:
    """Return what the line says. Raises: ConfigError when its comment cannot be obeyed."""
    at = _comment_at(text)
    if at < 0:
        return Line(text, [])
    line = Line(text[:at].rstrip(_BLANK), _flags(text[at + len(MARK) :]))
    if line.is_run:
        raise ConfigError(
            f"{MARK} has no effect on a line with `cronguard run`; put the options there"
        )
    return line


def begins_with_run(text: str) -> bool:
    """Tell whether the command is `cronguard run` itself, after assignments and `exec`."""
    words = text.split(None, 20)
    at = 0
    while at < len(words) and ("=" in words[at].partition("/")[0] or words[at] == "exec"):
        at += 1
    return words[at + 1 : at + 2] == ["run"] and words[at].rpartition("/")[2] == "cronguard"


def _comment_at(text: str) -> int:
    """Return where the comment begins, or -1. Raises: ConfigError where that cannot be told."""
    if MARK not in text:
        return -1
    quote, before, at = "", " ", 0
    while at < len(text):
        char = text[at]
        if char == "\\" and (not quote or (quote == '"' and text[at + 1 : at + 2] in _ESCAPED)):
            at, before = at + 2, "\\"
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and before in _BEFORE_A_COMMENT:
            return text.find(MARK, at)  # at once, or within: `# nightly # cronguard: name=x`
        before = char
        at += 1
    if quote:
        raise ConfigError(
            f"a {quote} has no other to close it, so it cannot be told whether `{MARK}` is a "
            "comment; correct the quotes"
        )
    return -1


def _flags(text: str) -> list[str]:
    """Return the options of the comment as flags of `run`. Raises: ConfigError."""
    flags = []
    for word in _words(text):
        key, given, value = word.partition("=")
        option = _OPTIONS.get(key.replace("-", "_"))
        if option is None:
            raise ConfigError(f"{MARK} {shown(key)} is no option{_guess(key)}")
        flag = option.flags[-1]
        if option.is_switch:
            if given and value != "true":
                raise ConfigError(f"{MARK} {key} is a switch; write {key} alone, or leave it out")
            flags.append(flag)
        elif given:
            flags.append(f"{flag}={value}")
        elif option.metavar[0] == "[":  # its value may be left out
            flags.append(flag)
        else:
            raise ConfigError(f"{MARK} {key} needs a value; write {key}={option.metavar}")
    return flags


def _words(text: str) -> list[str]:
    """Split at blanks outside quotes, and take the quotes off. Raises: ConfigError."""
    words, word, quote, is_word = [], "", "", False
    for char in text:
        if quote:
            quote, word = ("", word) if char == quote else (quote, word + char)
        elif char in "'\"":
            quote, is_word = char, True
        elif char not in _BLANK:
            word, is_word = word + char, True
        elif is_word:
            words.append(word)
            word, is_word = "", False
    if quote:
        raise ConfigError(f"{MARK} a {quote} has no other to close it; add it")
    return [*words, word] if is_word else words


def _guess(key: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only to complain

    near = get_close_matches(key.replace("-", "_"), _OPTIONS, 1)
    return f"; did you mean {near[0]}?" if near else "; see `cronguard run --help`"
