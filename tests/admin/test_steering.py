from __future__ import annotations

import json
import os
import threading
import time

from cronguard.core import record as rec
from cronguard.core.events import Renewed, Taken
from cronguard.stores.contract import Renew

from .seeds import Seeds, now_ms


def test_stop_leaves_word_for_the_run(seeds: Seeds) -> None:
    """The holder reads who asked at its next heartbeat; the answer says who is asked."""
    run = seeds.live()
    status, out, _ = seeds.say("stop", "backup")
    assert status == 0
    assert "web-3, pid 8121" in out
    run.store.send(Renew(1, 0), now_ms())
    reply = run.store.events(now_ms())[-1]
    if isinstance(reply, Taken):  # the token is the store's to choose
        token = json.loads(seeds.say("ps", "--json")[1])[0]["lease"]["token"]
        run.store.send(Renew(token, 0), now_ms())
        reply = run.store.events(now_ms())[-1]
    assert isinstance(reply, Renewed)
    assert reply.stop_by is not None
    assert reply.stop_by.endswith(f"@{os.uname().nodename}")


def test_stop_takes_a_run_id_and_refuses_what_has_ended(seeds: Seeds) -> None:
    """By prefix; a run that is over, or a job that does not run: 1."""
    over = seeds.ended(rec.SUCCEEDED, exit_status=0)
    run = seeds.live()
    status, out, _ = seeds.say("stop", run.run_id[:8], "--json")
    assert (status, json.loads(out)[0]["run_id"]) == (0, run.run_id)
    status, _, err = seeds.say("stop", over.run_id)
    assert (status, "does not run any more" in err) == (1, True)
    run.end(rec.STOPPED, "by x")
    status, _, err = seeds.say("stop", "backup")
    assert (status, "nothing to stop" in err) == (1, True)


def test_stop_can_wait_for_the_end(seeds: Seeds) -> None:
    """--wait returns when the run is over, and no later than --timeout."""
    run = seeds.live()
    status, _, err = seeds.say("stop", "--wait", "--timeout", "10ms", "backup")
    assert (status, "still running" in err) == (1, True)
    ender = threading.Timer(0.3, lambda: run.end(rec.STOPPED, "by x"))
    ender.start()
    begun = time.monotonic()
    assert seeds.say("stop", "--wait", "--timeout", "30", "backup")[0] == 0
    assert time.monotonic() - begun < 20
    ender.join()


def test_unlock_refuses_while_the_heartbeat_is_fresh(seeds: Seeds) -> None:
    """Whose lock it is and what it runs, and what is to be done instead; the lock stays."""
    run = seeds.live()
    status, out, err = seeds.say("unlock", "backup")
    assert (status, out) == (1, "")
    for part in (
        "web-3, pid 8121",
        "app",
        "/opt/job --all",
        run.run_id[:12],
        "--force",
        "stop backup",
    ):
        assert part in err
    assert "cannot be seen from here" in err
    assert json.loads(seeds.say("ps", "--json")[1])


def test_unlock_knows_a_keeper_on_this_host(seeds: Seeds) -> None:
    """Alive or dead is told; another start time is another process."""
    me = seeds.here()
    run = seeds.live(**me)
    assert "its cronguard is alive on this host" in seeds.say("unlock", "backup")[2]
    run.end(rec.SUCCEEDED)
    seeds.live(**{**me, "pid_start": 1})
    assert "its cronguard on this host is dead" in seeds.say("unlock", "backup")[2]


def test_unlock_by_force_frees_the_lock_and_says_what_follows(seeds: Seeds) -> None:
    """After --force the next run may start, and the holder never gets the lock back."""
    run = seeds.live()
    status, out, _ = seeds.say("unlock", "backup", "--force")
    assert status == 0
    assert "within 5s" in out
    assert "121" in out
    seeds.live()
    run.store.send(Renew(1, 0), now_ms())
    assert isinstance(run.store.events(now_ms())[-1], Taken)
    assert seeds.say("unlock", "backup", "--force", "--json")[0] == 0
    status, _, err = seeds.say("unlock", "backup")
    assert (status, "not locked" in err) == (1, True)
