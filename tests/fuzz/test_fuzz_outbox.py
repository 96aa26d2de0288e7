"""Files in the outbox that nobody of ours wrote: kept, said, and in nobody's way."""

from __future__ import annotations

import json
import os
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.core.spec import Claim, Owner
from cronguard.runtime import outbox
from cronguard.stores.contract import Close, LeaseStore
from cronguard.stores.open import open_history, open_lease
from tests.fuzz.corpus import fuzzed, replayed
from tests.fuzz.hostile import not_hanging
from tests.fuzz.test_fuzz_records import odd_values

_GOOD = "0123456789abcdef0123456789abcdef"
_RECORD = '{"schema":1,"job":"job","run_id":"%s","outcome":"failed","token":null}'
_NUMBERS = count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder of this file's own, with a database."""
    return tmp_path_factory.mktemp("outbox")


def fields(folder: Path) -> dict[str, object]:
    """Return what a file of ours holds."""
    claim = Claim("job", Owner("f" * 32), 35_000)
    outbox.keep(str(folder), url_in(folder), claim, close_of("f" * 32))
    path = folder / outbox.FOLDER / f"{'f' * 32}.json"
    found = json.loads(path.read_text())
    path.unlink()
    assert isinstance(found, dict)
    return found


def url_in(folder: Path) -> str:
    """Return the store that the records are for."""
    return f"sqlite://{folder}/cronguard.db"


def close_of(run_id: str) -> Close:
    """Return the end of a run."""
    return Close(_RECORD % run_id, outcome="failed", reason="", ended_wall=1)


def check(folder: Path, raw: bytes) -> None:
    """See that *raw* is delivered, set aside or left, and the good ones beside it delivered."""
    job, url, state = f"job{next(_NUMBERS)}", url_in(folder), str(folder)
    place = folder / outbox.FOLDER
    names = ["0" * 32, "f" * 32]  # before it and after it
    for name in names:
        outbox.keep(state, url, Claim(job, Owner(name), 35_000), close_of(name))
    (place / "8odd.json").write_bytes(raw)

    def opened(claim: Claim) -> LeaseStore:
        return open_lease(url, claim, 2_000)

    with not_hanging():
        done, odd = outbox.deliver(outbox.waiting(state), url, opened)
        again = outbox.deliver(outbox.waiting(state), url, opened)
    with closing(open_history(url, "cg")) as history:
        assert {str(one["run_id"]) for one in history.runs(job, 9)} >= set(names)
        history.overview(history.jobs())
    assert again == (0, [])
    left = [path for path in place.iterdir() if path.read_bytes() == raw]
    assert len(left) == (0 if done == 3 else 1)
    assert odd == [str(path) for path in left if path.suffix == outbox.ASIDE]
    for path in left:
        path.unlink()
    assert not list(place.iterdir())


_FIELDS = ("schema", "store", "namespace", "job", "px", "slots", "replicas", "run_id", "record",
           "outcome", "reason", "ended_wall", "more")  # fmt: skip
changes = st.dictionaries(st.sampled_from(_FIELDS), odd_values, max_size=3)
flips = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=2)


@given(changes, st.sampled_from(_FIELDS), st.integers(0, 600), flips)
@fuzzed(40)
def test_any_file_is_delivered_or_kept_and_in_nobodys_way(
    folder: Path,
    changed: dict[str, object],
    lacking: str,
    cut: int,
    flipped: list[tuple[int, int]],
) -> None:
    """R1: what disk, hand or a newer version made of it, all others go."""
    kept = fields(folder) | changed
    if cut % 3 == 0:
        kept.pop(lacking, None)
    data = bytearray(json.dumps(kept).encode())
    if cut % 3 == 1:
        del data[cut:]
    for at, new in flipped if cut % 2 else []:
        data[at : at + 1] = bytes([new])
    check(folder, bytes(data))


@replayed("outbox")
def test_files_that_once_did_harm(folder: Path, kept: bytes) -> None:
    """R1: the corpus of kept records."""
    check(folder, kept)


def test_what_is_no_file_holds_nobody(folder: Path) -> None:
    """R1: a FIFO, a link and a file without end, in place of a record; a folder is left alone."""
    place = folder / outbox.FOLDER
    place.mkdir(mode=0o700, exist_ok=True)
    os.mkfifo(place / "fifo.json")
    (place / "link.json").symlink_to("/dev/zero")
    with (place / "huge.json").open("wb") as file:
        file.truncate(1 << 40)
    check_others(folder)
    names = {path.name for path in place.iterdir()}
    assert names == {"fifo.json.aside", "link.json", "huge.json.aside"}
    for name in names:
        (place / name).unlink()


def check_others(folder: Path) -> None:
    """See that a good record is delivered beside what else is there."""
    url, run_id = url_in(folder), "b" * 32
    outbox.keep(str(folder), url, Claim("job", Owner(run_id), 35_000), close_of(run_id))
    with not_hanging():
        paths = outbox.waiting(str(folder))
        assert outbox.deliver(paths, url, lambda claim: open_lease(url, claim, 2_000))[0] == 1


def test_many_that_wait_for_another_store_are_in_nobodys_way(folder: Path) -> None:
    """R1: a record is delivered however many before it are for a store that is gone."""
    run_ids = [f"{number:032x}" for number in range(outbox.AT_ONCE + 9)]
    for run_id in run_ids:
        claim = Claim("job", Owner(run_id), 35_000)
        outbox.keep(str(folder), "redis://gone:6379/0", claim, close_of(run_id))
    check_others(folder)
    waiting = outbox.waiting(str(folder))
    assert len(waiting) == len(run_ids)
    for path in waiting:
        os.unlink(path)
