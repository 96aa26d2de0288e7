"""Fencing on a quorum: what most servers saw is known whichever of them are asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cronguard.stores.contract import StoreDown
from cronguard.stores.open import open_history
from tests.servers import FLAVOURS, SYNCED, Server, binary, start_server


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[list[Server]]:
    """Three servers that a test may stop."""
    flavour = next(name for name in FLAVOURS if binary(name) is not None)
    started = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        started.append(start_server(tmp_path / str(number), flavour, *SYNCED))
    yield started
    for server in started:
        server.stop()


def fence(trio: list[Server], token: int) -> int:
    """Ask as a process of its own would."""
    history = open_history(" ".join([server.tcp_url for server in trio]), "cg")
    try:
        return history.fence("data", token)
    finally:
        history.close()


def test_any_two_majorities_share_a_server_that_knows(trio: list[Server]) -> None:
    """A token that one majority saw fences the older one that asks another."""
    trio[2].kill()
    assert fence(trio, 7) == 7
    trio[2].start()
    trio[0].kill()
    assert fence(trio, 5) == 7, "the third never heard of 7"
    trio[0].start()
    trio[1].kill()
    assert fence(trio, 6) == 7, "the first kept it over its restart"


def test_without_a_majority_nobody_knows(trio: list[Server]) -> None:
    """Then it is not said that a token is the highest."""
    for server in trio[:2]:
        server.kill()
    with pytest.raises(StoreDown, match="only 1 of 3 servers answer"):
        fence(trio, 7)


def test_a_server_that_cannot_note_it_has_no_vote(trio: list[Server]) -> None:
    """Out of memory: what could not be kept must not pass for having been seen."""
    for server in trio[:2]:
        server.do("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreDown, match="only 1 of 3 servers answer"):
        fence(trio, 7)
    trio[0].do("CONFIG", "SET", "maxmemory", "0")
    assert fence(trio, 7) == 7
