"""S1, O5: a secret that a command has, or says, is in nothing that is kept or told of its run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.reporters.collector import Collector
from tests.reporters.relay import Relay

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.lab import Lab

CANARY = "c4n4ry"
"""What no file and no answer may hold."""
SAYS = """
echo "connecting to https://app:$PASS@db/ with $GITHUB_TOKEN"
echo "Authorization: Bearer c4n4ry-bearer" >&2
echo '{"password": "c4n4ry-json"}'
echo "aws_secret_access_key = c4n4ry/aws"
echo "$DATABASE_URL" | sed 's/.*:\\(.*\\)@.*/password was \\1/'
echo "it was $2"
exit 3
"""


def kept(folder: Path) -> dict[str, bytes]:
    """Return what every file below *folder* holds."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[path] = file.read()
    return found


def configure(lab: Lab, relay: Relay, more: str = "", collector: Collector | None = None) -> None:
    """Have the lab's runs told to *relay*, and to *collector*."""
    folder = lab.folder / ".config" / "cronguard"
    folder.mkdir(parents=True)
    text = f"""
        [defaults]
        report = ["sentry", "later"{', "otlp"' if collector else ""}]
        {more}
        [reporters.sentry]
        dsn = "{relay.dsn}"
        allow_http = true
        allow_private = true
        tags = {{ user = "{{user}}" }}
        [reporters.later]
        type = "sentry"
        dsn = "http://key@127.0.0.1:1/2"
        timeout = "100ms"
        allow_http = true
        allow_private = true
        [reporters.otlp]
        endpoint = "{collector.url if collector else ""}/"
        allow_http = true
        allow_private = true
    """
    (folder / "cronguard.toml").write_text(text)
    (folder / "cronguard.toml").chmod(0o600)


def test_s1_o5_a_canary_shows_nowhere(local: Lab) -> None:
    """S1, O5: in argv, in the environment, in URLs, in the output; kept, told, waiting, said."""
    secrets = {
        "PASS": "c4n4ry-pass",
        "GITHUB_TOKEN": "c4n4ry-token",
        "DATABASE_URL": "postgres://me:c4n4ry-url@db/shop",
    }
    with Relay() as relay, Collector() as collector:
        configure(local, relay, collector=collector)
        script = [SAYS, "sh", "--api-key", "c4n4ry-argv"]
        done = local.call(
            *("run", "-n", "job", "--schedule", "* * * * *", "--debug", "--", "sh", "-c"),
            *script,
            env=secrets,
        )
        assert done.returncode == 3
        assert done.stdout.decode().count(CANARY) == 6, "what it says is not touched"
        told = b"".join(relay.bodies)
        traced = b"".join(one.SerializeToString() for one in collector.taken)
    assert CANARY not in done.stderr.decode().replace("Bearer c4n4ry-bearer", "", 1)
    record = local.records("job")[0]
    assert "it was ***" in str(record["output_tail"])
    assert b"it was ***" in told
    assert b"it was ***" in traced
    files = kept(local.state)
    assert any("spool" in path for path in files), "one report waits"
    answers = [
        local.call(*words, env=secrets).stdout
        for words in (
            ["show", "job", "--json"],
            ["logs", "job"],
            ["history", "job", "--json"],
            ["why", "job"],
            ["export", "metrics"],
            ["export", "history"],
            ["report", "list", "--json"],
        )
    ]
    assert all(answers)
    for place, data in [
        *files.items(),
        ("told", told),
        ("traced", traced),
        *[("said", one) for one in answers],
    ]:
        assert CANARY.encode() not in data, place


def test_o5_what_redact_matches_is_neither_kept_nor_told(local: Lab) -> None:
    """O5: each pattern of a list, in the command and the output; what is shown stays as it is."""
    with Relay() as relay:
        configure(local, relay, more=r"redact = ['card-\d+', '(?i)pin: \w+ \w+']")
        done = local.call("run", "-n", "job", "--", "sh", "-c", "echo card-12 'Pin: a b'; exit 1")
        told = b"".join(relay.bodies)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"card-12 Pin: a b\n", done.stderr)
    record = local.records("job")[0]
    assert record["command"] == ["sh", "-c", "echo *** '***'; exit 1"]
    assert record["output_tail"] == "*** ***\n"
    for data in (told, *kept(local.state).values()):
        assert b"card-12" not in data
        assert b"a b" not in data


@pytest.mark.parametrize(
    ("script", "lost"),
    [("printf 'a%.0s' $(seq 40); echo '!'", "output_tail"), (f": {'a' * 40}!", "command")],
)
def test_o5_a_pattern_that_looks_for_ever_costs_a_text_and_no_more(
    local: Lab, script: str, lost: str
) -> None:
    """O5: the lock is renewed and given back, and the status stands."""
    local.env["CRONGUARD_REDACT"] = "card\n(a+)+$"
    done = local.call("run", "-n", "job", "--ttl", "10s", "--", "sh", "-c", f"{script}; exit 3")
    assert done.returncode == 3
    record = local.records("job")[0]
    assert "[not kept, as redact could not be done]" in str(record[lost])
    assert (record["outcome"], record["exit_status"]) == ("failed", 3)
    assert record["renew_failures"] == 0
    assert b"the pattern (a+)+$ takes longer than 1000 ms" in done.stderr
    leases = local.ask(lambda history: history.leases(["job"]))
    assert leases == {"job": []}


def test_a_bad_pattern_starts_nothing(local: Lab) -> None:
    """It is refused with its name, and where it stands."""
    done = local.call("run", "-n", "job", "--", "touch", "here", env={"CRONGUARD_REDACT": "a\n("})
    assert done.returncode == 125
    assert b"CRONGUARD_REDACT: '(' is no regular expression: missing )" in done.stderr
    assert not (local.folder / "here").exists()
    assert not local.records("job")
