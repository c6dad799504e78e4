"""Events while nats-server is killed and restarted and a gateway ends: none is lost, their order stays, and what comes twice says so."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from typing import Any

import msgpack
import pytest

from mdstream.client import Client, Events, Policy, connect
from mdstream.gateway import Gateway, GatewayConfig

# On a busy machine the loop may stand still for seconds. No link is dead because of that.
QUICK = Policy(backoff_base_s=0.01, backoff_cap_s=0.05, recover_timeout_s=0.2, silent_heartbeats=100)
COUNT = 120
TOPICS = ("desk.a", "desk.b", "desk.plain")


async def _start(url: str) -> Gateway:
    config = GatewayConfig(
        nats=(url,),
        port=0,
        admin_port=0,
        drain_spread_ms=0,
        publishes_burst=10_000,
        publishes_per_second=10_000,
        events_topics=("desk.a:device:all", "desk.b:device:all"),
    )
    gateway = Gateway(config)
    await gateway.start()
    await gateway.wait_ready()
    return gateway


class Reader:
    """A device that acknowledges what it has; it notes what came, and what came twice without saying so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: dict[str, list[int]] = defaultdict(list)
        self.changed = asyncio.Event()
        self.untold: list[Any] = []
        self._seen: set[tuple[str, int]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def note(self, payload: bytes) -> None:
        unpacker = msgpack.Unpacker()
        unpacker.feed(payload)
        for message in unpacker:
            if isinstance(message, list) and message[0] == 11:
                key = message[2], message[3]
                if key in self._seen and not message[9]:
                    self.untold.append(message)
                self._seen.add(key)

    async def begin(self, client: Client) -> None:
        for topic in TOPICS:
            found = await client.events(topic, device=self.name, since=0 if topic == "desk.plain" else None)
            self._tasks.append(asyncio.ensure_future(self._follow(topic, found)))

    async def _follow(self, topic: str, found: Events) -> None:
        async for event in found:
            self.got[topic].append(event.data)
            found.acknowledge(event)
            self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(25):
            while any(len(self.got[topic]) < count for topic in TOPICS):
                self.changed.clear()
                await self.changed.wait()

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()


@pytest.mark.parametrize("fault", ["nats", "gateway"])
def test_no_event_is_lost(run, nats_server, fault) -> None:
    async def scenario() -> None:
        gateways = [await _start(nats_server.url) for _ in range(2)]
        urls = [gateway.url for gateway in gateways]
        readers = [Reader("phone"), Reader("laptop")]
        async with AsyncExitStack() as stack:
            for number, reader in enumerate(readers):
                own = [urls[number], urls[1 - number]]
                client = await stack.enter_async_context(connect(own, policy=QUICK, on_payload=reader.note))
                await reader.begin(client)
            writer = await stack.enter_async_context(connect(urls, policy=QUICK))

            async def write(topic: str) -> None:
                for number in range(COUNT):
                    await writer.publish(topic, "number", number)

            writing = asyncio.gather(*map(write, TOPICS))
            await readers[0].until(COUNT // 4)
            if fault == "nats":
                nats_server.kill()
                await nats_server.restart()
            else:
                await gateways[0].stop(at_once=True)
            await writing
            for reader in readers:
                await reader.until(COUNT)
                reader.end()
                for topic in TOPICS:
                    assert reader.got[topic] == list(range(COUNT)), (reader.name, topic)
                assert reader.untold == []
        for gateway in gateways[fault == "gateway" :]:
            await gateway.stop(at_once=True)

    run(scenario(), deadline_s=60)
