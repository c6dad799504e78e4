"""What the scenarios of faults share: their list, and a writer that is watched.

A scenario asserts what clients are told of its fault; that nothing else is a lie is asserted at the end of every ``case``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from truth.rig import STALE_S, Case
from truth.writers import RawWriter, SdkWriter

HOUR_US = 3_600_000_000
TOLD_S = STALE_S + 1.6
"""A silence of this length must have been told."""

Scenario = Callable[[Case], Awaitable[None]]
FAULTS: dict[str, Scenario] = {}


def fault(kind: str) -> Callable[[Scenario], Scenario]:
    def register(scenario: Scenario) -> Scenario:
        FAULTS[f"{kind}-{scenario.__name__}"] = scenario
        return scenario

    return register


async def watched_raw(case: Case, seconds: float = 0.3) -> RawWriter:
    """The rightful writer of a live instrument, watched by all readers."""
    writer = await case.raw()
    await writer.begin()
    async with writer.pumping():
        await case.watch()
        await asyncio.sleep(seconds)
    return writer


async def repeat(write: Callable[[], Awaitable[Any]], seconds: float, pause_s: float = 0.2) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        await write()
        await asyncio.sleep(pause_s)


async def comes_back(case: Case, writer: RawWriter | SdkWriter) -> None:
    async with writer.pumping():
        await asyncio.sleep(0.1)
        await case.current()
