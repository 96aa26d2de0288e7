"""Wrapping a crontab changes what its lines are guarded by, and nothing else; and it is undone."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronguard.admin.crontab_lines import decode, encode, read
from cronguard.admin.crontab_wrap import LONGEST, MARK, inside, unwrap, wrap

PIECES = [
    "* * * * * ", "*/5 1-3 * jan sun\t", "@reboot ", "@daily\t", "root ", "/bin/echo a", "printf x",
    "echo 'a b'", ' "$HOME" ', "\\%", "%", "\\\\", "\\", "'", '"', " # it's", " && true", "| cat ",
    "A=1 ", "SHELL=/bin/bash\n", "SHELL=/usr/bin/cronguard-sh\n", "MAILTO = x", "# c", "\r\n", "\n",
    "\n", "\n", "\r", "\x0b", "\x85", "\u2028", "\0", "é", "cronguard run --name a -- b", " --",
    "cronguard run --name=a -- b", " # cronguard: name=x", "'\"'\"'", "--shell 'x'", " -c 'x'",
    "x" * 990,
]  # fmt: skip
"""What crontabs are made of, and what they had better not be."""
LINES = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
RAW = st.one_of(LINES.map(encode), st.binary(max_size=80).map(lambda raw: b"* * * * * " + raw))


@given(RAW, st.booleans(), st.sampled_from([(), ("--timeout=5m", "--quiet")]))
def test_unwrap_undoes_wrap_to_the_byte(
    raw: bytes, has_user: bool, options: tuple[str, ...]
) -> None:
    """Any crontab, of any bytes. What was wrapped before is unwrapped as well."""
    text = decode(raw)
    wrapped = wrap(text, has_user=has_user, options=options)
    undone = unwrap(wrapped.text, has_user=has_user)
    assert encode(undone.text) == encode(unwrap(text, has_user=has_user).text)
    if MARK not in text:
        assert encode(undone.text) == raw
    assert wrap(wrapped.text, has_user=has_user).text == wrapped.text, "nothing is wrapped twice"


@given(RAW, st.booleans())
def test_a_crontab_is_read_to_the_byte(raw: bytes, has_user: bool) -> None:
    """Its lines put together are what it was."""
    entries = read(decode(raw), has_user=has_user)
    assert encode("".join(entry.text for entry in entries)) == raw


STUB = """#!/bin/sh
shift 2
[ "$1" = -- ] && { shift; exec "$@"; }
exec /bin/sh -c "$2"
"""
"""What `cronguard run` does with a command, without a guard: quick enough for many."""
WORDS = st.sampled_from(
    ["echo", "printf '%s\\n'", "a", "b  c", "'d e'", '"$X"', "\\$X", "$X", "it\\'s", "\\%", "%",
     "\\\\", "| cat", "; echo", "&& echo", "|| echo", "> f; cat f", "2>&1", "$(echo g)", "`echo h`",
     "X=2", "# i", "*", "~", "'\\''", '"\'"', "\t", "(", ")", "{ echo k; }", "cat"]
)  # fmt: skip


def as_cron(command: str, folder: Path) -> tuple[int, bytes]:
    """Do what cron does with the text of a line: % and backslashes, and a shell for the rest."""
    middle = re.match(r"(?:[^\\%]|\\.|\\$)*", command, re.DOTALL)
    assert middle
    text = re.sub(r"\\([%\\])", r"\1", middle[0])
    given = re.sub(r"\\([%\\])|%", lambda m: m[1] or "\n", command[middle.end() + 1 :])
    done = subprocess.run(
        ["/bin/sh", "-c", text], input=given.encode(), cwd=folder, capture_output=True, timeout=60,
        env={"PATH": f"{folder}/bin:/usr/bin:/bin", "X": "x  y", "HOME": "/home"},
    )  # fmt: skip
    # A syntax error has another status, and other words, within quotes; an error it stays.
    return (min(done.returncode, 1) if done.stderr else done.returncode), done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `cronguard` is the stub."""
    found = tmp_path_factory.mktemp("cron")
    (found / "bin").mkdir()
    (found / "bin/cronguard").write_text(STUB)
    (found / "bin/cronguard").chmod(0o755)
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=6).map(" ".join))
def test_a_wrapped_line_means_what_it_meant(folder: Path, command: str) -> None:
    """Quotes, pipes, redirections, escaped % and standard input: the same output and status."""
    line = f"* * * * * echo in; {command}"
    wrapped = wrap(line, has_user=False).text
    for text in (line, wrapped):
        (folder / "f").write_text("")
        assert text.startswith("* * * * * ")
    before, after = (as_cron(text[10:], folder) for text in (line, wrapped))
    assert after == before


@pytest.mark.parametrize(
    ("command", "wrapped"),
    [
        ("/opt/pull --all", "cronguard run --name=pull -- /opt/pull --all # wrapped"),
        ("date +\\%F", "cronguard run --name=date -- date +\\%F # wrapped"),
        ("cat%one%two", "cronguard run --name=cat -- cat # wrapped%one%two"),
        ("a | b", "cronguard run --name=a --shell 'a | b' # wrapped"),
        ("echo 'x'", "cronguard run --name=echo --shell 'echo '\"'\"'x'\"'\"'' # wrapped"),
        ("cd /srv && ./run.sh", "cronguard run --name=run --shell 'cd /srv && ./run.sh' # wrapped"),
        ("exit 3", "cronguard run --name=exit --shell 'exit 3' # wrapped"),
        ("A=1 b", "cronguard run --name=b --shell 'A=1 b' # wrapped"),
        ("python3 -m app.sync", "cronguard run --name=app.sync -- python3 -m app.sync # wrapped"),
        ("nice php /srv/c.php x", "cronguard run --name=c -- nice php /srv/c.php x # wrapped"),
        ("run-parts /a/b.d", "cronguard run --name=b.d -- run-parts /a/b.d # wrapped"),
        ("echo a\r", "cronguard run --name=echo --shell 'echo a\r' # wrapped"),
    ],
)  # fmt: skip
def test_words_are_guarded_as_words_and_all_else_by_the_shell(command: str, wrapped: str) -> None:
    """A plain command stays readable, and the name is that of what does the work."""
    change = wrap(f"@daily {command}", has_user=False)
    assert change.text == f"@daily {wrapped}"
    assert inside(wrapped.partition("%one")[0]) == command.partition("%one")[0]


def test_the_shell_of_the_crontab_stays_the_shell() -> None:
    """What /bin/bash was to run is run by it; a shell of other quotes is left alone."""
    text = "SHELL='/bin/bash'\n@daily [[ a ]] && b\nSHELL=/usr/bin/fish\n@daily c\n"
    change = wrap(text, has_user=False)
    assert "cronguard run --name=b -- /bin/bash -c '[[ a ]] && b' # wrapped" in change.text
    assert "quotes are not known" in change.left[4]


def test_names_are_unique_and_guarded_lines_stay() -> None:
    """No name is given twice, nor one that a line guarded by hand has."""
    hand = "@daily cronguard run --name pull -- x"
    own = "SHELL=/usr/bin/cronguard-sh\n@daily b # cronguard: name=b"
    change = wrap(f"@daily /opt/pull\n{hand}\n@hourly /opt/pull\n{own}\n", has_user=False)
    assert change.done == {1: "pull-2", 3: "pull-3"}
    assert hand in change.text
    assert own in change.text
    assert "guarded already" in change.left[2]
    assert "guarded already" in change.left[5]


def test_the_user_stays_before_the_command() -> None:
    """In system tables the guard comes after the user."""
    change = wrap("@daily\troot  /opt/pull\n", has_user=True, program="/opt/bin/cronguard")
    assert (
        change.text == "@daily\troot  /opt/bin/cronguard run --name=pull -- /opt/pull # wrapped\n"
    )


def test_what_cron_would_cut_or_cannot_read_is_left() -> None:
    """With the reason: too long, no command, a comment, an open backslash, no schedule."""
    lines = [
        "@daily " + "x" * LONGEST,
        "@daily %a",
        "@daily #a",
        "@daily a\\",
        "* * a",
        "@daily a\0",
    ]
    change = wrap("\n".join(lines), has_user=False)
    assert change.text == "\n".join(lines)
    assert sorted(change.left) == [1, 2, 3, 4, 5, 6]


def test_options_added_by_hand_do_not_keep_a_line_from_being_unwrapped() -> None:
    """People change lines after they were wrapped."""
    text = "@daily cronguard run --name=a --wait 10m -q --shell 'a | b' # wrapped\n"
    assert unwrap(text, has_user=False).text == "@daily a | b\n"
