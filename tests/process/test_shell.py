"""`cronguard-sh`, called as cron calls a shell, and as people and programs do."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.lab import ROOT, Lab


class Shell(Lab):
    """A lab in which the command line is that of `cronguard-sh`."""

    def argv(self, *args: str) -> list[str]:
        """Return the command line of `cronguard-sh` with *args*."""
        return [self.interpreter, str(ROOT / "packaging/bin/cronguard-sh"), *args]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell with an empty store, left as empty of processes as it was."""
    found = Shell(tmp_path, f"sqlite://{tmp_path}/state/cronguard.db")
    found.env["SHELL"] = "/usr/bin/cronguard-sh"
    yield found
    assert not found.clear()


def said(done: subprocess.CompletedProcess[bytes]) -> tuple[int, str, str]:
    """Return status, output and errors."""
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_line_is_guarded_and_is_what_it_was(shell: Shell) -> None:
    """Output, errors, status and shell syntax pass through; the options come from the comment."""
    text = "echo a | tr a b; echo c >&2; exit 7 # cronguard: name=backup timeout=10m"
    assert said(shell.call("-c", text)) == (7, "b\n", "c\n")
    (record,) = shell.records("backup")
    assert (record["exit_status"], record["outcome"]) == (7, "failed")


def test_standard_input_is_the_lines(shell: Shell) -> None:
    """What cron makes of the text behind a % reaches the command."""
    process = shell.start("-c", "cat # cronguard: name=x", stdin=subprocess.PIPE)
    assert process.communicate(b"one\ntwo\n", timeout=60)[0] == b"one\ntwo\n"
    assert shell.records("x")


def test_the_default_name_is_the_commands_whatever_its_options(shell: Shell) -> None:
    """A change of options, or of the shell, leaves the job the one it was; `run --shell` agrees."""
    tell = "printenv CRONGUARD_JOB"
    names = {shell.call("-c", tell).stdout}
    names.add(shell.call("-c", f"{tell} # cronguard: timeout=1m").stdout)
    names.add(shell.call("-c", tell, env={"CRONGUARD_SHELL": "/bin/bash"}).stdout)
    names.add(Lab(shell.folder, shell.store).call("run", "--shell", tell).stdout)
    assert len(names) == 1
    assert names.pop().startswith(b"printenv-")


def test_what_the_line_starts_with_its_shell_is_not_guarded_again(shell: Shell) -> None:
    """SHELL names the real shell for the command, guarded or not."""
    assert shell.call("-c", "echo $SHELL").stdout == b"/bin/sh\n"
    assert shell.call("-c", "echo $SHELL $1", "sh", "x").stdout == b"/bin/sh x\n"
    told = shell.call(
        "-c", "echo ${BASH_VERSION:+bash} $SHELL", env={"CRONGUARD_SHELL": "/bin/bash"}
    )
    assert told.stdout == b"bash /bin/bash\n"


def test_a_wrong_option_is_refused_before_anything_starts(shell: Shell) -> None:
    """Status 125 and what to write, rather than a run without a guard."""
    mark = shell.folder / "started"
    for wrong in ("timout=10m", "timeout=soon", "timeout", "name='x"):
        status, out, err = said(shell.call("-c", f"touch {mark} # cronguard: {wrong}"))
        assert (status, out) == (125, "")
        assert err.startswith("cronguard")
    assert not mark.exists()


def test_a_line_that_guards_itself_is_guarded_once(shell: Shell) -> None:
    """`cronguard run` at its beginning: the line is run as it is."""
    tool = shell.folder / "cronguard"
    tool.write_text('#!/bin/sh\necho "$CRONGUARD_JOB:$*"\n')
    tool.chmod(0o755)
    assert shell.call("-c", f"{tool} run -n x -- true").stdout == b":run -n x -- true\n"


def test_called_otherwise_it_is_the_real_shell(shell: Shell) -> None:
    """As `su`, `script` and editors call $SHELL: no guard, no record, no ignored signal."""
    process = shell.start(stdin=subprocess.PIPE)
    assert process.communicate(b"echo $0; exit 3\n", timeout=60)[0] == b"/bin/sh\n"
    assert process.returncode == 3
    assert shell.call("-e", "-c", "false; echo on").returncode == 1
    assert not list(shell.folder.glob("state/*.db"))
    held = shell.call("-ec", "grep SigIgn /proc/self/status")
    ours = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert not int(held.stdout.split()[1], 16) & ours


def test_a_shell_that_cannot_be_is_refused(shell: Shell) -> None:
    """Another shell is named by its whole path, and is not this one."""
    for wrong in ("bash", "/usr/bin/cronguard-sh"):
        done = shell.call("-c", "true", env={"CRONGUARD_SHELL": wrong})
        assert done.returncode == 125
        assert b"CRONGUARD_SHELL" in done.stderr
    assert shell.call("-l", env={"CRONGUARD_SHELL": "/no/sh"}).returncode == 127
    assert shell.call("-c", "true", env={"CRONGUARD_SHELL": "/no/sh"}).returncode == 127


def test_a_line_of_nothing_but_a_comment_runs_the_configured_command(shell: Shell) -> None:
    """It is `cronguard run --name JOB`: command and rules are those of the file."""
    file = shell.folder / "c.toml"
    file.write_text('[jobs.backup]\ncommand = "echo from the file"\nskip_exit_code = 75\n')
    file.chmod(0o600)
    env = {"CRONGUARD_CONFIG": str(file)}
    assert said(shell.call("-c", "# cronguard: name=backup", env=env)) == (0, "from the file\n", "")
    assert said(shell.call("-c", "echo mine # cronguard: name=backup", env=env))[1] == "mine\n"
    assert shell.call("-c", "# cronguard: name=other", env=env).returncode == 125
