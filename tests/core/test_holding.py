from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cronguard.core.holding import FIRST_BACKOFF_MS, Holding, Jitter, StoreClock, backoff
from cronguard.core.lease import MAX_TTL_MS, MIN_TTL_MS, LeaseTimes

seeds = st.integers(0, 2**64)
ttls = st.integers(MIN_TTL_MS, MAX_TTL_MS)


@given(seeds, st.integers(0, 10**9), st.integers(0, 100))
def test_jitter_only_ever_shortens_and_within_its_bounds(
    seed: int, duration: int, percent: int
) -> None:
    """C rule 4: -10..0 %, never +."""
    jitter = Jitter(seed)
    for _ in range(20):
        shortened = jitter.shorten(duration, percent)
        assert duration - duration * percent // 100 <= shortened <= duration


def test_jitter_uses_its_whole_range() -> None:
    """Hosts that start together spread over all of it, not over a corner."""
    found = [Jitter(seed * 7919).shorten(1_000, 50) for seed in range(1_000)]
    one = Jitter(1)
    found_in_a_row = [one.shorten(1_000, 50) for _ in range(1_000)]
    for values in (found, found_in_a_row):
        assert min(values) < 520
        assert max(values) > 980
        assert len(set(values)) > 300


@given(seeds)
def test_the_same_seed_gives_the_same_numbers(seed: int) -> None:
    """The machine is deterministic: chance is handed in."""
    one, other = Jitter(seed), Jitter(seed)
    assert [one.shorten(1000, 50) for _ in range(9)] == [other.shorten(1000, 50) for _ in range(9)]


@given(st.integers(1, 10_000), st.integers(FIRST_BACKOFF_MS, 10_000), seeds)
def test_pauses_double_up_to_the_longest(failures: int, longest: int, seed: int) -> None:
    """From 100 ms on, exponential, at least half of it, never more than the longest."""
    pause = backoff(failures, longest, Jitter(seed))
    full = min(FIRST_BACKOFF_MS * 2 ** min(failures - 1, 16), longest)
    assert full // 2 <= pause <= full


@given(ttls, st.integers(0, 10**12), seeds)
def test_the_first_heartbeat_is_due_early_rather_than_late(
    ttl: int, sent_at: int, seed: int
) -> None:
    """It counts from the sending of the request."""
    times = LeaseTimes(ttl)
    held = Holding(times, 5, 0, sent_at, Jitter(seed))
    assert sent_at + times.every * 9 // 10 <= held.ask_at <= sent_at + times.every
    assert held.ends_at == times.ends_at(sent_at)


def test_a_renewal_counts_from_its_sending_and_clears_the_trouble() -> None:
    """L5: after an outage everything is as before, and the record knows of it."""
    held = Holding(LeaseTimes(30_000), 5, 0, 1_000, Jitter(1))
    held.asking = True
    held.failed(7_000)
    held.failed(9_000)
    assert (held.failing_since, held.failures, held.renew_failures) == (7_000, 2, 2)
    assert not held.asking
    assert 9_000 < held.ask_at <= 9_200
    held.asking = held.vanished = True
    held.extended(9_100)
    assert held.failing_since is None
    assert (held.failures, held.renew_failures) == (0, 2)
    assert (held.asking, held.vanished, held.renewals) == (False, False, 1)
    assert held.ends_at == LeaseTimes(30_000).ends_at(9_100)
    assert held.longest_gap == 8_100


def test_a_late_answer_never_shortens_the_lease() -> None:
    """L3: an answer to an older request than the last one leaves the later end."""
    held = Holding(LeaseTimes(30_000), 5, 0, 1_000, Jitter(1))
    held.extended(6_000)
    held.extended(4_000)
    assert held.sent_at == 6_000
    assert held.longest_gap == 5_000


def test_a_failed_renewal_leaves_the_old_end() -> None:
    """L3, L4: only an answer extends the lease."""
    held = Holding(LeaseTimes(30_000), 5, 0, 1_000, Jitter(1))
    ends_at = held.ends_at
    for moment in range(6_000, 20_000, 500):
        held.failed(moment)
    assert held.ends_at == ends_at
    assert held.kill_at < held.ends_at


def test_the_longest_gap_counts_the_open_one() -> None:
    """The record says how long the lease stood without a renewal, up to the end."""
    held = Holding(LeaseTimes(30_000), 5, 0, 1_000, Jitter(1))
    assert held.gap(3_000) == 2_000
    held.extended(6_000)
    assert held.gap(7_000) == 5_000
    assert held.gap(16_000) == 10_000


def heard(*answers: tuple[int, int, int]) -> list[int]:
    """Return what each answer (clock, sent_at, now) says about steps."""
    clock = StoreClock()
    return [clock.stepped(*answer) for answer in answers]


def test_a_clock_heard_for_the_first_time_has_not_stepped() -> None:
    """L19: one answer says nothing."""
    assert heard((1_000_000, 50, 60)) == [0]


@given(
    st.integers(10**6, 10**13),
    st.lists(
        st.tuples(st.integers(0, 60_000), st.integers(0, 2_000), st.integers(0, 2_000)),
        min_size=2,
        max_size=20,
    ),
    st.integers(-9, 9),
)
def test_slow_answers_and_a_slewed_clock_are_no_step(
    epoch: int, answers: list[tuple[int, int, int]], permille: int
) -> None:
    """L19, R3: wherever in its trip the clock was read, and up to 1 % off in rate."""
    clock, now = StoreClock(), 0
    for pause, there, back in answers:
        sent_at = now + pause
        read_at = sent_at + there
        now = read_at + back
        told = epoch + read_at * (1000 + permille) // 1000
        assert clock.stepped(told, sent_at, now) == 0


@given(st.integers(-(10**9), 10**9).filter(lambda step: abs(step) > 2_200), st.integers(0, 500))
def test_a_step_is_found_and_measured(step: int, trip: int) -> None:
    """L19, L20: to within the trips and the rate's tolerance."""
    answers = (10**12, 1_000, 1_000 + trip), (10**12 + 5_000 + step, 6_000, 6_000 + trip)
    found = heard(*answers)[1]
    assert (found > 0) == (step > 0)
    assert abs(step) - 3 * trip - 200 <= abs(found) <= abs(step)


def test_after_a_step_it_is_renewed_twice_as_often() -> None:
    """L19: half the heartbeat, from the next one on."""
    held = Holding(LeaseTimes(30_000), 5, 0, 1_000, Jitter(1))
    held.hurry()
    held.extended(6_000)
    assert 6_000 + 2_250 <= held.ask_at <= 6_000 + 2_500
