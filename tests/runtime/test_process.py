"""Processes of our own beside the run: ended, and nobody else in their place."""

from __future__ import annotations

import os
import subprocess

import pytest

from cronguard.runtime import process


def test_the_end_leaves_no_zombie() -> None:
    """It is killed, whatever it does, and collected."""
    reader, writer = os.pipe()
    pid = process.start("time:sleep", [], stdin=reader, stdout=writer)
    os.close(reader)
    os.close(writer)
    process.end(pid)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_stranger_with_its_number_is_left_alone() -> None:
    """Who was reaped with a guardian's orphans has a number that others may have by now."""
    shell = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; read line; kill $!; wait $!; echo $?"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        process.end(int(shell.stdout.readline()))
        shell.stdin.write(b"\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == b"143\n"  # of TERM, not of KILL
