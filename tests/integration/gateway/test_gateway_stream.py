"""What subscribers see, over real sockets and a real nats-server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mdstream.bus import BusOptions, EmbeddedNats, connect
from mdstream.model import State
from support.certificates import certificate, needs_openssl
from support.unread import unread

FORMATS = ("json", "msgpack")
BIDS, ASKS = [1000, 5, 999, 6], [1001, 7, 1002, 8]


def decimals(flat: list[Any], format: str) -> list[tuple[str, str]]:
    """Levels of a message as decimals of price_exp -2 and size_exp -3, whatever the format."""
    if format == "json":
        return [(price, size) for price, size in flat]
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [(f"{ticks / 100:.2f}", f"{lots / 1000:.3f}") for ticks, lots in pairs]


@pytest.mark.parametrize("format", FORMATS)
def test_a_book_from_snapshot_to_delta(format, run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port, format)
            welcome = await client.recv()
            assert welcome["type"] == "welcome"
            assert (welcome["version"], welcome["node"], welcome["heartbeat_ms"]) == (1, "test", 15_000)
            assert welcome["limits"]["depths"] == [0, 1, 5, 10, 20, 50, 100]
            client.send({"op": "subscribe", "id": "s1", "channel": "book", "instruments": ["SIM:A"]})
            subscribed = await client.recv()
            sub = subscribed.pop("sub")
            assert subscribed == {
                "type": "subscribed",
                "id": "s1",
                "channel": "book",
                "instrument": "SIM:A",
                "depth": 0,
                "group": 1,
                "interval_ms": 0,
                "price_exp": -2,
                "size_exp": -3,
                "ref": {"tick": 1, "lot": 1, "name": "SIM:A", "depth": 0},
                "resumed": False,
            }
            snapshot = await client.until("snapshot")
            assert (snapshot["sub"], snapshot["epoch"], snapshot["seq"]) == (sub, 1_000, 1)
            assert snapshot["reason"] == "subscribe"
            assert decimals(snapshot["bids"], format) == [("10.00", "0.005"), ("9.99", "0.006")]
            assert decimals(snapshot["asks"], format) == [("10.01", "0.007"), ("10.02", "0.008")]
            await pub.book([1000, 0], [1001, 9])
            delta = await client.until("delta")
            assert (delta["sub"], delta["first"], delta["last"], delta["ts"]) == (sub, 2, 2, 5)
            assert decimals(delta["bids"], format) == [("10.00", "0.000")]
            assert decimals(delta["asks"], format) == [("10.01", "0.009")]

    run(scenario())


@pytest.mark.parametrize("secure", [False, pytest.param(True, marks=needs_openssl)], ids=["tcp", "tls"])
def test_where_all_have_intervals_the_socket_to_nats_is_paused(
    secure, run, gateway, feed, ws, tmp_path
) -> None:
    """And what is sent at the end of an interval is all the same whole, and the newest."""

    async def scenario(options: BusOptions) -> None:
        async with (
            feed(options, "SIM:A") as pub,
            await connect(options) as bus,
            gateway("", bus, coalesce_max_ms=1_000) as server,
        ):
            await pub.announce(BIDS, ASKS)
            conflated, every = await ws.open(server.port), await ws.open(server.port)
            pauses = 0

            async def publish(updates: int) -> None:
                nonlocal pauses
                for _ in range(updates):
                    await pub.book([1000, pub.seq + 1], [])
                    await asyncio.sleep(0.001)
                    pauses += server.scheduler.state == "deferred"

            command = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
            conflated.send(command | {"interval_ms": 1_000})
            assert (await conflated.until("snapshot"))["seq"] == 1
            while pauses < 100:
                await publish(10)
            last = 1
            while last < pub.seq:
                delta = await conflated.until("delta")
                assert delta["first"] == last + 1
                last = delta["last"]
            assert decimals(delta["bids"], "json") == [("10.00", f"{pub.seq / 1000:.3f}")]
            every.send(command)
            await every.until("snapshot")
            while server.scheduler.state == "deferred":
                await asyncio.sleep(0.001)
            await publish(1)
            await every.until("delta", last=pub.seq)  # until it was sent something, it may be late once
            pauses = 0
            await publish(100)
            assert pauses == 0

    async def with_nats() -> None:
        config, scheme, cert = "", "nats", None
        if secure:
            cert, key = certificate(tmp_path, "server")
            config, scheme = f'tls {{ cert_file: "{cert}", key_file: "{key}" }}', "tls"
        async with await EmbeddedNats.start(extra_config=config) as nats:
            await scenario(BusOptions((nats.url.replace("nats", scheme, 1),), tls_ca=cert))

    run(with_nats())


def test_the_socket_to_nats_is_read_before_a_tick(run, nats_server, gateway, feed, ws) -> None:
    """A pause is as long as two ticks here."""

    async def scenario() -> None:
        url = nats_server.url
        async with (
            feed(url, "SIM:A") as pub,
            await connect(url) as bus,
            gateway(url, bus, coalesce_max_ms=1_000) as server,
        ):
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port)
            command = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
            client.send(command | {"interval_ms": 1_000})
            await client.until("snapshot")
            ticked = asyncio.Event()
            server.ticked = ticked.set
            while server.scheduler.state == "deferred":
                await asyncio.sleep(0.001)
            while server.scheduler.state != "deferred":
                await pub.book([1000, pub.seq + 1], [])
                await asyncio.sleep(0.001)
            taken = bus.client.stats["in_msgs"]
            await pub.book([1000, pub.seq + 1], [])
            while not unread(bus) and bus.client.stats["in_msgs"] == taken:
                await asyncio.sleep(0.001)
            ticked.clear()
            await ticked.wait()
            assert bus.client.stats["in_msgs"] > taken

    run(scenario())


def test_the_keys_of_control_messages_stand_in_the_contracts_order(
    run, nats_server, gateway, feed, ws
) -> None:
    orders = {
        "welcome": "type version node session time heartbeat_ms limits",
        "subscribed": "type id sub channel instrument depth group interval_ms price_exp size_exp ref resumed",
        "unsubscribed": "type id subs reason",
        "error": "type id code message",
        "pong": "type id data time",
    }

    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            for format in FORMATS:
                client = await ws.open(server.port, format)
                client.send({"op": "subscribe", "id": 1, "channel": "book", "instruments": ["SIM:A"]})
                subscribed = await client.until("subscribed")
                client.send(
                    {"op": "unsubscribe", "id": 2, "subs": [subscribed["sub"]]},
                    {"op": "ping", "id": 3, "data": {"a": [1, None]}},
                    {"op": "nope", "id": 4},
                )
                seen = {"subscribed": subscribed}
                while "error" not in seen:
                    message = await client.recv()
                    seen[message["type"]] = message
                assert seen["unsubscribed"]["subs"] == [subscribed["sub"]]
                assert seen["pong"]["data"] == {"a": [1, None]}
                assert seen["error"]["code"] == "unknown_op"
                for type, message in seen.items():
                    if type in orders:
                        assert list(message) == orders[type].split()

    run(scenario())


def test_an_answer_without_id_to_a_command_without_id(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            client = await ws.open(server.port)
            client.send({"op": "ping"}, {"op": "nope"}, {"op": "nope", "id": True})
            assert list(await client.until("pong")) == ["type", "time"]
            assert list(await client.until("error")) == ["type", "code", "message"]
            assert list(await client.until("error")) == ["type", "code", "message"]

    run(scenario())


def test_many_instruments_in_one_command_are_answered_in_order(run, nats_server, gateway, feed, ws) -> None:
    names = [f"SIM:I{i}" for i in range(20)]

    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:I0") as pub, gateway(nats_server.url) as server:
            for name in names:
                await type(pub)(pub.bus, name).announce(BIDS, ASKS)
            client = await ws.open(server.port, "msgpack")
            client.send({"op": "subscribe", "channel": "book", "depth": 5, "instruments": names})
            seen, shown = {}, set()
            while len(shown) < len(names):
                message = await client.recv()
                if message["type"] == "subscribed":
                    seen[message["sub"]] = message["instrument"]
                elif message["type"] == "snapshot":
                    assert message["sub"] in seen, "data before subscribed"
                    shown.add(message["sub"])
            assert list(seen.values()) == names

    run(scenario())


def test_subscribing_twice_answers_the_number_and_sends_nothing_again(
    run, nats_server, gateway, feed, ws
) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port)
            command = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"], "depth": 10}
            client.send({**command, "id": 1})
            first = await client.until("subscribed")
            await client.until("snapshot")
            client.send({**command, "id": 2}, {"op": "ping"})
            assert await client.until("subscribed") == {**first, "id": 2, "resumed": True}
            assert (await client.recv())["type"] == "pong"
            await pub.book([1000, 1], [])
            assert (await client.until("delta"))["first"] == 2
            client.send({"op": "ping"})
            assert (await client.recv())["type"] == "pong", "a second delta"

    run(scenario())


def test_one_unknown_instrument_among_several_changes_nothing(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port)
            client.send({"op": "subscribe", "id": 1, "channel": "book", "instruments": ["SIM:A", "SIM:NONE"]})
            error = await client.until("error")
            assert (error["id"], error["code"]) == (1, "unknown_instrument")
            assert "SIM:NONE" in error["message"]
            # Now it is open, and the refusal takes the short way; still nothing may change.
            client.send({"op": "subscribe", "id": 2, "channel": "book", "instruments": ["SIM:A", "SIM:NONE"]})
            assert (await client.recv())["id"] == 2
            client.send({"op": "unsubscribe", "id": 3, "subs": [1]}, {"op": "ping"})
            assert (await client.recv())["code"] == "unknown_sub"
            await pub.book([1000, 1], [])
            await pub.bus.flush()
            assert (await client.recv())["type"] == "pong"

    run(scenario())


def test_unsubscribe_of_one_unknown_number_changes_nothing(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port)
            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            sub = (await client.until("subscribed"))["sub"]
            await client.until("snapshot")
            client.send({"op": "unsubscribe", "id": 1, "subs": [sub, sub + 1]})
            assert (await client.until("error"))["code"] == "unknown_sub"
            await pub.book([1000, 1], [])
            assert (await client.until("delta"))["sub"] == sub
            client.send({"op": "unsubscribe", "id": 2, "subs": [sub]})
            assert (await client.until("unsubscribed"))["subs"] == [sub]
            client.send({"op": "recover", "id": 3, "sub": sub, "from": 0})
            assert (await client.until("error"))["code"] == "unknown_sub"

    run(scenario())


@pytest.mark.parametrize("format", FORMATS)
def test_trades_and_ticker(format, run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port, format)
            client.send({"op": "subscribe", "channel": "trades", "instruments": ["SIM:A"]})
            trades_sub = (await client.until("subscribed"))["sub"]
            client.send({"op": "subscribe", "channel": "ticker", "instruments": ["SIM:A"]})
            ticker_sub = (await client.until("subscribed"))["sub"]
            ticker = await client.until("ticker")
            assert ticker["sub"] == ticker_sub
            assert list(ticker["last"] or (None, None)) == [None, None]
            await pub.trade(1001, 3, side=1)
            trades = await client.until("trades")
            assert (trades["sub"], trades["first"], trades["last"]) == (trades_sub, 1, 1)
            expected = [1, 7, "10.01", "0.003", "buy", "t1"] if format == "json" else [1, 7, 1001, 3, 1, "t1"]
            assert trades["trades"] == [expected]
            ticker = await client.until("ticker")
            assert list(ticker["last"]) == (["10.01", "0.003"] if format == "json" else [1001, 3])

    run(scenario())


def test_recover_is_answered_on_the_same_subscription(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS * 1, ASKS)
            client = await ws.open(server.port)
            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            sub = (await client.until("subscribed"))["sub"]
            await client.until("snapshot")
            for size in (1, 2, 3):
                await pub.book([1000, size], [])
            await client.until("delta", last=4)
            client.send({"op": "recover", "sub": sub, "from": 3})
            delta = await client.until("delta")
            assert (delta["first"], delta["last"], delta["bids"]) == (3, 4, [["10.00", "0.003"]])
            for from_seq in (0, 5, 2**53 - 1):
                client.send({"op": "recover", "sub": sub, "from": from_seq})
                snapshot = await client.until("snapshot")
                assert (snapshot["seq"], snapshot["reason"]) == (4, "recover")

    run(scenario())


def test_resume_goes_on_without_a_snapshot_also_where_the_instrument_was_not_open(
    run, nats_server, gateway, feed, ws
) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:A") as pub,
            gateway(nats_server.url) as first,
            gateway(nats_server.url) as second,
        ):
            await pub.announce(BIDS, ASKS)
            client = await ws.open(first.port)
            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            await client.until("snapshot")
            for size in (1, 2):
                await pub.book([1000, size], [])
            await client.until("delta", last=3)
            client.close()
            for size in (3, 4):
                await pub.book([1000, size], [])
            await pub.stored()
            moved = await ws.open(second.port)
            resume = {"SIM:A": [pub.epoch, 3]}
            moved.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"], "resume": resume})
            assert (await moved.until("subscribed"))["resumed"] is True
            delta = await moved.until("delta")
            assert (delta["first"], delta["last"], delta["bids"]) == (4, 5, [["10.00", "0.004"]])
            moved.send(
                {
                    "op": "subscribe",
                    "channel": "book",
                    "depth": 5,
                    "instruments": ["SIM:A"],
                    "resume": {"SIM:A": [1, 1]},
                }
            )
            assert (await moved.until("subscribed"))["resumed"] is False
            assert (await moved.until("snapshot"))["reason"] == "subscribe"

    run(scenario())


def test_states_are_told_to_who_is_there_and_to_who_comes(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            there = await ws.open(server.port)
            there.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            await there.until("snapshot")
            await pub.status("halted", "volatility")
            halted = await there.until("state", state=State.HALTED)
            assert halted["reason"] == "volatility"
            comes = await ws.open(server.port, "msgpack")
            comes.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            sub = (await comes.until("subscribed"))["sub"]
            state = await comes.recv()
            assert (state["type"], state["sub"], state["state"]) == ("state", sub, "halted")
            assert state["since"] == halted["since"]
            assert (await comes.recv())["type"] == "snapshot"
            for status, told in (("feed_down", "stale"), ("closed", "closed"), ("trading", "live")):
                await pub.status(status)
                for client in (there, comes):
                    assert (await client.until("state"))["state"] == told

    run(scenario())


def test_both_formats_tell_the_same(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            views = []
            for format in FORMATS:
                client = await ws.open(server.port, format)
                client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"], "depth": 5})
                await client.until("subscribed")
                views.append((format, client, [await client.until("snapshot")]))
            for size in range(1, 50):
                await pub.book([1000 - size % 7, size], [1001 + size % 5, size])
            for _, client, seen in views:
                while seen[-1].get("last") != 50:
                    seen.append(await client.until("delta"))
            told = [
                [(m["crc"], decimals(m["bids"], f), decimals(m["asks"], f)) for m in seen]
                for f, _, seen in views
            ]
            assert told[0][0] == told[1][0]
            assert told[0][-1][0] == told[1][-1][0]

    run(scenario())


def test_heartbeats_come_with_the_newest_number(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:A") as pub,
            gateway(nats_server.url, heartbeat_ms=100) as server,
        ):
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port)
            assert (await client.until("heartbeat"))["seqs"] == []
            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            sub = (await client.until("subscribed"))["sub"]
            await client.until("snapshot")
            await pub.book([1000, 1], [])
            await client.until("delta", last=2)
            while (await client.until("heartbeat"))["seqs"] != [[sub, 2]]:
                pass

    run(scenario())


def test_the_limit_of_subscriptions_counts_each_once(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:A") as pub,
            gateway(nats_server.url, max_subscriptions=2) as server,
        ):
            await pub.announce(BIDS, ASKS)
            client = await ws.open(server.port)
            command = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
            client.send({**command, "depth": 5}, {**command, "depth": 10})
            for _ in range(2):
                await client.until("snapshot")
            client.send({**command, "depth": 5}, {**command, "depth": 20, "id": 1})
            assert (await client.until("subscribed"))["depth"] == 5
            error = await client.until("error")
            assert (error["id"], error["code"]) == (1, "limit_subscriptions")
            assert "2 of 2" in error["message"]

    run(scenario())
