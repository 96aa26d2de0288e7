"""What is kept of the output, and how `--quiet` keeps it: bounded, and nothing lost."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.runtime.output import Capture, write_all
from cronguard.runtime.spill import Spill

BYTES = st.binary(min_size=1, max_size=60).map(lambda data: data.replace(b"\n", b"-"))
PIECES = st.lists(BYTES, max_size=60)


@given(PIECES, st.integers(8, 64))
def test_capture_keeps_the_ends_of_what_went_by(pieces: list[bytes], keep: int) -> None:
    """All of it when it is short; else its very first and last bytes, and how many are missing."""
    capture = Capture(keep)
    for piece in pieces:
        capture.add(piece)
    whole = b"".join(pieces)
    assert capture.total == len(whole)
    text = capture.text()
    if len(whole) <= 2 * keep:
        assert text == whole.decode("utf-8", "replace")
        return
    head, gap, tail = text.partition(f"\n[... {len(whole) - 2 * keep} bytes not kept ...]\n")
    assert gap
    assert head == whole[:keep].decode("utf-8", "replace")
    assert tail == whole[-keep:].decode("utf-8", "replace")


def test_o5_where_bytes_are_missing_lines_are_whole() -> None:
    """O5: no half of a line, which might be the half of a password that nothing recognises."""
    capture = Capture(1000)
    for i in range(1000):
        capture.add(b"redis://user:hunter%d@host/%d\n" % (i, i))
    lines = capture.text().splitlines()
    gap = next(line for line in lines if "not kept" in line)
    kept = [line for line in lines if line != gap]
    assert all(line.startswith("redis://") and "@host/" in line for line in kept)
    assert capture.total == sum(len(line) + 1 for line in kept) + int(gap.split()[1])


@pytest.mark.parametrize("size", [1, 7, 100, 65_536])
def test_o1_capture_does_not_grow(size: int) -> None:
    """O1: whatever the pieces' size."""
    capture = Capture()
    piece = b"x" * size
    tracemalloc.start()
    for _ in range(20_000 if size < 1000 else 1000):
        capture.add(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400_000


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[list[int]]:
    """Two files to write to."""
    numbers = [os.open(tmp_path / name, os.O_CREAT | os.O_RDWR, 0o600) for name in "ab"]
    yield numbers
    for number in numbers:
        os.close(number)


def content(number: int) -> bytes:
    """Return what is in the file *number*."""
    return os.pread(number, os.fstat(number).st_size, 0)


def test_spill_gives_back_each_stream_whole(tmp_path: Path, streams: list[int]) -> None:
    """Frames of any length, both streams, also from pieces longer than one read."""
    spill = Spill(str(tmp_path), write_all)
    wanted = [b"", b""]
    for i in range(500):
        data = bytes([i % 251]) * (i * 7 % 1000 + (200_000 if i == 77 else 1))
        which = i * i % 3 % 2
        wanted[which] += data
        spill.add(streams[which], data)
    assert [content(number) for number in streams] == [b"", b""]
    spill.show()
    assert [content(number) for number in streams] == wanted
    spill.show()
    assert [content(number) for number in streams] == wanted


def test_spill_keeps_the_order_of_one_stream_among_two(tmp_path: Path) -> None:
    """When both end in one file, it is as they came."""
    one = os.open(tmp_path / "one", os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    two = os.dup(one)
    spill = Spill(str(tmp_path), write_all)
    for i in range(200):
        spill.add((one, two)[i % 2], b"%d," % i)
    spill.show()
    assert content(one) == b"".join(b"%d," % i for i in range(200))
    os.close(one)
    os.close(two)


def test_o1_spill_does_not_grow(tmp_path: Path, streams: list[int]) -> None:
    """O1: two streams that alternate byte by byte take space on disk, not in memory."""
    spill = Spill(str(tmp_path), write_all)
    tracemalloc.start()
    for i in range(30_000):
        spill.add(streams[i % 2], b"x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000
    spill.show()
    assert [len(content(number)) for number in streams] == [15_000, 15_000]


def test_spill_keeps_the_ends_of_what_is_too_much(tmp_path: Path) -> None:
    """O1: the disk has its bound, too; what is left out is counted, to the byte."""
    one = os.open(tmp_path / "one", os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    two = os.dup(one)
    spill = Spill(str(tmp_path), write_all, most=10_000)
    lines = [b"line %06d\n" % i for i in range(5_000)]
    files = len(os.listdir("/proc/self/fd"))
    for i, line in enumerate(lines):
        spill.add((one, two)[i % 2], line)
    assert len(os.listdir("/proc/self/fd")) <= files + 2, "what is left out takes no room"
    spill.show()
    head, note, tail = content(one).partition(b"\n[... ")
    number, word, tail = tail.partition(b" bytes not kept (--quiet) ...]\n")
    assert note
    assert word
    whole = b"".join(lines)
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert len(head) + int(number) + len(tail) == len(whole)
    assert len(head) >= 5_000
    assert 2_500 <= len(tail) <= 5_100
    os.close(one)
    os.close(two)


@pytest.mark.parametrize("size", [4_999, 5_001, 7_600, 10_000])
def test_spill_keeps_all_of_what_it_has_room_for(
    tmp_path: Path, streams: list[int], size: int
) -> None:
    """Up to its bound nothing is left out, in however many files it is."""
    spill = Spill(str(tmp_path), write_all, most=10_000)
    data = os.urandom(size)
    for i in range(0, size, 7):
        spill.add(streams[0], data[i : i + 7])
    spill.show()
    assert content(streams[0]) == data


def test_spill_leaves_room_on_the_disk(
    tmp_path: Path, streams: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """H5: the store of this host may be on it; what it took is shown and given back."""
    spill = Spill(str(tmp_path), write_all)
    spill.add(streams[0], b"before ")
    monkeypatch.setattr("cronguard.runtime.spill._LEFT_BYTES", 1 << 62)
    facts = os.statvfs(tmp_path)
    nearly = os.statvfs_result((*facts[:4], facts.f_blocks // 11, *facts[5:]))
    monkeypatch.setattr("cronguard.runtime.spill.os.fstatvfs", lambda _: nearly)
    spill.add(streams[0], b"after")
    assert spill.failed == "no space left on device"
    assert content(streams[0]) == b"before after"


def test_spill_without_a_folder_shows_at_once(
    monkeypatch: pytest.MonkeyPatch, streams: list[int]
) -> None:
    """H6: no place for a file: nothing is hidden, nothing is lost, and it says why."""
    spill = Spill("/proc", write_all)
    spill.show()
    monkeypatch.setattr(spill, "failed", "x")
    spill.add(streams[0], b"data")
    assert content(streams[0]) == b"data"


def test_write_all_says_when_nobody_reads() -> None:
    """H9: EPIPE is an answer, not an error."""
    reader, writer = os.pipe()
    os.close(reader)
    assert not write_all(writer, b"x")
    os.close(writer)


def test_write_all_waits_on_a_non_blocking_descriptor() -> None:
    """A stdout that somebody made non-blocking gets every byte, too."""
    import threading

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    got = bytearray()

    def read() -> None:
        while data := os.read(reader, 4096):
            got.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    assert write_all(writer, b"z" * 1_000_000)
    os.close(writer)
    thread.join()
    os.close(reader)
    assert len(got) == 1_000_000
