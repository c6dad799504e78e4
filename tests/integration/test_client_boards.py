"""The Python client's lists and boards against a real gateway, also where the gateway restarts."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import msgpack
import pytest

from mdstream.bus import Bus, subject
from mdstream.bus import connect as connect_bus
from mdstream.client import SubscriptionRefused, connect
from mdstream.gateway import Gateway, GatewayConfig
from mdstream.model import InstrumentId


async def announce(bus: Bus, name: str, bid: int) -> None:
    id = InstrumentId.parse(name)
    ref = {"epoch": 1_000, "price_exp": -2, "size_exp": -3, "tick": 1, "lot": 1, "name": name}
    snap = [2, 1_000, 1, 1, [bid, 5], [bid + 1, 5]]
    for stream, value in (("ref", ref), ("status", [5, 1_000, 1, "trading", None]), ("snap", snap)):
        await bus.publish_acked(subject(id, stream), msgpack.packb(value))


async def start(url: str, port: int = 0) -> Gateway:
    gateway = Gateway(GatewayConfig(nats=(url,), port=port, admin_port=0, drain_spread_ms=0))
    await gateway.start()
    await gateway.wait_ready()
    return gateway


async def until(subscription: Any, reached: Any) -> None:
    async with asyncio.timeout(20):
        updates = subscription.updates()
        while not reached():
            await anext(updates)


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_a_board_and_a_list_stay_right_over_a_restart_of_the_gateway(run, nats_server, format) -> None:
    async def scenario() -> None:
        async with await connect_bus(nats_server.url) as bus:
            await bus.ensure_streams()
            await announce(bus, "SIM:A", 1_000)
            await announce(bus, "SIM:B", 2_000)
            gateway = await start(nats_server.url)
            try:
                async with connect(gateway.url, format=format) as client:
                    listing = await client.instruments("SIM:*", interval_ms=100)
                    assert list(listing.rows) == ["SIM:A", "SIM:B"]
                    board = await client.board("SIM:*", interval_ms=100)
                    await until(board, lambda: all(row.state == "live" for row in board.rows.values()))
                    assert board.rows["SIM:A"].bid == Decimal("10.00")
                    await until(listing, lambda: listing.rows["SIM:B"].state == "live")

                    port = gateway.port
                    await gateway.stop()
                    await announce(bus, "SIM:C", 3_000)
                    gateway = await start(nats_server.url, port)
                    await until(board, lambda: "SIM:C" in board.rows and board.rows["SIM:C"].state == "live")
                    await until(listing, lambda: "SIM:C" in listing.rows)
                    assert board.trusted and board.rows["SIM:C"].ask == Decimal("30.01")
                    book = await client.book("SIM:A", group_digits=3)
                    assert book.granted_group == 10
                    with pytest.raises(SubscriptionRefused, match="max_board_rows|interval_ms"):
                        await client.board("SIM:*", interval_ms=20)
                async with connect([gateway.url, gateway.url], format=format, lines=2) as client:
                    book = await client.book("SIM:A", group_digits=3)
                    assert [report.line for report in book.lines] == [0]  # two might choose different groups
            finally:
                await gateway.stop()

    run(scenario())
