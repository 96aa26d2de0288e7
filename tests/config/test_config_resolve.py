from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cronguard.admin import dry_run
from cronguard.config import options as opt
from cronguard.config import paths
from cronguard.config.options import ConfigError
from cronguard.config.resolve import NeedsClick, Resolved, default_name, from_argv, place
from cronguard.core.spec import is_job_name

Env = dict[str, str]


def toml(env: Env, text: str, name: str = "home/.config/cronguard/cronguard.toml") -> str:
    """Write a configuration file below the test's folder and return its path."""
    path = Path(env["HOME"]).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def refused(argv: list[str], env: Env) -> str:
    """Return the message with which this is refused."""
    with pytest.raises(ConfigError) as caught:
        from_argv(argv, env)
    return str(caught.value)


def test_a_flag_beats_a_variable_beats_the_job_beats_the_defaults(env: Env) -> None:
    """Precedence, one level taken away after another, each named as the source."""
    path = toml(env, '[defaults]\ntimeout = "1s"\n[jobs.x]\ntimeout = "2s"\n')
    env["CRONGUARD_TIMEOUT"] = "3s"
    found = from_argv(["-n", "x", "-t", "4s", "--", "true"], env)
    assert (found.spec.timeout, found.sources["timeout"]) == (4000, "--timeout")
    found = from_argv(["-n", "x", "--", "true"], env)
    assert (found.spec.timeout, found.sources["timeout"]) == (3000, "CRONGUARD_TIMEOUT")
    env["CRONGUARD_TIMEOUT"] = ""
    found = from_argv(["-n", "x", "--", "true"], env)
    assert (found.spec.timeout, found.sources["timeout"]) == (2000, f"{path}:4 [jobs.x]")
    found = from_argv(["-n", "y", "--", "true"], env)
    assert (found.spec.timeout, found.sources["timeout"]) == (1000, f"{path}:2 [defaults]")
    os.unlink(path)
    found = from_argv(["-n", "x", "--", "true"], env)
    assert (found.spec.timeout, found.sources["timeout"]) == (None, "default")


def test_a_timeout_may_be_found_out(env: Env) -> None:
    """By flag, variable and file; until then there is none, and a stronger word replaces it."""
    for_job = ["-n", "x", "--", "true"]
    found = from_argv(["-t", "auto", *for_job], env)
    assert (found.auto_timeout, found.spec.timeout) == (True, None)
    assert from_argv(for_job, env | {"CRONGUARD_TIMEOUT": "auto"}).auto_timeout
    toml(env, '[jobs.x]\ntimeout = "auto"\n')
    assert from_argv(for_job, env).auto_timeout
    for text, ms in (("none", None), ("1s", 1000)):
        found = from_argv(["-t", text, *for_job], env)
        assert (found.auto_timeout, found.spec.timeout) == (False, ms)


def test_later_files_override_earlier_ones_key_by_key(env: Env) -> None:
    """System, user, then --config; what a later one does not say stays."""
    toml(env, '[defaults]\nttl = "20s"\nwait = "1s"\nkill_after = "1s"\n', "etc.toml")
    toml(env, '[defaults]\nwait = "2s"\nkill_after = "2s"\n')
    last = toml(env, "[defaults]\nkill_after = 3\n", "last.toml")
    spec = from_argv(["-c", last, "-n", "x", "--", "true"], env).spec
    assert (spec.ttl, spec.wait, spec.kill_after) == (20_000, 2000, 3000)


def test_the_command_comes_from_the_jobs_section(env: Env) -> None:
    """An array is argv, a text is for the shell; a command on the line is stronger."""
    toml(env, '[jobs.a]\ncommand = ["/bin/x", "a b"]\n[jobs.b]\ncommand = "x | y"\n')
    assert from_argv(["-n", "a"], env).spec.command == ["/bin/x", "a b"]
    assert from_argv(["-n", "b"], env).spec.command == ["/bin/sh", "-c", "x | y"]
    assert from_argv(["-n", "b", "--", "z"], env).spec.command == ["z"]


STORES = [
    ({}, "", "sqlite://{state}/cronguard.db", "default"),
    ({"REDIS_HOST": "h"}, "", "redis://h:6379/0", "REDIS_HOST"),
    ({"REDIS_HOST": "::1", "REDIS_PORT": "7"}, "", "redis://[::1]:7/0", "REDIS_HOST"),
    ({"REDIS_HOST": "h", "REDIS_PORT": "tcp://10.0.0.1:7"}, "", "redis://h:7/0", "REDIS_HOST"),
    ({"REDIS_HOST": "h", "REDIS_PASSWORD": "a@b"}, "", "redis://:a%40b@h:6379/0", "REDIS_HOST"),
    ({"REDIS_HOST": "h", "REDIS_URL": "redis://u"}, "", "redis://u", "REDIS_URL"),
    ({"REDIS_URL": "redis://u"}, 'store = "redis://f"', "redis://f", "{file}:2 [defaults]"),
    ({"CRONGUARD_STORE": "redis://v"}, 'store = "redis://f"', "redis://v", "CRONGUARD_STORE"),
]


@pytest.mark.parametrize(("variables", "text", "url", "source"), STORES)
def test_the_store_is_the_strongest_one_named(
    env: Env, variables: Env, text: str, url: str, source: str
) -> None:
    """CRONGUARD_STORE, the files, REDIS_URL, REDIS_HOST, this host's SQLite, in that order."""
    path = toml(env, f"[defaults]\n{text}\n")
    found = from_argv(["-n", "x", "--", "true"], {**env, **variables})
    assert found.spec.store == url.format(state=env["CRONGUARD_STATE_DIR"])
    assert found.sources["store"] == source.format(file=path)


def test_secrets_come_from_files_and_stay_out_of_what_is_shown(env: Env, tmp_path: Path) -> None:
    """S1: password_file and store_file; the dry run shows neither password."""
    secret = tmp_path / "pw"
    secret.write_text("canary/1\n")
    secret.chmod(0o600)
    toml(env, f'[defaults]\nstore = "redis://me@h:7/1"\npassword_file = "{secret}"\n')
    found = from_argv(["-n", "x", "--", "job", "redis://u:canary/1@h"], env)
    assert found.spec.store == "redis://me:canary%2F1@h:7/1"
    assert found.secrets == ("canary/1",)
    assert "canary" not in dry_run.text(found)
    secret.write_text("redis://:canary%2F2@other/0\n")
    found = from_argv(["-n", "x", "--", "true"], {**env, "CRONGUARD_STORE_FILE": str(secret)})
    assert found.spec.store == "redis://:canary%2F2@other/0"
    assert found.secrets == ("canary%2F2", "canary/2")
    assert "canary" not in dry_run.text(found)


def test_a_relative_secret_lies_in_the_credentials_folder(env: Env, tmp_path: Path) -> None:
    """S1: systemd's credentials are found by name, whatever their mode."""
    folder = tmp_path / "creds"
    folder.mkdir()
    (folder / "store").write_text("redis://:pw@h")
    (folder / "store").chmod(0o444)
    env |= {"CREDENTIALS_DIRECTORY": str(folder), "CRONGUARD_STORE_FILE": "store"}
    assert from_argv(["--", "true"], env).spec.store == "redis://:pw@h"
    del env["CREDENTIALS_DIRECTORY"]
    assert "CREDENTIALS_DIRECTORY" in refused(["--", "true"], env)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o660, 0o666])
def test_a_secret_that_others_can_reach_is_refused(env: Env, tmp_path: Path, mode: int) -> None:
    """S1: a secret file is for its owner, and a group that may read it."""
    secret = tmp_path / "store"
    secret.write_text("redis://:canary@h")
    secret.chmod(mode)
    message = refused(["--", "true"], {**env, "CRONGUARD_STORE_FILE": str(secret)})
    assert "chmod 600" in message
    assert "canary" not in message


PASSWORDS = ["redis://:canary@h", "redis://u:canary@h/0", "rediss://u:can/canary@h", "unix://:canary@/s",
             "redis://h?password=canary"]  # fmt: skip


@pytest.mark.parametrize("url", PASSWORDS)
def test_a_password_on_the_command_line_is_refused(env: Env, url: str) -> None:
    """S1: `ps` shows argv to everybody; the message names the ways out, and not the password."""
    message = refused(["--store", url, "--", "true"], env)
    assert "canary" not in message
    assert "CRONGUARD_STORE" in message
    assert "password_file" in message


def test_the_default_name_tells_commands_apart_and_no_secret(env: Env) -> None:
    """C4: basename and 8 hex of argv; the same for the same argv, another for another."""
    one = default_name(["/opt/My Tool!", "--password", "canary"])
    assert one.startswith("My-Tool-")
    assert is_job_name(one)
    assert "canary" not in one
    assert one != default_name(["/opt/My Tool!", "--password", "other"])
    assert one == from_argv(["--", "/opt/My Tool!", "--password", "canary"], env).spec.name
    assert from_argv(["--shell", "TOKEN=canary /bin/dump | x"], env).spec.name.startswith("dump-")
    for words in (["/"], ["..."], ["é" * 300], ["x" * 300], ["\udc80"], ["/bin/sh", "-c", "A=b"]):
        assert is_job_name(default_name(words))


def test_no_command_without_dashes_is_left_to_click(env: Env) -> None:
    """C4: a missing `--`, an unknown option and help are for click to say."""
    for argv in (["true"], ["--nope", "--", "x"], ["--help"], ["-n"], ["--"]):
        with pytest.raises(NeedsClick):
            from_argv(argv, env)


MESSAGES = [
    ([], "no command"),
    (["-n", "x"], r"\[jobs.x\]"),
    (["--", ""], "no command"),
    (["--shell", "", "--", "x"], "two commands|empty"),
    (["--shell", ""], "--shell: it is empty"),
    (["--shell", "x", "--", "y"], "two commands"),
    (["-n", "../x", "--", "y"], "--name: '../x' is not a job name"),
    (["-t", "5x", "--", "y"], "--timeout: '5x' is not a duration"),
    (["--ttl", "5s", "--", "y"], "--ttl: a TTL of 5s leaves no room to renew: heartbeat 1.5s"),
    (["--ttl", "2d", "--", "y"], "longer than a day"),
    (["-s", "NOPE", "--", "y"], "--signal: 'NOPE'"),
    (["-E", "256", "--", "y"], "0 to 255"),
    (["-E", "124", "--", "y"], "already means"),
    (["--on-store-error", "x", "--", "y"], "write fail, run or local"),
    (["--store-timeout", "0", "--", "y"], "at least 1ms"),
    (["--namespace", "{x}", "--", "y"], "namespace"),
    (["--store", "h:6379", "--", "y"], "not the URL of a store"),
    (["--store", "http://h", "--", "y"], "not the URL of a store"),
    (["--store", "sqlite://x", "--", "y"], "no absolute path"),
    (["--store", "unix://x", "--", "y"], "no absolute path"),
    (["--store", "redis://a", "--store", "sqlite:///b", "--", "y"], "independent Redis servers"),
    (["-t", "soon", "--", "y"], "or 2d, or none, or auto"),
    (["--retries", "100", "--", "y"], "from 0 to 99"),
    (["--retries", "-1", "--", "y"], "from 0 to 99"),
    (["--retry-delay", "soon", "--", "y"], "not a duration"),
    (["--retries", "1", "--stragglers", "leave", "--", "y"], "contradict"),
    (["--dead-man", "required", "--on-lease-lost", "continue", "--", "y"], "contradict"),
    (["--log-format", "json", "--", "y"], "--log-format: .* add --log"),
    (["--log", "none", "--log-keep", "3", "--", "y"], "--log-keep: .* add --log"),
    (["-c", "/nope/x.toml", "--", "y"], "/nope/x.toml: cannot be read: No such file"),
]


@pytest.mark.parametrize(("argv", "message"), MESSAGES)
def test_what_is_wrong_is_said_before_anything_starts(
    env: Env, argv: list[str], message: str
) -> None:
    """C1, C4: each mistake has its message, in one printable line."""
    text = refused(argv, env)
    assert re.search(message, text), text
    assert text.isprintable()


def test_a_dry_run_shows_each_default_as_it_is_written(env: Env) -> None:
    """A size as a size, nothing as `none`: what it shows can be given back to it."""
    rows = {name: value for name, value, _ in dry_run.rows(from_argv(["--", "true"], env))}
    for option in opt.IN_SPEC:
        assert rows[option.name] == option.default, option.name


def test_how_a_log_is_may_be_said_for_all_jobs(env: Env) -> None:
    """In [defaults], or a variable: a job without a log does not mind. In its section it does."""
    toml(
        env,
        '[defaults]\nlog_keep = 3\n[jobs.x]\nlog = "/l/"\nlog_age = "1d"\n'
        '[jobs.y]\nlog_age = "1d"\n',
    )
    env["CRONGUARD_LOG_FORMAT"] = "json"
    assert from_argv(["-n", "z", "--", "true"], env).spec.log == ""
    spec = from_argv(["-n", "x", "--", "true"], env).spec
    assert (spec.log, spec.log_format, spec.log_keep) == ("/l/", "json", 3)
    assert from_argv(["-n", "x", "--log", "none", "--", "true"], env).spec.log == ""
    assert re.search(r"\[jobs\.y\]: .* add --log", refused(["-n", "y", "--", "true"], env))


def test_a_bad_variable_is_named(env: Env) -> None:
    """C1: the message names the variable, not the flag."""
    env["CRONGUARD_TIMEOUT"] = "soon"
    assert refused(["--", "true"], env).startswith("CRONGUARD_TIMEOUT: 'soon'")


def test_no_home_and_no_store_is_said(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """H6: without a home there is no local store, and the message says what to set."""
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    assert paths.state_folder({}) is None
    assert "CRONGUARD_STATE_DIR" in refused(["--", "true"], {})
    assert paths.state_folder({"HOME": "/h"}) == "/h/.local/state/cronguard"
    assert paths.state_folder({"HOME": "/h", "XDG_STATE_HOME": "/s/"}) == "/s/cronguard"
    assert paths.state_folder({"HOME": "/h", "XDG_STATE_HOME": "s"}) == "/h/.local/state/cronguard"


def test_a_relative_state_folder_is_refused(env: Env) -> None:
    """CRONGUARD_STATE_DIR is absolute, or two runs could use two folders."""
    env["CRONGUARD_STATE_DIR"] = "here"
    assert "CRONGUARD_STATE_DIR is not absolute" in refused(["--", "true"], env)


def test_readers_find_the_store_of_a_job(env: Env) -> None:
    """`status backup` looks where backup runs."""
    toml(env, '[defaults]\nstore = "redis://a"\n[jobs.x]\nstore = "redis://b"\nnamespace = "n"\n')
    assert (place({}, env).url, place({}, env).namespace) == ("redis://a", "cg")
    assert (place({}, env, "x").url, place({}, env, "x").namespace) == ("redis://b", "n")
    assert place({"store": ["redis://c"]}, env, "x").url == "redis://c"


def test_switches_come_from_everywhere(env: Env) -> None:
    """--quiet, CRONGUARD_QUIET=1 and quiet = true are the same; 0 takes it back."""
    toml(env, "[defaults]\nquiet = true\n")
    found: Resolved = from_argv(["--debug", "--", "true"], env)
    assert (found.spec.quiet, found.debug, found.dry_run) == (True, True, False)
    assert not from_argv(["--", "true"], {**env, "CRONGUARD_QUIET": "0"}).spec.quiet
