"""What is seen of runs while they run: by `ps`, and by `top` at a terminal."""

from __future__ import annotations

import json
import signal

import pytest

from tests.process.lab import PATIENCE_S, Lab, until
from tests.process.places import root
from tests.process.terminal import Terminal
from tests.servers import Server

BUSY = """
import os, time
block = b"x" * 50_000_000
if os.fork() == 0:
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
    os._exit(0)
os.wait()
if os.fork() == 0:
    time.sleep(3600)
print("ready", flush=True)
time.sleep(3600)
"""


def listed(lab: Lab) -> dict[str, dict[str, object]]:
    """Return what `ps` says, by job."""
    done = lab.call("ps", "--json")
    assert done.returncode == 0, done.stderr
    return {run["job"]: run for run in json.loads(done.stdout)}


def test_ps_shows_what_a_run_uses_and_how_long_it_usually_takes(lab: Lab) -> None:
    """Processes, processor time (also of those that have ended) and memory of the whole tree."""
    for _ in range(3):
        assert lab.call("run", "-n", "busy", "--", "true").returncode == 0
    took = sorted(int(str(record["duration_ms"])) for record in lab.records("busy"))
    run = lab.start_ready("run", "-n", "busy", "--", *lab.python(BUSY))
    found = listed(lab)["busy"]
    assert found["usual_ms"] == took[1]
    usage = found["usage"]
    assert isinstance(usage, dict)
    assert usage["processes"] == 2
    assert usage["cpu_ms"] >= 300
    assert usage["rss_bytes"] >= 50_000_000
    table = lab.call("ps").stdout.decode()
    assert " MB " in table.splitlines()[1]
    run.terminate()
    run.communicate(timeout=60)
    until("the run to be over", lambda: not listed(lab))


@root
def test_what_a_run_uses_is_not_known_in_another_pid_namespace(local: Lab) -> None:
    """The keeper's number is another process's there: nothing is shown rather than that."""
    run = local.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; sleep 60")
    inside = ["unshare", "--pid", "--fork", "--mount-proc"]
    done = local.call_inside(inside, "ps", "--json")
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    assert (found["job"], found["usage"]) == ("job", None)
    run.terminate()
    run.communicate(timeout=60)


HOLD = ("--", "sh", "-c", "echo ready; sleep 3600")


class Top(Terminal):
    """`cronguard top` at a terminal that understands it."""

    def __init__(self, lab: Lab, *args: str) -> None:
        env = ["env", "TERM=xterm", *lab.argv("top", "--interval", "200ms", *args)]
        super().__init__(lab, env)

    def left(self) -> int:
        """Return its status, when it has put the screen back."""
        self.wait_for("\x1b[?1049l")
        return self.process.wait(PATIENCE_S)


@pytest.mark.parametrize("end", ["q", "\x03"], ids=["q", "ctrl-c"])
def test_top_shows_what_runs_until_told(lab: Lab, end: str) -> None:
    """Live: a run that begins later appears, and goes; `q` and Ctrl-C end it with status 0."""
    top = Top(lab)
    top.wait_for("Nothing runs.")
    run = lab.start_ready("run", "-n", "backup", *HOLD)
    top.wait_for("1 running, 0 waiting")
    top.wait_for("backup")
    waiter = lab.start("run", "-n", "backup", "--wait", "1h", "--", "true")
    top.wait_for("1 running, 1 waiting")
    top.wait_for("waiting: backup 1")
    run.terminate()
    top.wait_for("Nothing runs.")
    top.type(end)
    assert top.left() == 0
    for process in (run, waiter):
        process.communicate(timeout=60)
    top.close()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_top_with_the_terminal_as_it_was(local: Lab, signum: int) -> None:
    """128 + N; what is typed is shown again, and the cursor."""
    top = Top(local)
    top.wait_for("Nothing runs.")
    top.process.send_signal(signum)
    assert top.left() == 128 + signum
    top.close()


def test_top_outlives_its_store(local: Lab, own_server: Server) -> None:
    """What is shown stays, with its age and why; it goes on when the store is back."""
    local.env["CRONGUARD_STORE"] = own_server.tcp_url
    top = Top(local)
    top.wait_for("Nothing runs.")
    own_server.kill()
    top.wait_for(" old: cannot reach ")
    top.wait_for(f"{own_server.port}/0: connection refused")
    own_server.start()
    run = local.start_ready("run", "-n", "backup", *HOLD)
    top.wait_for("1 running, 0 waiting")
    own_server.pause()
    top.wait_for(" old: cannot use ")
    top.type("q")
    assert top.left() == 0
    own_server.resume()
    run.terminate()
    run.communicate(timeout=60)
    top.close()


def test_top_shows_it_once_where_there_is_no_terminal(lab: Lab) -> None:
    """Also with --once, and to programs in JSON; a store that is down is status 69."""
    run = lab.start_ready("run", "-n", "backup", *HOLD)
    for args in ((), ("--once",)):
        done = lab.call("top", *args)
        assert (done.returncode, done.stderr) == (0, b"")
        header, line = done.stdout.decode().splitlines()
        assert header.startswith("RUN ")
        assert " backup " in line
        assert " % " in line
    found = json.loads(lab.call("top", "--json").stdout)
    assert [one["job"] for one in found["runs"]] == ["backup"]
    run.terminate()
    run.communicate(timeout=60)
    done = lab.call("top", "--store", "redis://127.0.0.1:1/0")
    assert done.returncode == 69
