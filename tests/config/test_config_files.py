from __future__ import annotations

import os
from pathlib import Path

import pytest

from cronguard.config.files import load
from cronguard.config.lines import Lines
from cronguard.config.options import ConfigError
from cronguard.config.resolve import from_argv

WRONG = [
    ("[defaults]\ntimout = 1\n", "FILE:2 [defaults]: 'timout' is no option; did you mean timeout?"),
    ("[defaults]\nkill-after = 1\n", "did you mean kill_after?"),
    ("[defaults]\nname = 'x'\n", "'name' is no option"),
    ("[defaults]\ncommand = 'x'\n", "command belongs in [jobs.NAME]"),
    ("timeout = 1\n", "FILE:1: 'timeout' is unknown: tables are [defaults], [jobs.NAME] and "),
    ("[default]\n", "did you mean defaults?"),
    ("defaults = 3\n", "'defaults' is not a table"),
    ("[jobs]\nx = 3\n", "FILE:2 [jobs]: 'x' is not a table"),
    ("[jobs.'a b']\ntimeout = 1\n", "'a b' is not a job name"),
    ("[defaults]\n\ntimeout = true\n", "FILE:3 [defaults]: timeout: 'True' is not what it takes"),
    ("[defaults]\ntimeout = [1]\n", "timeout: '[1]' is not what it takes"),
    ("[defaults]\ntimeout = 1.0001\n", "finer than a millisecond"),
    ("[defaults]\ntimeout = inf\n", "not a duration"),
    ("[defaults]\ntimeout = -1\n", "not a duration"),
    ("[defaults]\nttl = 2024-01-01\n", "ttl: '2024-01-01' is not what it takes"),
    ("[defaults]\nquiet = 'yes'\n", "quiet: 'yes' is not what it takes; write true or false"),
    ("[defaults]\nsignal = 'X'\n", "signal: 'X' is no signal here"),
    ("[defaults]\nstore = 'a'\nstore_file = 'b'\n", "FILE:3 [defaults]: both store and store_file"),
    ('[defaults]\nstore = "redis://h\\u001b"\n', "control characters"),
    ("[defaults]\ntimeout =\n", "FILE:2: is not TOML"),
    ("[defaults]\ntimeout = 1\ntimeout = 2\n", "FILE:3: is not TOML"),
]


def written(folder: Path, text: str | bytes, mode: int = 0o600) -> str:
    """Return the path of a file with this text."""
    path = folder / "c.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_mistake_in_a_file_is_told_with_its_line(
    env: dict[str, str], tmp_path: Path, text: str, message: str
) -> None:
    """C1: unknown key, bad type, bad value: refused before any lock, with file and line."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        from_argv(["-c", path, "-n", "x", "--", "true"], env)
    assert message.replace("FILE", path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("command", ["[]", "''", "['']", "[1]", "3", "[['a']]", '"a\\u0000b"'])
def test_a_bad_command_in_a_file_is_refused(
    env: dict[str, str], tmp_path: Path, command: str
) -> None:
    """C1, C4: a command is an array of words or a text."""
    path = written(tmp_path, f"[jobs.x]\ncommand = {command}\n")
    with pytest.raises(ConfigError, match=r":2 \[jobs.x\]: command is an array of words"):
        from_argv(["-c", path, "-n", "x"], env)


def test_a_mistake_in_one_jobs_section_stops_that_job_alone(
    env: dict[str, str], tmp_path: Path
) -> None:
    """One typo does not silence the other jobs of the host."""
    path = written(tmp_path, "[jobs.bad]\ntimout = 1\n[jobs.good]\ntimeout = 1\n")
    assert from_argv(["-c", path, "-n", "good", "--", "true"], env).spec.timeout == 1000
    with pytest.raises(ConfigError, match="did you mean timeout"):
        from_argv(["-c", path, "-n", "bad", "--", "true"], env)


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is root's")
@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_root_does_not_follow_a_file_that_others_can_write(
    env: dict[str, str], tmp_path: Path, mode: int
) -> None:
    """C2: group- or world-writable configuration is refused."""
    path = written(tmp_path, "[defaults]\n", mode)
    with pytest.raises(ConfigError, match="can be written by others"):
        from_argv(["-c", path, "-n", "x", "--", "true"], env)


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is root's")
def test_root_does_not_follow_another_users_file(env: dict[str, str], tmp_path: Path) -> None:
    """C2: configuration that is not root's own is refused."""
    path = written(tmp_path, "[defaults]\n")
    os.chown(path, 12_345, -1)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        from_argv(["-c", path, "-n", "x", "--", "true"], env)


@pytest.mark.parametrize("text", [b"\xff", b"#" * (2 << 20)])
def test_what_is_no_configuration_is_refused(
    env: dict[str, str], tmp_path: Path, text: bytes
) -> None:
    """C1: bytes that are not UTF-8, and more than a file can sensibly be."""
    with pytest.raises(ConfigError, match=r"UTF-8|1 MiB"):
        from_argv(["-c", written(tmp_path, text), "--", "true"], env)


def test_a_folder_is_no_file(env: dict[str, str], tmp_path: Path) -> None:
    """C1: naming the folder says so."""
    with pytest.raises(ConfigError, match=r"(?i)is a (folder|directory)"):
        from_argv(["-c", str(tmp_path), "--", "true"], env)


def test_a_later_store_replaces_an_earlier_store_file(tmp_path: Path) -> None:
    """Two files that name the store in two ways do not contradict each other."""
    one, two = tmp_path / "1.toml", tmp_path / "2.toml"
    one.write_text("[defaults]\nstore_file = '/x'\n")
    two.write_text("[defaults]\nstore = 'redis://h'\n")
    for path in (one, two):
        path.chmod(0o600)
    assert set(load([str(one), str(two)]).defaults) == {"store"}


def test_lines_are_found_in_every_way_toml_can_be_written() -> None:
    """Headers with quotes and spaces, dotted keys, long texts that look like keys."""
    text = (
        "a.b = 1\n"
        'x = """\n[jobs.y]\nttl = 3\n"""\n'
        '[ jobs . "y" ] # c\n'
        "  ttl = 4\n"
        "'wait'=5\n"
        "[jobs]\nz.ttl = 6\n"
    )
    line_of = Lines(text).line_of
    assert line_of(("a",), "b") == 1
    assert line_of(("jobs", "y"), "ttl") == 7
    assert line_of(("jobs", "y"), "wait") == 8
    assert line_of(("jobs", "z"), "ttl") == 10
    assert line_of(("jobs", "y"), "gone") == 6
    assert line_of(("nope",), "gone") is None


def test_sections_of_reporters_are_kept_as_they_are(tmp_path: Path) -> None:
    """Each value with its line; a job's own apart from those of all."""
    path = written(
        tmp_path,
        "[reporters.slack]\nurl_file = '/x'\nafter = 3\n[jobs.backup.reporters.slack]\nafter = 1\n",
    )
    files = load([path])
    assert files.problems == []
    assert files.reporters == {
        "slack": {
            "url_file": ("/x", f"{path}:2 [reporters.slack]"),
            "after": (3, f"{path}:3 [reporters.slack]"),
        }
    }
    assert files.job_reporters == {
        "backup": {"slack": {"after": (1, f"{path}:5 [jobs.backup.reporters.slack]")}}
    }


def test_a_later_file_says_a_reporters_secret_in_its_own_way(tmp_path: Path) -> None:
    """And not in both."""
    (tmp_path / "later").mkdir()
    first = written(tmp_path, "[reporters.slack]\nurl = 'a'\nafter = 3\n")
    later = written(tmp_path / "later", "[reporters.slack]\nurl_file = '/b'\n")
    assert set(load([first, later]).reporters["slack"]) == {"url_file", "after"}
    assert set(load([later, first]).reporters["slack"]) == {"url", "after"}


@pytest.mark.parametrize(
    ("text", "said", "job"),
    [
        ("[reporters]\nslack = 1\n", "'slack' is not a table; write [reporters.slack]", None),
        ("[reporters.'a b']\n", "'a b' is no name for a reporter", None),
        ("reporters = 1\n", "'reporters' is not a table; write [reporters]", None),
        ("[jobs.x.reporters.'a b']\n", "'a b' is no name for a reporter", "x"),
        ("[jobs.x]\nreporters = 1\n", "'reporters' is no option", "x"),
    ],
)
def test_what_is_no_section_of_a_reporter_is_told(
    tmp_path: Path, text: str, said: str, job: str | None
) -> None:
    """In a job's section it concerns that job alone."""
    [problem] = load([written(tmp_path, text)]).problems
    assert said in str(problem)
    assert problem.job == job


def test_patterns_of_redact_are_a_list_in_which_spaces_count(
    env: dict[str, str], tmp_path: Path
) -> None:
    """One may be a text alone; a job has its own list, and a variable is stronger than both."""
    text = r"""
        [defaults]
        redact = ['a b', 'c,\d \n']
        [jobs.one]
        redact = "x y"
        [jobs.none]
        redact = []
    """
    path = written(tmp_path, text)

    def found(job: str) -> str:
        return from_argv(["-c", path, "-n", job, "--", "true"], env).spec.redact

    assert found("other").split("\n") == ["a b", r"c,\d \n"]
    assert found("one") == "x y"
    assert found("none") == ""
    env["CRONGUARD_REDACT"] = "v w\nz"
    assert found("one").split("\n") == ["v w", "z"]


@pytest.mark.parametrize("said", ["['a', '(']", "'('", "['x*']", "[1]", "['a\\u0009']", "true"])
def test_what_is_no_pattern_is_refused(env: dict[str, str], tmp_path: Path, said: str) -> None:
    """Before anything starts, with its line."""
    path = written(tmp_path, f"[defaults]\nredact = {said}\n".replace("'", '"'))
    with pytest.raises(ConfigError, match=r":2 \[defaults\]: redact: "):
        from_argv(["-c", path, "--", "true"], env)
