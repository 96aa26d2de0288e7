"""What is documented exists, and what exists is documented."""

from __future__ import annotations

import re
import string
from pathlib import Path

import click
import pytest

from cronguard.admin import cli
from cronguard.admin.run import command as run_command
from cronguard.config.options import IN_SPEC, OF_CODE, OPTIONS
from cronguard.core import exits, record
from cronguard.reporters.command import VARIABLES as FOR_HOOKS
from tests.shape import readme, source

DOCS = [path for path in source.tracked() if path.endswith(".md")]
PLACES = re.compile(r"(?<![\w.}])/(work|tmp/v)/")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
VARIABLE = re.compile(r"CRONGUARD_[A-Z_]+[A-Z]")
FOREIGN_FLAGS = {"--all", "--now"}
"""Of the commands in the examples, not of cronguard."""
OWN_VARIABLES = {"CRONGUARD_STATE_DIR", "CRONGUARD_SHELL"}
FOR_THE_CHILD = {"CRONGUARD_JOB", "CRONGUARD_RUN_ID", "CRONGUARD_ATTEMPT"}
FOR_THE_CHILD |= {"CRONGUARD_TOKEN", "CRONGUARD_DEADLINE", "CRONGUARD_SLOT"}


def help_of_run() -> str:
    """Return what `cronguard run --help` says."""
    return run_command.get_help(click.Context(run_command, info_name="cronguard run"))


def context_of(command: click.Command) -> click.Context:
    """Return a context as the group gives one: click keeps what it learns from the first."""
    return click.Context(command, **cli.group.context_settings)


def commands() -> dict[str, click.Command]:
    """Return every command by its words: `status`, `config check`."""
    found: dict[str, click.Command] = {}
    todo: list[tuple[str, click.Command]] = [("", cli.group)]
    while todo:
        name, command = todo.pop()
        if isinstance(command, click.Group):
            context = context_of(command)
            for word in command.list_commands(context):
                inner = command.get_command(context, word)
                assert inner is not None, word
                todo.append((f"{name} {word}".strip(), inner))
        else:
            found[name] = command
    return found


def all_flags() -> set[str]:
    """Return every flag of every command."""
    return {
        flag
        for command in [*commands().values(), cli.group, run_command]
        for parameter in command.get_params(context_of(command))
        for flag in parameter.opts
    } | {"--version"}


def test_every_option_and_variable_of_run_is_documented() -> None:
    """In its help, or, where it has no flag, in the README."""
    shown, told = help_of_run(), source.read("README.md")
    for option in OPTIONS:
        for flag in option.flags:
            assert flag in shown
        if option.variable:
            assert option.variable in (shown if option.flags else told), option.variable


def test_every_option_of_every_command_explains_itself() -> None:
    """An option without a word of help is half an option."""
    for name, command in commands().items():
        assert command.get_short_help_str() or command.help, name
        for parameter in command.get_params(context_of(command)):
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.parametrize("path", DOCS)
def test_options_and_variables_in_the_documents_exist(path: str) -> None:
    """Only what is true today is written down."""
    text = source.read(path)
    flags = set(FLAG.findall(text)) - FOREIGN_FLAGS
    if path == "CONTRIBUTING.md":
        flags -= {"--strict", "--check"}  # of the tools that are named there
    assert flags <= all_flags()
    known = {option.variable for option in OPTIONS} | OWN_VARIABLES | FOR_THE_CHILD
    known |= set(FOR_HOOKS)
    assert set(VARIABLE.findall(text)) <= known | {"CRONGUARD_CI"}


def test_what_the_child_gets_is_documented_and_set() -> None:
    """Each variable that the README promises the command is one that the keeper adds."""
    keeper, told = source.read("cronguard/runtime/keeper.py"), source.read("README.md")
    set_there = set(VARIABLE.findall(keeper)) - OWN_VARIABLES
    assert set_there == FOR_THE_CHILD
    assert all(f"`{name}`" in told for name in FOR_THE_CHILD)


def table(after: str) -> dict[str, str]:
    """Return the first table behind the heading *after*: first column to second."""
    _, _, rest = source.read("README.md").partition(after)
    rows = []
    for line in rest.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip(" `") for cell in line.strip("|").split("|")])
        elif rows:
            break
    return {row[0]: row[1] for row in rows[2:]}


def test_exit_statuses_are_those_of_the_code() -> None:
    """The table in the README says what core/exits.py says, number by number."""
    told = table("## Exit statuses")
    strip = str.maketrans("", "", "`" + string.punctuation)
    assert {int(number) for number in told} == set(exits.MEANINGS)
    for number, meaning in exits.MEANINGS.items():
        assert told[str(number)].translate(strip) == meaning.translate(strip)


def test_outcomes_are_those_of_the_code() -> None:
    """Every outcome that a record can have is explained in the README, and no other."""
    assert set(table("## Look and steer")) == set(record.OUTCOMES)


def test_what_is_kept_is_what_the_code_keeps() -> None:
    """The README's numbers are the stores' numbers."""
    told = " ".join(source.read("README.md").split())
    assert f"last {record.KEPT_RUNS} runs" in told
    assert f"last {record.KEPT_FAILURES} failures" in told
    assert f"last {record.KEPT_SKIPS} skips" in told


def test_the_timing_table_is_the_arithmetic() -> None:
    """The moments in the README follow from core/lease.py with the default TTL."""
    from cronguard.core.lease import FULL_TTL_MS, LeaseTimes

    times = LeaseTimes(FULL_TTL_MS)
    moments = (times.every, times.give_up_at(0), times.kill_at(0), times.ends_at(0), times.px)
    told = table("**At most one run of a job at a time**")
    assert list(told) == [f"{round(moment / 1000, 1):g} s" for moment in moments]
    text = " ".join(told.values())
    assert f"{times.attempt // 1000} s at most for each try" in text
    assert f"KILL {times.grace // 1000} s later" in text


def test_what_check_promises_is_the_arithmetic() -> None:
    """So long a step may take that begins right after a check: README and docstring say it."""
    from cronguard import Lease
    from cronguard.core.lease import FULL_TTL_MS, LeaseTimes

    times = LeaseTimes(FULL_TTL_MS)
    left = times.ends_at(0) - times.give_up_at(0)
    words = f"for {left // 1000} s more"
    assert left % 1000 == 0
    assert words in " ".join(source.read("README.md").split())
    assert words in " ".join(str(Lease.check.__doc__).split())


ABOUT_COMMANDS = """
    kill_after signal retries retry_delay on_lease_lost stragglers dead_man isolation skip_exit_code
    quiet success_exit_status fail_on_output fail_on_stderr min_runtime
    nice ionice rlimit_as memory_max cpu_quota tail_bytes prefix log log_format log_size
    log_age log_keep
"""


def test_every_option_counts_for_python_code_or_is_about_commands() -> None:
    """Whoever adds one decides it; what a guard takes is an option, and the README names it."""
    import inspect

    from cronguard import guard

    of_code = {option.name for option in OF_CODE}
    assert {option.name for option in IN_SPEC} - of_code == set(ABOUT_COMMANDS.split())
    own = {"job", "dead_man", "on_lost"}
    taken = set(inspect.signature(guard).parameters) - own
    assert taken <= of_code | {"store", "config"}
    _, _, rest = source.read("README.md").partition("### In Python code")
    told = rest.partition("\n### ")[0]
    assert all(f"`{name}" in told for name in taken | own - {"job"})


@pytest.mark.parametrize("path", DOCS)
def test_links_lead_somewhere(path: str) -> None:
    """A link to a file of the project leads to one that is there."""
    folder = (source.ROOT / path).parent
    for target in re.findall(r"\]\(([^)#]+)\)", source.read(path)):
        if "://" not in target:
            assert (folder / target).exists(), target


def test_nothing_names_the_place_where_it_was_written() -> None:
    """No file speaks of folders that only its writer has."""
    wrong = [
        path
        for path in source.tracked()
        if PLACES.search((source.ROOT / path).read_bytes().decode("utf-8", "replace"))
    ]
    assert not wrong


def test_every_shell_command_of_the_readme_is_run_by_a_test() -> None:
    """Kinds of blocks that nobody runs or checks are not used."""
    kinds = {block.kind for block in readme.blocks()}
    assert kinds == {"sh", "crontab", "systemctl", "ini", "dockerfile", "toml", "python"}


def test_the_changelog_knows_this_version() -> None:
    """The newest entry is the version of the package, with a date."""
    from cronguard import __version__

    entries = re.findall(r"^## \[(.+)\](?: - (\d{4}-\d\d-\d\d))?$", source.read("CHANGELOG.md"),
                         re.MULTILINE)  # fmt: skip
    assert entries[0][0] == "Unreleased"
    assert entries[1][0] == __version__
    assert entries[1][1]


def test_make_has_the_targets_that_are_named() -> None:
    """`make X` in a document is a target of the Makefile."""
    makefile = source.read("Makefile")
    for path in DOCS:
        for name in re.findall(r"(?:^|`|    )make ([a-z]+)", source.read(path), re.MULTILINE):
            assert re.search(rf"^{name}:", makefile, re.MULTILINE), f"{path}: make {name}"
            assert Path(source.ROOT, "Makefile").exists()
