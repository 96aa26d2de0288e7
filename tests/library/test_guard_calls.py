"""`guard` as a decorator, and in asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from cronguard import Skipped, TimedOut, current_lease, guard
from tests.library.ends import own_threads
from tests.process.lab import Lab, until


def test_a_function_is_guarded_at_each_call(lab: Lab) -> None:
    """With its arguments, its result and its name; a call while another runs is skipped."""

    @guard("job")
    def work(first: int, *, second: int) -> tuple[int, int | None]:
        with pytest.raises(Skipped):
            work(0, second=0)
        return first + second, current_lease().token

    tokens = [work(1, second=2) for _ in range(2)]
    assert [total for total, _ in tokens] == [3, 3]
    assert tokens[0][1] != tokens[1][1]
    assert work.__name__ == "work"
    with pytest.raises(RuntimeError, match="no guard is open"):
        current_lease()


def test_a_decorated_function_waits_for_itself_in_another_thread(lab: Lab) -> None:
    """Each call is a guard of its own, so a pool of workers may share it."""
    inside = threading.Semaphore(1)

    @guard("job", wait="1m")
    def work() -> None:
        assert inside.acquire(blocking=False)
        inside.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [record["outcome"] for record in lab.records("job")] == ["succeeded"] * 4


def test_an_async_function_is_guarded_while_it_is_awaited(lab: Lab) -> None:
    """The event loop goes on while it waits for the lock, and the lease is the task's own."""

    @guard("job", wait="1m")
    async def work() -> int | None:
        token = current_lease().token
        await asyncio.sleep(0.001)
        current_lease().check()
        return token if current_lease().token == token else None

    async def several() -> list[int | None]:
        return await asyncio.gather(*[work() for _ in range(5)])

    tokens = asyncio.run(several())
    assert None not in tokens
    assert len(set(tokens)) == 5
    assert [record["outcome"] for record in lab.records("job")] == ["succeeded"] * 5


def test_async_with_skips_and_stops_as_with_does(lab: Lab) -> None:
    """The same exceptions."""

    async def both() -> None:
        async with guard("job", timeout="10ms") as lease:
            assert current_lease() is lease
            with pytest.raises(Skipped):
                await guard("job").__aenter__()
            while True:
                lease.check()
                await asyncio.sleep(0.001)

    with pytest.raises(TimedOut):
        asyncio.run(both())
    assert lab.records("job")[0]["outcome"] == "timed_out"


def test_a_task_that_is_cancelled_while_it_waits_leaves_nothing(lab: Lab) -> None:
    """No place in the queue, no lock that nobody knows of; its record says stopped."""

    async def cancelled() -> None:
        task = asyncio.create_task(guard("job", wait="forever").__aenter__())
        await asyncio.to_thread(
            until, "a waiter", lambda: lab.ask(lambda history: history.waiters("job"))
        )
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with guard("job"):
        asyncio.run(cancelled())
        until("the waiter to go", lambda: not lab.ask(lambda history: history.waiters("job")))
    until("the threads to end", lambda: not own_threads())
    assert {record["outcome"] for record in lab.records("job")} == {"stopped", "succeeded"}
    with guard("job"):
        pass


def test_a_task_that_is_cancelled_in_the_block_has_failed(lab: Lab) -> None:
    """As any other exception, and the lock is given back."""

    async def cancelled() -> None:
        begun = asyncio.Event()

        @guard("job")
        async def work() -> None:
            begun.set()
            await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    until("the threads to end", lambda: not own_threads())
    record = lab.records("job")[0]
    assert (record["outcome"], record["reason"]) == ("failed", "CancelledError")


def test_generators_are_not_decorated() -> None:
    """They would be over before they began."""

    def lines() -> Iterator[int]:
        yield 1

    async def alines() -> AsyncIterator[int]:
        yield 1

    for function in (lines, alines):
        with pytest.raises(TypeError, match="lines is a generator"):
            guard("job")(function)
