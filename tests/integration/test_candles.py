"""The writer of candles before a real nats-server: what is stored is what follows from all trades, whatever happens to writers and bus."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mdstream.bus import MD_LOG, MD_STATE
from mdstream.bus.candles import (
    LIVE_STATS,
    decode_stats,
    last_stats,
    previous_seq,
    put_stats,
    read_candles,
    stats_instrument,
    stream_seq,
)
from mdstream.candles import CandleWriter
from mdstream.errors import BusConflict
from mdstream.model import InstrumentId
from support.candle_writing import (
    BASE_US,
    BTC,
    EPOCH,
    Clock,
    assert_each_once,
    bus_of,
    market_of,
    seconds,
    settled,
)
from support.candles import (
    RawTrades,
)


def test_live_trades_and_those_of_the_log_become_candles(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw):
            for trade in seconds(150):
                await raw.trade(trade)
            await bus.flush()
            async with CandleWriter(bus, Clock().options) as writer:
                await settled(bus, writer, raw)
                for trade in seconds(150, first=151):
                    await raw.trade(trade)
                assert await settled(bus, writer, raw) > 200
            await assert_each_once(bus, BTC)

    run(scenario())


def test_a_late_trade_corrects_what_is_stored(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw):
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(200))
                await settled(bus, writer, raw)
                await raw.trade(replace(seconds(1, first=201)[0], ts_us=BASE_US + 30_000_000, price=77_777))
                await settled(bus, writer, raw)
            await assert_each_once(bus, BTC)

    run(scenario())


def test_a_late_trade_that_comes_while_candles_are_read_corrects_too(run, nats_server, monkeypatch) -> None:
    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw):
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(200))
                await settled(bus, writer, raw)
                (entry,) = writer._entries.values()

                async def read(*arguments: Any) -> Any:
                    if entry.writer.stored_trades == 200 and len(raw.published) == 201:
                        await raw.trade(replace(seconds(1, first=202)[0], ts_us=BASE_US + 50_000_000))
                        while entry.writer._count < 2:
                            await asyncio.sleep(0.01)
                    return await read_candles(*arguments)

                monkeypatch.setattr("mdstream.candles.instrument.read_candles", read)
                await raw.trade(replace(seconds(1, first=201)[0], ts_us=BASE_US + 30_000_000))
                await settled(bus, writer, raw)
            await assert_each_once(bus, BTC)

    run(scenario())


def test_a_writer_goes_on_where_the_last_one_ended(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw):
            for part in range(2):
                async with CandleWriter(bus, Clock().options) as writer:
                    await raw.trade(*seconds(60, first=1 + 70 * part))
                    await settled(bus, writer, raw)
                await raw.trade(*seconds(10, first=61 + 70 * part))
            async with CandleWriter(bus, Clock().options) as writer:
                await settled(bus, writer, raw)
            await assert_each_once(bus, BTC)

    run(scenario())


def test_a_hole_that_the_log_fills_is_no_hole(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw), bus_of(nats_server) as elsewhere:
            async with CandleWriter(elsewhere, Clock().options) as writer:
                await raw.trade(*seconds(20))
                await settled(bus, writer, raw)
                reader = writer._entries[BTC].reader
                reader.receive, receive = (lambda payload: None), reader.receive  # the live message is lost
                await raw.trade(*seconds(20, first=21))
                await bus.flush()
                await elsewhere.flush()
                reader.receive = receive
                await raw.trade(*seconds(20, first=41))
                await settled(bus, writer, raw)

    run(scenario())


def test_trades_that_are_lost_for_good_are_told(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw):
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(100))
                await settled(bus, writer, raw)
                await raw.trade(*seconds(100, first=250))
                await settled(bus, writer, raw)

    run(scenario())


def test_what_left_the_log_before_a_restart_is_told(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw):
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(100))
                await settled(bus, writer, raw)
            lost = RawTrades(bus, BTC)
            await lost.trade(*seconds(100, first=101))
            await bus.flush()
            await bus.jetstream.purge_stream(MD_LOG)
            await raw.trade(*seconds(50, first=201))
            async with CandleWriter(bus, Clock().options) as writer:
                await settled(bus, writer, raw)

    run(scenario())


def test_a_new_epoch_may_have_another_scale(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw):
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(100))
                await settled(bus, writer, raw)
                await raw.announce(EPOCH + 1, (-3, -6))
                later = [
                    replace(each, epoch=EPOCH + 1, seq=each.seq - 100, scale=(-3, -6))
                    for each in seconds(100, first=101)
                ]
                await raw.trade(*later[:50])
                await settled(bus, writer, raw)
            await raw.trade(*later[50:])
            async with CandleWriter(bus, Clock().options) as writer:
                await settled(bus, writer, raw)

    run(scenario())


def test_trades_wait_for_the_ref_of_their_epoch(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw):
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(10))
                await settled(bus, writer, raw)
                await raw.trade(*[replace(each, epoch=EPOCH + 1) for each in seconds(10)])
                await bus.flush()
                await raw.announce(EPOCH + 1)
                await settled(bus, writer, raw)

    run(scenario())


def test_epochs_that_passed_while_no_writer_was_there_are_read(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            for number in range(3):
                await raw.announce(EPOCH + number, (-2 - number, -8))
                later = [replace(each, epoch=EPOCH + number, scale=(-2 - number, -8)) for each in seconds(40)]
                await raw.trade(*(replace(each, ts_us=each.ts_us + 9_000_000 * number) for each in later))
                await bus.flush()
                if number == 0:
                    async with CandleWriter(bus, Clock().options) as writer:
                        await settled(bus, writer, raw)
            async with CandleWriter(bus, Clock().options) as writer:
                await settled(bus, writer, raw)

    run(scenario())


def test_a_position_can_be_read_on_without_the_ref_of_its_epoch(run, nats_server) -> None:
    """The newest candle says the scale."""

    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw):
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(10))
                await settled(bus, writer, raw)
            await raw.trade(*seconds(10, first=11))
            await bus.flush()
            await bus.jetstream.purge_stream(MD_STATE)
            async with CandleWriter(bus, Clock().options) as writer:
                await settled(bus, writer, raw)

    run(scenario())


def test_candles_close_and_the_day_goes_on_without_trades(run, nats_server) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with market_of(nats_server) as (bus, raw):
            async with CandleWriter(bus, clock.options) as writer:
                await raw.trade(*seconds(3))
                await settled(bus, writer, raw)
                clock.wall += 2 * 86_400_000_000
                while True:
                    stored = await last_stats(bus, BTC)
                    assert stored is not None
                    if all(each is not None and each.is_closed for each in stored.stats.newest):
                        break
                    await asyncio.sleep(0.05)
                assert stored.stats.summary.count == 0 and stored.stats.summary.open is None

    run(scenario())


def test_what_the_stream_refuses_does_not_come_live(run, nats_server) -> None:
    async def scenario() -> None:
        async with market_of(nats_server) as (bus, raw):
            heard: list[tuple[str, int | None, int | None, int]] = []

            def receive(name: bytes, _: bytes, payload: bytes, headers: bytes | None) -> None:
                stats = decode_stats(payload)
                heard.append(
                    (
                        str(stats_instrument(name.decode())),
                        previous_seq(headers),
                        stream_seq(headers),
                        stats.seq,
                    )
                )

            async with CandleWriter(bus, Clock().options) as writer:
                await bus.subscribe(LIVE_STATS, receive)
                await raw.trade(*seconds(5))
                await settled(bus, writer, raw)
                await raw.trade(*seconds(5, first=6))
                await settled(bus, writer, raw)
            stored = await last_stats(bus, BTC)
            assert stored is not None
            with pytest.raises(BusConflict):
                await put_stats(bus, BTC, stored.stats._replace(seq=99), expected_seq=1)
            await bus.flush()
            assert [name for name, *_ in heard] == ["SIM:BTC-USD"] * len(heard)
            assert heard[-1][2:] == (stored.stream_seq, 10)
            assert [before for _, before, _, _ in heard[1:]] == [seq for _, _, seq, _ in heard[:-1]]

    run(scenario())


def test_only_instruments_that_match_are_written(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            raw, other = RawTrades(bus, BTC), RawTrades(bus, InstrumentId.parse("OTHER:A.B"))
            options = replace(Clock().options, instruments=("OTHER:*",))
            async with CandleWriter(bus, options) as writer:
                for each in (raw, other):
                    await each.announce(EPOCH)
                    await each.trade(*seconds(5))
                await settled(bus, writer, other)
            assert await last_stats(bus, BTC) is None

    run(scenario())
