from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.core import lease
from cronguard.core.lease import MAX_TTL_MS, MIN_TTL_MS, LeaseTimes, ttl_problem

ttls = st.integers(MIN_TTL_MS, MAX_TTL_MS)
moments = st.integers(0, 10**13)
ERROR = lease.CLOCK_ERROR_PERMILLE
WORST_DEATH_MS = 500  # the slowest death of a tree that was measured, under 16-fold overload


@given(ttls, moments)
def test_rule_1_enough_renewals_fit_after_a_failed_heartbeat(ttl: int, sent_at: int) -> None:
    """C rule 1: H + n(tau + b) <= G - s."""
    times = LeaseTimes(ttl)
    used = times.every + lease.ATTEMPTS * (times.attempt + times.backoff)
    assert used <= times.give_up_at(sent_at) - sent_at


@given(ttls)
def test_rule_2_the_ttl_has_room_for_all_of_it(ttl: int) -> None:
    """C rule 2: T >= (H + n(tau + b) + g + 0.5 + M + d) / (1 - eps)."""
    times = LeaseTimes(ttl)
    used = (
        times.every
        + lease.ATTEMPTS * (times.attempt + times.backoff)
        + times.grace
        + lease.DEATH_MS
        + times.margin
        + lease.PRECISION_MS
    )
    assert ttl * (1000 - ERROR) >= used * 1000
    assert ttl >= times.shortest_ttl()


@given(ttls, moments)
def test_rule_3_the_margin_covers_the_slowest_death(ttl: int, sent_at: int) -> None:
    """C rule 3: M >= 1.5 s and M >= 5 % of T; dead long before the lease is another's."""
    times = LeaseTimes(ttl)
    assert times.margin >= 1_500
    assert times.margin >= ttl * 5 // 100
    assert times.ends_at(sent_at) - times.kill_at(sent_at) == times.margin > WORST_DEATH_MS


@given(ttls)
def test_rule_4_heartbeats_are_frequent(ttl: int) -> None:
    """C rule 4: H <= T/6; it is never lengthened."""
    assert LeaseTimes(ttl).every <= ttl / 6


@given(ttls, moments, st.integers(-ERROR, ERROR))
def test_rule_5_nobody_else_starts_while_we_may_live(ttl: int, sent_at: int, rate: int) -> None:
    """C rule 5: whatever the clocks' rates within the error, the store frees it after our end."""
    times = LeaseTimes(ttl)
    # The store starts to count when it executes, at or after sent_at, on its own clock; its clock
    # may run faster than ours by the error. Redis may expire a key a little early.
    freed_at = sent_at + (times.px - lease.PRECISION_MS) * 1000 // (1000 + abs(rate))
    assert freed_at > times.ends_at(sent_at)
    assert freed_at - times.kill_at(sent_at) >= times.margin


@given(ttls, moments)
def test_the_moments_come_in_their_order(ttl: int, sent_at: int) -> None:
    """Heartbeat, give up, KILL after the grace, the kernel, the end, the store: in that order."""
    times = LeaseTimes(ttl)
    give_up, kill, end = (at(sent_at) for at in (times.give_up_at, times.kill_at, times.ends_at))
    assert sent_at < sent_at + times.every < give_up
    assert give_up + times.grace < kill < end < sent_at + times.px
    assert times.attempt < times.every or ttl < lease.FULL_TTL_MS


@given(ttls, moments, st.integers(0, 10**9))
def test_times_depend_on_the_sending_alone(ttl: int, sent_at: int, later: int) -> None:
    """Two leases of one TTL differ by when they were sent, exactly; nothing is rounded."""
    times = LeaseTimes(ttl)
    assert times.ends_at(sent_at + later) - times.ends_at(sent_at) == later
    assert times.give_up_at(sent_at + later) - times.give_up_at(sent_at) == later


def test_the_defaults_are_those_of_the_design() -> None:
    """T=30, H=5, tau=2, M=1.5, g=5 give D=28.5, K=27, G=21.5, less 2 ms of Redis' precision."""
    times = LeaseTimes(30_000)
    assert (times.every, times.attempt, times.backoff) == (5_000, 2_000, 1_000)
    assert (times.margin, times.grace, times.px) == (1_500, 5_000, 35_000)
    assert (times.ends_at(0), times.kill_at(0), times.give_up_at(0)) == (28_498, 26_998, 21_498)


def test_the_shortest_ttl_has_the_measured_times() -> None:
    """T=10, H=1.5, tau=0.8, b=0.2, M=1.5, g=1 give D=9.5, K=8, G=6.5, less 2 ms."""
    times = LeaseTimes(10_000)
    assert (times.every, times.attempt, times.backoff, times.grace) == (1_500, 800, 200, 1_000)
    assert (times.ends_at(0), times.kill_at(0), times.give_up_at(0)) == (9_498, 7_998, 6_498)


@given(ttls, st.integers(0, MAX_TTL_MS))
def test_a_longer_ttl_is_never_the_worse_one(ttl: int, more: int) -> None:
    """Every moment is later, or as late, with a longer TTL."""
    shorter, longer = LeaseTimes(ttl), LeaseTimes(ttl + more)
    assert longer.ends_at(0) >= shorter.ends_at(0)
    assert longer.give_up_at(0) >= shorter.give_up_at(0)
    assert longer.every >= shorter.every


@given(ttls)
def test_every_ttl_from_10_s_to_a_day_is_taken(ttl: int) -> None:
    """What the rule allows is not refused."""
    assert ttl_problem(ttl) is None


@given(st.integers(0, MIN_TTL_MS - 1))
def test_a_ttl_below_10_s_is_refused_with_the_arithmetic(ttl: int) -> None:
    """C1: the message gives the formula and the numbers, and they add up."""
    text = ttl_problem(ttl)
    assert text is not None
    assert f"a TTL of {ttl / 1000:g}s" in text
    assert "need at least 10s" in text
    numbers = [float(number) for number in re.findall(r"([\d.]+)s\b", text)][1:]
    every, attempt, grace, death, margin, least = numbers
    used = every + lease.ATTEMPTS * attempt + grace + death + margin
    assert used / (1 - ERROR / 1000) <= least


@pytest.mark.parametrize("ttl", [MAX_TTL_MS + 1, 10**12])
def test_a_ttl_of_more_than_a_day_is_refused_with_the_reason(ttl: int) -> None:
    """A long job needs no long TTL, and is told so."""
    assert "the default of 30s suits any job" in str(ttl_problem(ttl))
