"""What waits on this host is delivered, whoever else delivers it at the same moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from cronguard.core.spec import Claim, Owner
from cronguard.runtime import outbox, proof
from cronguard.runtime.met import SERVERS, MetServers
from cronguard.stores import contract
from cronguard.stores.open import open_history, open_lease
from tests.servers import binary, start_server

RECORD = (
    '{"schema":1,"job":"job","run_id":"%s","outcome":"failed","exit_status":7,'
    '"started_at":"2026-01-01T00:00:00.000Z","ended_at":"2026-01-01T00:00:01.000Z"}'
)


def test_two_that_deliver_the_same_record_do_not_fail(tmp_path: Path) -> None:
    """R1: the one that finds the file gone goes on, and the record is there once."""
    state, url = str(tmp_path / "state"), f"sqlite://{tmp_path}/state/cronguard.db"
    run_ids = ["a" * 32, "b" * 32]
    for run_id in run_ids:
        claim = Claim("job", Owner(run_id), 35_000)
        close = contract.Close(
            RECORD % run_id, outcome="failed", reason="", ended_wall=1_767_225_601_000
        )
        outbox.keep(state, url, claim, close)
    paths = outbox.waiting(state)

    def opened(claim: Claim) -> contract.LeaseStore:
        return open_lease(url, claim, 2_000)

    def overtaken(claim: Claim) -> contract.LeaseStore:
        outbox.deliver(outbox.waiting(state), url, opened)
        return opened(claim)

    label = opened(Claim("job", Owner("c" * 32), 35_000)).label
    assert label == url
    outbox.deliver(paths, url, overtaken)
    assert outbox.waiting(state) == []
    history = open_history(url, "cg")
    try:
        assert sorted(str(record["run_id"]) for record in history.runs("job", 10)) == run_ids
    finally:
        history.close()


def test_a_record_waits_until_its_replicas_have_it(tmp_path: Path) -> None:
    """R15: a failover can lose what no replica heard of, so it is not counted as delivered."""
    state = str(tmp_path / "state")
    server = start_server(tmp_path, "redis" if binary("redis") else "valkey")
    run_id = "a" * 32
    try:
        for replicas in (1, 0):
            claim = Claim("job", Owner(run_id), 35_000, replicas=replicas)
            close = contract.Close(
                RECORD % run_id, outcome="failed", reason="", ended_wall=1_767_225_601_000
            )
            label = open_lease(server.url, claim, 400).label
            outbox.keep(state, label, claim, close)
            paths = outbox.waiting(state)
            done = outbox.deliver(paths, label, lambda kept: open_lease(server.url, kept, 400))
            found = done, outbox.waiting(state)
            assert found == (((0, []), paths) if replicas else ((1, []), []))
    finally:
        server.stop()


def test_a_link_in_the_place_of_what_is_kept_is_not_followed(tmp_path: Path) -> None:
    """S4: a mark, a record, what is known of a server: the file that the link names stays."""
    state, victim, run_id = tmp_path / "state", tmp_path / "victim", "a" * 32
    victim.write_text("precious")
    for folder in ("dead", "outbox"):
        (state / folder).mkdir(parents=True, mode=0o700)
    (state / "dead" / run_id).symlink_to(tmp_path / "made")
    (state / "outbox" / f"{run_id}.json.new").symlink_to(victim)
    proof.leave_mark(str(state), run_id)
    close = contract.Close(RECORD % run_id, outcome="failed", reason="", ended_wall=1)
    with pytest.raises(OSError, match="symbolic link"):
        outbox.keep(str(state), "redis://h", Claim("job", Owner(run_id), 35_000), close)
    met = MetServers(str(state))
    met.learn("redis://h", "server-1")
    [known] = (state / SERVERS).iterdir()
    known.unlink()
    known.symlink_to(victim)
    assert met.known("redis://h") == ""
    met.learn("redis://h", "server-2")
    assert met.known("redis://h") == "server-2"
    assert victim.read_text() == "precious"
    assert not (tmp_path / "made").exists()
