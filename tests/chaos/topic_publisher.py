"""``python -m chaos.topic_publisher``: publishes events to all topics, as a client or from the bus, and writes down what is stored.

The first line of standard input is the plan as JSON; each later line is an order, answered by a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import nats.errors
import uvloop

from chaos import topic_journal as journal
from chaos.topic_device import AGAIN_S, POLICY
from mdstream.client import connect
from mdstream.errors import ClientError

WORKERS = 8
TWICE = 0.05
"""So many events are published twice at the same time."""
Publish = Callable[[str, Any, str], Awaitable[int]]
"""Topic, data, key; returns the number. Raises ClientError, nats.errors.Error or TimeoutError where nobody knows whether it is stored."""


class Publisher:
    """Several topics at a time, and of each one event at a time: it is tried until it is stored."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.name = f"{plan['name']}/{plan['life']}"
        self.journal = journal.Journal(Path(plan["journal"]))
        self.chance = random.Random(f"{plan['seed']} {self.name}")
        self.resting = False
        self.tried_again = 0
        self._counts: Counter[str] = Counter()

    async def run(self) -> None:
        opened = _on_bus(self.plan["nats"]) if "nats" in self.plan else _as_client(self.plan)
        async with opened as publish:
            topics = self.plan["topics"]
            workers = min(WORKERS, len(topics))
            await asyncio.gather(*(self._work(publish, topics[n::workers]) for n in range(workers)))

    async def _work(self, publish: Publish, topics: list[str]) -> None:
        while not self.resting:
            topic = self.chance.choice(topics)
            self._counts[topic] += 1
            data = {"by": self.name, "n": self._counts[topic], "pad": "x" * self.chance.randrange(200)}
            times = 2 if self.chance.random() < TWICE else 1  # with the same key it is stored once
            for seq in await asyncio.gather(
                *(self._until_stored(publish, topic, data) for _ in range(times))
            ):
                self.journal.note(journal.STORED, topic, data, seq)
            await asyncio.sleep(2 * WORKERS * self.plan["pause_s"] * self.chance.random())

    async def _until_stored(self, publish: Publish, topic: str, data: dict[str, Any]) -> int:
        key = f"{self.name}/{data['n']}"
        while True:
            try:
                return await publish(topic, data, key)
            except (ClientError, nats.errors.Error, TimeoutError):
                self.tried_again += 1
                await asyncio.sleep(AGAIN_S)


@asynccontextmanager
async def _as_client(plan: dict[str, Any]) -> AsyncIterator[Publish]:
    async with connect(plan["urls"], token=plan["token"], policy=POLICY) as client:

        async def publish(topic: str, data: Any, key: str) -> int:
            return (await client.publish(topic, "n", data, key=key)).seq

        yield publish


@asynccontextmanager
async def _on_bus(urls: list[str]) -> AsyncIterator[Publish]:
    """As any program that knows NATS."""
    client = await nats.connect(
        urls, max_reconnect_attempts=-1, reconnect_time_wait=0.1, allow_reconnect=True, error_cb=_expected
    )
    stream = client.jetstream()

    async def publish(topic: str, data: Any, key: str) -> int:
        payload = json.dumps({"type": "n", "data": data}).encode()
        headers = {"Nats-Msg-Id": f"{topic} {key}"}
        return (await stream.publish(f"ev.{topic}", payload, timeout=2, headers=headers)).seq

    try:
        yield publish
    finally:
        await client.close()


async def _expected(error: Exception) -> None:
    """Links are cut here."""


async def main() -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    publisher = Publisher(json.loads(await orders.readline()))
    running = asyncio.ensure_future(publisher.run())
    print('"ready"', flush=True)
    while await orders.readline():  # the one order is to come to an end
        publisher.resting = True
        await running
        print(json.dumps({"tried_again": publisher.tried_again}), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
