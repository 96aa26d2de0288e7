"""C5: whether several commands share the name of a job, so that they keep each other from running.

A command that changed once is no such thing: a new version. One that comes back after another is.
"""

from __future__ import annotations

import os

from cronguard.admin import render
from cronguard.core.moments import wall_ms

LOOK_BACK = 20
"""So many of the newest runs, and of the newest skips, are looked at."""
_SHOWN = 60


def sharing(records: list[render.Record]) -> list[str]:
    """Return the commands that take turns among *records* of one job, or nothing."""
    asked = [record.get("queued_at") or record.get("started_at") for record in records]
    dated = [(wall_ms(at) or 0, one) for at, one in zip(asked, records, strict=True)]
    order = sorted(dated, key=lambda one: one[0])
    turns: list[tuple[str, str]] = []
    for _, record in order:
        said = render.word(record.get("command"))
        if said != "-" and (not turns or turns[-1][0] != said):
            turns.append((said, render.word(record.get("host"))))
    seen = list(dict.fromkeys(said for said, _ in turns))
    if len(turns) == len(seen):
        return []
    hosts = dict(turns)
    return [f"`{_cut(said, seen)}` (on {hosts[said]})" for said in seen[:2]]


def _cut(said: str, others: list[str]) -> str:
    """Return the part of a command that tells it from the others."""
    same = len(os.path.commonprefix(others))  # noqa: RUF071 - characters are what is meant
    begin = max(same - _SHOWN // 2, 0) if same > _SHOWN // 2 else 0
    cut = said[begin : begin + _SHOWN]
    return ("…" if begin else "") + cut + ("…" if len(said) > begin + _SHOWN else "")
