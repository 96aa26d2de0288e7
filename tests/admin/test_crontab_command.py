"""`cronguard crontab`: what it says of crontabs, and how it changes them."""

from __future__ import annotations

import json
import os
import stat
import sys
import tomllib
from datetime import datetime
from pathlib import Path

import pytest

from .seeds import Seeds


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A crontab in a file; backups go to the test's own state folder."""
    monkeypatch.setenv("CRONGUARD_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "table"


def lint(seeds: Seeds, table: Path, text: str, *args: str) -> list[str]:
    """Return the findings, one a line, without the file's name."""
    table.write_bytes(text.encode())
    status, out, err = seeds.say("crontab", "lint", str(table), *args)
    assert not err
    assert status == (0 if out.startswith("Nothing is wrong") else 1)
    return [] if not status else [line.removeprefix(f"{table}:") for line in out.splitlines()]


GOOD = """\
# a comment
PATH=/usr/bin:/bin
*/5 * * * * cronguard run --name pull --timeout 4m -- /opt/pull
0 3 * * 1-5 /opt/report > "/srv/$(date +\\%F)"
@reboot /opt/start
"""


def test_a_good_crontab_has_no_findings(seeds: Seeds, table: Path) -> None:
    """Nothing is invented."""
    assert lint(seeds, table, GOOD) == []
    assert lint(seeds, table, "") == []
    assert lint(seeds, table, "0 3 * * * grep '# cronguard: x' /f\n") == []
    assert lint(seeds, table, "0 3 * * * root /opt/x\n", "--user-column") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("@daily date +%F\n", "1: cron ends the command at the %"),
        ("@daily a%x # cronguard: name=y\n", "1: `# cronguard:` stands behind a %"),
        ("@daily root /opt/x\n", "1: root is a user, and no command"),
        ("@daily cronguard run -n x -t 30 -- a\n", "1: --timeout 30 has no unit"),
        ("@daily cronguard run -n x -w 0 -- a\n", ""),
        ("@daily cronguard run --timout 3m -- a\n", "1: No such option '--timout'"),
        ("@daily cronguard run -t soon -- a\n", "1: --timeout: 'soon' is not a duration"),
        ("@daily cd /x && cronguard run -t soon -- a >> log 2>&1\n", "1: --timeout: 'soon'"),
        ("*/5 * * * * cronguard run -n x -t 6m -- a\n", "the timeout of 6m is longer than the 5m"),
        ("0,50 * * * * cronguard run -n x -t 20m -- a\n", "longer than the 10m between two runs"),
        ("CRONGUARD_TIMEOUT=2h\n@hourly cronguard run -n x -- a\n", "2: the timeout of 2h is"),
        ("0 0 30 2 * a\n", "1: the schedule 0 0 30 2 * is impossible"),
        ("61 * * * * a\n", "1: the schedule 61 * * * * is impossible"),
        ("@dayly a\n", "1: there is no @dayly"),
        ("* * * * a\n", "1: this is no comment, assignment or job"),
        ("@daily a", "1: the last line has no newline"),
        ("@daily a\r\n", "1: the line ends with a carriage return"),
        ("@daily " + "x" * 999 + "\n", "1: the command is longer than 998 bytes"),
        ("@daily a # cronguard: name=x\n", "has no effect here: SHELL is /bin/sh"),
        ("SHELL=/x/cronguard-sh\n@daily a # cronguard: nme=x\n", "2: # cronguard: 'nme' is no"),
        ("SHELL=/x/cronguard-sh\n@hourly a # cronguard: timeout=2h\n", "2: the timeout of 2h"),
    ],
)  # fmt: skip
def test_each_mistake_is_found_once(seeds: Seeds, table: Path, text: str, found: str) -> None:
    """With its line, what is wrong, and what to do; nothing else is found."""
    lines = lint(seeds, table, text)
    assert len(lines) == bool(found), lines
    if found:
        assert found in lines[0]
        assert "; " in lines[0]


def test_a_missing_user_column_is_found(seeds: Seeds, table: Path) -> None:
    """In a system's table, where the user stands before the command."""
    lines = lint(seeds, table, "@daily /opt/x --all\n@daily\t/opt/x\n", "--user-column")
    assert [line.partition(";")[0] for line in lines] == [
        "1: there is no user /opt/x here",
        "2: this is no comment, assignment or job",
    ]


def test_two_lines_with_one_name_are_found_across_files(seeds: Seeds, tmp_path: Path) -> None:
    """They exclude each other, which nobody may have meant."""
    for name in "ab":
        (tmp_path / name).write_text("@daily cronguard run --name same -- x\n")
    status, out, _ = seeds.say(
        "crontab", "lint", "--json", str(tmp_path / "a"), str(tmp_path / "b")
    )
    (found,) = json.loads(out)
    assert status == 1
    assert (found["file"], found["line"]) == (str(tmp_path / "b"), 1)
    assert f"that of {tmp_path}/a:1, too" in found["problem"]
    assert set(found) == {"file", "line", "problem", "remedy"}


def test_the_timeout_of_the_configuration_counts(seeds: Seeds, table: Path, tmp_path: Path) -> None:
    """A line that says only the name has the rules of its section."""
    (tmp_path / ".config/cronguard").mkdir(parents=True)
    file = tmp_path / ".config/cronguard/cronguard.toml"
    file.write_text('[jobs.x]\ntimeout = "2h"\n')
    file.chmod(0o600)
    (found,) = lint(seeds, table, "@hourly cronguard run --name x -- a\n")
    assert "the timeout of 2h is longer than the 1h" in found


def test_list_shows_each_line(seeds: Seeds, table: Path) -> None:
    """Schedule, user, name, command, whether it is guarded and by what, and when it is due."""
    table.write_text(GOOD + "SHELL=/x/cronguard-sh\n@daily b # cronguard: name=bee\n@daily c\n")
    status, out, _ = seeds.say("crontab", "list", "--json", str(table))
    found = json.loads(out)
    assert status == 0
    keys = "file line schedule user name guarded guarded_by next_at command"
    assert all(list(fact) == keys.split() for fact in found)
    assert [fact["name"] for fact in found[:4]] == ["pull", None, None, "bee"]
    assert found[4]["name"].startswith("c-")
    assert [fact["guarded_by"] for fact in found] == ["run", None, None, "shell", "shell"]
    due = datetime.fromisoformat(found[0]["next_at"])
    assert (due.minute % 5, due.second) == (0, 0)
    assert found[2]["next_at"] is None
    status, out, _ = seeds.say("crontab", "list", str(table))
    assert len(out.splitlines()) == 6


def test_wrap_shows_keeps_and_changes_and_unwrap_undoes_it(seeds: Seeds, table: Path) -> None:
    """A diff, a backup for its owner alone, the same mode; and the same bytes in the end."""
    raw = b"@daily a | b\n0 3 * * * \xff\xfe --all\r\n@daily last"
    table.write_bytes(raw)
    table.chmod(0o640)
    status, out, _ = seeds.say("crontab", "wrap", "--yes", str(table))
    assert status == 0
    assert "\n-@daily a | b\n" in out
    assert "--name=a --shell 'a | b' # wrapped" in table.read_bytes().decode("latin-1")
    assert stat.S_IMODE(table.stat().st_mode) == 0o640
    (backup,) = (table.parent / "state/crontabs").iterdir()
    assert backup.read_bytes() == raw
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert str(backup) in out
    assert seeds.say("crontab", "unwrap", "--yes", str(table))[0] == 0
    assert table.read_bytes() == raw
    assert "nothing to change" in seeds.say("crontab", "unwrap", str(table))[1]
    assert sorted(p.name for p in table.parent.glob("*.cron*")) == []


def test_nothing_is_changed_unasked(seeds: Seeds, table: Path) -> None:
    """Without a terminal and without --yes: refused; with --dry-run: shown."""
    table.write_text("@daily a\n")
    status, _, err = seeds.say("crontab", "wrap", str(table))
    assert status == 2
    assert "use --yes" in err
    status, out, _ = seeds.say("crontab", "wrap", "--dry-run", str(table))
    assert status == 0
    assert "+@daily" in out
    assert table.read_text() == "@daily a\n"


def test_options_go_on_the_line_or_into_a_file(seeds: Seeds, table: Path, tmp_path: Path) -> None:
    """As flags, or as sections that are added to a file and leave what stands in it."""
    table.write_text("@daily a.b | c\n")
    given = ("--option", "timeout=5m", "--option", "quiet")
    _, out, _ = seeds.say("crontab", "wrap", "--dry-run", *given, str(table))
    assert "--name=a.b --timeout=5m --quiet --shell" in out
    rules = tmp_path / "rules.toml"
    rules.write_text('[jobs.z]\nwait = "1m" # kept\n')
    assert seeds.say("crontab", "wrap", "--yes", *given, "--rules", str(rules), str(table))[0] == 0
    found = tomllib.loads(rules.read_text())["jobs"]
    assert found["z"] == {"wait": "1m"}
    assert found["a.b"].items() >= {"timeout": "5m", "quiet": True}.items()
    assert "# kept" in rules.read_text()
    assert "--timeout" not in table.read_text()
    assert seeds.say("config", "check", "-c", str(rules))[0] == 0


def test_options_and_files_that_cannot_be_are_refused(
    seeds: Seeds, table: Path, tmp_path: Path
) -> None:
    """Before anything is changed."""
    table.write_text("@daily a\n")
    for wrong in ("timout=1m", "timeout=soon", "store=a b", "timeout"):
        status, _, err = seeds.say("crontab", "wrap", "--yes", "--option", wrong, str(table))
        assert (status, err[:19]) == (2, "cronguard: --option")
    rules = tmp_path / "rules.toml"
    rules.write_text("[jobs.a]\n")
    status, _, err = seeds.say(
        "crontab", "wrap", "--yes", "--option=timeout=1m", "--rules", str(rules), str(table)
    )
    assert (status, "name another file" in err) == (2, True)
    assert table.read_text() == "@daily a\n"
    assert seeds.say("crontab", "list", str(tmp_path / "none"))[0] == 2
    assert seeds.say("crontab", "list", "--user", "root", str(table))[0] == 2


def test_a_users_crontab_goes_through_the_command(
    seeds: Seeds, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`crontab -l` and `crontab -`: cron is told of the change, and says what it refuses."""
    tool = table.parent / "bin/crontab"
    tool.parent.mkdir()
    tool.write_text(f"""#!/bin/sh
[ "$1" = -u ] && shift 2
[ "$1" = -l ] || exec cat > {table}
[ -e {table} ] || {{ echo "no crontab for me" >&2; exit 1; }}
exec cat {table}
""")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    assert "nothing to change" in seeds.say("crontab", "wrap")[1]
    table.write_text("@daily a\n")
    assert seeds.say("crontab", "wrap", "--yes", "--user", "nobody")[0] == 0
    here = Path(sys.executable).parent / "cronguard"
    assert table.read_text() in (
        f"@daily {program} run --name=a -- a # wrapped\n" for program in ("cronguard", here)
    )
    tool.write_text("#!/bin/sh\necho you are not allowed >&2; exit 1\n")
    status, _, err = seeds.say("crontab", "unwrap", "--yes")
    assert (status, "you are not allowed" in err) == (2, True)


@pytest.mark.parametrize("name", ["crontab", "crontab-sh"])
def test_the_examples_have_no_findings(seeds: Seeds, name: str) -> None:
    """What we show is what we recommend."""
    path = Path(__file__).parents[2] / "examples" / name
    assert seeds.say("crontab", "lint", str(path))[::2] == (0, "")
