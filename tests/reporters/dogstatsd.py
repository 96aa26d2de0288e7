"""Reads what a Datadog agent would: strictly by the description of its datagrams.

docs.datadoghq.com, "Datagram Format and Shell Usage", and the agent's readers of it.
"""

from __future__ import annotations

import re

_METRIC = re.compile(rb"([A-Za-z][A-Za-z0-9_.]*):(-?\d+(?:\.\d+)?)\|(c|g|ms|h|s|d)(?:\|#(.*))?")
_EVENT = re.compile(rb"_e\{(\d+),(\d+)\}:")
_TAG = re.compile(r"[\w:./-]{1,200}")
_FIELDS = {b"d": "at", b"h": "host", b"k": "key", b"p": "priority", b"s": "source", b"t": "type"}


class Metric:
    """One line: its name, value, kind and tags."""

    def __init__(self, line: bytes) -> None:
        found = _METRIC.fullmatch(line)
        assert found, line
        self.name, self.kind = found[1].decode(), found[3].decode()
        self.value = float(found[2])
        self.tags = tags(found[4])


class Event:
    """One event: title and text with their lines, and its further fields."""

    def __init__(self, line: bytes) -> None:
        found = _EVENT.match(line)
        assert found, line
        title, text = int(found[1]), int(found[2])
        rest = line[found.end() :]
        assert rest[title : title + 1] == b"|"
        assert title
        self.title = rest[:title].decode().replace("\\n", "\n")
        self.text = rest[title + 1 : title + 1 + text].decode().replace("\\n", "\n")
        self.fields: dict[str, str] = {}
        self.tags: set[str] = set()
        after = rest[title + 1 + text :]
        assert after[:1] in (b"", b"|"), after
        for field in after.split(b"|")[1:]:
            if field[:1] == b"#":
                self.tags = tags(field[1:])
                continue
            key, _, value = field.partition(b":")
            assert value, line
            self.fields[_FIELDS[key]] = value.decode()
        assert self.fields.get("type", "info") in ("error", "warning", "info", "success")
        assert self.fields.get("priority", "normal") in ("normal", "low")
        assert len(self.fields.get("key", "")) <= 100
        assert self.fields.get("at", "0").isdigit()


def tags(text: bytes | None) -> set[str]:
    """Return tags, each of them one that the agent keeps as it is."""
    found = text.decode().split(",") if text is not None else []
    assert all(_TAG.fullmatch(tag) for tag in found), text
    assert len(set(found)) == len(found)
    return set(found)


def read(datagram: bytes) -> tuple[list[Metric], list[Event]]:
    """Return what one datagram says."""
    metrics, events = [], []
    for line in datagram.split(b"\n"):
        if line.startswith(b"_e"):
            events.append(Event(line))
        else:
            metrics.append(Metric(line))
    return metrics, events
