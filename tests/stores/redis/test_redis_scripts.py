"""The scripts on real servers: what each guarantees, and the rows of the matrix they are for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from cronguard.core.events import (
    Closed,
    Gone,
    Granted,
    Held,
    Queued,
    Refused,
    Renewed,
    Taken,
    Unavailable,
)
from cronguard.stores.contract import Close
from cronguard.stores.redis import scripts
from cronguard.stores.redis.acl import COMMANDS, SCRIPTS
from tests.servers import Server
from tests.stores.redis.helpers import Asker, claim, described, why

Asking = Callable[..., Asker]
FOLDER = Path(scripts.__file__).parent / "scripts"
TEXTS = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.lua"))}


def pttl(server: Server, key: str) -> int:
    """Return how long a key lasts."""
    left = server.do("PTTL", key)
    assert isinstance(left, int)
    return left


def clock_ms(client: redis.Redis) -> int:
    """Return the server's clock."""
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


# --- the files


def test_every_script_is_known_by_its_sha1() -> None:
    """The constants in scripts.py are those of the files."""
    known = {name: hashlib.sha1(scripts.source(name)).hexdigest() for name in scripts.SHA1}
    assert known == scripts.SHA1
    assert set(TEXTS) == {*scripts.SHA1, scripts.COMMON}


def test_the_acl_has_just_what_the_scripts_call() -> None:
    """S12: not a command less, and not one more."""
    called = {
        name.lower() for text in TEXTS.values() for name in re.findall(r"p?call\('([A-Z]+)'", text)
    }
    assert called == set(SCRIPTS)
    assert called < set(COMMANDS)


def test_renew_uses_only_what_works_when_out_of_memory() -> None:
    """R6: no command that may need memory, and no shebang (Redis would refuse the whole script)."""
    called = set(re.findall(r"call\('([A-Z]+)'", TEXTS["renew"]))
    assert called == {"TIME", "GET", "PEXPIRE", "HGET"}
    assert not any(text.startswith("#!") for text in TEXTS.values())


def test_scripts_take_no_part_of_a_command_from_data() -> None:
    """S3: commands are constants, data comes in KEYS and ARGV."""
    for text in TEXTS.values():
        assert "loadstring" not in text
        assert not re.search(r"redis\.p?call\([^']", text)


# --- outcomes of the lease


def test_a_retry_gets_the_same_token(asker: Asking) -> None:
    """L2: asked again by the holder: the same grant, and no second record."""
    one = asker()
    assert one.granted().token == one.granted().token


def test_another_run_is_held_and_told_by_whom(asker: Asking) -> None:
    """L1: the holder is named with host and pid."""
    first, second = asker(), asker()
    first.granted()
    event = second.acquire()
    assert isinstance(event, Held), described(event)
    holder = event.holder
    assert (holder.run_id, holder.host, holder.pid) == (first.claim.owner.run_id, "web-3", 8121)
    assert 34_000 < event.left <= 35_000


def test_a_stolen_lease_is_taken(server: Server, asker: Asking) -> None:
    """L7: deleted and granted to another: renew and reclaim say whose it is, and change nothing."""
    first, second = asker(), asker()
    grant = first.granted()
    server.do("DEL", first.key("l:0"))
    second.granted()
    for event in first.renew(grant), first.reclaim(grant):
        assert isinstance(event, Taken), described(event)
        assert event.holder is not None
        assert event.holder.run_id == second.claim.owner.run_id
    assert isinstance(first.finish(), Closed)
    assert server.do("EXISTS", first.key("l:0"))


def test_a_deleted_lease_is_gone_and_can_be_reclaimed(server: Server, asker: Asking) -> None:
    """L6: nobody had it since: the same token goes on."""
    one = asker()
    grant = one.granted()
    server.do("DEL", one.key("l:0"))
    assert isinstance(one.renew(grant), Gone)
    assert not server.do("EXISTS", one.key("l:0"))
    assert isinstance(one.reclaim(grant), Renewed)
    assert isinstance(one.renew(grant), Renewed)


def test_a_flushed_server_lets_the_holder_reclaim(server: Server, asker: Asking) -> None:
    """L6: FLUSHALL takes the fence as well; the holder is still the first to come back."""
    one = asker()
    grant = one.granted()
    server.do("FLUSHALL")
    assert isinstance(one.renew(grant), Gone)
    assert isinstance(one.reclaim(grant), Renewed)
    assert isinstance(asker().acquire(), Held)


def test_an_evicted_lease_can_be_reclaimed(server: Server, asker: Asking) -> None:
    """L8: eviction is like deletion."""
    one = asker()
    grant = one.granted()
    server.do("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    server.do("CONFIG", "SET", "maxmemory", "100kb")
    with server.client() as client, pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("filling", "x" * 1000)
    server.do("CONFIG", "SET", "maxmemory", "0")
    assert isinstance(one.renew(grant), Gone)
    assert isinstance(one.reclaim(grant), Renewed)


def test_a_lease_another_run_had_is_fenced(server: Server, asker: Asking) -> None:
    """L6: evicted, granted to B, given back by B: A may not go on."""
    first, second = asker(), asker()
    grant = first.granted()
    server.do("DEL", first.key("l:0"))
    second.granted()
    second.finish()
    assert isinstance(first.renew(grant), Gone)
    event = first.reclaim(grant)
    assert isinstance(event, Taken)
    assert event.holder is None


def test_tokens_rise_through_the_loss_of_everything(server: Server, asker: Asking) -> None:
    """The clock keeps the fence rising when the counter is lost."""
    first, second = asker(), asker()
    token = first.granted().token
    server.do("FLUSHALL")
    with server.client() as client:  # tokens are as fine as the clock: a millisecond
        while clock_ms(client) <= token:
            pass
    assert second.granted().token > token
    assert token > 1_700_000_000_000


def test_tokens_rise_when_the_clock_goes_back(server: Server, asker: Asking) -> None:
    """L20: a fence ahead of the clock counts on."""
    one = asker()
    ahead = 9_000_000_000_000_000 - 7
    server.do("HSET", one.key("f"), "n", ahead)
    assert one.granted().token == ahead + 1


def test_a_release_after_the_lease_changed_hands_takes_nothing(
    server: Server, asker: Asking
) -> None:
    """L9: the record is stored, the other's lease stays."""
    first, second = asker(), asker()
    first.granted()
    server.do("DEL", first.key("l:0"))
    second.granted()
    assert isinstance(first.finish("lease_lost"), Closed)
    value = server.do("GET", first.key("l:0"))
    assert isinstance(value, bytes)
    assert value.startswith(second.claim.owner.run_id.encode())
    counters = server.do("HGETALL", first.key("n"))
    assert isinstance(counters, dict)
    assert (counters[b"lease_lost"], counters[b"abandoned"]) == (b"1", b"0")


def test_a_renew_after_the_release_brings_nothing_back(server: Server, asker: Asking) -> None:
    """L11: renew never creates."""
    one = asker()
    grant = one.granted()
    one.finish()
    assert isinstance(one.renew(grant), Gone)
    assert not server.do("EXISTS", one.key("l:0"))


@pytest.mark.parametrize("outcome", ["succeeded", "skipped", "stopped"])
def test_nothing_is_granted_after_the_end(server: Server, asker: Asking, outcome: str) -> None:
    """L11: what a run asked for, and its server heard after its end, leaves lock and record be.

    The moment after which it comes to nothing is of no use where the server's clock was set back.
    """
    one = asker()
    grant = one.granted()
    one.finish(outcome)
    told = server.do("HGET", one.key("r"), one.claim.owner.run_id)
    for event in (one.acquire(), one.acquire(queue_for=5_000), one.reclaim(grant)):
        assert "too late" in why(event, Unavailable)
    assert not server.do("EXISTS", one.key("l:0"), one.key("w"))
    assert server.do("HGET", one.key("r"), one.claim.owner.run_id) == told


def test_what_asks_late_does_not_prolong_min_hold(server: Server, asker: Asking) -> None:
    """L12, L11: the lease of a run that is over ends when it should."""
    one = asker(claim(min_hold=2_000))
    one.granted()
    one.finish()
    assert isinstance(one.acquire(), Unavailable)
    assert pttl(server, one.key("l:0")) <= 2_000


def test_min_hold_keeps_the_lease_for_the_rest(server: Server, asker: Asking) -> None:
    """L12: a run shorter than min_hold leaves the lease for the rest of it, but is over."""
    one = asker(claim(min_hold=2_000))
    one.granted()
    assert isinstance(one.finish(), Closed)
    assert 1_500 < pttl(server, one.key("l:0")) <= 2_000
    assert isinstance(one.finish(), Closed)
    assert pttl(server, one.key("l:0")) <= 2_000
    assert server.do("ZCARD", one.key("o")) == 0


def test_min_hold_is_not_evicted_with_its_dead_holder(server: Server, asker: Asking) -> None:
    """L12: that the process is gone proves nothing about a lease that is held for its time."""
    one = asker(claim(min_hold=20_000))
    one.granted()
    one.finish()
    event = asker().acquire(evict=one.claim.owner.run_id)
    assert isinstance(event, Refused | Held), described(event)
    assert server.do("EXISTS", one.key("l:0"))


def test_a_used_slot_is_done(server: Server, asker: Asking) -> None:
    """L13: a second host that comes late is told so; a slot that was not used is free."""
    claims = [claim(rule="29716800", slot_px=60_000) for _ in range(2)]
    first, late = asker(claims[0]), asker(claims[1])
    first.granted()
    first.finish()
    event = late.acquire()
    assert isinstance(event, Refused), described(event)
    assert event.reason == "slot_done"
    assert first.claim.owner.run_id[:12] in event.why
    assert 50_000 < pttl(server, first.key("s:29716800")) <= 60_000
    first.finish("not_started", forget_slot=True)
    assert isinstance(late.acquire(), Granted)


def test_n_leases_and_no_more(asker: Asking) -> None:
    """L16: the N+1st is held."""
    runs = [asker(claim(slots=2)) for _ in range(3)]
    assert {runs[0].granted().index, runs[1].granted().index} == {0, 1}
    assert isinstance(runs[2].acquire(), Held)
    runs[0].finish()
    assert runs[2].granted().index == 0


def test_the_queue_is_first_in_first_out(server: Server, asker: Asking) -> None:
    """L15: who does not queue, or came later, never passes a waiter."""
    holder, second, third, outsider = (asker() for _ in range(4))
    holder.granted()
    for one, ahead in (second, 0), (third, 1):
        event = one.acquire(queue_for=60_000)
        assert isinstance(event, Queued), described(event)
        assert event.ahead == ahead
    holder.finish()
    assert isinstance(third.acquire(queue_for=60_000), Queued)
    event = outsider.acquire()
    assert isinstance(event, Held), described(event)
    assert event.holder.run_id == second.claim.owner.run_id
    assert isinstance(second.acquire(queue_for=60_000), Granted)
    second.finish()
    assert isinstance(third.acquire(queue_for=60_000), Granted)
    assert server.do("EXISTS", third.key("w"), third.key("wx")) == 0


def test_a_waiter_that_died_leaves_the_queue(server: Server, asker: Asking) -> None:
    """L14: who is not heard of for its time is passed."""
    holder, dead, alive = asker(), asker(), asker()
    holder.granted()
    dead.acquire(queue_for=1)
    alive.acquire(queue_for=60_000)
    holder.finish()
    server.do("ZADD", dead.key("wx"), 1, dead.claim.owner.run_id)
    assert isinstance(alive.acquire(queue_for=60_000), Granted)


def test_different_settings_are_refused_side_by_side(asker: Asking) -> None:
    """L22: only while the other holds; the text has both settings and the other's host."""
    first, other = asker(claim(px=35_000)), asker(claim(px=25_000))
    first.granted()
    event = other.acquire()
    assert isinstance(event, Refused), described(event)
    assert event.reason == "conflict"
    assert "--ttl 30s" in event.why
    assert "--ttl 20s" in event.why
    assert "web-3" in event.why
    first.finish()
    assert isinstance(other.acquire(), Granted)


def test_fewer_slots_do_not_hide_the_leases_of_more(asker: Asking) -> None:
    """L22: a lease at index 1 stands in the way of a host that has one slot."""
    first, second = asker(claim(slots=2)), asker(claim(slots=2))
    first.granted()
    second.granted()
    first.finish()
    assert isinstance(asker(claim(slots=1)).acquire(), Refused)


def test_a_dead_holder_is_evicted_and_its_record_closed(server: Server, asker: Asking) -> None:
    """L17: proven dead: its lease is free at once, and its record says abandoned."""
    dead, second = asker(), asker()
    dead.granted()
    assert isinstance(second.acquire(evict=dead.claim.owner.run_id), Granted)
    text = server.do("HGET", dead.key("r"), dead.claim.owner.run_id)
    assert isinstance(text, bytes)
    assert json.loads(text)["outcome"] == "abandoned"
    assert server.do("HGET", dead.key("n"), "abandoned") == b"1"


def test_only_the_named_run_is_evicted(asker: Asking) -> None:
    """L7: a lease that changed hands since the proof is safe."""
    dead, second, third = asker(), asker(), asker()
    dead.granted()
    dead.finish()
    second.granted()
    assert isinstance(third.acquire(evict=dead.claim.owner.run_id), Held)


def test_a_run_taken_for_abandoned_that_reclaims_runs_again(server: Server, asker: Asking) -> None:
    """L6: a reader saw no lease for a moment; the record and the counters follow the truth."""
    one = asker()
    grant = one.granted()
    server.do("DEL", one.key("l:0"))
    server.do("EVAL", scripts.source("sweep"), 1, one.key("f"))
    assert server.do("HGET", one.key("n"), "abandoned") == b"1"
    assert isinstance(one.reclaim(grant), Renewed)
    assert isinstance(one.finish(), Closed)
    counters = server.do("HGETALL", one.key("n"))
    assert isinstance(counters, dict)
    assert counters[b"abandoned"] == b"0"
    assert counters[b"succeeded"] == b"1"
    assert counters[b"failures_in_a_row"] == b"0"


def test_an_abandoned_text_is_replaced_as_plain_text(server: Server, asker: Asking) -> None:
    """What looks like an outcome inside a string is left as it is, and so is a '%'."""
    from cronguard.core.record import as_abandoned
    from cronguard.stores.contract import Acquire
    from tests.stores.redis.helpers import record

    one = asker()
    text = record(one.claim, command=['"outcome":"running" %1 %d', "(.*)"], output_tail="é\n")
    event = one.ask(Acquire(text))
    assert isinstance(event, Granted)
    server.do("DEL", one.key("l:0"))
    server.do("EVAL", scripts.source("sweep"), 1, one.key("f"))
    stored = server.do("HGET", one.key("r"), one.claim.owner.run_id)
    assert isinstance(stored, bytes)
    expected = as_abandoned(text.replace('"token":null', f'"token":{event.token}', 1))
    assert stored.decode() == expected


# --- close


def test_a_refused_record_does_not_keep_the_lease(server: Server, asker: Asking) -> None:
    """R5: the lease is free; the Close is done when a later one stores the record."""
    one = asker()
    one.granted()
    server.do("DEL", one.key("k"))
    server.do("SET", one.key("k"), "not a zset")
    event = one.finish()
    assert isinstance(event, Unavailable), described(event)
    assert "WRONGTYPE" in event.why
    assert not server.do("EXISTS", one.key("l:0"))
    server.do("DEL", one.key("k"))
    assert isinstance(one.finish(), Closed)


def test_a_repeated_close_counts_once(server: Server, asker: Asking) -> None:
    """L10: a Close whose reply was lost is asked again."""
    one = asker()
    one.granted()
    for _ in range(3):
        assert isinstance(one.finish("failed"), Closed)
    counters = server.do("HGETALL", one.key("n"))
    assert isinstance(counters, dict)
    assert counters[b"failed"] == b"1"
    assert counters[b"failures_in_a_row"] == b"1"


def test_a_close_without_a_record_leaves_none(server: Server, asker: Asking) -> None:
    """A run that leaves no record leaves no start either."""
    one = asker()
    one.granted()
    closing = Close(None, outcome="skipped", reason="held", ended_wall=1)
    assert isinstance(one.ask(closing), Closed)
    assert server.do("EXISTS", one.key("r"), one.key("h"), one.key("o"), one.key("l:0")) == 0


def test_what_is_kept_is_bounded(server: Server, asker: Asking) -> None:
    """200 runs, 50 older failures, 50 skips; records and indexes agree."""
    one = asker()
    for number in range(330):
        outcome = "failed" if number < 100 else "succeeded"
        asked = asker(claim("job"))
        asked.granted()
        asked.finish(outcome)
        asked.store.close()
    for _ in range(60):
        skipped = asker(claim("job"))
        skipped.finish("skipped", "held")
        skipped.store.close()
    sizes = {key: server.do("ZCARD", one.key(key)) for key in "hxko"}
    assert sizes == {"h": 200, "x": 50, "k": 50, "o": 0}
    assert server.do("HLEN", one.key("r")) == 300
    assert server.do("HGET", one.key("n"), "failed") == b"100"
    assert server.do("HGET", one.key("n"), "skipped:held") == b"60"


def test_nothing_is_left_of_a_stop_that_came_too_late(server: Server, asker: Asking) -> None:
    """Word for a run that is over is not kept."""
    one = asker()
    one.granted()
    stop = scripts.source("stop")
    run = one.claim.owner.run_id
    assert server.do("EVAL", stop, 1, one.key("f"), run, "ops") == 1
    one.finish()
    assert not server.do("EXISTS", one.key("c"))
    assert server.do("EVAL", stop, 1, one.key("f"), run, "ops") == 0
    assert not server.do("EXISTS", one.key("c"))


def test_odd_names_stay_data(server: Server, asker: Asking) -> None:
    """S3: a job name is never part of a script."""
    job = "a.b:c_d-1"
    one = asker(claim(job, namespace="n%s"))
    assert isinstance(one.finish("skipped", "held"), Closed)
    assert server.do("ZRANGE", "n%s:jobs", 0, -1) == [job.encode()]
