"""What tests of sessions say and hear, on the stage of ``tests/unit/gateway``."""

from __future__ import annotations

import asyncio
from typing import Any

BOOK: dict[str, Any] = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
NAMES = [f"SIM:{number}" for number in range(10)]


async def turns(count: int = 10) -> None:
    """Lets everything run that is ready to."""
    for _ in range(count):
        await asyncio.sleep(0)


async def answers(client: Any) -> list[Any]:
    """The next messages, as soon as there are any."""
    while not (messages := client.taken()):
        await asyncio.sleep(0.005)
    return messages


def types(messages: list[Any]) -> list[str]:
    return [message["type"] for message in messages]


async def opened(on: Any) -> None:
    """All of ``NAMES`` are open."""
    on.announce(*NAMES)
    on.readers.live_at_once = True
    client = on.client()
    on.say(client, **{**BOOK, "instruments": NAMES})
    while on.hub.stats()["subscriptions"] < len(NAMES):
        await asyncio.sleep(0)
    on.say(client, op="ping")
