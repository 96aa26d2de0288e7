"""What is seen of runs while they run: by `ps`, and by `top` at a terminal."""

from __future__ import annotations

import json

from tests.process.lab import Lab, until

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


def test_what_a_run_uses_is_not_known_in_another_pid_namespace(local: Lab) -> None:
    """The keeper's number is another process's there: nothing is shown rather than that."""
    run = local.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; sleep 60")
    inside = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    done = local.call_inside(inside, "ps", "--json")
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    assert (found["job"], found["usage"]) == ("job", None)
    run.terminate()
    run.communicate(timeout=60)
