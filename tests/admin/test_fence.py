"""`cronguard fence`: a command that a stale token does not start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cronguard.stores.open import open_history
from tests.admin.seeds import Seeds
from tests.process.lab import Lab

ASK = ("fence", "-r", "data", "--token")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """The embedded store, and the real command."""
    place = Lab(tmp_path, f"sqlite://{tmp_path}/state/cronguard.db")
    yield place
    assert not place.clear()


def test_a_stale_token_starts_nothing(lab: Lab) -> None:
    """121, with both numbers and what to do; a token as high as any passes, again and again."""
    assert lab.call(*ASK, "7", "--", "touch", "one").returncode == 0
    assert lab.call(*ASK, "7", "--", "touch", "two").returncode == 0
    done = lab.call(*ASK, "6", "--", "touch", "three")
    assert (done.returncode, done.stdout) == (121, b"")
    assert b"data: not started: the fencing token 6 is stale: 7 was seen for it" in done.stderr
    assert b"End this run" in done.stderr
    assert lab.call("fence", "-r", "other", "--token", "6", "--", "touch", "four").returncode == 0
    names = {path.name for path in lab.folder.iterdir()} - {"state"}
    assert names == {"one", "two", "four"}


def test_in_a_run_it_takes_the_token_of_the_run(lab: Lab) -> None:
    """Older runs are refused when a newer one was here; the status is the command's."""
    words = lab.argv("fence", "-r", "data", "--", "sh", "-c")
    fenced = " ".join([*words, "'echo $CRONGUARD_TOKEN; exit 3'"])
    first = lab.call("run", "-n", "job", "--shell", fenced)
    second = lab.call("run", "-n", "job", "--shell", fenced)
    assert (first.returncode, second.returncode) == (3, 3)
    old = {"CRONGUARD_TOKEN": first.stdout.decode().strip()}
    late = lab.call("fence", "-r", "data", "--", "echo", "no", env=old)
    assert (late.returncode, late.stdout) == (121, b"")


def test_it_becomes_the_command(lab: Lab) -> None:
    """The same process: signals and the status are the command's; the environment is as it was."""
    text = "import os; print(os.getpid(), flush=True); os.kill(os.getpid(), 9)"
    process = lab.start(*ASK, "7", "--", *lab.python(text))
    out, err = process.communicate(timeout=60)
    assert (out.decode().split()[0], process.returncode, err) == (str(process.pid), -9, b"")
    piped = lab.call(*ASK, "7", "--", "sh", "-c", "yes | head -1")
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, b"y\n", b""), "SIGPIPE kills"
    told = lab.call(*ASK, "7", "--", "env").stdout.splitlines()
    assert sorted(told) == sorted(f"{name}={value}".encode() for name, value in lab.env.items())


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("-r d -- true", 125, "no fencing token: CRONGUARD_TOKEN is not set"),
        ("--token 7 -- true", 125, "--resource is missing"),
        ("-r d --token 7", 125, "COMMAND [ARG]... is missing"),
        ("-r d --token -7 -- true", 125, "'-7' is no fencing token"),
        (f"-r d --token {'9' * 17} -- true", 125, "is no fencing token"),
        ("-r d --token ٣ -- true", 125, "is no fencing token"),
        ("-r -- --token 7 true", 125, "'--' names no resource"),
        ("-r d\t --token 7 -- true", 125, "names no resource"),
        ("-r d --token 7 --store x -- true", 125, "is not the URL of a store"),
        ("-r d --token 7 -- nowhere", 127, "nowhere was not found in PATH"),
        ("-r d --token 7 -- /etc/passwd", 126, "cannot be executed"),
        ("-r d --token 7 --store redis://127.0.0.1:1 -- true", 122, "d: not started: cannot"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    lab: Lab, words: str, status: int, said: str
) -> None:
    """With the statuses of `run`, which stands before a command as well."""
    done = lab.call("fence", *words.split(" "), env={"LC_ALL": "C.UTF-8"})
    assert (done.returncode, done.stdout) == (status, b"")
    assert said in done.stderr.decode()


def test_the_jobs_section_names_the_store(lab: Lab) -> None:
    """Inside a run of a job it is the job's own, as for `run`."""
    file = lab.folder / "c.toml"
    file.write_text(f'[jobs.job]\nstore = "sqlite://{lab.folder}/own/c.db"\n')
    file.chmod(0o600)
    env = {"CRONGUARD_CONFIG": str(file), "CRONGUARD_STORE": ""}
    fenced = [*lab.argv("fence", "-r", "data", "--"), "true"]
    assert lab.call("run", "-n", "job", "--", *fenced, env=env).returncode == 0
    history = open_history(f"sqlite://{lab.folder}/own/c.db", "cg")
    try:
        assert history.fence("data", 1) > 1
    finally:
        history.close()


def test_a_file_that_holds_a_lease_can_be_fenced(seeds: Seeds) -> None:
    """The table is made when it is needed; what is there stays."""
    run = seeds.live()
    history = open_history(seeds.url, "cg")
    try:
        assert history.fence("data", 7) == 7
        assert history.leases(["backup"])["backup"][0].owner.run_id == run.run_id
    finally:
        history.close()
