"""Candles computed from all trades at once, in the plainest way: what the writer must have stored."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgpack

from mdstream.bus import Bus, subject
from mdstream.bus.candles import Summary, last_stats, read_candles
from mdstream.candle import CLOSED, INCOMPLETE, SATURATED, SPANS, Candle
from mdstream.model import MAX_NUMBER, InstrumentId

DAY_S = 86_400


@dataclass(frozen=True)
class Traded:
    """A trade as it was published, and its scale."""

    epoch: int
    seq: int
    ts_us: int
    price: int
    size: int
    scale: tuple[int, int] = (-2, -8)

    def pack(self) -> bytes:
        return msgpack.packb([3, self.epoch, self.seq, self.ts_us, self.price, self.size, 1, self.seq])


def incomplete(trades: Sequence[Traded], width: int) -> set[int]:
    """The starts of the candles that lack trades, or may: the first of all, and those beside a hole in the numbers."""
    found = set()
    before: Traded | None = None
    for trade in trades:
        follows = before is not None and (
            trade.seq == before.seq + 1 if trade.epoch == before.epoch else trade.seq == 1
        )
        if not follows:
            found |= {
                each.ts_us // 1_000_000 // width * width for each in (before, trade) if each is not None
            }
        before = trade
    return found


def recompute(trades: Sequence[Traded], span: str) -> dict[int, Candle]:
    """The candles of trades, which are in the order of their numbers, by start; ``rev`` is 0, and all are closed but the last."""
    width = SPANS[span]
    members: dict[int, list[Traded]] = {}
    for trade in trades:
        members.setdefault(trade.ts_us // 1_000_000 // width * width, []).append(trade)
    lacking = incomplete(trades, width)
    newest = max(members, default=0)
    return {
        start: _candle(
            start, each, (INCOMPLETE if start in lacking else 0) | (CLOSED if start < newest else 0)
        )
        for start, each in members.items()
    }


def _candle(start: int, trades: Sequence[Traded], flags: int) -> Candle:
    price_exp = min(trade.scale[0] for trade in trades)
    size_exp = min(trade.scale[1] for trade in trades)
    prices = [trade.price * 10 ** (trade.scale[0] - price_exp) for trade in trades]
    volume = sum(trade.size * 10 ** (trade.scale[1] - size_exp) for trade in trades)
    if volume > MAX_NUMBER:
        volume, flags = MAX_NUMBER, flags | SATURATED
    epoch = trades[-1].epoch
    first = next(trade.seq for trade in trades if trade.epoch == epoch)
    values = (prices[0], max(prices), min(prices), prices[-1], volume, len(trades), epoch, first)
    return Candle(start, 0, *values, trades[-1].seq, price_exp, size_exp, flags)


def recompute_day(trades: Iterable[Traded], ts_us: int) -> tuple[object, ...]:
    """What ``Summary`` must say at ``ts_us``, as exact decimals; without scale and flags."""
    last = ts_us // 60_000_000 * 60
    inside = [trade for trade in trades if last - DAY_S < trade.ts_us // 60_000_000 * 60 <= last]
    if not inside:
        return (None, None, None, 0, 0, 0)
    # Of the oldest minute, the first trade by number.
    oldest = min(trade.ts_us // 60_000_000 for trade in inside)
    first = next(trade for trade in inside if trade.ts_us // 60_000_000 == oldest)
    prices = [Decimal(trade.price).scaleb(trade.scale[0]) for trade in inside]
    volume = sum(Decimal(trade.size).scaleb(trade.scale[1]) for trade in inside)
    open_ = Decimal(first.price).scaleb(first.scale[0])
    return (open_, max(prices), min(prices), volume, len(inside), oldest * 60_000_000)


def shown_day(summary: Summary) -> tuple[object, ...]:
    if summary.open is None:
        return (None, None, None, summary.volume, summary.count, summary.since_us)
    prices = [
        Decimal(each or 0).scaleb(summary.price_exp) for each in (summary.open, summary.high, summary.low)
    ]
    return (*prices, Decimal(summary.volume).scaleb(summary.size_exp), summary.count, summary.since_us)


def without_rev(candle: Candle, *, closed: bool = True) -> Candle:
    """For comparisons; ``closed`` False: whether it is closed does not count."""
    return candle._replace(rev=0, flags=candle.flags if closed else candle.flags & ~CLOSED)


def assert_equal(found: dict[int, Candle], trades: Sequence[Traded], span: str) -> int:
    """All candles of a span, in every value but ``rev``; of the newest, whether it is closed depends on the clock. Returns how many."""
    wanted = recompute(trades, span)
    assert sorted(found) == sorted(wanted)
    newest = max(wanted, default=0)
    differing = [
        (candle, wanted[start])
        for start, candle in sorted(found.items())
        if without_rev(candle, closed=start != newest) != without_rev(wanted[start], closed=start != newest)
    ]
    assert differing == [], f"{span}: {len(differing)} of {len(wanted)}: {differing[:3]}"
    return len(wanted)


async def shown(bus: Bus, instrument: InstrumentId, span: str) -> dict[int, Candle]:
    """All candles as a reader sees them: the closed ones, and the newest."""
    found = await read_candles(bus, instrument, span)
    stored = await last_stats(bus, instrument)
    assert stored is not None
    newest = stored.stats.newest[list(SPANS).index(span)]
    if newest is not None and newest.rev >= (found[newest.start_s].rev if newest.start_s in found else 0):
        found[newest.start_s] = newest
    return found


async def assert_stored(bus: Bus, instrument: InstrumentId, trades: Sequence[Traded]) -> int:
    """What is stored of an instrument is what follows from its trades, every candle of every span, and the day. Returns how many."""
    count = 0
    for span in SPANS:
        count += assert_equal(await shown(bus, instrument, span), trades, span)
    stored = await last_stats(bus, instrument)
    assert stored is not None
    assert (stored.stats.epoch, stored.stats.seq) == (trades[-1].epoch, trades[-1].seq)
    assert shown_day(stored.stats.summary) == recompute_day(trades, stored.stats.summary.ts_us)
    return count


class RawTrades:
    """Publishes ``ref`` and trades of one instrument as bytes."""

    def __init__(self, bus: Bus, instrument: InstrumentId) -> None:
        self.instrument = instrument
        self.published: list[Traded] = []
        self._bus = bus

    async def announce(self, epoch: int, scale: tuple[int, int] = (-2, -8)) -> None:
        ref = {"epoch": epoch, "price_exp": scale[0], "size_exp": scale[1]}
        await self._bus.publish(subject(self.instrument, "ref"), msgpack.packb(ref))

    async def trade(self, *trades: Traded) -> None:
        await self._bus.publish(subject(self.instrument, "trade"), b"".join(each.pack() for each in trades))
        self.published += trades


# ---- recorded trades, as (time in µs, price, size)

Recorded = tuple[int, Decimal, Decimal]


def binance_trades(path: Path) -> list[Recorded]:
    found = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            data = json.loads(line.partition(" ")[2]).get("data", {})
            if data.get("e") == "trade":
                found.append((data["T"] * 1000, Decimal(data["p"]), Decimal(data["q"])))
    return found


def coinbase_trades(path: Path) -> dict[str, list[Recorded]]:
    found: dict[str, list[Recorded]] = {}
    for line in path.read_text().splitlines():
        if '"type":"match"' in line:
            data = json.loads(line.partition(": ")[2])
            ts_us = int(datetime.fromisoformat(data["time"]).timestamp() * 1e6)
            found.setdefault(data["product_id"], []).append(
                (ts_us, Decimal(data["price"]), Decimal(data["size"]))
            )
    return found


def lobster_trades(path: Path) -> list[Recorded]:
    """Executions, visible and hidden."""
    found = []
    for line in path.read_text().splitlines():
        time_s, kind, _, size, price, _ = line.split(",")
        if kind in "45":
            found.append((int(Decimal(time_s) * 1_000_000), Decimal(price), Decimal(size)))
    return found


def as_traded(
    recorded: Iterable[Recorded], epoch: int, scale: tuple[int, int], first_seq: int = 1
) -> list[Traded]:
    """Numbered from ``first_seq`` on."""
    return [
        Traded(epoch, seq, ts_us, int(price.scaleb(-scale[0])), int(size.scaleb(-scale[1])), scale)
        for seq, (ts_us, price, size) in enumerate(recorded, first_seq)
    ]
