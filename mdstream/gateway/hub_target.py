"""Passes on what a reader of the bus reads of one instrument to the core."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream._core.ingest.intake import BookIntake, TradeIntake

if TYPE_CHECKING:
    from mdstream._core.codec.feed_decoder import BookValue, TradeValue
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.instrument import Instrument


class HubTarget:
    """A ``mdstream.bus.InstrumentCore``; live payloads go to the hub straight from the read buffer."""

    def __init__(self, hub: Hub, core: Instrument) -> None:
        self.take_book = BookIntake(hub, core)
        self.take_trades = TradeIntake(hub, core)
        self.begin = partial(hub.begin, core)
        self.load_snap = partial(hub.load_snap, core)
        self.agrees = core.agrees
        self.reset_trades = partial(hub.reset_trades, core)
        self._core = core

    def await_number(self, seq: int) -> None:
        self._core.awaited = seq

    def repeats(self, stream: str, payload: bytes) -> bool:
        """Whether known values have the content that was applied, as far as book or log keep it."""
        if stream == "book":
            return all(self._repeats_update(update) for update in decode_payload("book", payload))
        return all(self._repeats_trade(trade) for trade in decode_payload("trade", payload))

    def _repeats_update(self, update: BookValue) -> bool:
        book = self._core.book
        if update.epoch != book.epoch or update.last > book.seq:
            return True
        changes = book.delta(update.first - 1, update.last)
        view = book.view(at=update.last)
        if changes is None or view is None:
            return True
        sides = zip((update.bids, update.asks), changes, view, strict=True)
        return all(_leads_to(_pairs(said), _pairs(did), _pairs(now)) for said, did, now in sides)

    def _repeats_trade(self, trade: TradeValue) -> bool:
        trades = self._core.trades
        kept = trades.get(trade.seq) if trade.epoch == trades.epoch else None
        return kept is None or kept == tuple(trade[1:])

    def book_position(self) -> tuple[int, int]:
        return self._core.book.epoch, self._core.book.seq

    def trade_position(self) -> tuple[int, int]:
        return self._core.trades.epoch, self._core.trades.seq


def _leads_to(said: dict[int, int], did: dict[int, int], now: dict[int, int]) -> bool:
    """Whether an update that says so much of a side did this, and led to this view of it."""
    return did.items() <= said.items() and all(now.get(ticks, 0) == lots for ticks, lots in said.items())


def _pairs(flat: list[int]) -> dict[int, int]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
