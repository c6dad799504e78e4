"""The channels ``instruments`` and ``board``, and ``GET /v1/instruments``, for who knows no symbol."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mdstream.bus import connect
from support.tokens import CLAIMS, public_pem, sign

LIST = {"op": "subscribe", "channel": "instruments", "instruments": ["*"], "interval_ms": 100}
BOARD = {"op": "subscribe", "channel": "board", "instruments": ["*"], "interval_ms": 100}
LIVE = 1


def bearer(path: Path, *grants: dict[str, Any]) -> str:
    path.write_bytes(public_pem("EdDSA"))
    now_s = int(time.time())
    claims = {**CLAIMS, "sub": "alice", "md": {"grants": list(grants)}, "iat": now_s, "exp": now_s + 600}
    return f"Bearer {sign(claims).decode()}"


async def row_of(client: Any, index: int, accepts: Any) -> list[Any]:
    """The next row of an instrument that is accepted, from a board's messages."""
    while True:
        message = await client.recv()
        assert message["type"] in ("board_snapshot", "board"), message
        for row in message["rows"]:
            if row[0] == index and accepts(row):
                return row


def test_a_list_comes_in_pages_and_then_as_what_changes(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with (
            gateway(nats_server.url) as server,
            feed(nats_server.url, "SIM:B") as first,
            feed(nats_server.url, "SIM:A") as second,
        ):
            await first.announce([1000, 5], [1001, 7])
            client = await ws.open(server.port)
            client.send({**LIST, "id": 1})
            subscribed = await client.until("subscribed", id=1)
            assert subscribed == {
                "type": "subscribed",
                "id": 1,
                "sub": subscribed["sub"],
                "channel": "instruments",
                "instruments": ["*"],
                "interval_ms": 100,
                "resumed": False,
            }
            page = await client.recv()
            assert (page["type"], page["page"], page["more"]) == ("instruments", 1, False)
            (row,) = page["rows"]
            assert (row["instrument"], row["price_exp"], row["size_exp"]) == ("SIM:B", -2, -3)
            assert (row["state"], row["code"], row["epoch"]) == ("unknown", None, 1_000)

            await second.announce([1000, 5], [1001, 7])
            changed = await client.until("instruments_changed")
            assert [row["instrument"] for row in changed["rows"]] == ["SIM:A"]
            assert (changed["first"], changed["last"]) == (page["seq"] + 1, page["seq"] + 1)

            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            while (await client.until("instruments_changed"))["rows"][0]["state"] != "live":
                pass

            client.send({"op": "recover", "id": 2, "sub": page["sub"], "from": 0})
            page = await client.until("instruments")
            assert [row["instrument"] for row in page["rows"]] == ["SIM:A", "SIM:B"]

    run(scenario())


def test_a_purged_ref_is_gone(run, nats_server, gateway, feed, ws, monkeypatch) -> None:
    monkeypatch.setattr("mdstream.bus.directory.AGAIN_S", 0.2)

    async def scenario() -> None:
        async with (
            gateway(nats_server.url) as server,
            feed(nats_server.url, "SIM:OLD") as old,
            feed(nats_server.url, "SIM:NEW") as new,
        ):
            await old.announce()
            await new.announce()
            client = await ws.open(server.port, "msgpack")
            client.send(LIST, BOARD)
            assert len((await client.until("instruments"))["rows"]) == 2
            await old.bus.jetstream.purge_stream("MD_STATE", subject="md.SIM.OLD.ref")
            gone: dict[str, list[Any]] = {}
            while gone != {"instruments_changed": ["SIM:OLD"], "board": [1]}:
                message = await client.recv()
                if message.get("gone"):
                    gone[message["type"]] = message["gone"]

    run(scenario())


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_a_board_has_the_newest_prices_and_only_what_changed(
    run, nats_server, gateway, feed, ws, format
) -> None:
    number = (lambda text, ticks: text) if format == "json" else (lambda text, ticks: ticks)

    async def scenario() -> None:
        async with (
            gateway(nats_server.url) as server,
            feed(nats_server.url, "SIM:A") as a,
            feed(nats_server.url, "SIM:B") as b,
        ):
            for each in (a, b):
                await each.announce([1000, 5], [1001, 7])
            client = await ws.open(server.port, format)
            client.send({**BOARD, "id": 1})
            board = await client.until("subscribed", id=1)
            names = await client.recv()
            assert names["type"] == "board_names"
            assert names["names"] == [[0, "SIM:A", -2, -3], [1, "SIM:B", -2, -3]]
            row = await row_of(client, 0, lambda row: row[1] == LIVE)
            assert row[2:5] == [number("10.00", 1000), number("10.01", 1001), None]

            await a.trade(1001, 3)
            await a.book([1000, 0, 999, 4], [])
            row = await row_of(client, 0, lambda row: row[4] is not None and row[2] != number("10.00", 1000))
            assert row[2:5] == [number("9.99", 999), number("10.01", 1001), number("10.01", 1001)]

            await b.status("halted")
            assert await row_of(client, 1, lambda row: row[1] == 4)

            client.send({"op": "recover", "sub": board["sub"], "from": 1})
            message = await client.until("board", first=1)
            assert {row[0] for row in message["rows"]} == {0, 1}

    run(scenario())


def test_a_board_resumes_on_its_gateway_and_names_are_not_sent_again(
    run, nats_server, gateway, feed, ws
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server, feed(nats_server.url, "SIM:A") as a:
            await a.announce([1000, 5], [1001, 7])
            client = await ws.open(server.port)
            client.send(BOARD)
            snapshot = await client.until("board_snapshot")
            seen = snapshot["seq"]
            if snapshot["rows"][0][1] != LIVE:
                while (message := await client.until("board"))["rows"][0][1] != LIVE:
                    pass
                seen = message["last"]
            client.close()
            again = await ws.open(server.port)
            again.send({**BOARD, "resume": [snapshot["epoch"], seen]})
            assert (await again.until("subscribed"))["resumed"] is True
            await a.book([1000, 6, 1002, 1], [])
            message = await again.recv()
            assert (message["type"], message["first"]) == ("board", seen + 1)
            again.send({**BOARD, "instruments": ["SIM:*"], "resume": [snapshot["epoch"], seen]})
            assert (await again.until("subscribed"))["resumed"] is False

    run(scenario())


def test_statistics_of_the_day_come_from_the_bus(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server, feed(nats_server.url, "SIM:A") as a:
            await a.bus.jetstream.add_stream(name="MD_CANDLES", subjects=["stats.>"])
            await a.announce([1000, 5], [1001, 7])
            now_us = time.time_ns() // 1000
            since_us = now_us - 3_600_000_000
            # In a finer scale than the instrument's.
            told = [6, 1_000, now_us, 99_900, 100_200, 99_800, 123_000, 9, since_us, -4, -3, 0]
            await a.bus.publish_acked("stats.SIM.A", msgpack.packb(told))
            client = await ws.open(server.port)
            client.send(BOARD)
            await client.until("board_names")
            row = await row_of(client, 0, lambda row: row[5] is not None)
            assert row[5:] == ["9.99", "10.02", "9.98", "123.000", since_us]
            told[4] = 100_400
            await a.bus.publish("mdstream.candles.stats.SIM.A", msgpack.packb(told))
            row = await row_of(client, 0, lambda row: row[6] != "10.02")
            assert row[6] == "10.04"

    run(scenario())


def test_nothing_is_read_until_somebody_asks_and_it_is_given_back(
    run, nats_server, gateway, feed, ws, monkeypatch
) -> None:
    for place in ("mdstream.bus.held.KEPT_S", "mdstream.gateway.overviews.KEPT_S"):
        monkeypatch.setattr(place, 0.05)

    async def scenario() -> None:
        bus = await connect(nats_server.url)
        await bus.ensure_streams()
        async with bus, gateway(nats_server.url, bus, linger_ms=0) as server:
            async with feed(nats_server.url, "SIM:A") as a:
                await a.announce([1000, 5], [1001, 7])

                async def consumers() -> int:
                    return (await bus.jetstream.stream_info("MD_STATE")).state.consumer_count

                assert server._instruments.readers.directory.refs == {}
                client = await ws.open(server.port)
                client.send(BOARD)
                await client.until("board_snapshot")
                board = (await client.until("board"))["sub"]
                client.send({"op": "unsubscribe", "subs": [board]})
                await client.until("unsubscribed")
                async with asyncio.timeout(10):
                    while server._instruments.readers.directory.refs or list(server._instruments):
                        await asyncio.sleep(0.05)
                assert len(server._sessions.subscriptions.overviews) == 0
                assert await consumers() == 0

    run(scenario())


def test_what_a_user_may_not_see_is_left_out(run, nats_server, gateway, feed, ws, http, tmp_path) -> None:
    grant = {"channels": ["instruments", "board"], "instruments": ["SIM:*"], "interval_ms": 100}
    path = tmp_path / "public.pem"
    token = bearer(path, grant)

    async def scenario() -> None:
        async with (
            gateway(nats_server.url, auth_key_file=(path,)) as server,
            feed(nats_server.url, "SIM:A") as sim,
            feed(nats_server.url, "X:A") as x,
        ):
            for each in (sim, x):
                await each.announce([1000, 5], [1001, 7])
            client = await ws.open(server.port, Authorization=token)
            client.send(LIST, BOARD)
            page = await client.until("instruments")
            assert [row["instrument"] for row in page["rows"]] == ["SIM:A"]
            assert [name for _, name, *_ in (await client.until("board_names"))["names"]] == ["SIM:A"]
            for pattern in ("X:*", "X:A", "NOWHERE:*"):
                client.send({**LIST, "instruments": ["SIM:*", pattern]})
                error = await client.until("error")
                assert error["code"] == "not_entitled" and pattern in error["message"]
            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            assert (await client.until("error"))["code"] == "not_entitled"

            head = f"Host: localhost\r\nAuthorization: {token}\r\n\r\n"
            answer = await http(server.port, f"GET /v1/instruments HTTP/1.1\r\n{head}".encode())
            assert answer.status == 200
            assert [row["instrument"] for row in json.loads(answer.body)["rows"]] == ["SIM:A"]
            for query, status in (("?match=X:*", 403), ("?match=SIM", 400), ("?limit=0", 400), ("?x=1", 400)):
                answer = await http(server.port, f"GET /v1/instruments{query} HTTP/1.1\r\n{head}".encode())
                assert answer.status == status, (query, answer.body)
            answer = await http(server.port, b"GET /v1/instruments HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer.status == 401

    run(scenario())


def test_pages_over_http_follow_each_other(run, nats_server, gateway, feed, http) -> None:
    names = [f"SIM:S{number}" for number in range(5)]

    async def scenario() -> None:
        async with gateway(nats_server.url) as server, feed(nats_server.url, names[0]) as first:
            for name in names:
                await type(first)(first.bus, name).announce()
            found, after = [], ""
            while after is not None:
                target = f"/v1/instruments?match=SIM:*&limit=2&after={after}"
                answer = await http(server.port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
                page = json.loads(answer.body)
                found += [row["instrument"] for row in page["rows"]]
                after = page["next"]
            assert found == names
            request = b"GET /v1/instruments HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n\r\n"
            assert (await http(server.port, request)).status == 403
            request = b"HEAD /v1/instruments HTTP/1.1\r\nHost: x\r\n\r\n"
            answer = await http(server.port, request)
            assert (answer.status, answer.body) == (200, b"")
            request = b"DELETE /v1/instruments HTTP/1.1\r\nHost: x\r\n\r\n"
            assert (await http(server.port, request)).status == 405

    run(scenario())


def test_a_board_has_its_bounds(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with (
            gateway(nats_server.url, max_board_rows=1, max_boards=2) as server,
            feed(nats_server.url, "SIM:A") as a,
            feed(nats_server.url, "SIM:B") as b,
        ):
            for each in (a, b):
                await each.announce([1000, 5], [1001, 7])
            client = await ws.open(server.port)
            client.send(BOARD)
            error = await client.until("error")
            assert error["code"] == "limit_subscriptions" and "max_board_rows" in error["message"]
            client.send({**BOARD, "instruments": ["SIM:A"]}, LIST, {**LIST, "instruments": ["SIM:*"]})
            error = await client.until("error")
            assert error["code"] == "limit_subscriptions" and "max_boards" in error["message"]
            for wrong in (
                {"interval_ms": 20},
                {"depth": 1},
                {"instruments": ["a"]},
                {"resume": {"SIM:A": [1, 2]}},
            ):
                client.send({**BOARD, **wrong})
                assert (await client.until("error"))["code"] == "bad_value", wrong

    run(scenario())


def test_a_book_in_groups_of_so_many_digits(run, nats_server, gateway, feed, ws) -> None:
    ask = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}

    async def scenario() -> None:
        async with gateway(nats_server.url) as server, feed(nats_server.url, "SIM:A") as a:
            await a.announce([123_456, 5], [123_460, 7])
            client = await ws.open(server.port)
            client.send({**ask, "group_digits": 4, "interval_ms": 20})
            subscribed = await client.until("subscribed")
            assert (subscribed["group"], subscribed["interval_ms"]) == (100, 20)
            assert (await client.until("snapshot"))["bids"] == [["1234.00", "0.005"]]
            await a.book([123_456, 0, 123_399, 1], [])
            assert ["1233.00", "0.001"] in (await client.until("delta"))["bids"]
            for wrong in ({"group_digits": 2}, {"group_digits": 3, "group": 10}):
                client.send({**ask, **wrong})
                assert (await client.until("error"))["code"] == "bad_value"

    run(scenario())


def test_who_looks_at_a_board_uses_all_its_instruments(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with (
            gateway(nats_server.url, usage_enabled=True) as server,
            feed(nats_server.url, "SIM:A") as a,
        ):
            await a.announce([1000, 5], [1001, 7])
            client = await ws.open(server.port)
            client.send(LIST, BOARD)
            board = (await client.until("board_snapshot"))["sub"]
            counts = server._usage.usage._counts
            assert list(counts) == ["SIM:A"]
            (count,) = counts["SIM:A"].values()
            assert count.depths == {1: 1}
            client.send({"op": "unsubscribe", "subs": [board]})
            await client.until("unsubscribed")
            assert count.depths == {}

    run(scenario())


def test_one_user_leaves_room_for_others(run, nats_server, gateway, feed, ws, monkeypatch) -> None:
    monkeypatch.setattr("mdstream.gateway.overviews.MOST", 4)
    monkeypatch.setattr("mdstream.gateway.overviews.SHARE", 2)

    async def scenario() -> None:
        async with gateway(nats_server.url) as server, feed(nats_server.url, "SIM:A") as a:
            await a.announce()
            greedy, modest = await ws.open(server.port), await ws.open(server.port)
            patterns = ["SIM:A", "SIM:*", "SIM:A*"]
            greedy.send(*({**LIST, "instruments": [pattern]} for pattern in patterns))
            error = await greedy.until("error")
            assert error["code"] == "limit_subscriptions" and "your part" in error["message"]
            modest.send({**LIST, "instruments": ["*:A"]})
            assert await modest.until("instruments")
            # What somebody else looks at already has room.
            greedy.send({**LIST, "instruments": ["*:A"]})
            assert (await greedy.until("subscribed", instruments=["*:A"]))["resumed"] is False

    run(scenario())
