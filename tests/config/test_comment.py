"""What a line's trailing comment says, and when the mark is no comment at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.config import comment
from cronguard.config.options import ConfigError


@pytest.mark.parametrize(
    ("text", "bare", "options"),
    [
        ("a --all", "a --all", []),
        ("a # nothing of ours", "a # nothing of ours", []),
        ("a  # cronguard: name=b", "a", ["--name=b"]),
        ("a # cronguard: kill_after=1s kill-after=2s", "a", ["--kill-after=1s", "--kill-after=2s"]),
        ("a # cronguard: quiet\ttimeout=1m\r", "a", ["--quiet", "--timeout=1m"]),
        ("a # cronguard: quiet=true", "a", ["--quiet"]),
        ("a # cronguard: store='sqlite:///a b'", "a", ["--store=sqlite:///a b"]),
        ("a # nightly # cronguard: name=b", "a # nightly", ["--name=b"]),
        ("a;# cronguard: name=b", "a;", ["--name=b"]),
        ("a \\' # cronguard: name=b", "a \\'", ["--name=b"]),
        ('a "\\" it" # cronguard: name=b', 'a "\\" it"', ["--name=b"]),
        ("# cronguard: name=b", "", ["--name=b"]),
        ("grep '# cronguard: x' f", "grep '# cronguard: x' f", []),
        ('grep "# cronguard: x" f', 'grep "# cronguard: x" f', []),
        ("grep \\# cronguard: f", "grep \\# cronguard: f", []),
        ("echo a# cronguard: x", "echo a# cronguard: x", []),
    ],
)  # fmt: skip
def test_the_comment_is_what_the_shell_takes_for_one(
    text: str, bare: str, options: list[str]
) -> None:
    """Options come from the comment alone; quoted, escaped or within a word the mark is data."""
    line = comment.read(text)
    assert (line.bare, line.options) == (bare, options)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a # cronguard: timout=1m", "'timout' is no option; did you mean timeout?"),
        ("a # cronguard: nonsense", "see `cronguard run --help`"),
        ("a # cronguard: timeout", "timeout needs a value; write timeout=DUR"),
        ("a # cronguard: quiet=yes", "quiet is a switch"),
        ("a # cronguard: shell=x", "'shell' is no option"),
        ("a # cronguard: name='b", "has no other to close it"),
        ("a 'b # cronguard: name=b", "cannot be told"),
        ("bash $'it\\'s' # cronguard: name=b", "cannot be told"),
        ("cronguard run -- a # cronguard: name=b", "no effect"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(text: str, why: str) -> None:
    """Refused with what to write, rather than run without it."""
    with pytest.raises(ConfigError) as error:
        comment.read(text)
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("text", "is_run"),
    [
        ("cronguard run -- a", True),
        ("/opt/bin/cronguard  run -n x -- a", True),
        ("A=1 B='2' exec cronguard run -- a", True),
        ("cronguard status", False),
        ("cronguard", False),
        ("mycronguard run", False),
        ("/a=b/cronguard run", True),
        ("", False),
    ],
)
def test_a_line_that_guards_itself_is_known(text: str, is_run: bool) -> None:
    """It is not guarded a second time."""
    assert comment.read(text).is_run is is_run


@given(st.text(st.sampled_from("ab'\"\\$# \t=|\r")), st.text(st.sampled_from("abe'\" =\t")))
def test_any_text_is_read_or_refused(before: str, after: str) -> None:
    """No quote or blank is too odd for it."""
    try:
        line = comment.read(before + comment.MARK + after)
    except ConfigError:
        return
    assert before.startswith(line.bare.rstrip()) or not line.options
