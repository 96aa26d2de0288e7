"""Text to values: durations, sizes, signals, names. What is wrong is said, with what to write.

Every function takes what the user wrote and raises ValueError with a sentence to put behind the
name of the flag, variable or key. Digits are ASCII digits: `int` alone would take others too.
"""

from __future__ import annotations

from cronguard.core.exits import MEANINGS
from cronguard.core.spec import is_job_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the C core: `signal` builds enums for 4 ms

_DIGITS = frozenset("0123456789")
_NUMBER = _DIGITS | {"."}
_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_YES = frozenset(("1", "true", "yes", "on"))
_NO = frozenset(("0", "false", "no", "off"))
LONGEST_MS = 3650 * 86_400_000
"""Ten years: beyond that a number was mistyped."""
_SHOWN = 60


def shown(text: str) -> str:
    """Return *text* quoted, escaped and cut, safe for any terminal; no URL: it may hold secrets."""
    if "://" in text:
        return "this URL"
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def duration(text: str) -> int:
    """Return the milliseconds in `250ms`, `30s`, `5m`, `1h30m`, `2d`; a bare number is seconds."""
    total, last = 0, LONGEST_MS
    for number, unit in _terms(text.strip()):
        scale = _UNITS.get(unit, 0)
        if not 0 < scale < last:
            raise _not_a_duration(text)
        whole, _, fraction = number.partition(".")
        if not (whole and len(number) < 18 and number.count(".") < 2):
            raise _not_a_duration(text)
        part, lost = divmod(int(fraction or "0") * scale, 10 ** len(fraction))
        if lost:
            raise ValueError(f"{shown(text)} is finer than a millisecond; the shortest is 1ms")
        total, last = total + int(whole) * scale + part, scale
    if last == LONGEST_MS:
        raise _not_a_duration(text)
    if total > LONGEST_MS:
        raise ValueError(f"{shown(text)} is longer than ten years; write it as 30s, 5m or 2d")
    return total


def _terms(text: str) -> list[tuple[str, str]]:
    """Split `1h30m` into its (number, unit) pairs; a number alone counts seconds."""
    if text and _NUMBER.issuperset(text):
        return [(text, "s")]
    terms, at = [], 0
    while at < len(text):
        start = at
        while at < len(text) and text[at] in _NUMBER:
            at += 1
        middle = at
        while at < len(text) and text[at] not in _NUMBER:
            at += 1
        terms.append((text[start:middle], text[middle:at]))
    return terms


def _not_a_duration(text: str) -> ValueError:
    return ValueError(f"{shown(text)} is not a duration; write it as 250ms, 30s, 5m, 1h30m or 2d")


def duration_text(ms: int) -> str:
    """Return *ms* as a user writes it: `1h30m`, `250ms`, `0`."""
    parts = []
    for unit, scale in _UNITS.items():
        count, ms = divmod(ms, scale)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0"


def positive(text: str) -> int:
    """Return a duration that is not zero."""
    value = duration(text)
    if not value:
        raise ValueError(f"{shown(text)} leaves no time at all; write at least 1ms")
    return value


def limit(text: str) -> int | None:
    """Return a duration, or None for `none` and 0: no limit."""
    return None if text == "none" else _or("none", text) or None


AUTO = "auto"
"""A timeout that follows from how long the job's runs take."""


def run_timeout(text: str) -> int | str | None:
    """Return a duration, None for `none` and 0, or AUTO."""
    if text == AUTO:
        return AUTO
    try:
        return limit(text)
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from None


def wait(text: str) -> int | None:
    """Return a duration, or None for `forever`."""
    return None if text == "forever" else _or("forever", text)


def _or(word: str, text: str) -> int:
    """Return a duration; who writes something else is told of *word* as well."""
    try:
        return duration(text)
    except ValueError as error:
        raise ValueError(f"{error}, or {word}") from None


def size(text: str) -> int:
    """Return the bytes in `512`, `64k`, `10M`, `1G` (powers of 1024)."""
    number = text.rstrip("kKmMgG")
    unit = text[len(number) :].lower()
    if not (0 < len(number) < 16 and _DIGITS.issuperset(number) and unit in _SIZES):
        raise ValueError(f"{shown(text)} is not a size; write it as 512, 64k, 10M or 1G")
    return int(number) * _SIZES[unit]


def signum(text: str) -> int:
    """Return the number of `TERM`, `SIGTERM` or `15`."""
    if 0 < len(text) < 4 and _DIGITS.issuperset(text):
        number = int(text)
    else:
        name = text.upper().removeprefix("SIG")
        found = getattr(signal, "SIG" + name, None) if name.isalnum() else None
        number = int(found) if isinstance(found, int) else 0
    if number not in signal.valid_signals():
        raise ValueError(f"{shown(text)} is no signal here; write it as TERM, SIGTERM or 15")
    if number == signal.SIGSTOP:
        raise ValueError("STOP suspends a process and never ends it; use TERM, INT, HUP or QUIT")
    return number


def signal_name(number: int) -> str:
    """Return `TERM` for 15, or the number where it has no name."""
    for name in dir(signal):
        if name[:3] == "SIG" and name[3] != "_" and getattr(signal, name) == number:
            return name[3:]
    return str(number)


def skip_status(text: str) -> int:
    """Return an exit status from 0 to 255 that does not already mean something else."""
    number = int(text) if 0 < len(text) < 4 and _DIGITS.issuperset(text) else 256
    if number > 255:
        raise ValueError(f"{shown(text)} is no exit status; write a number from 0 to 255")
    if number in MEANINGS:
        raise ValueError(f"{number} already means: {MEANINGS[number]}; choose another, e.g. 75")
    return number


def statuses(text: str) -> tuple[int, ...]:
    """Return exit statuses, in order, of `0,2` or `0, 10-19`."""
    found: set[int] = set()
    for word in text.replace(",", " ").split():
        first, dash, last = word.partition("-")
        low, high = (_status(one, text) for one in (first, last if dash else first))
        if low > high:
            raise ValueError(f"{shown(word)} goes from more to less; write {high}-{low}")
        found.update(range(low, high + 1))
    if not found:
        raise ValueError(f"{shown(text)} names no exit status; write them as 0,2")
    return tuple(sorted(found))


def _status(word: str, text: str) -> int:
    number = int(word) if 0 < len(word) < 4 and _DIGITS.issuperset(word) else 256
    if number > 255:
        raise ValueError(f"{shown(text)} is no list of exit statuses; write them as 0,2 or 0,10-19")
    return number


PREFIX_FIELDS = ("job", "run_id", "host", "time", "stream")
LONGEST_PREFIX = 200


def prefix(text: str) -> str:
    """Return a text for before each line, with {fields}; nothing for `none`."""
    if text == "none":
        return ""
    if len(text) > LONGEST_PREFIX:
        raise ValueError(f"{shown(text)} is too long; write up to {LONGEST_PREFIX} characters")
    if not plain(text).replace("\t", "").isprintable():
        raise ValueError(f"{shown(text)} does not fit into a line; leave line ends out")
    for piece in text.split("{")[1:]:
        name, brace, _ = piece.partition("}")
        if not brace or name not in PREFIX_FIELDS:
            known = " ".join([f"{{{field}}}" for field in PREFIX_FIELDS])
            raise ValueError(f"{shown('{' + name)} is no field; it may have {known}")
    return text


def path(text: str) -> str:
    """Return a path; nothing for `none`."""
    return "" if text == "none" else plain(text)


def nice(text: str) -> int | None:
    """Return a priority from -20 (first) to 19; None for `none`."""
    if text == "none":
        return None
    digits = text.removeprefix("-")
    number = int(text) if 0 < len(digits) < 3 and _DIGITS.issuperset(digits) else 99
    if not -20 <= number <= 19:
        raise ValueError(f"{shown(text)} is no priority; write one from -20 (first) to 19 (last)")
    return number


def ionice(text: str) -> str:
    """Return `idle`, `best-effort:4`, `realtime:0` as it is; nothing for `none`."""
    name, colon, level = text.partition(":")
    is_level = len(level) == 1 and level in "01234567"
    if text == "none":
        return ""
    if (text != "idle" and name not in ("best-effort", "realtime")) or (colon and not is_level):
        raise ValueError(
            f"{shown(text)} is no class; write idle, best-effort:0 to 7, or realtime:0"
        )
    return text


MOST_BYTES = 1 << 50


def most(text: str) -> int:
    """Return a size that is not zero; 0 for `none`."""
    number = 0 if text == "none" else size(text)
    if not number and text != "none":
        raise ValueError(f"{shown(text)} leaves no room at all; write a size, or none")
    if number > MOST_BYTES:
        raise ValueError(f"{shown(text)} is more than any host has; write a size, or none")
    return number


def percent(text: str) -> int:
    """Return the number in `150%`; 0 for `none`."""
    if text == "none":
        return 0
    digits = text.removesuffix("%")
    number = int(digits) if 0 < len(digits) < 6 and _DIGITS.issuperset(digits) else 0
    if not number:
        raise ValueError(f"{shown(text)} is no share of a processor; write it as 50% or 150%")
    return number


MOST_TAIL = 256 << 10


def tail(text: str) -> int:
    """Return a size that a record may have of the output."""
    number = size(text)
    if number > MOST_TAIL:
        raise ValueError(f"{shown(text)} is more than a record may hold; write 256k at most")
    return number


def files(text: str) -> int:
    """Return a number of files."""
    return _number(text, 0, 999, "number of files")


def replicas(text: str) -> int:
    """Return a number of replicas."""
    return _number(text, 0, 9, "number of replicas")


def retries(text: str) -> int:
    """Return how many times a failed command is run again."""
    return _number(text, 0, 99, "number of retries")


def slots(text: str) -> int:
    """Return how many runs may be under way at a time."""
    return _number(text, 1, 999, "number of runs at a time")


def _number(text: str, least: int, most: int, what: str) -> int:
    """Return a whole number from *least* to *most*."""
    number = int(text) if 0 < len(text) < 5 and _DIGITS.issuperset(text) else -1
    if not least <= number <= most:
        raise ValueError(f"{shown(text)} is no {what}; write one from {least} to {most}")
    return number


MOST_LOCKS = 16


def locks(text: str) -> str:
    """Return the names of locks, each once, in order, with spaces between; none for `none`."""
    names = sorted(set(text.replace(",", " ").split()))
    if names == ["none"]:
        return ""
    for name in names:
        if not is_job_name(name):
            raise ValueError(
                f"{shown(name)} is not a lock's name; it is up to 128 of A-Z a-z 0-9 . _ : - and "
                "begins with a letter or digit"
            )
    if not 0 < len(names) <= MOST_LOCKS:
        raise ValueError(f"{shown(text)} is not 1 to {MOST_LOCKS} names of locks")
    return " ".join(names)


def names(text: str) -> str:
    """Return names of reporters, each once, as they come, with spaces between; none for `none`."""
    found = list(dict.fromkeys(text.replace(",", " ").split()))
    if found == ["none"]:
        return ""
    for name in found:
        if not is_job_name(name):
            raise ValueError(f"{shown(name)} is no name of a reporter; see [reporters.NAME]")
    if not found:
        raise ValueError("no reporter is named; write the name of one, or none")
    return " ".join(found)


def patterns(text: str) -> str:
    """Return regular expressions, a line each; nothing for `none`."""
    if text == "none":
        return ""
    from cronguard.core.patterns import problem, split  # noqa: PLC0415 - re costs 8 ms

    for pattern in split(text):
        wrong = problem(pattern)
        if wrong:
            raise ValueError(f"{shown(pattern)} {wrong}")
    return text


PLAIN_ONCE = frozenset(("true", "yes", "on"))
"""The switch without its period: that of the schedule, or a minute."""


def once(text: str) -> int:
    """Return the period in ms; 0 for `off`; a minute where only the switch was said."""
    if text in PLAIN_ONCE:
        return 60_000
    return 0 if text in ("off", "false", "no", "0") else positive(text)


def schedule(text: str) -> str:
    """Return a cron expression that comes true some day; nothing for `none`."""
    if text == "none":
        return ""
    from cronguard.config.schedule import Schedule  # noqa: PLC0415 - cronsim costs 10 ms

    try:
        Schedule(text, "UTC")
    except ValueError as error:
        raise ValueError(f"{shown(text)} is no schedule: {error}") from None
    return " ".join(text.split())


def zone(text: str) -> str:
    """Return the name of a time zone that is known here, or `local`."""
    from cronguard.config.schedule import zone_of  # noqa: PLC0415 - only with --tz

    zone_of(text)
    return text


def job_name(text: str) -> str:
    """Return a name that is safe as a key, a file name and a label."""
    if not is_job_name(text):
        raise ValueError(
            f"{shown(text)} is not a job name; it is up to 128 of A-Z a-z 0-9 . _ : - and begins "
            "with a letter or digit"
        )
    return text


def namespace(text: str) -> str:
    """Return a key prefix; the letters of a job name."""
    if not is_job_name(text):
        raise ValueError(
            f"{shown(text)} is not a namespace; it is up to 128 of A-Z a-z 0-9 . _ : - and begins "
            "with a letter or digit"
        )
    return text


def switch(text: str) -> bool:
    """Return yes or no."""
    word = text.lower()
    if word in _YES or word in _NO:
        return word in _YES
    raise ValueError(f"{shown(text)} is neither yes nor no; write true or false")


def plain(text: str) -> str:
    """Return *text* as it is; it says something."""
    if not text:
        raise ValueError("it is empty; give it a value, or leave it out")
    if "\0" in text:
        raise ValueError("it holds a NUL character, which no command or path can; remove it")
    return text
