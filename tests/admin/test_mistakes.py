"""What a new user types wrong, and what is said to it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from .seeds import Seeds

MISTAKES = [
    (["runn", "--", "true"], 2, "there is no command `cronguard runn`; did you mean run"),
    (["frobnicate"], 2, "there is no command `cronguard frobnicate`; see `cronguard --help`"),
    (["config", "shw"], 2, "there is no command `cronguard config shw`; did you mean show?"),
    (["show"], 2, "RUN is missing; see `cronguard show --help`"),
    (["why"], 2, "JOB is missing; see `cronguard why --help`"),
    (["status", "a", "b"], 2, "got unexpected extra argument (b); see `cronguard status --help`"),
    (["status", "--jsn"], 2, "there is no option --jsn; did you mean --json?"),
    (["status", "backpu"], 1, "did you mean backup?"),
    (["show", "backpu"], 1, "did you mean the job backup?"),
    (["stop", "backpu"], 1, "did you mean the job backup?"),
    (["show", "zzz"], 1, "`cronguard history` lists the runs that are kept."),
    (["stop", "--timeout", "5x", "a"], 2, "--timeout: '5x' is not a duration; write it as 250ms"),
    (["history", "--limit", "x"], 2, "--limit: 'x' is not a number of runs; write 1 or more"),
    (["history", "--limit", "0"], 2, "--limit: '0' is not a number of runs; write 1 or more"),
    (["history", "--limit", "²"], 2, "is not a number of runs"),
    (["history", "--outcome", "bad"], 2, "--outcome: 'bad' is not one of 'running'"),
    (["status", "--store", "foo"], 2, "--store: this is not the URL of a store; write redis://"),
    (["status", "--store", "http://x"], 2, "'http://x' is not the URL of a store"),
    (["status", "--store", "redis://:canary@h"], 2, "which everybody on this host can see in `ps`"),
    (["status", "--namespace", "x y"], 2, "--namespace: 'x y' is not a namespace"),
    (["status", "--config", "/nope"], 2, "/nope: cannot be read: No such file; check --config"),
    (["status", "--config", "/"], 2, "/: is a folder; name the file in it"),
    (["status", "--store", "sqlite:///proc/x.db"], 69, "cannot use sqlite:///proc/x.db: "),
    (["config", "init", "--file", "/proc/a/b/x.toml"], 1, "Name another place with --file"),
    (["doctor", "--jsno"], 2, "there is no option --jsno; did you mean --json"),
]


@pytest.mark.parametrize(("argv", "status", "said"), MISTAKES)
def test_a_mistake_is_answered_with_what_to_do(
    seeds: Seeds, argv: list[str], status: int, said: str
) -> None:
    """No guessing: what happened, why, what to do, on stderr; no traceback, no secret."""
    seeds.ended("succeeded")
    got, out, err = seeds.say(*argv)
    assert (got, out) == (status, "")
    assert said in err
    assert err.startswith("cronguard: ")
    assert "Traceback" not in err
    assert "canary" not in err
    assert err[len("cronguard: ") :][:1] not in "\n "


def test_config_show_says_when_a_job_has_no_section(seeds: Seeds) -> None:
    """A typo in the name is seen."""
    status, out, _ = seeds.say("config", "show", "nojob")
    assert status == 0
    assert out.endswith("No file has a section [jobs.nojob]: this is what holds for any job.\n")


def test_a_mistyped_folder_is_not_made(seeds: Seeds, tmp_path: Path) -> None:
    """`config init` makes the last folder of a path that was typed, and no more."""
    path = tmp_path / "a" / "b" / "x.toml"
    assert seeds.say("config", "init", "--file", str(path))[0] == 1
    assert not (tmp_path / "a").exists()
    assert seeds.say("config", "init", "--file", str(path.parent.parent / "x.toml"))[0] == 0


def test_a_port_where_something_else_listens_is_no_store(seeds: Seeds) -> None:
    """R24: said with the address, status 69, and soon."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        url = f"redis://127.0.0.1:{port}/0"
        status, _, err = seeds.say("status", "--store", url)
    assert status == 69
    assert url in err


@pytest.mark.parametrize(
    "command",
    ["status", "ps", "history", "show", "logs", "why", "stop", "unlock", "doctor", "version"],
)
def test_help_of_each_command_begins_with_what_it_does(seeds: Seeds, command: str) -> None:
    """-h and --help, on stdout, with every option explained."""
    for flag in ("-h", "--help"):
        status, out, err = seeds.say(command, flag)
        assert (status, err) == (0, "")
        lines = out.splitlines()
        assert lines[0].startswith(f"Usage: cronguard {command} [OPTIONS]")
        assert lines[2].strip()
        assert "--json" in out


@click.command()
def broken() -> None:
    """Raise what a careless line of ours might."""
    raise RuntimeError("cannot parse redis://u:canary%2D1@h with 'canary-1'\x1b[31m")


@pytest.mark.parametrize("debug", ["", "1"])
def test_an_error_of_our_own_never_shows_the_password(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch, debug: str
) -> None:
    """S2: neither the message, nor with CRONGUARD_DEBUG the traceback, has it in any spelling."""
    monkeypatch.setenv("CRONGUARD_STORE", "redis://u:canary%2D1@h")
    monkeypatch.setenv("CRONGUARD_DEBUG", debug)
    monkeypatch.setitem(sys.modules, "cronguard.admin.ps", SimpleNamespace(command=broken))
    status, out, err = seeds.say("ps")
    assert (status, out) == (125, "")
    assert err.startswith("cronguard: internal error: RuntimeError: cannot parse redis://u:***@h")
    assert "canary" not in err
    assert ("Traceback" in err) == bool(debug)
