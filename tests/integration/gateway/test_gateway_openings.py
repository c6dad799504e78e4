"""Several gateways open many instruments at once: JetStream is asked for a few at a time, and all of them open."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from mdstream.bus import Bus, connect
from mdstream.bus.readers import ASKING
from mdstream.client import connect as connect_client
from mdstream.gateway.openings import AT_ONCE
from mdstream.model import InstrumentId

GATEWAYS, INSTRUMENTS = 4, 1_000


async def publish(bus: Bus, feed: Any, names: list[str]) -> None:
    for name in names:
        one = type(feed)(bus, str(InstrumentId.parse(name)))
        await one.announce([100, 1], [101, 1])
        await one.book([100, 2], [])


class Requests:
    """How many requests to JetStream wait for their answers at a time, of one gateway."""

    def __init__(self, bus: Bus) -> None:
        self.now = self.most = self.total = 0
        self._ask = bus.client.request
        bus.client.request = self  # type: ignore[assignment, method-assign]

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.now += 1
        self.total += 1
        self.most = max(self.most, self.now)
        try:
            return await self._ask(*arguments, **options)
        finally:
            self.now -= 1


def test_four_gateways_open_a_thousand_instruments_at_once(run, nats_server, gateway, feed) -> None:
    async def scenario() -> None:
        names = [f"SIM:S{number}" for number in range(INSTRUMENTS)]
        async with AsyncExitStack() as stack:
            some = await stack.enter_async_context(feed(nats_server.url, names[0]))
            await publish(some.bus, some, names)
            asked = []
            clients = []
            for _ in range(GATEWAYS):
                bus = await stack.enter_async_context(await connect(nats_server.url))
                await bus.ensure_streams()
                asked.append(Requests(bus))
                server = await stack.enter_async_context(gateway(nats_server.url, bus))
                clients.append(await stack.enter_async_context(connect_client(server.url, format="msgpack")))
            await asyncio.gather(*(follow(client, names) for client in clients))
        for each in asked:
            assert each.total >= 3 * INSTRUMENTS
            assert each.most <= 3 * AT_ONCE + ASKING

    async def follow(client: Any, names: list[str]) -> None:
        books = await asyncio.gather(*(client.book(name) for name in names))
        assert [(book.seq, book.state.value) for book in books] == [(2, "live")] * INSTRUMENTS

    run(scenario())
