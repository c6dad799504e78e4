"""Passes on what a reader of the bus reads of one instrument to the core."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream._core.ingest.intake import BookIntake, TradeIntake

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.instrument import Instrument


class HubTarget:
    """A ``mdstream.bus.InstrumentCore``; live payloads go to the hub straight from the read buffer."""

    def __init__(self, hub: Hub, core: Instrument) -> None:
        self.take_book = BookIntake(hub, core)
        self.take_trades = TradeIntake(hub, core)
        self.load_snap = partial(hub.load_snap, core)
        self.reset_trades = partial(hub.reset_trades, core)
        self._core = core

    def agrees(self, snap: bytes) -> bool:
        """Whether the book, as it was at the snapshot's number, is the same as the snapshot."""
        book, said = self._core.book, decode_payload("snap", snap)[-1]
        if book.epoch != said.epoch or book.seq < said.seq or not book.keeps(said.seq):
            return False
        return book.view(at=said.seq) == (said.bids, said.asks)

    def book_position(self) -> tuple[int, int]:
        return self._core.book.epoch, self._core.book.seq

    def trade_position(self) -> tuple[int, int]:
        return self._core.trades.epoch, self._core.trades.seq
