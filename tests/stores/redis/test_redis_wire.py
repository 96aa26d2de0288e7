"""The wire against real servers, and against a network that loses, delays and lies."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cronguard.core.events import (
    Closed,
    Denied,
    Event,
    Gone,
    Granted,
    Held,
    Renewed,
    StopAsked,
    Taken,
    Unavailable,
    Woken,
)
from cronguard.stores.contract import Acquire, Close, Renew
from cronguard.stores.redis.scripts import SHA1, source
from tests.proxy import Proxy
from tests.servers import Server, free_port
from tests.stores.redis.helpers import Asker, claim, described, now_ms, record, why

Asking = Callable[..., Asker]
Starting = Callable[..., Server]


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy in front of the shared server."""
    with Proxy(("127.0.0.1", server.port)) as made:
        yield made


def whole_run(one: Asker) -> None:
    """Acquire, renew and close."""
    grant = one.granted()
    assert isinstance(one.renew(grant), Renewed)
    assert isinstance(one.finish(), Closed)


# --- ways to a server


def test_a_run_over_tcp(server: Server, asker: Asking) -> None:
    """A host in figures needs no thread."""
    whole_run(asker(url=server.tcp_url))


def test_a_run_over_a_name(server: Server, asker: Asking) -> None:
    """A name is resolved, and all its addresses are tried: nobody listens on ::1 here."""
    whole_run(asker(url=f"redis://localhost:{server.port}"))


def test_a_run_in_another_database(server: Server, asker: Asking) -> None:
    """Nothing is sent before the database is chosen."""
    one = asker(url=f"{server.url}?db=3")
    one.granted()
    assert server.do("DBSIZE") == 0
    with server.client() as client:
        client.select(3)
        assert client.exists(one.key("l:0"))


def test_a_database_that_is_not_there_is_refused_for_good(server: Server, asker: Asking) -> None:
    """A wrong database number does not become database 0."""
    text = why(asker(url=f"{server.url}?db=99").acquire(), Denied)
    assert "no database 99" in text
    assert server.do("DBSIZE") == 0


def test_the_connection_has_a_name(server: Server, asker: Asking) -> None:
    """CLIENT LIST shows who we are."""
    asker().granted()
    assert "name=cronguard" in str(server.do("CLIENT", "LIST"))


# --- lost replies


def test_an_acquire_whose_reply_is_lost_is_granted_again(proxy: Proxy, asker: Asking) -> None:
    """L2: the same run asks again and gets the same token, also when the try timed out."""
    one = asker(url=proxy.url, attempt=1_500)
    proxy.lose_replies = b"EVAL"
    proxy.lose_count = 2  # by SHA1, and with the text when the server does not know it
    event = one.acquire()
    assert "no answer within 1.5s" in why(event, Unavailable)
    assert proxy.lost.wait(10)
    proxy.lose_replies = None
    token = one.granted().token
    assert one.granted().token == token


def test_a_renew_whose_reply_is_lost_leaves_the_lease(proxy: Proxy, asker: Asking) -> None:
    """L3: the try is Unavailable, the next renewal is fine."""
    one = asker(url=proxy.url, attempt=1_500)
    grant = one.granted()
    proxy.lose_replies = b"EVALSHA"
    assert isinstance(one.renew(grant), Unavailable)
    assert isinstance(one.renew(grant), Renewed)


def test_sent_at_is_when_the_request_was_sent(proxy: Proxy, asker: Asking) -> None:
    """A slow reply makes the lease no longer: it counts from before sending."""
    proxy.delay = 0.1
    one = asker(url=proxy.url)
    asked_at = now_ms()
    one.store.send(Acquire(record(one.claim)), asked_at)
    grant = one.next()
    assert isinstance(grant, Granted), described(grant)
    assert grant.sent_at == asked_at
    assert now_ms() - asked_at >= 100, "or it was not slow"


# --- servers that are not there, or not what they should be


def test_refused_is_unavailable(asker: Asking) -> None:
    """R1: nobody listens."""
    event = asker(url=f"redis://127.0.0.1:{free_port()}").acquire()
    assert why(event, Unavailable) == "connection refused"


def test_no_socket_is_unavailable(asker: Asking) -> None:
    """R1: the socket's file is not there."""
    event = asker(url="unix:///nonexistent/redis.sock").acquire()
    assert why(event, Unavailable) == "no such file or directory"


def test_a_path_too_long_is_unavailable(asker: Asking) -> None:
    """R1: the kernel takes 107 bytes."""
    event = asker(url=f"unix:///{'x' * 200}").acquire()
    assert "too long" in why(event, Unavailable)


def test_a_bad_name_is_unavailable(asker: Asking) -> None:
    """R1: the name cannot be resolved, or not in time; the text has the name."""
    event = asker(url="redis://no-such-host.invalid").acquire()
    assert "'no-such-host.invalid'" in why(event, Unavailable)


def test_a_blackhole_ends_with_the_attempt(proxy: Proxy, asker: Asking) -> None:
    """R2: no answer is an answer, when the attempt is over."""
    proxy.blackhole = True
    start = now_ms()
    event = asker(url=proxy.url, attempt=200).acquire()
    assert why(event, Unavailable) == "no answer within 0.2s"
    assert now_ms() - start >= 200


def test_a_stopped_server_ends_with_the_attempt(own_server: Starting, asker: Asking) -> None:
    """R2: a frozen server takes connections, and says nothing."""
    server = own_server()
    one = asker(url=server.tcp_url, attempt=200)
    server.pause()
    try:
        assert "no answer" in why(one.acquire(), Unavailable)
    finally:
        server.resume()
    whole_run(asker(one.claim, server.tcp_url))


def test_a_late_acquire_creates_nothing(own_server: Starting, asker: Asking) -> None:
    """R2: a server that wakes up runs what waited in its sockets: nobody is there to use it."""
    server = own_server()
    one = asker(url=server.url, attempt=1_000)
    while not isinstance(one.renew(Granted(0, 1, 0, 0)), Gone):  # until the connection stands
        pass
    server.pause()
    try:
        assert isinstance(one.acquire(), Unavailable)
        time.sleep(0.1)  # not to synchronise: the deadline has to be surely over
    finally:
        server.resume()
    assert isinstance(asker(url=server.url).acquire(), Granted)


def test_an_answer_that_came_while_we_were_stopped_is_taken(server: Server, asker: Asking) -> None:
    """L18: what came in time counts, though we look later than the attempt's end."""
    server.do("SCRIPT", "LOAD", source("renew"))
    one = asker(attempt=2_000)
    grant = one.granted()
    one.store.send(Renew(grant.token, grant.index), now_ms())
    came = select.poll()
    came.register(one.store.watches()[0][0], select.POLLIN)
    assert came.poll(10_000)
    [event] = one.store.events(now_ms() + 5_000)
    assert isinstance(event, Renewed)


def test_what_is_given_back_too_late_takes_no_later_grant(proxy: Proxy, asker: Asking) -> None:
    """R19: on its way for longer than its attempt, it arrives after the run was granted anew."""
    asker(url=proxy.url).finish()  # the server knows the script
    one = asker(url=proxy.url, attempt=1_500)
    one.granted()
    proxy.keep_back = SHA1["close"].encode()
    undo = Close(None, outcome="", ended_wall=0, forget_slot=True)
    assert isinstance(one.ask(undo), Unavailable)
    grant = one.granted()
    proxy.let_go.set()
    assert proxy.arrived.wait(20)
    assert isinstance(one.renew(grant), Renewed)


def test_a_slow_server_works(proxy: Proxy, asker: Asking) -> None:
    """R3, R22: half a second for each request is slow, not broken."""
    proxy.delay = 0.25
    assert isinstance(asker(url=proxy.url).acquire(), Granted)


def test_a_paused_server_is_slow(server: Server, asker: Asking) -> None:
    """R22: CLIENT PAUSE delays writes, and the answer comes."""
    one = asker()
    server.do("CLIENT", "PAUSE", 300, "WRITE")
    assert isinstance(one.acquire(), Granted)


def test_an_unknown_script_is_sent_in_the_same_attempt(server: Server, asker: Asking) -> None:
    """R4: NOSCRIPT is no failure."""
    one = asker()
    grant = one.granted()
    server.do("SCRIPT", "FLUSH")
    assert isinstance(one.renew(grant), Renewed)
    server.do("SCRIPT", "FLUSH")
    assert isinstance(one.finish(), Closed)


def test_a_killed_connection_is_replaced_in_the_same_attempt(server: Server, asker: Asking) -> None:
    """R21: an idle connection that the server ended costs nothing."""
    one = asker()
    grant = one.granted()
    server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert isinstance(one.renew(grant), Renewed)


def test_a_connection_cut_with_the_request_is_replaced_once(proxy: Proxy, asker: Asking) -> None:
    """R21: sent, and cut before a byte of the reply: asked again, once."""
    one = asker(url=proxy.url)
    grant = one.granted()
    proxy.cut()
    assert isinstance(one.renew(grant), Renewed)
    assert proxy.connections == 2


def test_a_truncated_reply_is_asked_for_again(proxy: Proxy, asker: Asking) -> None:
    """R21: half a reply is none."""
    one = asker(url=proxy.url)
    grant = one.granted()
    proxy.cut_reply_to = b"EVALSHA"
    assert isinstance(one.renew(grant), Renewed)


def test_a_server_that_restarted_is_found_again(own_server: Starting, asker: Asking) -> None:
    """R21, R4: a restart costs the connection and the scripts, not the attempt."""
    server = own_server("--appendonly", "yes", "--appendfsync", "always")
    one = asker(url=server.tcp_url)
    grant = one.granted()
    server.restart()
    assert isinstance(one.renew(grant), Renewed)


GREETING = b"%1\r\n+role\r\n+master\r\n*2\r\n$1\r\n1\r\n$1\r\n1\r\n" + 2 * (
    b"$32\r\nrun_id:a\r\nuptime_in_seconds:99\r\n\r\n"
)
"""What a server answers to HELLO, TIME and twice INFO."""


def test_a_server_that_always_hangs_up_is_given_up(asker: Asking) -> None:
    """R21: only one connection is replaced; nobody is asked for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        over = threading.Event()
        asked: list[bytes] = []

        def hang_up() -> None:
            while True:
                accepted, _ = listener.accept()
                with accepted:
                    if over.is_set():
                        return
                    accepted.recv(4096)
                    accepted.sendall(GREETING)
                    asked.append(accepted.recv(4096))

        thread = threading.Thread(target=hang_up)
        thread.start()
        event = asker(url=f"redis://127.0.0.1:{port}").acquire()
        over.set()
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join(10)
    assert isinstance(event, Unavailable), described(event)
    assert [b"EVALSHA" in script for script in asked] == [True, True]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it is not a Redis server (it answered 'HTTP/1.1"),
        (b"$536870912\r\n" + b"x" * 1000, "a reply of length 536870912"),
        (b"*1000000000\r\n", "a reply of length 1000000000"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "it is not a Redis server"),
        (b"+OK\r\n+OK\r\n", "it answered HELLO with no map"),
        (b"%1\r\n+mode\r\n+sentinel\r\n", "it is a Sentinel"),
        (b"%1\r\n+version\r\n+6.0.16\r\n", "it is Redis 6.0.16, and 6.2 or later is needed"),
    ],
)
def test_what_is_no_redis_is_refused_for_good(
    proxy: Proxy, asker: Asking, answer: bytes, text: str
) -> None:
    """R24: an HTTP server, garbage and absurd lengths are told apart from a server that is down."""
    proxy.answer = answer
    assert text in why(asker(url=proxy.url).acquire(), Denied)


def test_a_replica_is_not_asked(proxy: Proxy, asker: Asking) -> None:
    """R9: the greeting tells the role."""
    proxy.answer = b"%2\r\n+version\r\n+7.0.15\r\n+role\r\n+replica\r\n"
    assert "read-only replica" in why(asker(url=proxy.url).acquire(), Unavailable)


def test_a_server_without_hello_is_greeted_as_of_old(proxy: Proxy, asker: Asking) -> None:
    """A proxy that does not know HELLO gets AUTH and SELECT, on a new connection."""
    one = asker(url=proxy.url)
    proxy.answer = b"-ERR unknown command 'HELLO'\r\n"
    assert isinstance(one.acquire(), Unavailable | Granted | Denied)
    proxy.answer = None
    grant = one.granted()
    assert isinstance(one.renew(grant), Renewed)
    one.store.watch_job(now_ms())
    assert isinstance(one.renew(grant), Renewed)
    assert isinstance(one.finish(), Closed)


# --- errors of a real server


def test_out_of_memory_at_acquire_starts_nothing(server: Server, asker: Asking) -> None:
    """R5: refused in the server's words, and no key is left."""
    server.do("CONFIG", "SET", "maxmemory", "100kb")
    one = asker()
    text = why(one.acquire(), Unavailable)
    assert "out of memory" in text
    assert "OOM" in text
    assert server.do("DBSIZE") == 0
    assert "out of memory" in why(one.acquire(queue_for=1000), Unavailable)
    assert server.do("DBSIZE") == 0


def test_out_of_memory_stops_no_renew_and_no_release(server: Server, asker: Asking) -> None:
    """R6: renew and release work, and the record is stored all the same."""
    one = asker()
    grant = one.granted()
    server.do("CONFIG", "SET", "maxmemory", "100kb")
    assert isinstance(one.renew(grant), Renewed)
    assert isinstance(one.finish(), Closed)
    assert not server.do("EXISTS", one.key("l:0"))
    assert b"succeeded" in server.do("HGET", one.key("r"), one.claim.owner.run_id)  # type: ignore[operator]


def test_misconf_is_quoted(own_server: Starting, asker: Asking) -> None:
    """R7: a server that cannot save refuses writes, and says so."""
    server = own_server("--save", "3600", "1")
    one = asker(url=server.url)
    grant = one.granted()
    (server.folder / "dump.rdb").mkdir()
    server.do("BGSAVE")
    deadline = time.monotonic() + 30
    while b"rdb_last_bgsave_status:err" not in raw_info(server):
        assert time.monotonic() < deadline, "BGSAVE never failed"
    assert "MISCONF" in why(one.renew(grant), Unavailable)
    assert "MISCONF" in why(asker(claim("other"), server.url).acquire(), Unavailable)


def raw_info(server: Server) -> bytes:
    """Return what INFO persistence says."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(server.socket)
        sock.sendall(b"INFO persistence\r\n")
        return sock.recv(65_536)


def test_noreplicas_is_quoted(server: Server, asker: Asking) -> None:
    """R8: too few replicas may pass."""
    one = asker()
    grant = one.granted()
    server.do("CONFIG", "SET", "min-replicas-to-write", "1")
    assert "NOREPLICAS" in why(one.renew(grant), Unavailable)
    server.do("CONFIG", "SET", "min-replicas-to-write", "0")
    assert isinstance(one.renew(grant), Renewed)


def test_a_master_that_became_a_replica_is_left(own_server: Starting, asker: Asking) -> None:
    """R9: READONLY ends the connection; the next try meets a server that is a master again."""
    server = own_server()
    one = asker(url=server.url)
    grant = one.granted()
    server.do("REPLICAOF", "127.0.0.1", free_port())
    assert "read-only replica" in why(one.renew(grant), Unavailable)
    assert "read-only replica" in why(one.renew(grant), Unavailable)
    server.do("REPLICAOF", "NO", "ONE")
    assert isinstance(one.renew(grant), Renewed)


def test_a_loading_server_may_pass(own_server: Starting, asker: Asking) -> None:
    """R10: a server that loads its data is asked again."""
    server = own_server(
        "--appendonly", "yes", "--enable-debug-command", "yes", "--key-load-delay", "2000",
        "--loading-process-events-interval-bytes", "1024",
    )  # fmt: skip
    with server.client() as client:
        client.execute_command("DEBUG", "POPULATE", 400, "filling", 100)
        client.bgrewriteaof()
        one = asker(url=server.url)
        grant = one.granted()
        done = threading.Thread(target=lambda: server.do("DEBUG", "RELOAD"))
        done.start()
        seen = None
        deadline = time.monotonic() + 20
        while seen is None and time.monotonic() < deadline and done.is_alive():
            event = one.renew(grant)
            seen = event if isinstance(event, Unavailable) else None
        done.join(20)
    assert seen is not None
    assert "LOADING" in seen.why
    assert isinstance(one.renew(grant), Renewed)


def test_a_busy_script_may_pass(own_server: Starting, asker: Asking) -> None:
    """R11: somebody's endless script is waited for, and never killed by us."""
    server = own_server("--busy-reply-threshold", "50")
    one = asker(url=server.url)
    grant = one.granted()
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(server.socket)
        other.sendall(b"*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n")
        deadline = time.monotonic() + 30
        while "BUSY" not in getattr(one.renew(grant), "why", ""):
            assert time.monotonic() < deadline
        server.do("SCRIPT", "KILL")
        assert b"killed" in other.recv(4096).lower()
    assert isinstance(one.renew(grant), Renewed)


def test_too_many_clients_may_pass(own_server: Starting, asker: Asking) -> None:
    """R25: no room for us now is no reason to give up."""
    server = own_server("--maxclients", "3")
    holders = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for holder in holders:
        holder.connect(server.socket)
        holder.sendall(b"PING\r\n")
        assert holder.recv(64)
    one = asker(url=server.url)
    text = why(one.acquire(), Unavailable)
    assert "max number of clients" in text or "closed" in text or "reset" in text
    for holder in holders:
        holder.close()
    deadline = time.monotonic() + 30
    while not isinstance(one.acquire(), Granted):
        assert time.monotonic() < deadline


# --- permissions

CANARY = "s3cret-canary"


def test_no_password_is_refused_for_good(own_server: Starting, asker: Asking) -> None:
    """R12: NOAUTH says where a password goes."""
    server = own_server("--requirepass", CANARY)
    assert "it wants a password" in why(asker(url=server.url).acquire(), Denied)


def test_a_wrong_password_is_refused_for_good(own_server: Starting, asker: Asking) -> None:
    """R12: WRONGPASS never shows the password."""
    server = own_server("--requirepass", "right")
    text = why(asker(url=f"redis://:{CANARY}@127.0.0.1:{server.port}").acquire(), Denied)
    assert "password is wrong" in text
    assert CANARY not in text


def test_the_right_password_works(own_server: Starting, asker: Asking) -> None:
    """A password alone is that of the default user."""
    server = own_server("--requirepass", CANARY)
    whole_run(asker(url=f"unix://:{CANARY}@{server.socket}"))


@pytest.mark.parametrize("missing", ["evalsha", "zadd", "time"])
def test_a_missing_permission_is_named(server: Server, asker: Asking, missing: str) -> None:
    """R12: NOPERM names the user and the command, also when a script needs it."""
    asker().granted()  # the server knows the script
    server.do("ACL", "SETUSER", "app", "on", f">{CANARY}", "~*", "&*", "+@all", f"-{missing}")
    one = asker(url=f"unix://app:{CANARY}@{server.socket}", claim=claim("other"))
    text = why(one.acquire(), Denied)
    assert "'app'" in text
    assert missing in text.lower() or "command" in text
    assert CANARY not in text


def test_rights_taken_away_in_the_middle_are_told(server: Server, asker: Asking) -> None:
    """R13: NOPERM on a renewal is an answer; the machine decides what it means."""
    server.do("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all")
    one = asker(url=f"unix://app:pw@{server.socket}")
    grant = one.granted()
    server.do("ACL", "SETUSER", "app", "-evalsha")
    assert "evalsha" in why(one.renew(grant), Denied)
    server.do("ACL", "SETUSER", "app", "+evalsha")
    assert isinstance(one.renew(grant), Renewed)


# --- pushes


def test_a_waiter_is_woken_by_the_release(server: Server, asker: Asking) -> None:
    """Release wakes the next in the queue, without polling."""
    first, second = asker(), asker()
    first.granted()
    second.acquire(queue_for=10_000)
    second.store.watch_job(now_ms())
    assert isinstance(first.finish(), Closed)
    assert isinstance(second.next(), Woken)
    assert isinstance(second.acquire(), Granted)


def test_a_release_just_after_queueing_is_not_missed(server: Server, asker: Asking) -> None:
    """The subscription stands before the queueing: a release in between still wakes."""
    first, second = asker(), asker()
    first.granted()
    second.acquire(queue_for=10_000)
    first.finish()
    second.store.watch_job(now_ms())
    assert isinstance(second.next(), Woken)


def test_a_new_connection_subscribes_again(server: Server, asker: Asking) -> None:
    """R21: pushes go on after the connection was replaced."""
    first, second = asker(), asker()
    first.granted()
    second.acquire(queue_for=10_000)
    second.store.watch_job(now_ms())
    server.do("CLIENT", "KILL", "TYPE", "pubsub")
    server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    second.acquire(queue_for=10_000)
    first.finish()
    assert isinstance(second.next(), Woken)


def test_a_stop_reaches_the_run_that_is_meant(server: Server, asker: Asking) -> None:
    """A pushed stop has who asked; other runs of the job do not hear it."""
    one = asker(claim("job", slots=2))
    other = asker(claim("job", slots=2))
    grant, others = one.granted(), other.granted()
    one.store.watch_job(now_ms())
    other.store.watch_job(now_ms())
    other.renew(others)
    channel = one.key("e")
    deadline = time.monotonic() + 30
    while server.do("PUBLISH", channel, "nothing") != 2:
        assert time.monotonic() < deadline
        one.store.events(now_ms())
        other.store.events(now_ms())
    server.do("PUBLISH", channel, f"stop {one.claim.owner.run_id} ops@web-1 by hand")
    event = one.next()
    assert isinstance(event, StopAsked)
    assert event.by == "ops@web-1 by hand"
    assert isinstance(one.renew(grant), Renewed)
    assert isinstance(other.renew(others), Renewed)


def test_a_user_who_may_not_subscribe_still_runs(server: Server, asker: Asking) -> None:
    """NOPERM on SUBSCRIBE is borne in silence, and no other answer is taken for it."""
    server.do("ACL", "SETUSER", "app", "on", ">pw", "~*", "resetchannels", "+@all")
    url = f"unix://app:pw@{server.socket}"
    one, two = asker(url=url), asker(url=url)
    grant = one.granted()
    one.store.watch_job(now_ms())
    assert isinstance(one.renew(grant), Renewed)
    two.acquire(queue_for=10_000)
    assert isinstance(one.finish(), Closed)
    assert isinstance(two.acquire(queue_for=10_000), Granted)


# --- order


def test_requests_sent_together_are_answered_in_order(server: Server, asker: Asking) -> None:
    """Each gets one reply, in order, also when the server knows no script yet."""
    server.do("SCRIPT", "FLUSH")
    one, two = asker(), asker()
    grant = one.granted()
    one.store.send(Renew(grant.token, grant.index), now_ms())
    one.store.send(Renew(grant.token + 1, grant.index), now_ms())
    one.store.send(one.closing(), now_ms())
    events: list[Event] = []
    deadline = time.monotonic() + 30
    while len(events) < 3 and time.monotonic() < deadline:
        events += one.store.events(now_ms())
    assert [type(event) for event in events] == [Renewed, Taken, Closed]
    assert isinstance(two.acquire(), Granted)
    assert isinstance(asker().acquire(), Held)


def test_all_requests_fail_when_the_server_is_gone(asker: Asking) -> None:
    """Nothing is left without a reply."""
    one = asker(url="unix:///nonexistent/s")
    for _ in range(3):
        one.store.send(Renew(1, 0), now_ms())
    events = one.store.events(now_ms())
    assert [type(event) for event in events] == [Unavailable] * 3
    assert one.store.watches() == []
    assert one.store.wake_at() is None
