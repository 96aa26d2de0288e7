"""What a guarded `true` costs, beside an empty Python, a plain wrapper and the peers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.bench import Bench, Row, interleaved, until
from tests.servers import free_port

ROUNDS = 60
PLAIN = Path(__file__).with_name("plain_wrapper.py")


def rows(bench: Bench) -> Iterator[Row]:
    """Measure all ways in one interleaved series."""
    with etcd(bench) as endpoint, statsd() as address:
        taken = interleaved(_ways(bench, endpoint, address), ROUNDS)
    empty, plain = taken.pop("python -c pass"), taken.pop("plain wrapper")
    yield Row("`python -c pass`", empty * 1000, unit=" ms")
    for store in bench.stores:
        ratio = taken[store] / empty
        yield Row(f"`cronguard run -- true`, {store} / `python -c pass`", ratio, must=3, aim=2)
    for store in bench.stores:
        ratio = taken.pop(store) / plain
        yield Row(f"the same, {store} / plain wrapper", ratio, must=1 / 6, aim=1 / 10)
    yield Row("plain wrapper / `python -c pass`", plain / empty)
    for name, value in taken.items():
        yield Row(f"{name} / `python -c pass`", value / empty)


def _ways(bench: Bench, endpoint: str | None, address: str) -> dict[str, Callable[[], float]]:
    url = bench.server.tcp_url
    plain = [bench.python, str(PLAIN), "--name", "true", "--redis", url, "--", "true"]
    commands = {"python -c pass": [bench.python, "-c", "pass"], "plain wrapper": plain}
    commands |= {name: [bench.cronguard, "run", "--", "true"] for name in bench.stores}
    for name, events in (("told", "success"), ("not told", "failure")):
        config = bench.folder / f"{events}.toml"
        config.write_text(
            f'[defaults]\nreport = ["statsd"]\n[reporters.statsd]\non = ["{events}"]\n'
            f'address = "{address}"\n'
        )
        config.chmod(0o600)
        words = ["run", "--config", str(config), "--", "true"]
        commands[f"the same, with a StatsD reporter that is {name}"] = [bench.cronguard, *words]
    if shutil.which("flock"):
        commands["`flock -n FILE true`"] = ["flock", "-n", str(bench.folder / "lock"), "true"]
    if endpoint:
        commands["`etcdctl lock NAME true`"] = [
            "etcdctl", "--endpoints", endpoint, "lock", "bench", "true",
        ]  # fmt: skip
    ways: dict[str, Callable[[], float]] = {}
    for name, argv in commands.items():
        env = bench.env(bench.stores.get(name, "")) | {"ETCDCTL_API": "3"}
        bench.seconds(argv, env)  # once, so that all caches are warm
        ways[name] = lambda argv=argv, env=env: bench.seconds(argv, env)  # type: ignore[misc]
    return ways


@contextmanager
def statsd() -> Iterator[str]:
    """Take datagrams, and throw them away."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def etcd(bench: Bench) -> Iterator[str | None]:
    """Run an etcd server while measuring, where Debian's etcd-server and etcd-client are there."""
    if not (shutil.which("etcd") and shutil.which("etcdctl")):
        yield None
        return
    folder = bench.folder / "etcd"
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    argv = ["etcd", "--data-dir", str(folder), "--initial-cluster", f"default={peer}"]
    argv += ["--listen-client-urls", client, "--advertise-client-urls", client]
    argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    env = os.environ | {"ETCDCTL_API": "3"}
    asked = ["etcdctl", "--endpoints", client, "endpoint", "health"]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(argv, stdout=quiet, stderr=quiet)
    try:
        until("etcd", lambda: not subprocess.call(asked, env=env, stdout=quiet, stderr=quiet))
        yield client
    finally:
        server.kill()
        server.wait()
