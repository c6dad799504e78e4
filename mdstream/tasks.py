"""Tasks of asyncio that live and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def until_first(*work: Coroutine[Any, Any, None]) -> None:
    """Does all of it at once; the first that ends, ends all. Raises what that one raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancels a task and waits until it is over; whatever it raises is not told."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
