"""A Redis that keeps nothing restarts under a run."""

from __future__ import annotations

from pathlib import Path

from tests import servers
from tests.e2e.conftest import Place
from tests.process.lab import until


def test_r14_a_restart_without_persistence_is_survived(place: Place, tmp_path: Path) -> None:
    """R14: the lock is taken again at the next heartbeat, said once, and the record is whole."""
    server = servers.start_server(tmp_path, "redis" if servers.binary("redis") else "valkey")
    try:
        place.store = server.url
        place.env["CRONGUARD_STORE"] = server.url
        words = ["--ttl", "10s", "-n", "job", "--", "sh", "-c"]
        holder = place.start("run", *words, "echo on; until [ -e over ]; do sleep 0.05; done")
        assert holder.stdout is not None
        assert holder.stderr is not None
        assert holder.stdout.readline() == b"on\n"
        before = place.records("job")[0]
        server.restart()
        until("the lock to be back", lambda: place.ask(lambda told: told.leases(["job"])["job"]))
        assert place.call("run", *words, "true").returncode == 0
        assert place.skips("job")[0]["reason"] == "held"
        (place.folder / "over").touch()
        said = holder.communicate(timeout=30)[1]
        assert (holder.returncode, said.count(b"taken again")) == (0, 1)
        (record,) = place.records("job")
        assert (record["outcome"], record["token"]) == ("succeeded", before["token"])
        assert record["started_at"]
    finally:
        server.stop()
