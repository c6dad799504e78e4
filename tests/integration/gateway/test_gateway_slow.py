"""A client that stops reading: it is marked, the others notice nothing, and it catches up with little."""

from __future__ import annotations

import asyncio

BIDS = [value for i in range(50) for value in (1000 - i, 5)]
ASKS = [value for i in range(50) for value in (1001 + i, 7)]
STEADY_LOOKS = 5
DELAYED_ACK_S = 0.04
BOOK = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}


class Follower:
    """Reads what a client is sent, checking that no number is missing; ``spans`` are the first and last of each message."""

    def __init__(self, client) -> None:
        self.client = client
        self.spans: list[tuple[int, int]] = []

    async def until(self, seq: int) -> None:
        while not self.spans or self.spans[-1][1] != seq:
            await self.step()

    async def read_during(self, work) -> None:
        """Reads on until ``work`` is done."""
        working = asyncio.ensure_future(work)
        reading = asyncio.ensure_future(self.read())
        await asyncio.wait((working, reading), return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        await asyncio.wait((reading,))
        working.result()

    async def read(self) -> None:
        while True:
            await self.step()

    async def step(self) -> None:
        message = await self.client.recv()
        if message["type"] == "snapshot":
            self.spans.append((0, message["seq"]))
        elif message["type"] == "delta":
            assert message["first"] == self.spans[-1][1] + 1
            self.spans.append((message["first"], message["last"]))


async def figures(http, server) -> dict[str, float]:
    response = await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    lines = [line for line in response.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def publish_much(pub) -> None:
    for _ in range(50):
        size = pub.seq % 997 + 1
        await pub.book([v if i % 2 == 0 else size for i, v in enumerate(BIDS)], [])
    await pub.bus.flush()


async def churn(pub, http, server, name: str) -> None:
    """Publishes whole-book changes until the figure ``name`` is 1."""
    while (await figures(http, server))[name] != 1:
        await publish_much(pub)


async def churn_until_stuck(pub, http, server) -> None:
    """Publishes whole-book changes until one session takes nothing any more: full at every look, and no catch-up between.

    A socket that is full once may take more when the kernel hears from the other side, some milliseconds later.
    """
    looks, before = 0, -1.0
    while looks < STEADY_LOOKS:
        await publish_much(pub)
        await asyncio.sleep(DELAYED_ACK_S)
        now = await figures(http, server)
        caught_up = now["mdstream_conflated_updates_total"] + now["mdstream_snapshots_total"]
        looks = looks + 1 if now["mdstream_slow_sessions"] == 1 and caught_up == before else 0
        before = caught_up


def test_it_catches_up_with_one_message_and_the_others_see_every_number(
    run, nats_server, gateway, feed, ws, http
) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:A") as pub,
            gateway(nats_server.url, send_buffer_bytes=4096) as server,
        ):
            await pub.announce(BIDS, ASKS)
            slow = await ws.open(server.port, receive_buffer=4096)
            quick = await ws.open(server.port, "msgpack")
            for client in (slow, quick):
                client.send(BOOK)
            followers = [Follower(client) for client in (slow, quick)]
            for follower in followers:
                await follower.until(pub.seq)
            slow.stop_reading()
            await followers[1].read_during(churn_until_stuck(pub, http, server))
            marked = pub.seq
            for _ in range(200):
                await pub.book([1000, pub.seq % 9 + 1], [])
            await followers[1].until(pub.seq)
            slow.read_on()
            await followers[0].until(pub.seq)
            first, last = followers[0].spans[-1]
            assert first <= marked + 1 and last == pub.seq, "what it missed came in one message"
            await pub.book([1000, 78], [])
            for follower in followers:
                await follower.until(pub.seq)

    run(scenario())


def test_one_who_stays_slow_is_closed_with_4408(run, nats_server, gateway, feed, ws, http) -> None:
    async def scenario() -> None:
        limits = {"send_buffer_bytes": 4096, "slow_limit_ms": 200}
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url, **limits) as server:
            await pub.announce(BIDS, ASKS)
            slow = await ws.open(server.port, receive_buffer=4096)
            slow.send(BOOK)
            await slow.until("snapshot")
            slow.stop_reading()
            await churn(pub, http, server, "mdstream_too_slow_sessions_total")
            slow.read_on()
            assert await slow.closed() == 4408

    run(scenario())
