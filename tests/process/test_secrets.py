"""S1, O5: a secret that a command has, or says, is in nothing that is kept or told of its run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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


def configure(lab: Lab, relay: Relay, more: str = "") -> None:
    """Have the lab's runs told to *relay*."""
    folder = lab.folder / ".config" / "cronguard"
    folder.mkdir(parents=True)
    text = f"""
        [defaults]
        report = ["sentry", "later"]
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
    with Relay() as relay:
        configure(local, relay)
        script = [SAYS, "sh", "--api-key", "c4n4ry-argv"]
        done = local.call(
            *("run", "-n", "job", "--schedule", "* * * * *", "--debug", "--", "sh", "-c"),
            *script,
            env=secrets,
        )
        assert done.returncode == 3
        assert done.stdout.decode().count(CANARY) == 6, "what it says is not touched"
        told = b"".join(relay.bodies)
    assert CANARY not in done.stderr.decode().replace("Bearer c4n4ry-bearer", "", 1)
    record = local.records("job")[0]
    assert "it was ***" in str(record["output_tail"])
    assert b"it was ***" in told
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
    for place, data in [*files.items(), ("told", told), *[("said", one) for one in answers]]:
        assert CANARY.encode() not in data, place
