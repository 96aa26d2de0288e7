from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from cronguard.config.options import ConfigError
from cronguard.config.resolve import from_argv

from .seeds import Seeds


def toml(folder: Path, text: str, mode: int = 0o600) -> str:
    """Return a configuration file with this text."""
    path = folder / "c.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_config_show_names_each_source_and_no_secret(seeds: Seeds, tmp_path: Path) -> None:
    """S1: where each value comes from; passwords are masked."""
    path = toml(tmp_path, '[defaults]\nstore = "redis://u:canary@h"\n[jobs.x]\nttl = "20s"\n')
    os.environ.pop("CRONGUARD_STORE")
    status, out, _ = seeds.say("config", "show", "x", "-c", path)
    assert status == 0
    assert "canary" not in out
    assert f"{path}:4 [jobs.x]" in out
    status, out, _ = seeds.say("config", "show", "x", "-c", path, "--json")
    found = json.loads(out)
    assert found["values"]["store"] == {
        "value": "redis://u:***@h",
        "source": f"{path}:2 [defaults]",
    }
    assert found["values"]["ttl"]["value"] == "20s"
    assert path in found["files"]


def test_config_check_finds_everything_at_once(
    seeds: Seeds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C1: all mistakes of files and environment, with file and line; status 1."""
    path = toml(
        tmp_path,
        "[defaults]\ntimout = 1\n[jobs.a]\nwait = 'x'\n[jobs.b]\nttl = 3\n[jobs.c]\nstore = 'redis://h:0'\n",
    )
    monkeypatch.setenv("CRONGUARD_TIMOUT", "3")
    monkeypatch.setenv("CRONGUARD_WAIT", "soon")
    status, out, _ = seeds.say("config", "check", "-c", path)
    assert status == 1
    assert f"{path}:2 [defaults]: 'timout' is no option; did you mean timeout?" in out
    assert f"{path}:4 [jobs.a]: wait: 'x' is not a duration" in out
    assert "CRONGUARD_TIMOUT: is no variable of cronguard; did you mean CRONGUARD_TIMEOUT?" in out
    assert "CRONGUARD_WAIT: 'soon'" in out
    monkeypatch.delenv("CRONGUARD_STORE")
    monkeypatch.delenv("CRONGUARD_WAIT")
    monkeypatch.delenv("CRONGUARD_TIMOUT")
    text = "[jobs.b]\nttl = 3\n[jobs.c]\nstore = 'redis://h:0'\n[jobs.d]\nstore = 'redis://:canary@h'\n"
    path = toml(tmp_path, text, 0o644)
    status, out, _ = seeds.say("config", "check", "--json", "-c", path)
    found = {one["where"]: one["problem"] for one in json.loads(out)}
    assert "leaves no room to renew" in found[f"{path}:2 [jobs.b]"]
    assert "port" in found[f"{path}:4 [jobs.c]"]
    assert "everybody here can read" in found[f"{path}:6 [jobs.d]"]
    assert "canary" not in out


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('[jobs.a]\ntz = "UTC"\n', 2, "a time zone says nothing without a schedule"),
        ('[jobs.a]\nonce = "5m"\nschedule = "* * * * *"\n', 2, "leave the period out"),
        ('[defaults]\nonce = "5m"\n[jobs.a]\nschedule = "* * * * *"\n', 2, "leave the period out"),
        ('[defaults]\ntz = "UTC"\n[jobs.a]\nonce = "5m"\n', 0, ""),
        ('[jobs.a]\nonce = true\nschedule = "* * * * *"\ntz = "UTC"\n', 0, ""),
    ],
)
def test_config_check_says_what_run_says_of_two_rules(
    seeds: Seeds, tmp_path: Path, text: str, line: int, problem: str
) -> None:
    """C1: what `run` refuses is wrong here, in the same words and at the same place."""
    path = toml(tmp_path, text)
    status, out, _ = seeds.say("config", "check", "--json", "-c", path)
    found = [(one["where"], one["problem"]) for one in json.loads(out)]
    try:
        from_argv(["-c", path, "-n", "a", "--", "true"], os.environ)
        refused = []
    except ConfigError as error:
        refused = [str(error)]
    assert [f"{where}: {what}" for where, what in found] == refused
    assert status == len(found)
    if problem:
        [(where, what)] = found
        assert where.startswith(f"{path}:{line} [")
        assert problem in what
    else:
        assert not found


@pytest.mark.parametrize(
    ("urls", "problem"),
    [
        (["rediss://a?tls_verify=false", "rediss://b", "rediss://c?tls_ca=/ca.pem"], ""),
        (["redis://a", "redis://b"], "a quorum of 2 servers"),
        (["redis://a", "redis://b", "redis://c:0"], "port"),
    ],
)
def test_each_server_of_a_quorum_is_checked(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch, urls: list[str], problem: str
) -> None:
    """C1: what is wrong with one of them, or with them together; and nothing where nothing is."""
    monkeypatch.setenv("CRONGUARD_STORE", " ".join(urls))
    status, out, _ = seeds.say("config", "check")
    assert status == bool(problem), out
    assert problem in out


def test_a_first_configuration_is_sound_and_never_replaces_one(
    seeds: Seeds, tmp_path: Path
) -> None:
    """What `init` writes passes `check`, also with every example uncommented; 0600."""
    path = tmp_path / "new" / "cronguard.toml"
    assert seeds.say("config", "init", "--file", str(path), "--store", "redis://h")[0] == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert tomllib.loads(path.read_text()) == {"defaults": {"store": "redis://h"}}
    assert seeds.say("config", "check", "-c", str(path))[0] == 0
    status, _, err = seeds.say("config", "init", "--file", str(path))
    assert (status, "not written over" in err) == (1, True)
    lines = path.read_text().splitlines()
    live = [line.removeprefix("# ") if " = " in line or "[jobs" in line else line for line in lines]
    both = [line for line in live if not line.startswith(("store_file", "password_file"))]
    assert seeds.say("config", "check", "-c", toml(tmp_path, "\n".join(both)))[0] == 0
    status, out, _ = seeds.say("config", "init", "--stdout", "--namespace", "x")
    assert (status, tomllib.loads(out)) == (0, {"defaults": {"namespace": "x"}})
    assert seeds.say("config", "init", "--stdout", "--store", "nope")[0] == 2
