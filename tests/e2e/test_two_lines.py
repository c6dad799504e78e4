"""A client that holds two gateways at once: it shows what comes first, and the death of one costs it nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import msgpack
import pytest

from mdstream.client import ConnectionFailed, ConnectionState, LinedBook, Policy, SubscriptionRefused, connect

NAME = "SIM:BTC-USD"
QUICK = Policy(backoff_base_s=0.01, backoff_cap_s=0.05, recover_timeout_s=0.2, silent_heartbeats=100)


async def _reaches(book: Any, seq: int) -> None:
    moved = asyncio.Event()
    stop = book.on_update(lambda _: moved.set())
    while book.seq < seq:
        moved.clear()
        await moved.wait()
    stop()


def _snapshots(payloads: list[bytes], format: str) -> int:
    """How many snapshots gateways have sent, on either line."""
    if format == "json":
        return sum(json.loads(each)["type"] == "snapshot" for each in payloads)
    unpacker = msgpack.Unpacker()
    unpacker.feed(b"".join(payloads))
    return sum(isinstance(value, list) and value[0] == 2 for value in unpacker)


@pytest.mark.parametrize("view", [{}, {"depth": 5}, {"depth": 5, "interval_ms": 50}], ids=str)
@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_a_gateway_that_dies_costs_no_snapshot_and_no_number(
    view, format, run, nats_server, gateway, market
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url) as here, gateway(url) as there:
            payloads: list[bytes] = []
            urls = [here.url, there.url]
            async with connect(
                urls, lines=2, format=format, policy=QUICK, on_payload=payloads.append
            ) as client:
                book = await client.book(NAME, **view)
                assert isinstance(book, LinedBook)
                trades = await client.trades(NAME)
                shown: list[int] = []
                trades.on_trade(lambda trade: shown.append(trade.seq))
                updates: list[Any] = []
                book.on_update(updates.append)
                states: list[str] = []
                book.on_state(states.append)
                while any(line.state != "live" for line in book.lines):
                    await asyncio.sleep(0.01)
                await sim.play(100)
                await _reaches(book, sim.instrument.seq - 1)
                before = client.stats.recoveries, _snapshots(payloads, format)
                await here.stop(at_once=True)
                await sim.play(100)
                seq = await sim.touch()
                await _reaches(book, seq)
                assert client.state is ConnectionState.OPEN
                assert states == [], "the book was not live all the time"
                assert {update.kind for update in updates} == {"delta"}
                assert (client.stats.recoveries, _snapshots(payloads, format)) == before
                numbers = [(update.first, update.last) for update in updates]
                assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(numbers))
                expected = sim.view(depth=view.get("depth", 0))
                assert (book.bids.flatten().tolist(), book.asks.flatten().tolist()) == expected
                assert [line.ahead for line in book.lines] == [False, True]
                assert book.disagreed == 0
                assert shown == list(range(shown[0], shown[0] + len(shown)))
                assert trades.lost == 0

    run(scenario())


def test_a_line_that_comes_back_takes_part_again(run, nats_server, gateway, market) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url) as here:
            async with connect([here.url, "ws://127.0.0.1:1/v1/stream"], lines=2, policy=QUICK) as client:
                book = await client.book(NAME, depth=5)
                ticker = await client.ticker(NAME)
                first, second = (str(line.state) for line in client.lines)
                assert first == "open" and second in (
                    "connecting",
                    "reconnecting",
                )  # it tries again and again
                await sim.play(20)
                seq = await sim.touch()
                await _reaches(book, seq)
                assert book.state == ticker.state == "live"
                assert book.lines[0].ahead and book.lines[0].first > 0
                assert book.lines[1].first == book.lines[1].late == 0

    run(scenario())


def test_what_no_gateway_has_is_refused_and_no_gateway_is_an_error(run, nats_server, gateway, market) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url), gateway(url) as here, gateway(url) as there:
            async with connect([here.url, there.url], lines=2, policy=QUICK) as client:
                with pytest.raises(SubscriptionRefused, match="UNKNOWN"):
                    await client.book("SIM:UNKNOWN")
                assert client.subscriptions == ()
        with pytest.raises(ConnectionFailed):
            await connect(["ws://127.0.0.1:1/v1/stream", "ws://127.0.0.1:2/v1/stream"], lines=2)
        with pytest.raises(ValueError, match="3 URLs|there are 2 URLs"):
            connect([here.url, there.url], lines=3)

    run(scenario())


def test_topics_go_on_on_the_other_line(run, nats_server, gateway) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as here, gateway(nats_server.url) as there:
            async with (
                connect([here.url, there.url], lines=2, policy=QUICK) as client,
                connect(there.url, policy=QUICK) as other,
            ):
                events = await client.events("desk.a")
                stream = events.updates()
                map = await client.map("desk.a")
                hall = await other.presence("desk.a", interval_ms=100)
                shown = await client.presence("desk.a", join=True, interval_ms=100)
                assert set(client.subscriptions) == {events, map, shown}
                for number in range(4):
                    if number == 2:
                        await here.stop(at_once=True)
                    await other.publish("desk.a", "n", number)
                    assert (await anext(stream)).data == number
                    seq = await client.put("desk.a", {"k": number})
                    while map.seq < seq or hall.count != 1:
                        await asyncio.sleep(0.01)
                    assert map["k"] == number
                assert events.duplicates == 0
                await events.close()
                assert set(client.subscriptions) == {map, shown}

    run(scenario())
