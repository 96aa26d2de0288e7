"""Records that others wrote, read by the commands: none crashes, hides another or is obeyed."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from itertools import count
from time import CLOCK_BOOTTIME, clock_gettime_ns

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.admin.cli import main
from cronguard.core import exits
from cronguard.core.events import Denied, Held, Refused
from cronguard.core.record import FIELDS, OUTCOMES, complete, encode
from cronguard.core.spec import Claim, Owner
from cronguard.stores.contract import Acquire
from cronguard.stores.open import open_lease
from cronguard.stores.sqlite.history import open_history
from cronguard.stores.sqlite.rows import boot_id
from tests.fuzz.corpus import fuzzed, replayed
from tests.fuzz.hostile import not_hanging
from tests.servers import Server, start_server

_GOOD = "0123456789abcdef0123456789abcdef"
_JOBS = count()
_odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=9),
    st.sampled_from(
        [*OUTCOMES, "\x1b[2J", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00+14:00"]
    ),
    st.sampled_from([10**18, -(10**18), 10**400, "", "held", "\u202e", "\udc80", "a\nb", "[red]"]),
)
odd_values = st.recursive(
    _odd,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
records = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), odd_values, max_size=8).map(json.dumps),
    odd_values.map(json.dumps),
    st.text(max_size=20),
).map(lambda text: text.encode("utf-8", "surrogatepass"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server of this file's own."""
    one = start_server(tmp_path_factory.mktemp("records"), "valkey")
    yield one
    one.stop()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database of this file's own."""
    path = str(tmp_path_factory.mktemp("records") / "cronguard.db")
    with closing(open_history(path, "cg")) as history:
        history.jobs()
    return path


def good(job: str) -> str:
    """Return the record of ours that nothing is to hide."""
    facts = {"job": job, "run_id": _GOOD, "outcome": "failed", "exit_status": 3}
    return encode(complete(facts))


def put(server: Server, raw: bytes, extra: bytes, job: str = "") -> str:
    """Write *raw* as the newest run, skip, lease and counter of a job that has a good run, too."""
    job = job or f"job{next(_JOBS)}"
    name = f"cg:{{{job}}}:"
    server.do("FLUSHALL")
    server.do("ZADD", "cg:jobs", 1, job, 2, extra or b"x")
    server.do("HSET", f"{name}r", _GOOD, good(job), "f00d", raw, "skip", raw)
    server.do("ZADD", f"{name}h", 1, _GOOD, 2, "f00d")
    server.do("ZADD", f"{name}k", 2, "skip")
    server.do("HSET", f"{name}n", "failed", 1, "succeeded", extra, extra or b"x", extra)
    server.do("HSET", f"{name}c", "pause", raw)
    server.do("SET", f"{name}l:0", extra + b":7:7:7:" + raw, "PX", 60_000)
    server.do("SET", f"{name}l:1", raw, "PX", 60_000)
    server.do("ZADD", f"{name}w", 1, extra or b"x")
    server.do("ZADD", f"{name}wx", 1e15, extra or b"x")
    return job


def put_in_file(path: str, raw: bytes, extra: bytes) -> str:
    """Write the same as `put` does, as bytes, as text, and where numbers are to stand."""
    job, boot = f"job{next(_JOBS)}", boot_id()
    until = clock_gettime_ns(CLOCK_BOOTTIME) // 1_000_000 + 60_000
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            db.execute(f"DELETE FROM {table}")
        names = [(1, job), (2, extra), (3, job + " ")]
        db.executemany("INSERT INTO jobs(id, namespace, name) VALUES(?, 'cg', ?)", names)
        text = "CAST(? AS TEXT)"
        db.execute(
            f"UPDATE jobs SET paused_until_wall = ?, paused_reason = {text}, paused_by = ?",
            (extra, raw, raw),
        )
        for value in ("?", text):
            insert = f"INSERT INTO records VALUES(NULL, 1, {text}, ?, ?, ?, {value})"
            good_one = (_GOOD, 0, "failed", 1, good(job).encode())
            rows: list[tuple[object, ...]] = [good_one] if value == text else []
            for outcome in ("failed", "running", extra):
                odd = b"f00d%d" % len(rows) + value.encode(), 0, outcome, extra, raw
                rows += [odd, (odd[0] + b"k", 1, outcome, extra, raw)]
            db.executemany(insert, rows)
            lease = f"INSERT INTO leases VALUES(1, ?, ?, ?, 7, 7, ?, ?, 0, '', {value}, NULL)"
            first = len(value) * 10
            db.execute(lease, (first, "f00d", 7, until, boot, raw))
            db.execute(lease, (first + 1, extra, extra, extra or b"x", boot, raw))
            waiter = f"INSERT INTO waiters VALUES(NULL, 1, {value}, ?, ?, ?)"
            db.execute(waiter, (extra, until, boot, raw))
        db.execute("INSERT INTO counters VALUES(1, ?, ?)", (extra, extra))
        db.execute("INSERT INTO counters VALUES(1, 'succeeded', ?)", (raw,))
    return job


def say(url: str, *argv: str) -> str:
    """Run a command on the store, and return what it printed; it may say no, and not fail."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), not_hanging():
        status = main([*argv, "--store", url])
    said = out.getvalue()
    assert status in (exits.DONE, exits.NO), said
    shown = said.replace("\n", "").replace("\t", "")
    assert shown.isprintable(), ascii(said)
    return said


def read_all(url: str, job: str) -> None:
    """Read what was put with every command that shows records."""
    one = [[name, job] for name in ("status", "why", "show", "logs", "stats", "health")]
    for argv in (["status"], ["ps"], ["top"], *one):
        say(url, *argv)
        say(url, *argv, "--json")
    assert job in say(url, "status")
    assert _GOOD[:12] in say(url, "history", job)
    say(url, "show", "f00d")
    say(url, "show", _GOOD)


def ask(url: str, job: str) -> None:
    """See that a run of the job is told what stands there: who is in the way, or that it is odd."""
    store = open_lease(url, Claim(job, Owner("e" * 32), 35_000), 2_000)
    try:
        store.send(Acquire("{}"), 1)
        [event] = store.events(1)
        assert isinstance(event, Held | Refused | Denied), event
    finally:
        store.close()


extras = st.one_of(st.binary(max_size=6), st.just(b"9" * 5000))


@given(records, extras)
@fuzzed(10)
def test_any_record_is_shown_or_left_out(server: Server, raw: bytes, extra: bytes) -> None:
    """What others wrote under our keys hides no record, crashes nothing and is not obeyed."""
    read_all(server.tcp_url, put(server, raw, extra))


@replayed("records")
def test_records_that_once_did_harm(server: Server, kept: bytes) -> None:
    """The corpus of records."""
    read_all(server.tcp_url, put(server, kept, b"\xff\x1b"))


@given(records, extras)
@fuzzed(10)
def test_any_row_is_shown_or_left_out(file: str, raw: bytes, extra: bytes) -> None:
    """R26: what others wrote into our tables hides no record, crashes nothing and stops no run."""
    job = put_in_file(file, raw, extra)
    read_all(f"sqlite://{file}", job)
    ask(f"sqlite://{file}", job)


@replayed("records")
def test_rows_that_once_did_harm(file: str, kept: bytes) -> None:
    """R26: the corpus of records, in the tables of SQLite."""
    job = put_in_file(file, kept, b"\xff\x1b")
    ask(f"sqlite://{file}", job)
    read_all(f"sqlite://{file}", job)


@pytest.fixture(scope="module")
def quorum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Three real servers of this file's own."""
    several = [start_server(tmp_path_factory.mktemp("records"), "valkey") for _ in range(3)]
    yield several
    for one in several:
        one.stop()


@replayed("records")
def test_records_that_once_did_harm_are_merged(quorum: list[Server], kept: bytes) -> None:
    """R19: the corpus of records, on one server of a quorum and then on all."""
    for odd in (1, 3):
        job = f"job{next(_JOBS)}"
        for server in quorum[:odd]:
            put(server, kept, b"\xff\x1b", job)
        for server in quorum[odd:]:
            put(server, good(job).encode(), b"1", job)
        read_all(" ".join(server.tcp_url for server in quorum), job)
