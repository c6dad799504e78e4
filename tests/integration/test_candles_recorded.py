"""Candles of recorded trades of three venues."""

from __future__ import annotations

import pytest

from mdstream.candles import CandleWriter
from mdstream.model import InstrumentId
from support.candle_writing import (
    EPOCH,
    Clock,
    assert_each_once,
    bus_of,
    reached,
)
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

BINANCE = DATA / "binance_spot_btcusdt" / "btcusdt_20240808.gz"
COINBASE = DATA / "coinbase" / "COINBASE.ws.28.0"
LOBSTER = DATA / "lobster_aapl" / "AAPL_2012-06-21_34200000_57600000_message_10.csv"


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
