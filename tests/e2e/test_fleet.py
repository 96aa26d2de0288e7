"""One crontab on two hosts, one of them 20 s ahead: each minute exactly one run. Takes minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests import skew
from tests.e2e.conftest import Place
from tests.process.lab import until
from tests.process.networks import Network
from tests.servers import FLAVOURS, Server, binary, die_with_us

ONE, OTHER = "10.0.0.1", "10.0.0.2"
AHEAD_MS = 20_000
SLOTS = 3
PATIENCE_S = 60.0 * (SLOTS + 2)
# What tells one host from another: its name, its processes, its folders.
INSIDE = """
set -e
mount --make-rprivate /
for folder in /etc/cron.d /var/spool/cron /run; do
    if [ -d "$folder" ]; then mount -t tmpfs tmpfs "$folder"; fi
done
mkdir -p /var/spool/cron/crontabs
mount --bind /dev/null /etc/crontab
install -m 600 -o root -g crontab "$1" /var/spool/cron/crontabs/root
hostname "$2"
shift 2
exec env "$@" cron -f
"""

pytestmark = [
    pytest.mark.variant,
    pytest.mark.root,
    pytest.mark.debian,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces"),
    pytest.mark.skipif(not shutil.which("cron"), reason="needs Debian's package cron"),
    pytest.mark.skipif(skew.compiler() is None, reason="needs a C compiler"),
]


@pytest.fixture
def wire() -> Iterator[tuple[Network, Network]]:
    """Two networks, and a wire between them."""
    both = Network(), Network()
    both[0].wire_to(both[1], ONE, OTHER)
    yield both
    for network in both:
        network.close()


@contextmanager
def redis_in(network: Network, folder: Path) -> Iterator[Server]:
    """Have a server there that the other host reaches, too."""
    flavour = next(name for name in FLAVOURS if binary(name) is not None)
    folder.mkdir()
    server = Server(folder, flavour, ("--protected-mode", "no"), ONE)
    with network.inside():
        server.start()
    yield server
    server.stop()


def start_host(
    place: Place, network: Network, name: str, store: str, lines: list[str], clock: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start cron on a host of its own, which has this clock and this crontab."""
    state = place.folder / f"state-{name}"
    head = [
        *("SHELL=/bin/sh", 'MAILTO=""', f"PATH={place.folder}/bin:/usr/bin:/bin"),
        *(f"CRONGUARD_STATE_DIR={state}", f"CRONGUARD_STORE={store}", f"LAB_MARK={place.mark}"),
        *[f"{key}={value}" for key, value in clock.items()],
    ]
    table = place.folder / f"crontab.{name}"
    table.write_text("\n".join([*head, *lines]) + "\n")
    lab = ["unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
    words = [f"{key}={value}" for key, value in clock.items()]
    argv = [*lab, "/bin/sh", "-c", INSIDE, "sh", str(table), name, *words]
    with network.inside():
        host = subprocess.Popen(
            argv, env=place.env, stdin=subprocess.DEVNULL, preexec_fn=die_with_us
        )
    place.started.append(host)
    return host


def test_each_minute_has_exactly_one_run(place: Place, wire: tuple[Network, Network]) -> None:
    """The host that is ahead comes first; the other one is told, and says so in its record."""
    clock = skew.Skew(skew.build(place.folder), place.folder / "skew")
    clock.step(AHEAD_MS)
    lines = [
        f"* * * * *  cronguard run -n quick --once 1m -- sh -c 'hostname >> {place.folder}/hosts'",
        "* * * * *  cronguard run -n slow --once 1m --wait 50s -- sleep 25",
    ]
    with redis_in(wire[0], place.folder / "server") as server:
        place.env["CRONGUARD_STORE"] = place.store = server.url
        hosts = [
            start_host(place, wire[0], "web-1", server.tcp_url, lines, {}),
            start_host(place, wire[1], "web-2", server.tcp_url, lines, clock.env),
        ]
        for job in ("quick", "slow"):
            until(f"{SLOTS} slots of {job}", partial(is_done, place, job), PATIENCE_S)
        for host in hosts:
            host.kill()  # unshare ignores TERM; its own KILL takes the namespaces with it
            host.wait()
        for job in ("quick", "slow"):
            runs, skips = place.records(job), place.skips(job)
            slots = [str(run["slot"]) for run in runs]
            assert len(slots) == len(set(slots)), slots
            assert {str(skip["reason"]) for skip in skips} <= {"slot_done", "held"}
            both = {str(record["host"]) for record in [*runs, *skips]}
            assert both == {"web-1", "web-2"}
            # Between the first and the last, none is left out: they are a minute apart.
            minutes = sorted(slot[:16] for slot in slots)
            assert len(minutes) >= SLOTS
            assert minutes == following(minutes[0], len(minutes))
            taken = {str(skip["slot"]) for skip in skips if skip["reason"] == "slot_done"}
            assert len(taken) >= SLOTS - 1
            assert taken <= set(slots)
        counted = place.said("hosts").split()
        assert len(counted) == len(place.records("quick"))


def is_done(place: Place, job: str) -> bool:
    """Tell whether enough runs of a job have ended."""
    return sum(record["outcome"] == "succeeded" for record in place.records(job)) > SLOTS


def following(first: str, count: int) -> list[str]:
    """Return so many minutes from *first* on, as records write them."""
    begin = datetime.fromisoformat(first)
    return [(begin + timedelta(minutes=n)).strftime("%Y-%m-%dT%H:%M") for n in range(count)]
