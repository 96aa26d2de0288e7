"""Reports over HTTP, from the real command: an ill service changes nothing, and is told later."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from tests.process.lab import Lab
from tests.reporters.receiver import Receiver

CHECK = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"
KEY = "c4nary-path"
RUN = ("run", "--name", "job", "--report", "healthchecks", "--report", "hook")
ILL = [
    ("silent", "900ms", "told with the next run"),
    ("error", "900ms", "told with the next run"),
    ("redirect", "30s", "cannot be told"),
    ("huge", "30s", ""),
]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


def configure(lab: Lab, receiver: Receiver) -> None:
    """Tell that receiver of all that *lab* runs."""
    common = 'allow_http = true\nallow_private = true\non = ["start", "success", "failure"]\n'
    path = lab.folder / "cronguard.toml"
    path.write_text(
        f'[reporters.healthchecks]\nurl = "{receiver.url}/{CHECK}"\n{common}'
        f'[reporters.hook]\ntype = "webhook"\nurl = "{receiver.url}/{KEY}"\n{common}'
    )
    path.chmod(0o600)
    if lab.user is not None:
        os.chown(path, lab.user, lab.user)
    lab.env["CRONGUARD_CONFIG"] = str(path)


def pings(receiver: Receiver) -> list[tuple[str, str]]:
    """Return action and run of each ping that came while it was well."""
    found = [urlsplit(one.path) for one in receiver.requests if CHECK in one.path and not one.ill]
    return [(one.path.rpartition(CHECK)[2], parse_qs(one.query)["rid"][0]) for one in found]


def hooks(receiver: Receiver) -> list[dict[str, object]]:
    """Return what came to the webhook while it was well."""
    return [one.json for one in receiver.requests if KEY in one.path and not one.ill]


def test_a_run_is_told_with_its_output(local: Lab, receiver: Receiver) -> None:
    """To both, with the run's id."""
    configure(local, receiver)
    ended = local.call(*RUN, "--", "sh", "-c", "echo broken >&2; exit 3")
    assert (ended.returncode, ended.stderr) == (3, b"broken\n")
    run_id = local.records("job")[0]["run_id"]
    rid = str(UUID(str(run_id)))
    assert pings(receiver) == [("/start", rid), ("/3", rid)]
    assert [one["type"] for one in hooks(receiver)] == ["run.start", "run.failure"]
    last = [one for one in receiver.requests if one.path.startswith(f"/{CHECK}/3")][-1]
    assert b"broken\n" in last.body


@pytest.mark.parametrize(("ill", "patience", "text"), ILL)
def test_an_ill_service_changes_nothing(
    local: Lab, receiver: Receiver, ill: str, patience: str, text: str
) -> None:
    """What waits comes with the next run, once, and before it; nothing of the address is said."""
    configure(local, receiver)
    receiver.ill = ill
    ended = local.call(*RUN, "--report-timeout", patience, "--", "sh", "-c", "echo out; exit 7")
    assert (ended.returncode, ended.stdout) == (7, b"out\n")
    assert text.encode() in ended.stderr
    assert bool(ended.stderr) == bool(text)
    assert CHECK.encode() not in ended.stderr
    assert KEY.encode() not in ended.stderr
    receiver.ill = ""
    assert local.call(*RUN, "--", "true").returncode == 0
    late = ["/start", "/7"] if "next run" in text else []
    assert [action for action, _ in pings(receiver)] == [*late, "/start", ""]
    assert len(hooks(receiver)) == len(pings(receiver))
    assert not list((local.state / "spool").glob("*/*.json"))


def test_a_sample_comes_through(local: Lab, receiver: Receiver) -> None:
    """`report test` says what it is."""
    configure(local, receiver)
    assert local.call("report", "test", "hook", "--event", "failure").returncode == 0
    (said,) = hooks(receiver)
    assert said["type"] == "run.failure"
    assert "sample" in json.dumps(said)
