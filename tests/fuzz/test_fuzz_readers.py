"""Commands that read, over nodes that answer what they like: a message, no secret, no hang."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.admin.cli import main
from cronguard.core import exits
from cronguard.stores.redis import client
from tests.fuzz.corpus import fuzzed, replayed
from tests.fuzz.hostile import CLOSE, TRUE, Hostile, Lie, array, bulk, not_hanging
from tests.fuzz.test_fuzz_server import errors, maps, scalars, values

CANARY = "kanarienvogel"
COMMANDS = (["status"], ["ps"], ["history"], ["why", "x"], ["status", "--json"])
KINDS = ("server", "sentinel", "cluster")
ports = st.sampled_from([b":1\r\n", b":0\r\n", b":-1\r\n", b":99999\r\n", bulk(b"x"), b"$-1\r\n"])
nodes = st.builds(
    lambda host, port, more: array(host, port, *more),
    st.sampled_from(
        [bulk(b"127.0.0.1"), bulk(b""), bulk(b"\xff"), b"$-1\r\n", b"*0\r\n", b":7\r\n"]
    ),
    ports,
    st.lists(scalars, max_size=2),
)
slots = st.lists(
    st.builds(
        lambda first, last, some: array(first, last, *some),
        st.sampled_from([b":0\r\n", b":-5\r\n", bulk(b"x"), b"$-1\r\n"]),
        st.sampled_from([b":16383\r\n", b":3\r\n", b":99999\r\n", bulk(b"")]),
        st.lists(nodes, max_size=2),
    ),
    max_size=2,
).map(lambda rows: array(*rows))
whole = st.one_of(slots, nodes, errors, values, maps, st.binary(max_size=30))
lies: st.SearchStrategy[list[Lie]] = st.lists(
    st.one_of(st.just(TRUE), st.just(TRUE), whole, whole, st.just(CLOSE)), min_size=1, max_size=12
)


class Talking:
    """A hostile server in a thread of its own, until it is closed."""

    def __init__(self, said: list[Lie], kind: str) -> None:
        self.server = Hostile(said, kind, 0, honest_after=False, closing=True)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    @property
    def url(self) -> str:
        """What a command is told, with a password that nobody may show."""
        return self.server.url.replace("://", f"://u:{CANARY}@")

    def _talk(self) -> None:
        while not self._over.is_set():
            if not self.server.turn():
                self._over.wait(0.0005)
        self.server.close()

    def close(self) -> None:
        """End the thread, and with it the server."""
        self._over.set()
        self._thread.join()


@contextmanager
def talking(said: list[Lie], kind: str) -> Iterator[Talking]:
    """Have a server for a while."""
    one = Talking(said, kind)
    try:
        yield one
    finally:
        one.close()


def read(said: list[Lie], kind: str, argv: list[str]) -> None:
    """Read from a server that says *said*, and see what comes of it."""
    out = io.StringIO()
    with (
        talking(said, kind) as one,
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(out),
        not_hanging(),
    ):
        patch.setattr(client, "TIMEOUT_S", 0.3)
        patch.setenv("CRONGUARD_STORE", one.url)
        status = main(argv)
    shown = out.getvalue()
    assert status in (exits.DONE, exits.NO, exits.STORE_DOWN), shown
    assert CANARY not in shown
    assert shown.replace("\n", "").isprintable() or not shown, ascii(shown)


@given(lies, st.sampled_from(KINDS), st.sampled_from(COMMANDS))
@fuzzed(15)
def test_a_node_that_answers_nonsense_is_said_to(
    said: list[Lie], kind: str, argv: list[str]
) -> None:
    """R24: whichever question is answered so, and with which topology."""
    read(said, kind, argv)


@pytest.mark.parametrize("kind", KINDS)
@replayed("server")
def test_what_a_node_said_once_is_told(kept: bytes, kind: str) -> None:
    """R24: the corpus of servers, in place of all answers after the greeting's."""
    for truths in (0, 3):
        read([*[TRUE] * truths, *[kept] * 20], kind, ["status"])
