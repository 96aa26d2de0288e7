from __future__ import annotations

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronguard.admin.run import command
from cronguard.config.options import IN_SPEC, OPTIONS
from cronguard.config.parser import Parsed, parse
from cronguard.core.spec import JobSpec

_FLAGS = [flag for option in OPTIONS for flag in option.flags]
_WORDS = st.one_of(
    st.sampled_from(
        [*_FLAGS, "--", "-", "-h", "--help", "-qn", "-nx", "-qqx", "-q=1", "--quiet=1"]
    ),
    st.sampled_from(
        ["--name=x", "--name=", "--name=--", "--nam", "-E5", "--=", "-z", "---", "-n=x"]
    ),
    st.sampled_from(["5m", "true", "", "a b", "-1", "TERM", "é", "\udc80"]),
    st.text(max_size=6),
)


def by_click(argv: list[str]) -> Parsed | None:
    """Return what click finds, or None for an error or help."""
    try:
        with command.make_context("run", list(argv)) as ctx:
            found = command.invoke(ctx)
    except (click.UsageError, click.exceptions.Exit):
        return None
    assert isinstance(found, Parsed)
    return found


@given(st.lists(_WORDS, max_size=9))
@settings(max_examples=1500, deadline=None)
def test_both_parsers_agree_on_every_command_line(argv: list[str]) -> None:
    """The light parser finds what click finds, and is silent where click complains or helps."""
    light, heavy = parse(argv), by_click(argv)
    assert (light is None) == (heavy is None), argv
    if light is not None and heavy is not None:
        assert (light.flags, light.command) == (heavy.flags, heavy.command), argv


def test_every_spelling_of_an_option_is_understood() -> None:
    """--name x, --name=x, -n x, -nx and grouped switches."""
    for argv in (["--name", "x"], ["--name=x"], ["-n", "x"], ["-nx"]):
        found = parse([*argv, "--", "true"])
        assert found is not None
        assert found.flags == {"name": ["x"]}
    found = parse(["-qnx", "--", "true"])
    assert found is not None
    assert found.flags == {"quiet": ["true"], "name": ["x"]}


def test_what_follows_the_dashes_is_the_command_untouched() -> None:
    """Nothing after `--` is ours, `--` itself included."""
    found = parse(["--", "ls", "--help", "-n", "--", "x"])
    assert found is not None
    assert found.command == ["ls", "--help", "-n", "--", "x"]


@pytest.mark.parametrize("option", IN_SPEC, ids=lambda option: option.name)
def test_a_default_of_a_row_is_the_default_of_the_spec(option) -> None:  # type: ignore[no-untyped-def]
    """The help says what a run does when it is told nothing."""
    spec = JobSpec(name="x", command=["true"], store="")
    assert option.read(option.default) == getattr(spec, option.name)
