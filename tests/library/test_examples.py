"""examples/fenced_writer.py and examples/guarded.py do what they are there to show."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing

from cronguard import guard
from tests.process.lab import ROOT, Lab

WRITER = str(ROOT / "examples" / "fenced_writer.py")
GUARDED = str(ROOT / "examples" / "guarded.py")


def pages(lab: Lab) -> dict[str, tuple[str, int]]:
    """Return what stands in the resource: name to body and token."""
    with closing(sqlite3.connect(lab.folder / "report.db")) as db:
        found = db.execute("SELECT name, body, token FROM pages").fetchall()
    return {name: (body, token) for name, body, token in found}


def write(lab: Lab, body: str, token: str) -> subprocess.CompletedProcess[str]:
    """Write as the run with this token."""
    return subprocess.run(
        [lab.interpreter, WRITER, "report.db", body],
        env=lab.env | {"CRONGUARD_TOKEN": token},
        cwd=lab.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_old_token_is_refused_after_a_newer_one_wrote(lab: Lab) -> None:
    """And nothing is changed; the newer run may write again."""
    assert write(lab, "old", "6").returncode == 0
    assert write(lab, "new", "7").returncode == 0
    stale = write(lab, "late", "6")
    assert (stale.returncode, stale.stdout) == (1, "")
    assert "the token 6 is stale: 7 has written since" in stale.stderr
    assert pages(lab) == {"report": ("new", 7)}
    assert write(lab, "newer", "7").returncode == 0
    assert pages(lab) == {"report": ("newer", 7)}


def test_of_writers_at_one_moment_the_highest_token_stands(lab: Lab) -> None:
    """Whatever the order in which they come."""
    assert write(lab, "", "1").returncode == 0
    tokens = [5, 2, 8, 3, 7, 4, 6]
    started = [
        subprocess.Popen(
            [lab.interpreter, WRITER, "report.db", f"by {token}"],
            env=lab.env | {"CRONGUARD_TOKEN": str(token)},
            cwd=lab.folder,
            stderr=subprocess.DEVNULL,
        )
        for token in tokens
    ]
    statuses = dict(zip(tokens, [process.wait(60) for process in started], strict=True))
    assert set(statuses.values()) <= {0, 1}
    assert statuses[8] == 0
    assert pages(lab) == {"report": ("by 8", 8)}


def test_without_a_run_it_writes_nothing(lab: Lab) -> None:
    """No token, no write."""
    assert write(lab, "x", "").returncode == 2
    assert not (lab.folder / "report.db").exists()


def test_a_run_and_a_guard_write_with_their_tokens(lab: Lab) -> None:
    """The run's own token goes with its write, and the two share one lock."""
    writer = [lab.interpreter, WRITER, "report.db"]
    done = lab.call("run", "-n", "report", "--", *writer, "by a run")
    assert done.returncode == 0, done.stderr
    guarded = [lab.interpreter, GUARDED, "report.db", "2"]
    with guard("report"):
        skipped = subprocess.run(
            guarded, env=lab.env, cwd=lab.folder, capture_output=True, text=True, timeout=60
        )
    assert (skipped.returncode, skipped.stdout) == (1, "")
    assert skipped.stderr.startswith("guarded: report: not started: another run holds the lock")
    done_well = subprocess.run(guarded, env=lab.env, cwd=lab.folder, timeout=60, check=False)
    assert done_well.returncode == 0
    newest, _, first = lab.records("report")
    assert pages(lab) == {
        "report": ("by a run", first["token"]),
        "step 1": ("done", newest["token"]),
        "step 2": ("done", newest["token"]),
    }
