"""The log's file under whoever writes, renames, locks or removes it: nothing lost, no one waits."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from cronguard.core.logline import Told
from cronguard.core.spec import JobSpec
from cronguard.runtime import logfile
from cronguard.runtime.log import Log
from tests.process.lab import until

TOLD = Told("job", "f00d" * 8, "web-3", 12, ["/opt/x"])
LINE = b"%05d" + b"x" * 200 + b"\n"


def log_to(path: Path, *, size: int = 0, keep: int = 999, style: str = "text") -> Log:
    spec = JobSpec(name="job", command=["x"], store="s", log=str(path), log_size=size,
                   log_keep=keep, log_format=style)  # fmt: skip
    log = Log(spec)
    log.tell(TOLD)
    until("the run has its first line", lambda: b"begins on" in all_of(path) or style == "json")
    return log


def end(log: Log) -> None:
    log.end("succeeded", "", 0, 5)


def all_of(path: Path) -> bytes:
    """Return what is in the log and in its old files, the oldest first."""
    old = sorted(path.parent.glob(f"{path.name}.2*"))
    return b"".join([one.read_bytes() for one in [*old, path] if one.exists()])


def said(path: Path) -> list[bytes]:
    """Return the lines that are not ours."""
    return [line for line in all_of(path).splitlines() if not line.startswith(b"=== ")]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leave no thread behind that writes."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_files_that_are_turned_in_one_moment_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O1: output of 100 MB/s fills a small file in less than the clock can tell."""
    monkeypatch.setattr("cronguard.runtime.log.wall_now", lambda: 1_800_000_000_000)
    path = tmp_path / "a"
    log = log_to(path, size=100)
    for number in range(300):
        log.add(1, LINE % number)
    end(log)
    assert said(path) == [(LINE % number)[:-1] for number in range(300)]


def test_a_long_run_keeps_no_more_old_files_than_it_may(tmp_path: Path) -> None:
    """O1: also while it runs: 10 GB of output in 10 MB files are not a thousand of them."""
    path = tmp_path / "a"
    log = log_to(path, size=100, keep=2)
    for number in range(50):
        log.add(1, LINE % number)
        assert len(list(tmp_path.iterdir())) <= 3
    end(log)
    assert (LINE % 49)[:-1] in said(path)


def test_none_is_kept_where_none_shall_be(tmp_path: Path) -> None:
    """With 0 there is one file, and it has its bound."""
    path = tmp_path / "a"
    log = log_to(path, size=1000, keep=0)
    for number in range(50):
        log.add(1, LINE % number)
    end(log)
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    assert path.stat().st_size < 2000


def test_a_lock_of_others_holds_up_nobody(tmp_path: Path) -> None:
    """A stopped keeper, or anybody who may read the file, can have a lock on it for ever."""
    path = tmp_path / "a"
    log = log_to(path, size=100)
    log.add(1, LINE % 0)
    before = len(list(tmp_path.iterdir()))
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        work = threading.Thread(target=lambda: log.add(1, LINE % 1), daemon=True)
        work.start()
        work.join(20)
        assert not work.is_alive(), "it waits for the lock"
    log.add(1, LINE % 2)
    end(log)
    assert said(path) == [(LINE % number)[:-1] for number in range(3)]
    assert len(list(tmp_path.iterdir())) == before + 1, "turned when the lock was free again"


def test_a_file_system_without_locks_costs_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log grows on, which is told; the output goes on."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(logfile, "flock", refuse)
    path = tmp_path / "a"
    log = log_to(path, size=100)
    for number in range(3):
        log.add(1, LINE % number)
    end(log)
    assert said(path) == [(LINE % number)[:-1] for number in range(3)]
    assert log.stuck == "operation not supported"
    assert not log.trouble, "nothing is missing"


@pytest.mark.parametrize("gone", [False, True])
def test_a_log_that_was_renamed_or_removed_is_begun_anew(tmp_path: Path, gone: bool) -> None:
    """As by logrotate, without a word to us, in the middle of a run of days."""
    path, aside = tmp_path / "a", tmp_path / "aside"
    path.touch(0o640)
    log = log_to(path)
    path.chmod(0o640)
    log.add(1, LINE % 0)
    path.rename(aside)
    if gone:
        aside.unlink()
    log.add(1, LINE % 1)
    end(log)
    lines = path.read_bytes().splitlines()
    assert b"goes on" in lines[0]
    assert lines[1] == (LINE % 1)[:-1]
    assert b"succeeded" in lines[2]
    assert path.stat().st_mode & 0o777 == 0o640
    assert gone or aside.read_bytes().splitlines()[-1] == (LINE % 0)[:-1]


def test_a_folder_that_is_gone_loses_nobody_but_the_log(tmp_path: Path) -> None:
    """It is told; the output goes on, and the log comes again with its folder."""
    folder = tmp_path / "logs"
    folder.mkdir()
    log = log_to(folder / "a")
    (folder / "a").unlink()
    folder.rmdir()
    log.add(1, LINE % 0)
    assert log.stuck == "no such file or directory"
    folder.mkdir()
    log.add(1, LINE % 1)
    end(log)
    assert said(folder / "a") == [(LINE % 1)[:-1]]


def test_a_link_stays_one_when_the_log_is_turned(tmp_path: Path) -> None:
    """What it leads to is renamed and begun anew, on the disk that somebody chose for it."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "a").symlink_to("disk/real")
    log = log_to(tmp_path / "a", size=100)
    for number in range(3):
        log.add(1, LINE % number)
    end(log)
    assert (tmp_path / "a").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2
    assert len(said(tmp_path / "disk/real")) == 3


@pytest.mark.parametrize("ends", [False, True])
def test_half_of_what_another_writes_is_not_taken_for_the_last_words_of_the_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """The kernel shows a long write as it grows; only who ended in it leaves half a line."""
    path = tmp_path / "a"
    path.write_bytes(b"of another, half")

    def other_goes_on(_: float) -> None:
        if ends and not path.read_bytes().endswith(b"\n"):
            with path.open("ab") as file:
                file.write(b" and whole\n")

    monkeypatch.setattr(logfile, "sleep", other_goes_on)
    log = log_to(path)
    end(log)
    first, second, third = path.read_bytes().splitlines()
    assert first == (b"of another, half and whole" if ends else b"of another, half")
    assert b"begins on" in second
    assert b"succeeded" in third


@pytest.mark.parametrize("leads_to", ["there", "nothing"])
def test_a_link_that_somebody_puts_there_is_not_followed(tmp_path: Path, leads_to: str) -> None:
    """Root may log into a folder of another, who is not to have files made or changed elsewhere."""
    path, target = tmp_path / "a", tmp_path / "target"
    log = log_to(path)
    if leads_to == "there":
        target.touch(0o600)
    path.unlink()
    path.symlink_to(target)
    log.add(1, LINE % 0)
    end(log)
    assert log.stuck.startswith("too many levels of symbolic links")
    assert target.exists() == (leads_to == "there")
    assert not target.exists() or target.stat().st_size == 0


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_of_another_user_is_no_example_for_ours(tmp_path: Path) -> None:
    """Whoever owns it sets its mode: a new one is ours alone."""
    path = tmp_path / "a"
    path.touch()
    path.chmod(0o666)
    os.chown(path, 65534, 65534)
    log = log_to(path, size=100)
    log.add(1, LINE % 0)
    log.add(1, LINE % 1)
    end(log)
    facts = path.stat()
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == (0, os.getegid(), 0o600)


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_file_begun_within_a_run_says_whose_it_is_and_since_when(
    tmp_path: Path, style: str
) -> None:
    """Or nobody could tell its age (`--log-age`), nor whose lines they are."""
    path = tmp_path / "a"
    log = log_to(path, size=100, style=style)
    log.add(1, LINE % 0)
    log.add(1, LINE % 1)
    first = path.read_bytes().splitlines()[0]
    assert b"f00df00d" in first
    if style == "json":
        assert json.loads(first)["event"] == "continue"
    aged = JobSpec(name="job", command=["x"], store="s", log=str(path), log_age=1000)
    now = 1_000_000_000_000_000
    file = logfile.LogFile(aged)
    assert file.is_old(now)
    os.close(file.number)
    end(log)


def test_the_first_line_is_there_before_the_command_says_anything(tmp_path: Path) -> None:
    """Of a run that is silent, and killed, the log has that it began, and when."""
    path = tmp_path / "a"
    log = log_to(path)
    assert path.read_bytes().count(b"\n") == 1
    end(log)
    assert path.read_bytes().count(b"\n") == 2


def test_a_disk_that_hangs_does_not_keep_the_run_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is given back by then, but whoever started us waits."""
    monkeypatch.setattr("cronguard.runtime.log.END_MS", 50)
    log = log_to(tmp_path / "a")
    with log._lock:  # as a thread has it that writes
        end(log)
    assert "not take" in log.trouble
    until("the thread has ended", lambda: b"succeeded" in (tmp_path / "a").read_bytes())


def test_o2_the_last_line_of_a_stream_goes_on_in_no_other(tmp_path: Path) -> None:
    """O2: a line without an end is whole when the output ends; pieces of a long one say so."""
    path = tmp_path / "a"
    log = log_to(path, style="json")
    log.add(1, b"x" * 70_000)
    log.add(1, b"yz")
    end(log)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()[1:-1]]
    assert [(len(line["message"]), line.get("partial")) for line in lines] == [
        (70_000, True),
        (2, None),
    ]


def test_o1_nothing_but_line_ends_takes_little_memory(tmp_path: Path) -> None:
    """O1: 64 KiB of them are 65,536 objects, or as many prefixes: not all are there at a time."""
    log = log_to(tmp_path / "a", style="json")
    tracemalloc.start()
    log.add(1, b"\n" * 65_536)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    end(log)
    assert (tmp_path / "a").read_bytes().count(b'"message":""') == 65_536
    assert peak < 4_000_000
