"""A whole run against a server that lies: it ends in time, with an event, and believes no lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.core.events import (
    Denied,
    Event,
    Granted,
    Held,
    Renewed,
    StopAsked,
    Unavailable,
    Woken,
)
from cronguard.stores.contract import Acquire, Close, Reclaim, Renew, Request
from tests.fuzz.corpus import fuzzed, replayed
from tests.fuzz.hostile import (
    CLOCK,
    CLOSE,
    SCRIPTS,
    TRUE,
    Hostile,
    Lie,
    Talk,
    array,
    bulk,
    not_hanging,
    open_files,
)

_CODES = (
    "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "NOSCRIPT",
    "NOAUTH", "WRONGPASS", "NOPERM", "OOM", "BUSY", "MISCONF", "NOREPLICAS", "UNBLOCKED",
    "CROSSSLOT", "NOPROTO", "ERR unknown command", "ERR", "", "ERR max number of clients reached",
)  # fmt: skip
_PLACES = ("127.0.0.1:1", ":1", "[::1]:1", "127.0.0.1:0", "127.0.0.1:99999", "x", "", "1" * 5000)
_NUMBERS = (b"0", b"-1", b"7", b"9" * 30, b"9" * 5000, b"1_0", b" 5", b"", b"\xb2", b"x")

errors = st.builds(
    lambda code, more: f"-{code} {more}\r\n".encode("utf-8", "replace"),
    st.sampled_from(_CODES),
    st.one_of(st.sampled_from([f"12 {place}" for place in _PLACES]), st.text(max_size=20)),
)
scalars = st.one_of(
    st.sampled_from(_NUMBERS).map(bulk),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b":-1\r\n", b":0\r\n"]),
    st.sampled_from([b":9223372036854775807\r\n", b",nan\r\n", b"(99999999999999999999\r\n"]),
    st.binary(max_size=12).map(bulk),
    st.sampled_from([b"granted", b"renewed", b"subscribe", b"message", b"stop f", b"free"]).map(
        bulk
    ),
    errors,
)
values = st.recursive(
    scalars,
    lambda inner: st.builds(
        lambda mark, items: mark + array(*items)[1:],
        st.sampled_from([b"*", b"~", b">"]),
        st.lists(inner, max_size=6),
    ),
    max_leaves=8,
)
maps = st.lists(st.tuples(scalars, values), max_size=4).map(
    lambda pairs: b"%%%d\r\n" % len(pairs) + b"".join(key + value for key, value in pairs)
)
hello = st.builds(
    lambda version, mode, role: (
        b"%3\r\n" + b"".join([bulk(b"version"), version, bulk(b"mode"), mode, bulk(b"role"), role])
    ),
    st.one_of(
        st.sampled_from([b"7.2.0", b"6.2", b".6", b"6.", b"5.0", b"9" * 5000]).map(bulk), scalars
    ),
    st.one_of(st.sampled_from([b"standalone", b"cluster", b"sentinel"]).map(bulk), scalars),
    st.one_of(st.sampled_from([b"master", b"replica"]).map(bulk), scalars),
)
info = st.builds(
    lambda up, run, more: bulk(b"# x\r\nuptime_in_seconds:%s\r\nrun_id:%s\r\n%s" % (up, run, more)),
    st.sampled_from(_NUMBERS),
    st.sampled_from([b"a", b"", b"../x", b"\xff", b"a\nb"]),
    st.binary(max_size=20),
)
scripts = st.builds(
    lambda word, items: array(bulk(word), *items),
    st.sampled_from(
        [
            b"granted",
            b"held",
            b"queued",
            b"refused",
            b"taken",
            b"gone",
            b"renewed",
            b"closed",
            b"unstored",
            b"late",
            b"GRANTED",
            b"",
        ]
    ),
    st.lists(
        st.one_of(
            scalars,
            st.sampled_from(
                [
                    bulk(b"%d" % CLOCK),
                    bulk(b"paused"),
                    bulk(b"conflict"),
                    bulk(b"[" * 5000),
                    bulk(b'{"until":1e999,"by":["\x1b[2J"]}'),
                    bulk(b"a:9:9:9:" + b"[" * 5000),
                    bulk(b"px=\xb2 slots=9" + b"9" * 5000),
                ]
            ),
        ),
        max_size=5,
    ),
)
pushes = st.lists(scalars, max_size=4).map(lambda items: b">" + array(*items)[1:])
whole = st.one_of(
    st.sampled_from(SCRIPTS), scripts, scripts, values, errors, errors, maps, hello, info, pushes,
    st.binary(max_size=40),
)  # fmt: skip


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """Return answers that are cut, doubled, or have a byte of theirs changed."""
    data = bytearray(draw(whole))
    if data:
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["cut", "flip", "double"])):
            case "cut":
                del data[at:]
            case "flip":
                data[at] = draw(st.integers(0, 255))
            case _:
                data += data[at:]
    return bytes(data)


lies: st.SearchStrategy[list[Lie]] = st.lists(
    st.one_of(
        st.just(TRUE), st.just(TRUE), st.just(TRUE), whole, whole, mangled(), st.none(),
        st.just(CLOSE), st.lists(whole, min_size=2, max_size=3).map(b"".join),
    ),
    max_size=24,
)  # fmt: skip
REQUESTS: list[Request] = [
    Acquire('{"outcome":"running","token":null}', queue_for=0),
    Renew(77, 0),
    Reclaim(77, 0),
    Close('{"outcome":"succeeded"}', outcome="succeeded", ended_wall=1),
]
QUEUED = Acquire('{"outcome":"running","token":null}', queue_for=60_000)


def check(event: Event, request: Request, said: bytes) -> None:
    """See that *event* may follow from what was *said*."""
    if isinstance(event, Granted):
        assert request.name == "acquire"
        assert b"granted" in said
        assert b"%d" % event.token in said
    if isinstance(event, Renewed):
        assert request.name in ("renew", "reclaim")
        assert b"renewed" in said
    if isinstance(event, Denied | Unavailable):
        assert event.why
        assert len(event.why) < 1_000, event.why


def a_run(given: list[Lie], kind: str, cut: int, *, honest_after: bool, replicas: int) -> None:
    """Talk to a server that says *given*, and see that all goes as it must."""
    before = open_files()
    server = Hostile(given, kind, cut, honest_after=honest_after)
    talk = Talk(server, replicas)
    try:
        with not_hanging():
            talk.store.watch_job(talk.now)
            for request in (QUEUED, *REQUESTS):
                check(talk.ask(request), request, server.said)
                talk.idle()
    finally:
        talk.close()
        server.close()
    assert open_files() <= before  # less: what a test before left to the collector


def test_a_flood_of_pushes_is_kept_as_the_one_word_that_it_is() -> None:
    """R24: what is pushed before anybody listens takes no room, however much it is."""
    run_id = b"f" * 32
    flood = b"".join(
        [b">3\r\n+message\r\n+c\r\n" + bulk(word % run_id) for word in (b"free %s", b"stop %s me")]
    )
    said: list[Lie] = [*[TRUE] * 5, flood * 500 + SCRIPTS[1]]
    server = Hostile(said, "server", 0, honest_after=True)
    talk = Talk(server)
    try:
        assert isinstance(talk.ask(QUEUED), Held)
        talk.idle()
        assert not talk.pushed
        talk.store.watch_job(talk.now)
        talk.idle()
        assert [type(event) for event in talk.pushed] == [Woken, StopAsked]
    finally:
        talk.close()
        server.close()


@given(
    lies, st.sampled_from(["server", "sentinel", "cluster"]), st.sampled_from([0, 0, 0, 1, 7]),
    st.booleans(), st.sampled_from([0, 0, 2]),
)  # fmt: skip
@fuzzed(60)
def test_a_server_that_lies_ends_no_run_and_grants_nothing(
    said: list[Lie], kind: str, cut: int, honest_after: bool, replicas: int
) -> None:
    """R24: every request has its one answer in time, and no grant that was not said."""
    a_run(said, kind, cut, honest_after=honest_after, replicas=replicas)


@pytest.mark.parametrize(
    ("kind", "truths"),
    [("server", 0), ("server", 1), ("server", 2), ("server", 5), ("sentinel", 1), ("cluster", 5)],
)
@replayed("server")
def test_what_a_server_said_once_is_survived(kept: bytes, kind: str, truths: int) -> None:
    """R24: the corpus, in place of the first answer, the second, ... and of all that follow."""
    a_run([*[TRUE] * truths, *[kept] * 12], kind, 0, honest_after=True, replicas=0)
