"""Whether other tasks get their turn while a log is read; what a recovery does is shown with a real NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from mdstream.bus.gap_recovery import BATCH, BATCH_BYTES, with_turns


async def _log(count: int, size: int) -> AsyncGenerator[bytes, None]:
    for _ in range(count):
        yield bytes(size)


@pytest.mark.parametrize(("size", "batch"), [(10, BATCH), (BATCH_BYTES, 1), (BATCH_BYTES // 4 + 1, 4)])
def test_others_get_a_turn_after_each_batch(run, size: int, batch: int) -> None:
    async def scenario() -> None:
        read, before = 0, []

        async def other() -> None:
            while True:
                before.append(read)
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        async for payload in with_turns(_log(4 * batch, size)):
            assert len(payload) == size
            read += 1
        task.cancel()
        assert read == 4 * batch and before == [batch, 2 * batch, 3 * batch, 4 * batch]

    run(scenario())
