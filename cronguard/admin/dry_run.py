"""`run --dry-run`: the resolved spec in words, each value with who said it. Secrets are masked."""

from __future__ import annotations

import shlex
import sys

from cronguard.config import options as opt
from cronguard.config.store import mask
from cronguard.config.values import duration_text, signal_name
from cronguard.core import redact
from cronguard.core.exits import DONE
from cronguard.core.words import printable, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.config.options import Option
    from cronguard.config.resolve import Resolved

_WIDE = 50
_LONGEST = 4000


def show(resolved: Resolved, chosen: str, timeout: str = "") -> int:
    """Print what would be run; do nothing else.

    *chosen* is what `--isolation auto` is here, *timeout* what `--timeout auto` is now.
    """
    sys.stdout.write(text(resolved, chosen, timeout))
    return DONE


def text(resolved: Resolved, chosen: str = "", timeout: str = "") -> str:
    """Return one line a value, with its source."""
    found = rows(resolved, chosen, timeout)
    table = [(name, printable(value, _LONGEST), source) for name, value, source in found]
    first = max(len(name) for name, _, _ in table)
    second = max([len(value) for _, value, _ in table if len(value) <= _WIDE], default=0)
    lines = [f"{name:<{first}}  {value:<{second}}  ({source})" for name, value, source in table]
    return "\n".join(["cronguard would run this, and has not:", *lines, ""])


def rows(resolved: Resolved, chosen: str = "", timeout: str = "") -> list[tuple[str, str, str]]:
    """Return (option, value, source) of everything a run follows."""
    spec, sources = resolved.spec, resolved.sources
    command = shlex.join(redact.command(spec.command, resolved.secrets))
    said_by = sources.get("command") or sources.get("shell", "")
    found = [
        ("name", spec.name, sources["name"]),
        ("command", command, said_by),
        ("store", mask(spec.store), sources["store"]),
    ]
    if "password" in sources:
        found.append(("password", redact.MASK, sources["password"]))
    for option in opt.IN_SPEC:
        shown = spell(option, getattr(spec, option.name))
        if chosen and option is opt.ISOLATION and shown == "auto":
            shown = f"auto, which is {chosen} here"
        if option is opt.TIMEOUT and resolved.auto_timeout:
            shown = f"auto, which is {timeout}" if timeout else "auto"
        found.append((option.name, shown, sources[option.name]))
    return found


def spell(option: Option, value: object) -> str:
    """Return *value* as it would stand on the command line."""
    if option is opt.SIGNAL and isinstance(value, int):
        return signal_name(value)
    if isinstance(value, tuple):
        return ",".join([str(one) for one in value])
    if option is opt.CPU_QUOTA and value:
        return f"{value}%"
    if option.default == "none" and option.metavar in ("SIZE", "PERCENT") and not value:
        return "none"
    if option.metavar == "N" and value is not None:
        return str(value)
    if option.metavar == "SIZE" and isinstance(value, int):
        return size_text(value)
    if value == "" or (option is opt.ONCE and not value):
        return option.default
    if value is None:
        return "forever" if option is opt.WAIT else "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return duration_text(value) if isinstance(value, int) else str(value)
