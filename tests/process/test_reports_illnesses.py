"""Services that are ill: the run is as without them, and they get what they missed, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.process.lab import Lab, until
from tests.reporters.receiver import Receiver

KEPT = ["silent", "slow", "broken", "error"]
"""Of these nobody knows whether the report came; it is sent again."""
TAKEN = ["huge"]
LET_GO = ["redirect"]
REPORTERS = """
[defaults]
report = ["healthchecks", "webhook", "prometheus", "sentry", "otlp"]
report_timeout = "20s"
[reporters.healthchecks]
url = "{url}/hc/11111111-2222-3333-4444-555555555555"
on = ["failure", "success"]
[reporters.webhook]
url = "{url}/hook"
on = ["failure", "success"]
[reporters.prometheus]
pushgateway = "{url}/push"
on = ["failure", "success"]
[reporters.sentry]
dsn = "{sentry}/7"
on = ["failure", "success"]
[reporters.otlp]
endpoint = "{url}/otlp"
on = ["failure", "success"]
"""
ALLOWED = "allow_http = true\nallow_private = true\ntimeout = '1s'\n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """All the services in one."""
    with Receiver() as found:
        yield found


@pytest.fixture
def place(local: Lab, receiver: Receiver) -> Lab:
    """A lab whose jobs report to all of them."""
    sentry = receiver.url.replace("http://", "http://public@")
    text = REPORTERS.format(url=receiver.url, sentry=sentry)
    file = local.folder / "cronguard.toml"
    file.write_text(text.replace('on = ["failure"', f'{ALLOWED}on = ["failure"'))
    file.chmod(0o600)
    local.env["CRONGUARD_CONFIG"] = str(file)
    return local


def told(receiver: Receiver) -> Counter[str]:
    """Return how many requests came for each service, and forget them."""
    found = Counter(request.path.split("/")[1].partition("?")[0] for request in receiver.requests)
    receiver.requests.clear()
    return found


RUN = ("run", "--name", "job", "--", "sh", "-c", "echo out; exit 3")


def test_all_are_told(place: Lab, receiver: Receiver) -> None:
    """Side by side; Sentry gets the event, and its check-in with it."""
    ended = place.call(*RUN)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"out\n", b"")
    found = told(receiver)
    assert set(found) == {"hc", "hook", "push", "api", "otlp"}
    assert not (place.state / "spool" / "job").exists()


@pytest.mark.parametrize("ill", [*KEPT, *TAKEN, *LET_GO])
def test_an_ill_service_is_no_trouble_of_the_job(place: Lab, receiver: Receiver, ill: str) -> None:
    """The exit status, the output and the lock are the command's; later comes what was missed."""
    place.call(*RUN)
    usual = told(receiver)
    receiver.ill = ill
    run = place.start(*RUN)
    until("it is telling", lambda: receiver.requests)
    other = place.call("run", "--name", "job", "--no-report", "--", "true")
    assert (other.returncode, other.stderr) == (0, b""), "the lock is free by then"
    out, said = run.communicate()
    assert (run.returncode, out) == (3, b"out\n")
    spool = place.state / "spool" / "job"
    assert bool(list(spool.glob("*.json"))) is (ill in KEPT), said
    receiver.ill = ""
    told(receiver)
    assert place.call("flush").returncode == 0
    assert told(receiver) == (usual if ill in KEPT else Counter())
    assert not spool.exists()
    place.call("flush")
    assert not told(receiver)
