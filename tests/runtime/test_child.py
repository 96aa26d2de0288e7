"""From fork to exec: a child that must not start does not, and what fails is told, and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cronguard.core import exits
from cronguard.runtime import child

# The runner's own threads hold no lock that these children want: they exec or end at once.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def become(
    command: list[bytes], *, guardian: int | None = None, cut: bool = False
) -> tuple[int, bytes]:
    """Fork a child that becomes *command*; return its status, and what it reported."""
    report, writer = os.pipe()
    lifeline, keeper = os.pipe()
    if cut:
        os.close(keeper)
    me = os.getpid()
    pid = os.fork()
    if pid == 0:
        stdio = child.Stdio(None, None)
        child.become(command, {}, stdio, guardian or me, (lifeline,), writer)
    os.close(writer)
    said = os.read(report, 100)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for number in (report, lifeline, *([] if cut else [keeper])):
        os.close(number)
    return status, said


def test_a_child_that_runs_reports_nothing() -> None:
    """The empty answer means that exec closed the pipe."""
    assert become([b"/bin/sh", b"-c", b"exit 7"]) == (7, b"")


@pytest.mark.parametrize("how", ["guardian", "keeper"])
def test_p17_a_child_whose_parents_are_gone_never_runs(tmp_path: Path, how: str) -> None:
    """P17: it looks again after it has asked to be killed with them."""
    command = [b"/bin/touch", os.fsencode(tmp_path / "ran")]
    status, _ = become(command, guardian=1 if how == "guardian" else None, cut=how == "keeper")
    assert status == exits.OWN_FAILURE
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "errno", "status"),
    [("/no/such", 2, 127), ("/etc", 13, 126), ("no-such", 2, 127), ("/etc/passwd/x", 20, 127)],
)
def test_p1_what_cannot_be_executed_is_reported(name: str, errno: int, status: int) -> None:
    """P1: by errno, which is explained in words and a status."""
    assert become([name.encode()]) == (exits.OWN_FAILURE, b"%d" % errno)
    got, why = child.explain(errno, name)
    assert got == status
    assert name in why


def test_whatever_else_goes_wrong_is_reported_too() -> None:
    """A child that fails before exec by no errno at all does not pass for one that runs."""
    status, said = become([b"a\0b"])
    assert (status, said) == (exits.OWN_FAILURE, b"0")
    assert child.explain(0, "x")[0] == exits.OWN_FAILURE
