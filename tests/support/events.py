"""Clients of events, raw: who they are, what they publish, and what they were sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from support.tokens import CLAIMS, sign

DESK = {"channels": ["events"], "topics": ["desk.*"], "publish": True}
LETTERS = {"channels": ["events"], "topics": ["user.*"], "read": False, "publish": True}
SUBSCRIBE = {"op": "subscribe", "channel": "events"}


def token(subject: str, *grants: dict[str, Any]) -> str:
    now_s = int(time.time())
    claims = {**CLAIMS, "sub": subject, "md": {"grants": list(grants)}, "iat": now_s, "exp": now_s + 600}
    return sign(claims).decode()


def bearer(subject: str, *grants: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(subject, *grants)}"}


async def publish(client: Any, topic: str, data: Any, **more: Any) -> int:
    client.send({"op": "publish", "id": 1, "topic": topic, "event": "notice", "data": data, **more})
    return int((await answer(client, 1))["seq"])


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def answer(client: Any, id: int) -> dict[str, Any]:
    """The answer to a command; events that come before it are still to be read."""
    kept: list[dict[str, Any]] = []
    while (message := await client.recv()).get("id") != id:
        kept.append(message)
    client._decoded[:0] = kept
    found: dict[str, Any] = message
    return found


async def events(client: Any, count: int) -> list[Any]:
    return [(await client.until("event"))["data"] for _ in range(count)]
