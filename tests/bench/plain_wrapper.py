"""What people write by hand: a lock in Redis around a command, with the usual libraries.

    python plain_wrapper.py --name JOB --redis URL -- COMMAND [ARG]...

It is measured against, and is no example to follow: killed, it leaves its command running.
"""

from __future__ import annotations

import subprocess
import sys
import threading

import click
import psutil
import redis
import sentry_sdk


def kill_tree(pid: int) -> None:
    """End a process and what is below it."""
    try:
        parent = psutil.Process(pid)
        victims = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for victim in victims:
        victim.terminate()
    for victim in psutil.wait_procs(victims, timeout=10)[1]:
        victim.kill()


@click.command()
@click.option("--name", required=True)
@click.option("--redis", "url", required=True)
@click.option("--ttl", default=30, show_default=True)
@click.option("--timeout", type=float)
@click.argument("command", nargs=-1, required=True)
def main(name: str, url: str, ttl: int, timeout: float | None, command: tuple[str, ...]) -> None:
    """Run COMMAND unless another one holds the lock."""
    sentry_sdk.init()
    client = redis.Redis.from_url(url)
    lock = client.lock(f"plain:{name}", timeout=ttl, thread_local=False)
    if not lock.acquire(blocking=False):
        click.echo(f"{name} is running already", err=True)
        return
    ended = threading.Event()

    def heartbeat() -> None:
        while not ended.wait(ttl / 3):
            lock.reacquire()

    threading.Thread(target=heartbeat, daemon=True).start()
    try:
        with subprocess.Popen(command) as child:
            try:
                status = child.wait(timeout)
            except subprocess.TimeoutExpired:
                kill_tree(child.pid)
                status = 124
    finally:
        ended.set()
        lock.release()
    sys.exit(status)


if __name__ == "__main__":
    main()
