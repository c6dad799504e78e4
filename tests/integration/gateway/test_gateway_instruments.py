"""Instruments that come, stall, change and are let go."""

from __future__ import annotations

import asyncio

import msgpack

from mdstream.bus import subject

BOOK = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
BIDS, ASKS = [1000, 5, 999, 6], [1001, 7, 1002, 8]


async def metric(http, server, line: str) -> bool:
    """Whether the metrics page has this line."""
    response = await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return line in response.body.decode().splitlines()


async def until_metric(http, server, line: str) -> None:
    while not await metric(http, server, line):
        await asyncio.sleep(0.02)


def test_a_hundred_subscribers_at_once_share_one_opening(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            clients = [await ws.open(server.port, format) for format in ("json", "msgpack") * 50]
            for client in clients:
                client.send({**BOOK, "depth": 10})
            subs = {(await client.until("subscribed"))["sub"] for client in clients}
            assert len(subs) == 1
            snapshots = [await client.until("snapshot") for client in clients]
            assert {snapshot["crc"] for snapshot in snapshots} == {snapshots[0]["crc"]}
            await pub.book([1000, 6], [])
            deltas = [await client.until("delta") for client in clients]
            assert {delta["last"] for delta in deltas} == {2}

    run(scenario())


def test_an_instrument_without_subscribers_is_let_go_and_opens_again(
    run, nats_server, gateway, feed, ws, http
) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url, linger_ms=0) as server:
            await pub.announce(BIDS, ASKS)
            first = await ws.open(server.port)
            first.send(BOOK)
            await first.until("snapshot")
            await until_metric(http, server, 'mdstream_instruments{state="live"} 1.0')
            await first.abort()
            await until_metric(http, server, 'mdstream_instruments{state="live"} 0.0')
            await pub.book([1000, 9], [])
            await pub.stored()
            second = await ws.open(server.port)
            second.send(BOOK)
            snapshot = await second.until("snapshot")
            assert (snapshot["seq"], snapshot["bids"][0]) == (2, ["10.00", "0.009"])

    run(scenario())


def test_a_subscription_before_the_book_is_told_recovering_then_shown(
    run, nats_server, gateway, feed, ws
) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            # Announced, but the first book update is not there: number 1 is missing and no snapshot to begin with.
            ref = {"epoch": pub.epoch, "price_exp": -2, "size_exp": -3}
            await pub.bus.publish_acked(subject(pub.id, "ref"), msgpack.packb(ref))
            await pub.put("book", [1, pub.epoch, 2, 2, 5, [1000, 1], []])
            await pub.bus.flush()
            client = await ws.open(server.port)
            client.send(BOOK)
            sub = (await client.until("subscribed"))["sub"]
            state = await client.recv()
            assert (state["type"], state["sub"], state["state"]) == ("state", sub, "recovering")
            client.send({"op": "recover", "sub": sub, "from": 0})
            assert (await client.until("error"))["code"] == "unavailable"
            await pub.put("snap", [2, pub.epoch, 2, 5, [1000, 1], []])
            snapshot = await client.until("snapshot")
            assert (snapshot["seq"], snapshot["reason"]) == (2, "subscribe")
            assert (await client.until("state"))["state"] == "live"

    run(scenario())


def test_other_decimals_end_the_subscriptions_and_a_new_one_has_them(
    run, nats_server, gateway, feed, ws
) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port)
            client.send({**BOOK, "depth": 5}, {**BOOK, "depth": 10})
            subs = [(await client.until("subscribed"))["sub"] for _ in range(2)]
            pub.epoch += 1
            ref = {"epoch": pub.epoch, "price_exp": -3, "size_exp": -3}
            await pub.bus.publish_acked(subject(pub.id, "ref"), msgpack.packb(ref))
            await pub.bus.publish_acked(
                subject(pub.id, "snap"), msgpack.packb([2, pub.epoch, 1, 1, BIDS, ASKS])
            )
            ended = await client.until("unsubscribed")
            assert sorted(ended["subs"]) == sorted(subs)
            assert ended["reason"] == "rescaled"
            client.send(BOOK)
            assert (await client.until("subscribed"))["price_exp"] == -3
            snapshot = await client.until("snapshot")
            assert (snapshot["epoch"], snapshot["bids"][0][0]) == (pub.epoch, "1.000")

    run(scenario())


def test_nats_that_does_not_answer_is_unavailable_within_the_deadline(
    run, nats_server, gateway, feed, ws
) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:A") as pub,
            gateway(nats_server.url, open_timeout_ms=200) as server,
        ):
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port)
            await client.until("welcome")
            nats_server.pause()
            try:
                client.send({**BOOK, "id": 1}, {"op": "ping", "id": 2})
                assert (await client.recv())["id"] == 2, "others need not wait"
                error = await client.recv()
                assert (error["id"], error["code"]) == (1, "unavailable")
            finally:
                nats_server.resume_process()
            while True:  # a busy server may again take longer than that
                client.send(BOOK)
                answer = await client.recv()
                if answer["type"] != "error":
                    break
                assert answer["code"] == "unavailable"
            await client.until("snapshot")

    run(scenario())


def test_nats_restarted_nobody_is_disconnected_and_the_book_is_whole(
    run, nats_server, gateway, feed, ws
) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port)
            client.send(BOOK)
            await client.until("snapshot")
            await pub.book([1000, 6], [])
            await client.until("delta", last=2)
            nats_server.kill()
            assert (await client.until("state"))["state"] == "stale"
            await nats_server.restart()
            while (await client.until("state"))["state"] != "live":
                pass
            await pub.book([1000, 7], [])
            delta = await client.until("delta")
            assert (delta["first"], delta["last"], delta["bids"]) == (3, 3, [["10.00", "0.007"]])

    run(scenario())


def test_silence_is_stale_until_the_next_update(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:A") as pub,
            gateway(nats_server.url, stale_after_ms=200) as server,
        ):
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port)
            client.send(BOOK)
            await client.until("snapshot")
            assert "silent" in (await client.until("state", state="stale"))["reason"]
            await pub.book([1000, 6], [])
            assert (await client.until("state"))["state"] == "live"

    run(scenario())
