"""The systemd units: accepted as they are, and the README's too."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Place
from tests.shape import readme, source

ANALYZE = shutil.which("systemd-analyze")
pytestmark = [
    pytest.mark.debian,
    pytest.mark.skipif(ANALYZE is None, reason="needs Debian's package systemd"),
]


def verify(*units: Path) -> subprocess.CompletedProcess[str]:
    """Return what `systemd-analyze verify` says of them."""
    assert ANALYZE is not None
    return subprocess.run(
        [ANALYZE, "verify", "--man=no", *map(str, units)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def installed(place: Place, name: str) -> Path:
    """Write a unit of the project with the command where it is here, and return it."""
    text = source.read(f"systemd/{name}").replace("/usr/bin/cronguard", place.cronguard)
    (place.folder / name).write_text(text)
    return place.folder / name


def test_the_units_are_accepted_without_a_warning(place: Place) -> None:
    """`systemd-analyze verify` has nothing to say about the templates and an instance of each."""
    for name in ("cronguard@.service", "cronguard@.timer"):
        installed(place, name)
    for name in ("cronguard@backup.service", "cronguard@backup.timer"):
        done = verify(place.folder / name)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_mistake_would_be_noticed(place: Place) -> None:
    """The test above can fail."""
    unit = installed(place, "cronguard@.service")
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=mixd"))
    done = verify(place.folder / "cronguard@backup.service")
    assert "kill mode" in done.stdout + done.stderr


def test_the_snippet_of_the_readme_is_accepted(place: Place) -> None:
    """As a unit of its own, with the command where it is here."""
    unit = place.folder / "own.service"
    text = place.local(readme.block("ini", "Type=oneshot").text).replace(
        "/usr/bin/cronguard", place.cronguard
    )
    unit.write_text(text)
    done = verify(unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_snippet_says_what_the_unit_says() -> None:
    """Who writes a unit by the README gets what the template has."""
    unit = source.read("systemd/cronguard@.service").splitlines()
    for line in readme.block("ini", "Type=oneshot").lines:
        assert line in unit or line.startswith("ExecStart="), line


def test_the_unit_waits_longer_than_cronguard_may_take() -> None:
    """TimeoutStopSec covers the grace from TERM to KILL and giving the lock back."""
    from cronguard.core.spec import JobSpec

    (line,) = [one for one in source.read("systemd/cronguard@.service").splitlines()
               if one.startswith("TimeoutStopSec=")]  # fmt: skip
    grace = JobSpec(name="x", command=[], store="").kill_after
    assert int(line.removeprefix("TimeoutStopSec=").removesuffix("s")) * 1000 > grace + 3_000
