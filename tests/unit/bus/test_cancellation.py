"""A task that waits for NATS can be cancelled at any moment, also the very one in which the answer comes."""

from __future__ import annotations

import asyncio

import pytest

from mdstream.bus._client import preserve_cancellation


async def cancelled_with_its_answer(error: Exception | None = None) -> str:
    """Waits as nats-py does, and is cancelled in the turn of the loop in which it is answered, or told that it failed."""
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(preserve_cancellation(asyncio.wait_for(answer, 60)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if error is None:
        answer.set_result("answered")
    else:
        answer.set_exception(error)
    task.cancel()
    return await task


def test_a_cancellation_that_comes_with_the_answer_is_not_lost() -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled_with_its_answer())


def test_a_cancellation_that_comes_with_a_failure_is_not_lost() -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled_with_its_answer(ConnectionRefusedError()))


def test_an_answer_without_a_cancellation_is_returned_and_an_error_raised() -> None:
    async def scenario() -> None:
        async def answered() -> str:
            return "answered"

        async def refused() -> str:
            raise ValueError("refused")

        assert await preserve_cancellation(answered()) == "answered"
        with pytest.raises(ValueError, match="refused"):
            await preserve_cancellation(refused())

    asyncio.run(scenario())
