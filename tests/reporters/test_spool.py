"""Reports that wait: written whole, told in order, by one process at a time, within bounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cronguard.core import report
from cronguard.reporters import spool
from cronguard.runtime.spool import put

RECORD = '{"outcome":"failed","output_tail":"\\u00e4\\n"}'


def encoded(at: int = 5, kind: str = "end", to: tuple[str, ...] = ("slack", "mail")) -> str:
    """Return a report."""
    return report.encode(
        RECORD,
        kind=kind,
        run_id="f00d",
        job="job",
        namespace="cg",
        streak=2,
        at=at,
        to=list(to),
        config=None,
    )


def keep(state: Path, at: int = 5, kind: str = "end", job: str = "job") -> Path:
    """Keep a report, and return its file."""
    text = encoded(at, kind)
    return Path(put(str(state), job, report.file_name(at, "f00d", kind), text))


def read(state: Path) -> list[spool.Waiting]:
    """Return what waits."""
    folder = spool.Folder(str(state), "job")
    folder.open(0)
    try:
        return list(folder.waiting())
    finally:
        folder.close()


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    """Every field, and nobody else may read the file or find the folder."""
    path = keep(tmp_path)
    [found] = read(tmp_path)
    assert (found.job, found.kind, found.at, found.streak) == ("job", "end", 5, 2)
    assert (found.to, found.config, found.warning) == (["slack", "mail"], None, None)
    assert found.record == json.loads(RECORD)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {folder.stat().st_mode & 0o777 for folder in (path.parent, path.parent.parent)} == {
        0o700
    }


def test_reports_come_in_the_order_of_time_and_of_a_run(tmp_path: Path) -> None:
    """A start before its end, also where both are of one millisecond."""
    for at, kind in ((10, "end"), (9, "start"), (10, "start"), (9, "end"), (10, "warning")):
        keep(tmp_path, at, kind)
    told = [(one.at, one.kind) for one in read(tmp_path)]
    assert told == [(9, "start"), (9, "end"), (10, "start"), (10, "warning"), (10, "end")]


def test_a_report_is_gone_when_all_have_been_told(tmp_path: Path) -> None:
    """And remembers who was, in between."""
    path = keep(tmp_path)
    [found] = read(tmp_path)
    found.told("slack")
    [again] = read(tmp_path)
    assert (again.to, again.record) == (["mail"], json.loads(RECORD))
    assert path.stat().st_mode & 0o777 == 0o600
    again.told("mail")
    assert list(path.parent.iterdir()) == []


def test_one_process_at_a_time_tells_a_jobs_reports(tmp_path: Path) -> None:
    """The other waits until it may; a holder that dies holds nobody up."""
    keep(tmp_path)
    text = (
        "import sys, time\nfrom cronguard.reporters.spool import Folder\n"
        "folder = Folder(sys.argv[1], 'job')\nfolder.open(0)\n"
        "print('locked', flush=True)\ntime.sleep(600)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", text, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        folder = spool.Folder(str(tmp_path), "job")
        with pytest.raises(spool.Busy):
            folder.open(time.monotonic() + 0.1)
        other.kill()
        folder.open(time.monotonic() + 60)
        assert len(list(folder.waiting())) == 1
        folder.close()
    finally:
        other.kill()
        other.communicate()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        "[" * 100_000,
        encoded().replace('"schema":1', '"schema":2'),
        encoded().replace('"end"', '"other"'),
        encoded().replace('"job":"job"', '"job":"../x"'),
        encoded().replace('"slack"', "3"),
        encoded().replace('"streak":2', '"streak":"2"'),
        encoded().replace(RECORD, "null"),
        "ä",
    ],
)
def test_what_is_not_ours_is_set_aside(tmp_path: Path, text: str) -> None:
    """It is in nobody's way, and not deleted."""
    keep(tmp_path, 7)
    folder = tmp_path / "spool" / "job"
    (folder / "1-odd.json").write_text(text)
    assert [one.at for one in read(tmp_path)] == [7]
    assert (folder / f"1-odd.json{spool.ASIDE}").read_text() == text


def test_a_link_or_a_pipe_is_not_followed(tmp_path: Path) -> None:
    """Nor does a pipe hold us up."""
    real = keep(tmp_path, 7)
    (real.parent / "2-link.json").symlink_to(real)
    os.mkfifo(real.parent / "1-pipe.json")
    assert [one.at for one in read(tmp_path)] == [7]


def test_what_cannot_be_written_leaves_nothing_half_done(tmp_path: Path) -> None:
    """A name that is there already stays as it is; no unfinished file is left."""
    path = keep(tmp_path)
    (tmp_path / "spool" / "full").mkdir()
    (tmp_path / "spool" / "full" / path.name).mkdir()
    with pytest.raises(OSError, match="directory"):
        put(str(tmp_path), "full", path.name, encoded())
    assert [one.name for one in (tmp_path / "spool" / "full").iterdir()] == [path.name]


def test_what_is_too_old_is_let_go(tmp_path: Path) -> None:
    """By the time it was written."""
    old, new = keep(tmp_path, 1), keep(tmp_path, 2, job="other")
    os.utime(old, (1000, 1000))
    os.utime(new, (2000, 2000))
    assert spool.let_go(str(tmp_path), 1500 + spool.KEPT_SECONDS) == 1
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize(("bound", "value"), [("KEPT_REPORTS", 3), ("KEPT_BYTES", 1000)])
def test_what_is_too_much_is_let_go_the_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    """Over all jobs together."""
    monkeypatch.setattr(spool, bound, value)
    paths = [keep(tmp_path, at, job=f"job{at % 2}") for at in range(8)]
    for number, path in enumerate(paths):
        os.utime(path, (1000 + number, 1000 + number))
    gone = spool.let_go(str(tmp_path), 2000)
    kept = [path.exists() for path in paths]
    assert 0 < gone < 8
    assert kept == [False] * gone + [True] * (8 - gone)
    assert spool.let_go(str(tmp_path), 2000) == 0


def test_a_state_folder_without_a_spool_has_no_jobs(tmp_path: Path) -> None:
    """And what is in it under no job's name is none."""
    assert spool.jobs(str(tmp_path)) == []
    keep(tmp_path)
    (tmp_path / "spool" / ".hidden").mkdir()
    assert spool.jobs(str(tmp_path)) == ["job"]
