"""The channel ``candles`` and the page ``/v1/candles``, with a real writer of candles, in both formats."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import pytest

from mdstream.candle import MAX_HISTORY, Candle
from mdstream.candles import CandleOptions, CandleWriter
from mdstream.client import SubscriptionRefused, connect
from mdstream.gateway import candle_pulse
from mdstream.model import InstrumentId
from support.candles import RawTrades, Traded, assert_equal, recompute, without_rev
from support.tokens import CLAIMS, sign

BTC = InstrumentId.parse("SIM:BTC-USD")
EPOCH = 1_000_000
BASE_US = 1_764_460_800_000_000
SUBSCRIBE = {"op": "subscribe", "channel": "candles", "instruments": ["SIM:BTC-USD"], "span": "1m"}


def seconds(count: int, *, first: int = 1, step_us: int = 20_000_000) -> list[Traded]:
    """Three trades in a minute."""
    return [
        Traded(EPOCH, seq, BASE_US + seq * step_us, 10_000 + seq * 7 % 50, 1 + seq % 9)
        for seq in range(first, first + count)
    ]


@asynccontextmanager
async def market(nats_server, feed):
    """Trades of SIM:BTC-USD, and a writer of their candles."""
    async with feed(nats_server.url, "SIM:BTC-USD") as raw:
        trades = RawTrades(raw.bus, BTC)
        await trades.announce(EPOCH)
        async with CandleWriter(raw.bus, CandleOptions(interval_s=0.01)) as writer:
            yield trades, writer


async def stored(trades: RawTrades, writer: CandleWriter) -> None:
    """Returns once everything that was published is stored."""
    while not any(
        (each._position.epoch, each._position.seq) >= (trades.published[-1].epoch, trades.published[-1].seq)
        for each in writer.writers
        if each._position is not None
    ):
        await asyncio.sleep(0.01)
    await writer.wait_idle()


def decoded(format: str, row: list[Any]) -> Candle:
    """A row as ticks and lots."""
    if format == "msgpack":
        return Candle(*row)
    price_exp, size_exp = row[11:13]
    prices = [int(Decimal(text).scaleb(-price_exp)) for text in row[2:6]]
    return Candle(*row[:2], *prices, int(Decimal(row[6]).scaleb(-size_exp)), *row[7:])


async def history(client: Any, format: str) -> list[Candle]:
    rows: list[Candle] = []
    while True:
        message = await client.until("candles")
        rows += [decoded(format, row) for row in message["rows"]]
        if not message["more"]:
            return rows


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_history_comes_first_and_then_every_change(run, nats_server, gateway, feed, ws, format) -> None:
    async def scenario() -> None:
        async with market(nats_server, feed) as (trades, writer), gateway(nats_server.url) as server:
            await trades.trade(*seconds(3_300))
            await stored(trades, writer)
            client = await ws.open(server.port, format)
            client.send({**SUBSCRIBE, "id": 1, "history": MAX_HISTORY})
            answer = await client.until("subscribed")
            assert answer["channel"] == "candles" and answer["span"] == "1m" and answer["id"] == 1
            assert (answer["instrument"], answer["price_exp"], answer["size_exp"]) == ("SIM:BTC-USD", -2, -8)
            shown = {candle.start_s: candle for candle in await history(client, format)}
            assert len(shown) == MAX_HISTORY + 1
            await trades.trade(*seconds(10, first=3_301))
            while max(candle.last_seq for candle in shown.values()) < 3_310:
                for row in (await client.until("candles"))["rows"]:
                    candle = decoded(format, row)
                    known = shown.get(candle.start_s)
                    assert known is None or candle.rev > known.rev or candle == known
                    shown[candle.start_s] = candle
            wanted = recompute(trades.published, "1m")
            newest = max(shown)
            for start, candle in shown.items():
                counts = start != newest
                assert without_rev(candle, closed=counts) == without_rev(wanted[start], closed=counts)

    run(scenario())


def test_a_late_trade_corrects_what_a_client_has(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with market(nats_server, feed) as (trades, writer), gateway(nats_server.url) as server:
            await trades.trade(*seconds(100))
            await stored(trades, writer)
            client = await ws.open(server.port)
            client.send({**SUBSCRIBE, "history": 5})
            before = {candle.start_s: candle for candle in await history(client, "json")}
            start = sorted(before)[1]
            await trades.trade(Traded(EPOCH, 101, start * 1_000_000, 77_777, 3))
            corrected = before[start]
            while corrected is before[start]:  # time closes the newest one too
                rows = [decoded("json", row) for row in (await client.until("candles"))["rows"]]
                corrected = next((candle for candle in rows if candle.start_s == start), corrected)
            assert corrected.rev > before[start].rev and corrected.is_closed
            assert (corrected.high, corrected.close, corrected.count) == (
                77_777,
                77_777,
                before[start].count + 1,
            )

    run(scenario())


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_the_python_client_keeps_candles(run, nats_server, gateway, feed, format) -> None:
    async def scenario() -> None:
        async with market(nats_server, feed) as (trades, writer), gateway(nats_server.url) as server:
            await trades.trade(*seconds(300))
            await stored(trades, writer)
            async with connect(server.url, format=format) as client:
                candles = await client.candles("SIM:BTC-USD", span="1m", history=500)
                assert candles is await client.candles("SIM:BTC-USD", span="1m")
                hours = await client.candles("SIM:BTC-USD", span="1h")
                assert len(hours) == 1 and candles.span == "1m"
                await trades.trade(*seconds(20, first=301))
                async for update in candles:
                    if update.candle.last_seq == 320:
                        break
                assert_equal({each.start_s: each for each in candles.all()}, trades.published, "1m")
                newest = candles.newest
                assert newest is not None and newest.prices.close == Decimal(newest.close).scaleb(-2)
            async with connect([server.url, server.url], format=format, lines=2) as client:
                candles = await client.candles("SIM:BTC-USD", history=500)
                assert_equal({each.start_s: each for each in candles.all()}, trades.published, "1m")

    run(scenario())


def test_candles_go_on_after_nats_was_away(run, nats_server, gateway, feed) -> None:
    async def scenario() -> None:
        async with market(nats_server, feed) as (trades, writer), gateway(nats_server.url) as server:
            await trades.trade(*seconds(30))
            await stored(trades, writer)
            async with connect(server.url) as client:
                candles = await client.candles("SIM:BTC-USD", history=100)
                nats_server.kill()
                await nats_server.restart()
                await trades.trade(*seconds(30, first=31))
                async for update in candles:
                    if update.candle.last_seq == 60:
                        break
                assert_equal({each.start_s: each for each in candles.all()}, trades.published, "1m")

    run(scenario())


def test_without_a_writer_candles_are_unavailable(run, nats_server, gateway, feed) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server, feed(nats_server.url, "SIM:A") as raw:
            await raw.announce()
            async with connect(server.url) as client:
                with pytest.raises(SubscriptionRefused, match="mdstream candles") as refused:
                    await client.candles("SIM:A")
                assert refused.value.code == "unavailable"

    run(scenario())


def test_what_is_asked_for_wrongly_is_refused(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with market(nats_server, feed), gateway(nats_server.url) as server:
            client = await ws.open(server.port)
            for change, code in (
                ({"span": "2m"}, "bad_value"),
                ({"span": 60}, "bad_value"),
                ({"history": 1_001}, "bad_value"),
                ({"history": -1}, "bad_value"),
                ({"depth": 1}, "bad_command"),
                ({"instruments": []}, "bad_value"),
                ({"instruments": ["SIM:NOWHERE"]}, "unknown_instrument"),
                ({"instruments": ["nonsense"]}, "unknown_instrument"),
            ):
                client.send({**SUBSCRIBE, **change})
                assert (await client.until("error"))["code"] == code, change
            client.send({key: value for key, value in SUBSCRIBE.items() if key != "span"})
            assert (await client.until("error"))["code"] == "bad_command"

    run(scenario())


def test_unsubscribe_and_recover(run, nats_server, gateway, feed, ws) -> None:
    async def scenario() -> None:
        async with market(nats_server, feed) as (trades, writer), gateway(nats_server.url) as server:
            await trades.trade(*seconds(30))
            await stored(trades, writer)
            client = await ws.open(server.port)
            client.send(SUBSCRIBE)
            sub = (await client.until("subscribed"))["sub"]
            assert len(await history(client, "json")) == 1
            client.send({"op": "recover", "sub": sub, "from": 0})
            assert len(await history(client, "json")) == 10 + 1
            client.send({"op": "unsubscribe", "subs": [sub]})
            assert (await client.until("unsubscribed"))["subs"] == [sub]

    run(scenario())


# ---- the page


async def get(port: int, path: str, token: str = "") -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        line = f"Authorization: Bearer {token}\r\n" if token else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{line}Connection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        found: Any = body.decode()
        with suppress(ValueError):
            found = json.loads(body)
        return int(head.split()[1]), found
    finally:
        writer.close()


def test_the_page_shows_candles_in_parts(run, nats_server, gateway, feed) -> None:
    async def scenario() -> None:
        async with market(nats_server, feed) as (trades, writer), gateway(nats_server.url) as server:
            await trades.trade(*seconds(300))
            await stored(trades, writer)
            path = "/v1/candles?instrument=SIM:BTC-USD&span=1m"
            status, whole = await get(server.port, path)
            assert status == 200 and whole["next"] is None
            assert (whole["instrument"], whole["span"]) == ("SIM:BTC-USD", "1m")
            found = {row[0]: decoded("json", row) for row in whole["rows"]}
            assert_equal(found, trades.published, "1m")
            rows: list[Any] = []
            following = 0
            while following is not None:
                status, part = await get(server.port, f"{path}&limit=7&from={following}")
                rows += part["rows"]
                following = part["next"]
            assert rows == whole["rows"]
            status, part = await get(server.port, f"{path}&from={rows[3][0]}&to={rows[5][0]}")
            assert part["rows"] == rows[3:5] and part["next"] is None
            for wrong in ("&limit=0", "&limit=1001", "&from=x", "&from=1&from=2", "&x=1", "&to=-1"):
                assert (await get(server.port, path + wrong))[0] == 400, wrong
            assert (await get(server.port, "/v1/candles?instrument=SIM:BTC-USD&span=1w"))[0] == 400
            assert (await get(server.port, "/v1/candles?span=1m"))[0] == 400

    run(scenario())


def token(channels: list[str], **limits: int) -> str:
    now_s = int(time.time())
    grants = [{"channels": channels, "instruments": ["SIM:*"], **limits}]
    return sign({**CLAIMS, "sub": "a", "md": {"grants": grants}, "iat": now_s, "exp": now_s + 600}).decode()


def test_only_those_who_may_see_candles_see_them(run, nats_server, gateway, feed, key) -> None:
    async def scenario() -> None:
        async with (
            market(nats_server, feed) as (trades, writer),
            gateway(nats_server.url, auth_key_file=(key,)) as server,
        ):
            await trades.trade(*seconds(30))
            await stored(trades, writer)
            path = "/v1/candles?instrument=SIM:BTC-USD&span=1m"
            assert (await get(server.port, path))[0] == 401
            assert (await get(server.port, path, token(["book", "trades"])))[0] == 403
            assert (await get(server.port, path, token(["candles"], delay_ms=1000)))[0] == 403
            assert (await get(server.port, path, token(["candles"])))[0] == 200
            async with connect(server.url, token=token(["candles"], delay_ms=1000)) as client:
                with pytest.raises(SubscriptionRefused, match="only 1000 ms late"):
                    await client.candles("SIM:BTC-USD")
            for allowed, channels in ((False, ["book"]), (True, ["candles"]), (True, ["*"])):
                async with connect(server.url, token=token(channels)) as client:
                    if allowed:
                        assert len(await client.candles("SIM:BTC-USD", history=3)) == 4
                    else:
                        with pytest.raises(SubscriptionRefused, match="not among|you may see"):
                            await client.candles("SIM:BTC-USD")

    run(scenario())


def test_a_late_gateway_shows_no_candles(run, nats_server, gateway) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, delay_ms=1_000) as server, connect(server.url) as client:
            with pytest.raises(SubscriptionRefused, match="not served late"):
                await client.candles("SIM:BTC-USD")

    run(scenario())


def test_clients_are_told_when_nobody_writes_candles_and_when_somebody_does_again(
    run, nats_server, gateway, feed, ws, monkeypatch
) -> None:
    monkeypatch.setattr(candle_pulse, "SILENT_S", 0.5)

    def recent(seq: int) -> Traded:
        return Traded(EPOCH, seq, time.time_ns() // 1000, 10_000, 1)

    async def scenario() -> None:
        async with gateway(nats_server.url) as server, feed(nats_server.url, "SIM:BTC-USD") as raw:
            trades, options = RawTrades(raw.bus, BTC), CandleOptions(interval_s=0.01, take_over_s=0.01)
            await trades.announce(EPOCH)
            client = await ws.open(server.port)
            async with CandleWriter(raw.bus, options) as writer:
                await trades.trade(recent(1))
                await stored(trades, writer)
                client.send(SUBSCRIBE)
                sub = (await client.until("subscribed"))["sub"]
            told = await client.until("state", sub=sub, state="stale")
            assert (told["code"], "mdstream candles" in told["reason"]) == ("silent", True)
            late = await ws.open(server.port, "msgpack")
            late.send(SUBSCRIBE)
            assert (await late.until("state"))["code"] == "silent", "who comes later is told too"
            async with CandleWriter(raw.bus, options):
                await trades.trade(recent(2))
                for each in (client, late):
                    assert (await each.until("state", state="live"))["code"] is None

    run(scenario())
