"""The README, word for word: its commands run, its snippets are accepted."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import Place
from tests.process.lab import until
from tests.shape import readme, source

READING = readme.block("sh", "cronguard status").lines
TIDYING = readme.block("sh", "cronguard stuck").lines
OFFLINE = ("No matching distribution", "Could not find a version", "Temporary failure in name")


def shell(place: Place, text: str) -> subprocess.CompletedProcess[str]:
    """Run *text* with /bin/sh in the place."""
    return subprocess.run(
        ["/bin/sh", "-c", place.local(text)],
        env=place.env,
        cwd=place.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def in_copy(copy: Path, text: str, home: Path) -> str:
    """Run *text* in a fresh clone; skip when there is no package registry in reach."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))}
    # This interpreter is the one to try, whatever `python3` is.
    tools = home / "tools"
    tools.mkdir()
    real = os.path.realpath(sys.executable)
    (tools / "python3").write_text(f'#!/bin/sh\nexec "{real}" "$@"\n')
    (tools / "python3").chmod(0o755)
    env = kept | {"HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", text],
        cwd=copy,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode and any(words in done.stderr for words in OFFLINE):
        pytest.skip("no package registry can be reached from here")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_make_run_guards_a_backup_in_a_fresh_clone(copy: Path, tmp_path: Path) -> None:
    """The first command of the README: it sets itself up, works, and shows the record."""
    first, second = readme.blocks("sh")[0].lines
    assert (first, second) == ("make run", "make test")  # the second is what runs this test
    home = tmp_path / "home"
    home.mkdir()
    told = in_copy(copy, first, home)
    assert "sample-" in told
    assert " is good: " in told
    assert told.count("succeeded") == 2, "in status and in history"
    assert len(list((copy / "build" / "backups").glob("*.tar.gz"))) == 1
    assert not list(home.rglob("*cronguard*")), "nothing outside the checkout is touched"


def test_the_installation_works(copy: Path, tmp_path: Path) -> None:
    """The commands that install it, word for word."""
    home = tmp_path / "home"
    home.mkdir()
    told = in_copy(copy, readme.block("sh", "pip").text, home)
    assert told.splitlines()[-1].startswith("cronguard ")


def test_the_crontab_lines_run(place: Place) -> None:
    """Each line's command does, given to the shell as cron gives it, what its job is."""
    block = readme.block("crontab", "cronguard run --name rates")
    lines = [line for line in block.lines if "cronguard" in line]
    said = []
    for line in lines:
        command = line.split(maxsplit=5)[5]
        assert "%" not in command, "cron would turn it into a newline"
        done = shell(place, command)
        assert (done.returncode, done.stderr) == (0, ""), line
        said.append(done.stdout)
    assert said == ["invoices --all\n", "", "fetch-rates\n"]
    names = ("invoices", "backup", "rates")
    assert [place.records(name)[0]["outcome"] for name in names] == ["succeeded"] * 3


def test_the_crontab_lines_for_several_hosts_run_once(place: Place) -> None:
    """A second host that comes a moment later is told that another run was the one for the slot."""
    for line in readme.block("crontab", "--once").lines:
        command = line.split(maxsplit=5)[5].replace("--once 5m", "--once 4d")  # no border is near
        first, second = shell(place, command), shell(place, command)
        assert (first.returncode, first.stderr) == (0, ""), line
        assert (second.returncode, second.stdout) == (0, ""), line
        assert "was the one for" in second.stderr, second.stderr


def test_the_lines_below_cronguard_sh_run(place: Place) -> None:
    """Each line, given to cronguard-sh as cron gives it, is guarded under its name."""
    first, *lines = readme.block("crontab", "cronguard-sh").lines
    assert first == "SHELL=/usr/bin/cronguard-sh"
    said = []
    for line in lines[1:]:
        command = place.local(line.split(maxsplit=5)[5])
        done = subprocess.run(
            [place.shell, "-c", command], env=place.env, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, ""), line
        said.append(done.stdout)
    assert said == ["invoices --all\n", "", "fetch-rates\n"]
    assert [place.records(name)[0]["outcome"] for name in ("backup", "rates")] == ["succeeded"] * 2


def test_the_crontab_commands_run(place: Place) -> None:
    """In their order: what was wrapped is listed as guarded, and is unwrapped to what it was."""
    table = place.folder / "table"
    place.script(
        "bin/crontab", f'#!/bin/sh\n[ "$1" = -l ] || exec cat > {table}\nexec cat {table}\n'
    )
    text = "*/5 * * * * /opt/app/invoices --all | cat\n@daily fetch-rates\n"
    table.write_text(text)
    wrapped = ""
    for line in readme.block("sh", "crontab wrap").lines:
        done = shell(place, line)
        assert done.returncode == (1 if "lint" in line else 0), done.stderr
        assert "fetch-rates" in done.stdout or "lint" in line
        wrapped = wrapped or (table.read_text() if "--option" in line else "")
        assert "lint" not in line or "the timeout of 2h is longer than the 5m" in done.stdout
    assert wrapped.count("--timeout=2h") == 2
    assert table.read_text() == text


@pytest.mark.parametrize("line", READING)
def test_the_commands_that_look_and_steer_run(place: Place, line: str) -> None:
    """On a job that runs and has been skipped; 1 is an answer, too: no."""
    holder = place.start("run", "-n", "backup", "-k", "1s", "--", "sh", "-c", "echo on; sleep 60")
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"on\n"
    assert shell(place, "cronguard run -n backup -- true").returncode == 0
    done = shell(place, line)
    no = any(word in line for word in ("unlock", "logs", "resume"))  # it lives, and is not paused
    assert done.returncode == (1 if no else 0), done.stderr
    assert "backup" in done.stdout + done.stderr
    if "stop" in line:
        until("the end of the run", lambda: holder.poll() is not None)


@pytest.mark.parametrize("line", TIDYING)
def test_the_commands_that_tidy_up_run(place: Place, line: str) -> None:
    """On a job that runs: nothing of it is stuck or old, and a reset that may stop it does."""
    holder = place.start("run", "-n", "backup", "-k", "1s", "--", "sh", "-c", "echo on; sleep 60")
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"on\n"
    done = shell(place, line)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if "reset" in line:
        until("the end of the run", lambda: holder.poll() is not None)
        assert "No job" in shell(place, "cronguard status").stdout
    else:
        assert holder.poll() is None


def test_the_python_code_runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block and a function under the locks of their jobs, each write with its token."""
    monkeypatch.delenv("CRONGUARD_STORE", raising=False)
    for name in ("HOME", "CRONGUARD_STATE_DIR"):
        monkeypatch.setenv(name, place.env[name])
    sent: list[tuple[object, object]] = []

    async def fetch() -> str:
        return "rates"

    async def save(what: object, token: object) -> None:
        sent.append((what, token))

    names: dict[str, Any] = {
        "invoices": lambda: [1, 2],
        "send": lambda what, token: sent.append((what, token)),
        "fetch": fetch,
        "save": save,
    }
    exec(compile(readme.block("python").text, "README.md", "exec", dont_inherit=True), names)
    asyncio.run(names["load_rates"]())
    (invoices,), (rates,) = place.records("invoices"), place.records("rates")
    assert (invoices["outcome"], rates["outcome"]) == ("succeeded", "succeeded")
    assert sent == [(1, invoices["token"]), (2, invoices["token"]), ("rates", rates["token"])]


def test_the_fencing_commands_run(place: Place) -> None:
    """The last step of a report under `fence`, and a writer whose resource compares."""
    for line in readme.block("sh", "cronguard fence").lines:
        done = shell(place, line.replace("examples/", f"{source.ROOT}/examples/"))
        assert (done.returncode, done.stderr) == (0, ""), line
    assert (place.folder / "report").exists()
    assert (place.folder / "report.db").exists()
    tokens = [record["token"] for record in place.records("report")]
    old = f"cronguard fence --resource report --token {tokens[1]} -- true"
    assert shell(place, old).returncode == 0, "the newer run did not write there"


def test_the_metrics_are_exported(place: Place) -> None:
    """As text, as a file, and served until TERM, on a port that is free."""
    assert shell(place, "cronguard run -n backup -- true").returncode == 0
    shown, written, served = readme.block("sh", "export metrics").lines
    sample = 'cronguard_runs_total{job="backup",outcome="succeeded"} 1.0\n'
    done = shell(place, shown)
    assert (done.returncode, done.stderr, sample in done.stdout) == (0, "", True)
    done = shell(place, written)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert sample in (place.folder / "cronguard.prom").read_text()
    line = served.replace("9110", "0").removeprefix("cronguard ")
    server = place.start(*line.split())
    assert server.stderr is not None
    url = server.stderr.readline().decode().split()[-1]
    with urlopen(url, timeout=60) as answer:
        assert sample in answer.read().decode()
    server.terminate()
    assert server.wait(60) == 0


def test_check_runs(place: Place) -> None:
    """A job that succeeded is well."""
    assert shell(place, "cronguard run -n backup -- true").returncode == 0
    done = shell(place, readme.block("sh", "cronguard check").text)
    assert (done.returncode, done.stdout[:14]) == (0, "CRONGUARD OK -"), done.stdout + done.stderr


def test_doctor_runs(place: Place) -> None:
    """Nothing has failed on this host; warnings there may be."""
    done = shell(place, readme.block("sh", "doctor").text)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "keeper killed" in done.stdout


def test_the_configuration_commands_run(place: Place) -> None:
    """Writing a first file, checking it, and looking at what would be run."""
    for line in readme.block("sh", "config init").lines:
        done = shell(place, line)
        assert (done.returncode, done.stderr) == (0, ""), line
    assert (place.folder / "cronguard.toml").stat().st_mode & 0o077 == 0
    assert not place.ask(lambda history: history.jobs()), "--dry-run runs nothing"


@pytest.mark.parametrize(
    "text",
    [*[block.text for block in readme.blocks("toml")], source.read("examples/cronguard.toml")],
)
def test_the_configuration_examples_are_accepted(place: Place, text: str) -> None:
    """What stands in the README and in examples/ passes `config check`; no password shows."""
    for secret in re.findall(r'_file = "/etc/cronguard/([a-z-]+)"', text):
        path = place.folder / secret
        path.write_text("canary\n")
        path.chmod(0o600)
    file = place.folder / "c.toml"
    file.write_text(text.replace('_file = "/etc/cronguard/', f'_file = "{place.folder}/'))
    file.chmod(0o600)
    done = shell(place, f"cronguard config check -c {file}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = tomllib.loads(text)
    for job in [name for name, table in found.get("jobs", {}).items() if "command" in table]:
        done = shell(place, f"cronguard run -c {file} --name {job} --dry-run")
        assert (done.returncode, done.stderr) == (0, ""), job
        assert ("redis.example.com" in done.stdout) is ("store" in found["defaults"])
        assert "canary" not in done.stdout


def test_the_crontab_example_names_commands_as_the_readme_does() -> None:
    """examples/crontab is the README's, with comments."""
    block = readme.block("crontab", "cronguard run --name rates")
    shown = [line for line in block.lines if "rates" not in line]
    lines = source.read("examples/crontab").splitlines()
    assert [line for line in lines if line[:1] != "#"] == shown


def test_the_backup_example_notices_a_bad_archive(place: Place) -> None:
    """An archive that does not give the same files back never takes its place."""
    folder = place.folder / "source"
    folder.mkdir()
    (folder / "a").write_text("data")
    script = source.ROOT / "examples" / "backup.sh"
    good = shell(place, f"{script} source target")
    assert good.returncode == 0, good.stderr
    place.script("bin/tar", '#!/bin/sh\n/bin/tar "$@"\ncase "$1" in -xzf) echo x > "$4/a";; esac\n')
    bad = shell(place, f"{script} source target")
    assert bad.returncode == 1
    names = os.listdir(place.folder / "target")
    assert len(names) == 1, "the good one, and nothing unfinished"
    assert shell(place, f"{script} nowhere target").returncode == 66
