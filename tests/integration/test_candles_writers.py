"""Several writers of candles, writers that die, and a bus that goes away: each trade counts once."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from mdstream.candles import CandleWriter
from mdstream.children import start_module
from mdstream.model import InstrumentId
from support.candle_writing import (
    BASE_US,
    BTC,
    EPOCH,
    Clock,
    assert_each_once,
    bus_of,
    market_of,
    messages,
    reached,
    seconds,
    settled,
)
from support.candles import (
    RawTrades,
    Traded,
    assert_stored,
)


def test_two_writers_race_and_each_trade_counts_once(run, nats_server) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with (
            market_of(nats_server) as (bus, raw),
            bus_of(nats_server) as one,
            bus_of(nats_server) as other,
        ):
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
        async with market_of(nats_server) as (bus, raw):
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
        async with market_of(nats_server) as (bus, raw):
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
        async with market_of(nats_server) as (bus, raw):
            async with CandleWriter(bus, Clock().options) as writer:
                await raw.trade(*seconds(50))
                await settled(bus, writer, raw)
                nats_server.kill()
                await nats_server.restart()
                await raw.trade(*seconds(50, first=51))
                await settled(bus, writer, raw)

    run(scenario())
