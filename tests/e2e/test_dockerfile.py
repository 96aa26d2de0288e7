"""The Dockerfile fits the project, and its entrypoint works; no engine is needed to see that."""

from __future__ import annotations

import json
import os
import shlex
import subprocess

import pytest

from tests.e2e.conftest import Place
from tests.shape import readme, source

DOCKERFILE = "packaging/docker/Dockerfile"


def instructions(text: str) -> list[tuple[str, str]]:
    """Return (instruction, its arguments) of each line, joined where it goes on."""
    joined = text.replace("\\\n", " ").splitlines()
    lines = [line.strip() for line in joined if line.strip() and line[0] != "#"]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


STEPS = instructions(source.read(DOCKERFILE))


def argument(name: str) -> str:
    """Return what the last instruction of that name says."""
    return [said for step, said in STEPS if step == name][-1]


def test_what_is_copied_is_there_and_is_all_that_a_build_needs() -> None:
    """Every COPY from the checkout names files that are there, the package among them."""
    copied = {
        word
        for step, said in STEPS
        if step == "COPY" and "--from" not in said
        for word in said.split()[:-1]
    }
    assert all((source.ROOT / path).exists() for path in copied)
    assert {"cronguard", "packaging/bin", "pyproject.toml", "README.md", "LICENSE"} <= copied


def test_it_runs_as_nobody_special_with_a_state_folder_of_its_own() -> None:
    """Not as root; the state folder is made, is private, and outlives a container."""
    made = " ".join(said for step, said in STEPS if step == "RUN")
    user, state = argument("USER"), argument("VOLUME")
    assert user not in ("root", "0")
    assert f"useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin {user}" in made
    assert f"install -d -o {user} -g {user} -m 0700 {state}" in " ".join(made.split())
    assert f"CRONGUARD_STATE_DIR={state}" in argument("ENV")


def test_the_readme_has_the_same_entrypoint() -> None:
    """What the README shows is what the image does."""
    shown = dict(instructions(readme.block("dockerfile").text))
    assert shown["ENTRYPOINT"] == argument("ENTRYPOINT")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a PID namespace")
@pytest.mark.parametrize("status", [0, 7])
def test_the_entrypoint_works_as_pid_1(place: Place, status: int) -> None:
    """With variables for options and the image's command behind it: output, status, record."""
    shown = dict(instructions(readme.block("dockerfile").text))
    variables = dict(pair.split("=", 1) for pair in shlex.split(shown["ENV"]))
    variables["CRONGUARD_STORE"] = place.store
    script = place.script("job", f"#!/bin/sh\necho pid of my parent: $PPID\nexit {status}\n")
    entrypoint = json.loads(argument("ENTRYPOINT"))
    lab = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = subprocess.run(
        [*lab, *entrypoint, script],
        env=place.env | variables,
        cwd=place.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.startswith("pid of my parent: ")
    record = place.records("backup")[0]
    assert (record["exit_status"], record["job"]) == (status, "backup")
