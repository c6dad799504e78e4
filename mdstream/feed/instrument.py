"""One instrument as a feed handler sees it. Its calls put payloads into the publisher's queue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from mdstream._core.orderbook.book import Book
from mdstream.bus import subject
from mdstream.errors import FeedError
from mdstream.feed.numbers import DecimalLike, LevelLike
from mdstream.feed.writer import SNAP_UPDATES, FlatLevels, InstrumentWriter, Side, TradeId
from mdstream.model import InstrumentId, Ref


class Outlet(Protocol):
    """What an instrument needs of its publisher."""

    def send(self, subject: str, value: bytes) -> None: ...
    def send_state(self, subject: str, value: bytes, *, after: str | None = None) -> None: ...
    def report(self, error: FeedError) -> None: ...
    def now_us(self) -> int: ...


class Instrument:
    """Made by ``Publisher.instrument``. No call waits; a call that raises changes and publishes nothing.

    Levels are ``(price, size)`` tuples with the total size at the price now, 0 for none. Prices and sizes are str, Decimal or int,
    never float; calls that end in ``_ticks`` take flat integers: ``[ticks, lots, ticks, lots, …]``. ``ts_us`` is the event time in µs
    since the Unix epoch; default is the time of the call.
    """

    def __init__(self, outlet: Outlet, writer: InstrumentWriter) -> None:
        self._outlet = outlet
        self._writer = writer
        self._ended: FeedError | None = None
        self._subjects = {
            name: subject(writer.id, name) for name in ("book", "trade", "snap", "ref", "status")
        }
        self._book_subject = self._subjects["book"]
        self.status_us = 0
        """When the status last went out."""

    # ---- properties

    @property
    def id(self) -> InstrumentId:
        return self._writer.id

    @property
    def ref(self) -> Ref:
        return self._writer.ref

    @property
    def epoch(self) -> int:
        return self._writer.epoch

    @property
    def seq(self) -> int:
        """The number of the newest book update; 0 before the first."""
        return self._writer.book.seq

    @property
    def trade_seq(self) -> int:
        return self._writer.trade_seq

    @property
    def state(self) -> str:
        return self._writer.state

    @property
    def book(self) -> Book:
        """The book as published. Read only; change it with the calls below."""
        return self._writer.book

    # ---- market data

    def update(
        self, bids: Iterable[LevelLike] = (), asks: Iterable[LevelLike] = (), *, ts_us: int | None = None
    ) -> None:
        """Publishes one atomic update. Raises FeedError, BookError."""
        self._send_book(self._open().update(bids, asks, ts_us))

    def update_ticks(self, bids: FlatLevels = (), asks: FlatLevels = (), *, ts_us: int | None = None) -> None:
        """As above, in ticks and lots."""
        self._send_book(self._open().update_ticks(bids, asks, ts_us))

    def replace(
        self, bids: Iterable[LevelLike], asks: Iterable[LevelLike], *, ts_us: int | None = None
    ) -> bool:
        """Publishes the changes that lead to this full book, best first; False if nothing changed. Raises FeedError, BookError."""
        return self._send_book(self._open().replace(bids, asks, ts_us))

    def replace_ticks(self, bids: FlatLevels, asks: FlatLevels, *, ts_us: int | None = None) -> bool:
        """As above, in ticks and lots."""
        return self._send_book(self._open().replace_ticks(bids, asks, ts_us))

    def trade(
        self,
        price: DecimalLike,
        size: DecimalLike,
        side: Side | None = None,
        *,
        trade_id: TradeId | None = None,
        ts_us: int | None = None,
    ) -> None:
        """Publishes one trade; ``side`` is the taker's, None if unknown. Raises FeedError."""
        self._outlet.send(self._subjects["trade"], self._open().trade(price, size, side, trade_id, ts_us))

    def trade_ticks(
        self,
        price_ticks: int,
        size_lots: int,
        side: Side | None = None,
        *,
        trade_id: TradeId | None = None,
        ts_us: int | None = None,
    ) -> None:
        """As above, in ticks and lots."""
        value = self._open().trade_ticks(price_ticks, size_lots, side, trade_id, ts_us)
        self._outlet.send(self._subjects["trade"], value)

    def lose_trades(self, count: int) -> None:
        """So many trades of the venue were missed: their numbers are left out, and readers tell them lost. Raises FeedError."""
        self._open().lose_trades(count)

    def status(self, state: str, *, reason: str = "", ts_us: int | None = None) -> None:
        """Publishes the venue's state: ``trading halted closed feed_down``. Raises FeedError."""
        value = self._open().set_status(state, reason, ts_us)
        self._send_status(value)

    def snap(self) -> None:
        """Publishes a snapshot now, in addition to those that the contract asks for."""
        self._open()
        self._send_snap()

    # ---- for the publisher

    def end(self, error: FeedError) -> None:
        """From now on every call raises ``error`` and nothing is published."""
        self._ended = error

    def opening(self) -> list[tuple[str, bytes]]:
        """The payloads that announce the instrument: ``ref``, then ``snap``, then ``status``."""
        writer, self.status_us = self._writer, self._outlet.now_us()
        values = {"ref": writer.reference(), "snap": writer.snap(), "status": writer.status()}
        return [(self._subjects[stream], value) for stream, value in values.items()]

    def announce_again(self) -> None:
        """Publishes ``ref``, ``snap`` and ``status`` again: after a reconnect readers, or the server, may have lost any of them."""
        if self._ended is not None:
            return
        self._outlet.send_state(self._subjects["ref"], self._writer.reference())
        self._send_snap()
        self._send_status(self._writer.status())

    def housekeep(self, at_us: int, status_interval_us: int) -> None:
        """Publishes a snapshot if it is due, and the status regularly as a sign of life."""
        if self._ended is not None:
            return
        if self._writer.snap_due(at_us):
            self._send_snap()
        if at_us - self.status_us >= status_interval_us:
            self._send_status(self._writer.status())

    def finish(self, reason: str) -> None:
        """Publishes the last book and ``feed_down``; further calls raise."""
        if self._ended is not None:
            return
        if self._writer.unsnapped:
            self._send_snap()
        if self._writer.state != "closed":
            self._send_status(self._writer.set_status("feed_down", reason))
        self.end(FeedError(f"{self.id}: the publisher is closed"))

    def _open(self) -> InstrumentWriter:
        if self._ended is not None:
            raise self._ended.with_traceback(None)
        return self._writer

    def _send_book(self, value: bytes | None) -> bool:
        if value is None:
            return False
        self._outlet.send(self._book_subject, value)
        # ``housekeep`` sends those that are due by time.
        if self._writer.unsnapped >= SNAP_UPDATES:
            self._send_snap()
        return True

    def _send_snap(self) -> None:
        try:
            value = self._writer.snap()
        except FeedError as error:
            self._outlet.report(error)
        else:
            self._outlet.send_state(self._subjects["snap"], value, after=self._subjects["book"])

    def _send_status(self, value: bytes) -> None:
        self.status_us = self._outlet.now_us()
        self._outlet.send_state(self._subjects["status"], value)
