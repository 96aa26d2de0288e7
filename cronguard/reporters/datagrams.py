"""Sends datagrams: as far as anybody can know they arrived, and never for longer than allowed."""

from __future__ import annotations

import os
import socket
import time
from queue import Empty, SimpleQueue
from threading import Thread

from cronguard.reporters.contract import NotNow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cronguard.config.datagrams import Place

    Target = tuple[socket.AddressFamily, str | tuple[object, ...]]

_LEAST_SECONDS = 0.001


def send(place: Place, datagrams: Iterable[bytes], timeout: float) -> None:
    """Send them in order. A port where nobody listens is noticed, if its host says so at once.

    A name may have several addresses; the first that takes them all gets them. Raises: NotNow.
    """
    until = time.monotonic() + timeout
    packets, problem = list(datagrams), ""
    for family, address in _addresses(place, until):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as target:
                target.connect(address)
                for packet in packets:
                    target.settimeout(max(until - time.monotonic(), _LEAST_SECONDS))
                    target.send(packet)
                _raise_pending(target)
                return
        except TimeoutError:
            raise NotNow(f"{place} takes nothing more") from None
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
    raise NotNow(f"{place}: {problem}")


def _raise_pending(target: socket.socket) -> None:
    """Raise what came back: on this host it is there before `send` returns. Raises: OSError."""
    error = target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


def _addresses(place: Place, until: float) -> Iterator[Target]:
    if place.path:
        yield socket.AF_UNIX, place.path
        return
    # The C library looks names up for as long as it likes.
    answers: SimpleQueue[list[Target] | OSError] = SimpleQueue()
    Thread(target=_look_up, args=(place, answers), daemon=True).start()
    try:
        found = answers.get(timeout=max(until - time.monotonic(), _LEAST_SECONDS))
    except Empty:
        raise NotNow(f"{place}: its name was not found in time") from None
    if isinstance(found, OSError):
        why = (found.strerror or str(found)).lower()
        raise NotNow(f"{place}: its name cannot be looked up: {why}")
    yield from found


def _look_up(place: Place, answers: SimpleQueue[list[Target] | OSError]) -> None:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        answers.put(error if isinstance(error, OSError) else OSError(str(error)))
    else:
        answers.put([(family, address) for family, _, _, _, address in found])
