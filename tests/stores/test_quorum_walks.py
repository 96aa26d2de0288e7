"""R19, R20: a quorum under faults from a seed, with clocks, networks and servers that are models.

The client, the lease arithmetic and the run's machine are the product's own; only sockets, servers
and time are not. What must hold: no two runs trust the lease at one time, tokens rise, and once all
is well again everything goes on. More walks than the few of the suite:

    CRONGUARD_WALKS=2000 CRONGUARD_WALKS_FROM=0 python -m pytest tests/stores/test_quorum_walks.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from cronguard.core.events import Granted
from cronguard.core.spec import Claim, Owner
from cronguard.stores import ballot
from cronguard.stores.contract import Acquire, Close, Reclaim, Renew, Request
from cronguard.stores.quorum import QuorumLease
from cronguard.stores.redis import calls, wire
from cronguard.stores.redis.calls import Call
from cronguard.stores.redis.census import Census
from cronguard.stores.redis.restart import Restart
from cronguard.stores.redis.scripts import source
from tests.servers import FLAVOURS, binary, start_server
from tests.stores.redis.helpers import record
from tests.stores.sim.chaos import Walk
from tests.stores.sim.model import Model
from tests.stores.sim.world import Line

pytestmark = pytest.mark.variant

WALKS = int(os.environ.get("CRONGUARD_WALKS", "20"))
FROM = int(os.environ.get("CRONGUARD_WALKS_FROM", "0"))
MUTANT_WALKS = 60
STEPS = 400
PX = 600_000


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client speaks to the world's servers."""
    monkeypatch.setattr(wire, "Link", Line)


def walk(seed: int) -> Walk:
    """Return a walk that was made."""
    made = Walk(seed, servers=3 if seed % 3 else 5, hosts=2 + seed % 4, minutes=3)
    try:
        made.run()
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise
    return made


def test_no_two_runs_trust_the_lease_at_one_time() -> None:
    """R19, R20: whatever is cut off, frozen, restarted, emptied, slow or late."""
    walks = [walk(seed) for seed in range(FROM, FROM + WALKS)]
    assert sum(made.lab.starts for made in walks) > 10 * WALKS
    assert sum(made.lab.renewals for made in walks) > 30 * WALKS


def of_a_minority(patch: pytest.MonkeyPatch) -> None:
    begin = QuorumLease.__init__

    def made(
        self: QuorumLease,
        servers: list[ballot.Server],
        claim: Claim,
        attempt: int,
        census: Census,
    ) -> None:
        begin(self, servers, claim, attempt, census)
        self._most = len(servers) // 2

    patch.setattr(QuorumLease, "__init__", made)


def with_a_vote_from_the_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Restart, "trouble", lambda _self, _now: "")


def that_keeps_what_it_got(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ballot.Server, "give_back", lambda _self, _now: None)


def without_one_token(patch: pytest.MonkeyPatch) -> None:
    def agree(
        self: QuorumLease, asked: ballot.Round, granted: dict[ballot.Server, Granted], now: int
    ) -> None:
        del self, now
        tokens = [vote.token for vote in granted.values()]
        asked.answer = Granted(asked.sent_at, min(tokens), 0, 0)

    patch.setattr(QuorumLease, "_agree", agree)


@pytest.mark.parametrize(
    "mutate",
    [of_a_minority, with_a_vote_from_the_start, that_keeps_what_it_got, without_one_token],
)
def test_a_quorum_that_is_broken_is_found_out(
    monkeypatch: pytest.MonkeyPatch, mutate: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """R19, R20: the walks see what they are for: each rule that is taken away shows."""
    mutate(monkeypatch)
    assert any(_finds(seed) for seed in range(MUTANT_WALKS))


def _finds(seed: int) -> bool:
    try:
        walk(seed)
    except AssertionError:  # an Overlap is one
        return True
    return False


class Side:
    """A server, or its model, asked in the same words; tokens are told by their order."""

    def __init__(self, do: Callable[[list[bytes]], object]) -> None:
        self.do = do
        self.tokens: list[int] = []

    def ask(self, claim: Claim, request: Request) -> list[object]:
        """Return the first word of the answer, the holder and the token's number."""
        call = _call(claim, request)
        bound = [0] if call.bounded else []
        words = [source(call.name), len(call.keys), *call.keys, *call.args, *bound]
        texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        reply = self.do([b"EVAL", *texts])
        assert isinstance(reply, list)
        found = [reply[0], None, None]
        if reply[0] == b"granted":
            found[2] = self._number(int(reply[2]))
        elif reply[0] in (b"held", b"taken") and reply[2]:
            run, token = reply[2].split(b":")[:2]
            found[1:] = [run, self._number(int(token))]
        return found

    def _number(self, token: int) -> int:
        if token not in self.tokens:
            assert token > max(self.tokens, default=0)
            self.tokens.append(token)
        return self.tokens.index(token)


def _call(claim: Claim, request: Request) -> Call:
    match request:
        case Acquire():
            return calls.acquire(claim, request)
        case Renew():
            return calls.renew(claim, request)
        case Reclaim():
            return calls.reclaim(claim, request, None)
        case Close():
            return calls.close(claim, request)
    raise AssertionError(request.name)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_model_answers_as_a_server_does(flavour: str, tmp_path: Path) -> None:
    """R19: the walks are worth what their model of the scripts is: it is walked beside a server."""
    if binary(flavour) is None:
        pytest.skip(f"no {flavour} server is installed")
    server = start_server(tmp_path, flavour)
    try:
        with server.client() as client:
            _walk_beside(client.execute_command, lambda: client.delete("cg:{job}:l:0"))
    finally:
        server.stop()


def _walk_beside(real: Callable[..., object], vanish: Callable[[], object]) -> None:
    dice = Random(7)
    model = Model(lambda: time.time_ns() // 1_000_000, lambda: 1_000)
    sides = [Side(lambda words: real(*words)), Side(model.do)]
    claims = [Claim("job", Owner(f"{number:032x}"), PX) for number in range(3)]
    seen: set[object] = set()
    for _ in range(STEPS):
        claim = dice.choice(claims)
        kind, ahead = dice.randrange(6), dice.choice((0, 0, 1_000))
        which = dice.randrange(max(len(sides[0].tokens), 1))
        evict = dice.choice([None, None, *[other.owner.run_id for other in claims]])
        if kind == 5:
            vanish()
            model.data.lease = None
            continue
        answers = []
        for side in sides:
            token = side.tokens[-1 - which % 3] if len(side.tokens) > 3 else 1
            last = max(side.tokens, default=0)
            request: Request = (
                Acquire(record(claim), evict=evict, at_least=last + ahead if ahead else 0),
                Acquire(record(claim)),
                Renew(token, 0),
                Reclaim(token, 0),
                Close(None, outcome="", ended_wall=0),
            )[kind]
            answers.append(side.ask(claim, request))
        assert answers[0] == answers[1], (kind, answers)
        seen.add(answers[0][0])
    assert seen == {b"granted", b"held", b"renewed", b"taken", b"gone", b"closed"}
