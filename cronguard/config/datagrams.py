"""Where datagrams go: `HOST:PORT`, `[::1]:PORT`, or `unix:///PATH`."""

from __future__ import annotations

from cronguard.config.values import shown

UNIX = "unix://"


class Place:
    """A UDP port of a host, or a socket's `path`; the one that it is not is empty."""

    __slots__ = ("host", "path", "port")

    def __init__(self, host: str, port: int, path: str) -> None:
        self.host = host
        self.port = port
        self.path = path

    def __str__(self) -> str:
        if self.path:
            return UNIX + self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def place(text: str) -> Place:
    """Return what *text* says. Raises: ValueError."""
    example = "write HOST:PORT, or unix:///PATH"
    if text.startswith(UNIX):
        path = text.removeprefix(UNIX)
        if path[:1] != "/" or len(path.encode()) > 107:  # sun_path, see unix(7)
            raise ValueError(
                f"{shown(text)} is no path of a socket, of 107 bytes at most; {example}"
            )
        return Place("", 0, path)
    host, _, port = text.rpartition(":")
    if host[:1] == "[" and host[-1:] == "]":
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{shown(text)} is no address; write [::1]:8125 for IPv6")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65_536:
        raise ValueError(f"{shown(text)} is no address; {example}")
    return Place(host, int(port), "")
