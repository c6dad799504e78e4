"""The writer of candles before a real nats-server: what is stored is what follows from all trades, whatever happens to writers and bus."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from mdstream.bus import MD_LOG, MD_STATE, Bus, BusOptions, connect
from mdstream.bus.candles import (
    LIVE_STATS,
    candle_subject,
    decode_candles,
    decode_stats,
    last_stats,
    previous_seq,
    put_stats,
    read_candles,
    stats_instrument,
    stream_seq,
)
from mdstream.bus.log import Since, replay
from mdstream.bus.streams import MD_CANDLES
from mdstream.candle import SPANS
from mdstream.candles import CandleOptions, CandleWriter
from mdstream.candles.instrument import Clocks
from mdstream.children import start_module
from mdstream.errors import BusConflict, BusError
from mdstream.model import InstrumentId
from support.candles import (
    RawTrades,
    Traded,
    as_traded,
    assert_stored,
    binance_trades,
    coinbase_trades,
    lobster_trades,
)
from support.pipeline import DATA, needs

BTC = InstrumentId.parse("SIM:BTC-USD")
EPOCH = 1_000_000
BASE_US = 1_764_460_800_000_000
BINANCE = DATA / "binance_spot_btcusdt" / "btcusdt_20240808.gz"
COINBASE = DATA / "coinbase" / "COINBASE.ws.28.0"
LOBSTER = DATA / "lobster_aapl" / "AAPL_2012-06-21_34200000_57600000_message_10.csv"


class Clock:
    """Time of writers: it goes on by itself, and may be moved."""

    def __init__(self, wall_us: int = BASE_US) -> None:
        self.wall = wall_us - time.time_ns() // 1000

    def wall_us(self) -> int:
        return self.wall + time.time_ns() // 1000

    @property
    def options(self) -> CandleOptions:
        return CandleOptions(interval_s=0.01, take_over_s=0.1, clocks=Clocks(time.monotonic, self.wall_us))


@asynccontextmanager
async def bus_of(nats_server, **more: object) -> AsyncIterator[Bus]:
    async with await connect(BusOptions((nats_server.url,), reconnect_cap_s=0.05, **more)) as bus:
        await bus.ensure_streams()
        yield bus


def seconds(count: int, *, first: int = 1, epoch: int = EPOCH, step_us: int = 700_000) -> list[Traded]:
    """Trades ``first`` to ``first + count - 1``, a little more than one in a second."""
    return [
        Traded(epoch, seq, BASE_US + seq * step_us, 10_000 + seq * 7 % 50, 1 + seq % 9)
        for seq in range(first, first + count)
    ]


async def reached(bus: Bus, instrument: InstrumentId, epoch: int, seq: int) -> None:
    """Returns once all trades up to a number are stored; the test's deadline bounds the wait."""
    stored = None
    while True:
        with suppress(BusError):  # there may be no stream yet
            stored = await last_stats(bus, instrument)
        if stored is not None and (stored.stats.epoch, stored.stats.seq) >= (epoch, seq):
            return
        await asyncio.sleep(0.01)


async def settled(bus: Bus, writer: CandleWriter, raw: RawTrades) -> int:
    await reached(bus, raw.instrument, raw.published[-1].epoch, raw.published[-1].seq)
    await writer.wait_idle()
    return await assert_stored(bus, raw.instrument, raw.published)


async def messages(bus: Bus, instrument: InstrumentId, span: str) -> list[tuple[int, int]]:
    """Start and revision of everything that was stored on a subject, in order."""
    name = candle_subject(instrument, span)
    found = []
    async for payload in replay(bus.client, bus.jetstream, name, Since(), 5.0, stream=MD_CANDLES):
        found += [(candle.start_s, candle.rev) for candle in decode_candles(payload)]
    return found


async def assert_each_once(bus: Bus, instrument: InstrumentId) -> None:
    for span in SPANS:
        found = await messages(bus, instrument, span)
        assert len(set(found)) == len(found)


def test_live_trades_and_those_of_the_log_become_candles(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
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
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(200))
                await settled(bus, writer, raw)
                await raw.trade(replace(seconds(1, first=201)[0], ts_us=BASE_US + 30_000_000, price=77_777))
                await settled(bus, writer, raw)
            await assert_each_once(bus, BTC)

    run(scenario())


def test_a_late_trade_that_comes_while_candles_are_read_corrects_too(run, nats_server, monkeypatch) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
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
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
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
        async with bus_of(nats_server) as bus, bus_of(nats_server) as elsewhere:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
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
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(100))
                await settled(bus, writer, raw)
                await raw.trade(*seconds(100, first=250))
                await settled(bus, writer, raw)

    run(scenario())


def test_what_left_the_log_before_a_restart_is_told(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
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
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
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
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
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
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
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
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
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


def test_two_writers_race_and_each_trade_counts_once(run, nats_server) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with bus_of(nats_server) as bus, bus_of(nats_server) as one, bus_of(nats_server) as other:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
            async with (
                CandleWriter(one, clock.options) as first,
                CandleWriter(other, clock.options) as second,
            ):
                for part in range(8):
                    for writer in (first, second):  # both believe that they own it
                        for each in writer.writers:
                            each.is_owner = True
                    await raw.trade(*seconds(25, first=1 + 25 * part))
                    await reached(bus, BTC, EPOCH, 25 + 25 * part)
                await settled(bus, first, raw)
                await second.wait_idle()
                conflicts = sum(each.conflicts for each in (*first.writers, *second.writers))
            assert conflicts
            await assert_each_once(bus, BTC)
            await assert_stored(bus, BTC, raw.published)

    run(scenario())


def test_one_of_two_is_killed_and_the_other_goes_on(run, nats_server) -> None:
    """The one that is killed may be anywhere: also between the statistics and the candles that follow from them."""

    async def scenario() -> None:
        arguments = ["candles", "--nats", nats_server.url, "--interval", "10ms", "--log-level", "warning"]
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
            child = await start_module("mdstream.cli", arguments)
            try:
                for part in range(40):
                    await raw.trade(*seconds(10, first=1 + 10 * part))
                await reached(bus, BTC, EPOCH, 100)
                async with CandleWriter(bus, Clock().options) as writer:
                    for part in range(40, 80):
                        await raw.trade(*seconds(10, first=1 + 10 * part))
                        if part == 60:
                            child.send_signal(signal.SIGKILL)
                        await asyncio.sleep(0)
                    await settled(bus, writer, raw)
            finally:
                if child.returncode is None:
                    child.kill()
                await child.wait()
            await assert_each_once(bus, BTC)

    run(scenario())


@pytest.mark.complete
def test_writers_are_killed_again_and_again(run, nats_server) -> None:
    """Two processes, of which one is always being killed or starting, and five instruments with late trades, holes and epochs."""
    chance = random.Random(5)

    async def scenario() -> None:
        arguments = ["candles", "--nats", nats_server.url, "--interval", "10ms", "--log-level", "warning"]
        async with bus_of(nats_server) as bus:
            raws = [RawTrades(bus, InstrumentId("SIM", f"I{number}")) for number in range(5)]
            epochs, seqs = dict.fromkeys(raws, EPOCH), dict.fromkeys(raws, 0)
            for raw in raws:
                await raw.announce(EPOCH)
            children = [await start_module("mdstream.cli", arguments) for _ in range(2)]
            ts_us, kills = BASE_US, 0
            try:
                for turn in range(3_000):
                    raw = chance.choice(raws)
                    if chance.random() < 0.005:
                        epochs[raw], seqs[raw] = epochs[raw] + 1, 0
                        await raw.announce(epochs[raw], (-2 - epochs[raw] % 2, -8))
                    for _ in range(chance.randint(1, 8)):
                        seqs[raw] += 2 if chance.random() < 0.001 else 1
                        ts_us += chance.randint(0, 200_000)
                        late_us = 90_000_000 if chance.random() < 0.02 else 0
                        scale = (-2 - epochs[raw] % 2 if epochs[raw] > EPOCH else -2, -8)
                        await raw.trade(
                            Traded(epochs[raw], seqs[raw], ts_us - late_us, 9_000 + turn % 777, 3, scale)
                        )
                    await asyncio.sleep(0.01)
                    if turn % 200 == 199:
                        victim = children.pop(chance.randrange(2))
                        victim.kill()
                        await victim.wait()
                        children.append(await start_module("mdstream.cli", arguments))
                        kills += 1
                for raw in raws:
                    await reached(bus, raw.instrument, epochs[raw], seqs[raw])
            finally:
                for child in children:
                    child.kill()
                    await child.wait()
            async with CandleWriter(bus, Clock(ts_us).options):
                count = 0
                await asyncio.sleep(5)  # whatever the last ones left is stored now
            for raw in raws:
                count += await assert_stored(bus, raw.instrument, raw.published)
                await assert_each_once(bus, raw.instrument)
            print(f"{kills} kills, {sum(len(raw.published) for raw in raws)} trades, {count} candles")

    run(scenario(), deadline_s=300)


def test_candles_that_a_dead_writer_left_are_stored_by_the_next(run, nats_server, monkeypatch) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
            await raw.trade(*seconds(100))
            async with CandleWriter(bus, Clock().options) as writer:
                (entry,) = writer._entries.values()
                stopped = asyncio.Event()

                async def dies(*_: object) -> None:
                    stopped.set()
                    await asyncio.get_running_loop().create_future()

                monkeypatch.setattr(entry.writer, "_put", dies)
                await stopped.wait()
            assert await messages(bus, BTC, "1s") == []
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(1, first=101))
                await settled(bus, writer, raw)
            await assert_each_once(bus, BTC)

    run(scenario())


def test_nats_goes_away_and_comes_back(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(50))
                await settled(bus, writer, raw)
                nats_server.kill()
                await nats_server.restart()
                await raw.trade(*seconds(50, first=51))
                await settled(bus, writer, raw)

    run(scenario())


def test_what_the_stream_refuses_does_not_come_live(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server) as bus:
            raw = RawTrades(bus, BTC)
            await raw.announce(EPOCH)
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


# ---- recorded trades


async def replayed(nats_server, trades: dict[InstrumentId, list[Traded]]) -> int:
    """Publishes recorded trades while writers come, go and race; returns how many candles were compared."""
    clock = Clock(max(each[-1].ts_us for each in trades.values()))
    async with bus_of(nats_server) as bus, bus_of(nats_server) as elsewhere:
        raws = [RawTrades(bus, instrument) for instrument in trades]
        for raw in raws:
            scale = trades[raw.instrument][0].scale
            await raw.announce(EPOCH, scale)
        for part in range(4):
            async with CandleWriter(bus, clock.options) as first, CandleWriter(elsewhere, clock.options):
                for raw in raws:
                    of = trades[raw.instrument]
                    begin, end = len(of) * part // 4, len(of) * (part + 1) // 4
                    for at in range(begin, end, 7):
                        await raw.trade(*of[at : min(at + 7, end)])
                await bus.flush()
                if part == 3:
                    for raw in raws:
                        await reached(bus, raw.instrument, EPOCH, raw.published[-1].seq)
                    await first.wait_idle()
        count = 0
        for raw in raws:
            count += await assert_stored(bus, raw.instrument, raw.published)
            await assert_each_once(bus, raw.instrument)
        return count


@needs(BINANCE)
def test_recorded_trades_of_binance(run, nats_server) -> None:
    trades = as_traded(binance_trades(BINANCE), EPOCH, (-2, -5))
    assert len(trades) == 9_757
    assert run(replayed(nats_server, {InstrumentId.parse("BINANCE:BTCUSDT"): trades})) > 300


@pytest.mark.complete
@needs(COINBASE, LOBSTER)
def test_recorded_trades_of_other_venues(run, nats_server) -> None:
    trades = {
        InstrumentId("COINBASE", name): as_traded(each, EPOCH, (-10, -8))
        for name, each in coinbase_trades(COINBASE).items()
    }
    trades[InstrumentId("NASDAQ", "AAPL")] = as_traded(lobster_trades(LOBSTER), EPOCH, (-2, 0))
    assert sum(map(len, trades.values())) == 97 + 98 + 61
    assert run(replayed(nats_server, trades)) > 100
