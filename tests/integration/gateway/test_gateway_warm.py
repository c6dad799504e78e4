"""A gateway that starts takes clients once it can show them something."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest

from mdstream.bus import connect
from mdstream.bus.demand import encode_demand, put_demand, read_demand
from mdstream.gateway import Gateway, GatewayConfig, warming

SUBSCRIBE = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}


@asynccontextmanager
async def begun(url: str, **changes: Any) -> AsyncIterator[Gateway]:
    """A gateway that need not take clients yet."""
    server = Gateway(GatewayConfig(nats=(url,), port=0, admin_port=0, **changes))
    await server.begin()
    try:
        yield server
    finally:
        await server.stop()


async def readiness(http: Any, server: Gateway) -> tuple[int, str]:
    response = await http(server.admin_port, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return response.status, response.body.decode().strip()


def test_what_gateways_served_is_open_before_the_first_client(run, nats_server, feed, ws) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub:
            await pub.announce([1000, 5], [1001, 7])
            await put_demand(pub.bus, "another", encode_demand(["SIM:A", "SIM:GONE"]))
            async with begun(nats_server.url) as server:
                await server.wait_open()
                client = await ws.open(server.port)
                client.send(SUBSCRIBE)
                assert [(await client.recv())["type"] for _ in range(3)] == [
                    "welcome",
                    "subscribed",
                    "snapshot",
                ]

    run(scenario())


def test_the_instruments_of_the_setting_are_opened_too(run, nats_server, feed) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub:
            await pub.announce([1000, 5], [1001, 7])
            async with begun(nats_server.url, warm=("SIM:*",)) as server:
                await server.wait_open()
                assert [each.name for each in server._instruments] == ["SIM:A"]

    run(scenario())


def test_it_listens_to_nobody_until_they_have_data_and_says_so(run, nats_server, feed, http) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub:
            await pub.announce([1000, 5], [1001, 7])
            await put_demand(pub.bus, "another", encode_demand(["SIM:A"]))
            async with begun(nats_server.url, warm_ms=60_000) as server:
                opening, opened = asyncio.Event(), asyncio.Event()
                open_one = server._instruments.open

                async def slowly(*names: Any, **how: Any) -> Any:
                    opening.set()
                    await opened.wait()
                    return await open_one(*names, **how)

                server._instruments.open = slowly  # type: ignore[method-assign]
                await opening.wait()
                assert await readiness(http, server) == (503, "opening instruments: 0 of 1 are ready")
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("127.0.0.1", server.port)
                opened.set()
                await server.wait_open()
                assert await readiness(http, server) == (200, "ready")

    run(scenario())


def test_one_that_may_have_no_data_for_long_holds_up_nobody(run, nats_server, monkeypatch) -> None:
    """Its writer ended after something that is refused."""
    monkeypatch.setattr(warming, "PATIENCE_S", 0.0)

    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            await bus.ensure_streams()
            ref = {"epoch": 7, "price_exp": -2, "size_exp": -3}
            await bus.jetstream.publish("md.SIM.A.ref", msgpack.packb(ref))
            await bus.jetstream.publish("md.SIM.A.book", msgpack.packb([1, 7, 1.5, 1, 1, [], []]))
            await put_demand(bus, "another", encode_demand(["SIM:A"]))
            async with begun(nats_server.url, warm_ms=60_000) as server:
                await server.wait_open()
                (found,) = server._instruments
                assert found.statuses["book"].code == "refused"

    run(scenario())


def test_its_time_is_bounded(run, nats_server, feed, http) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub:
            await put_demand(pub.bus, "another", encode_demand(["SIM:A"]))
            async with begun(nats_server.url, warm_ms=100) as server:

                async def never(*names: Any, **how: Any) -> Any:
                    await asyncio.Event().wait()

                server._instruments.open = never  # type: ignore[method-assign]
                await server.wait_open()
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.close()

    run(scenario())


def test_what_is_served_is_told_to_those_that_start_later(run, nats_server, feed, ws, gateway) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce([1000, 5], [1001, 7])
            client = await ws.open(server.port)
            client.send(SUBSCRIBE)
            await client.until("snapshot")
            server._warming._tried_at = float("-inf")
            server._warming.tick()
            assert server._warming._telling is not None
            await server._warming._telling
            async with await connect(nats_server.url) as bus:
                assert await read_demand(bus) == ["SIM:A"]

    run(scenario())


def test_connections_beyond_the_rate_are_turned_away_before_their_request(
    run, nats_server, gateway, http, upgrade
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, accepts_per_second=3) as server:
            now = time.monotonic()
            server._server._door.now_s = lambda: now
            answers = [await http(server.port, upgrade("/nowhere")) for _ in range(6)]
            statuses = [answer.status for answer in answers]
            assert statuses[-3:] == [503] * 3 and set(statuses) == {404, 503}
            refused = answers[statuses.index(503)]
            assert 1 <= int(refused.headers["retry-after"]) <= 10
            assert refused.body == b"too many clients come at once; try again later, or another gateway\n"

    run(scenario())
