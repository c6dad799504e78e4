"""One instrument as a feed handler sees it. Its calls put payloads into the publisher's queue."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from mdstream._core.orderbook.book import Book
from mdstream.bus import subject
from mdstream.errors import FeedError, SizeError
from mdstream.feed.numbers import DecimalLike, FlatLevels, LevelLike
from mdstream.feed.publish_queue import StateValue
from mdstream.feed.recent_trades import Call, RecentTrades
from mdstream.feed.writer import SNAP_UPDATES, InstrumentWriter, Side, TradeId
from mdstream.model import InstrumentId, Ref, VenueState

log = logging.getLogger("mdstream.feed")

FOLLOWING = 1
"""The epoch of a book that nobody publishes."""
REPEAT_US = 59_000_000
"""``ref`` and ``snap`` go out again after this time at the latest: the contract's 60 s, less the publisher's steps."""

T = TypeVar("T")


class Outlet(Protocol):
    """What an instrument needs of its publisher."""

    def send(self, subject: str, value: bytes) -> None: ...
    def send_state(self, subject: str, value: StateValue, *, after: Iterable[str] = ()) -> None: ...
    def report(self, error: FeedError) -> None: ...
    def next_epoch(self, known: int) -> int: ...
    def monotonic_us(self) -> int: ...


class Tail(Protocol):
    """The last words of a writer: its numbers and its book."""

    @property
    def book(self) -> Book: ...
    @property
    def trade_seq(self) -> int: ...


class Silent:
    """The outlet of an instrument that another publishes."""

    def __init__(self, outlet: Outlet) -> None:
        self.report, self.next_epoch, self.monotonic_us = (
            outlet.report,
            outlet.next_epoch,
            outlet.monotonic_us,
        )

    def send(self, subject: str, value: bytes) -> None:
        pass

    def send_state(self, subject: str, value: StateValue, *, after: Iterable[str] = ()) -> None:
        pass


class Instrument:
    """Made by ``Publisher.instrument``. No call waits; a call that raises changes and publishes nothing.

    Levels are ``(price, size)`` tuples with the total size at the price now, 0 for none. Prices and sizes are str, Decimal or int,
    never float; calls that end in ``_ticks`` take flat integers: ``[ticks, lots, ticks, lots, …]``. ``ts_us`` is the event time in µs
    since the Unix epoch; default is the time of the call.
    """

    def __init__(self, outlet: Outlet, writer: InstrumentWriter) -> None:
        self._outlet = self._open_outlet = outlet
        self._writer = self._given_up = writer
        self._recent: RecentTrades | None = None
        self._ended: FeedError | None = None
        self._finished = False
        """Ended by ourselves, with last words that are to be stored."""
        self._subjects = {
            name: subject(writer.id, name) for name in ("book", "trade", "snap", "ref", "status")
        }
        self._book_subject = self._subjects["book"]
        self._numbered = (self._subjects["book"], self._subjects["trade"])
        self._unstorable: FeedError | None = None
        self._status_us = outlet.monotonic_us()
        # Instruments that open together do not repeat their books together.
        self._ref_us = self._status_us - int(random.random() * REPEAT_US / 2)

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

    def heard(self) -> None:
        """The venue has said something about this instrument, if only that nothing changed: it is not stale."""
        self._writer.heard()

    def update(
        self, bids: Iterable[LevelLike] = (), asks: Iterable[LevelLike] = (), *, ts_us: int | None = None
    ) -> None:
        """Publishes one atomic update. Raises FeedError, BookError.

        A book that becomes too large to be stored is reported, and clients are told ``feed_down`` until it fits again.
        """
        bids, asks = tuple(bids), tuple(asks)
        self._send_book(self._scaled(lambda writer: writer.update(bids, asks, ts_us)))

    def update_ticks(self, bids: FlatLevels = (), asks: FlatLevels = (), *, ts_us: int | None = None) -> None:
        """As above, in ticks and lots."""
        self._send_book(self._open().update_ticks(bids, asks, ts_us))

    def replace(
        self, bids: Iterable[LevelLike], asks: Iterable[LevelLike], *, ts_us: int | None = None
    ) -> bool:
        """Publishes the changes that lead to this full book, best first; False if nothing changed. Raises FeedError, BookError.

        One that is too large to be stored is refused, and clients are told ``feed_down`` until one fits.
        """
        bids, asks = tuple(bids), tuple(asks)
        return self._send_full_book(lambda: self._scaled(lambda writer: writer.replace(bids, asks, ts_us)))

    def replace_ticks(self, bids: FlatLevels, asks: FlatLevels, *, ts_us: int | None = None) -> bool:
        """As above, in ticks and lots."""
        return self._send_full_book(lambda: self._open().replace_ticks(bids, asks, ts_us))

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
        self._send_trade(trade_id, lambda writer: writer.trade(price, size, side, trade_id, ts_us))

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
        self._send_trade(
            trade_id, lambda writer: writer.trade_ticks(price_ticks, size_lots, side, trade_id, ts_us)
        )

    def lose_trades(self, count: int) -> None:
        """So many trades of the venue were missed: their numbers are left out, and readers tell them lost. Raises FeedError."""
        self._open().lose_trades(count)

    def status(self, state: str, *, reason: str = "", ts_us: int | None = None) -> None:
        """Publishes the venue's state, ``trading halted closed feed_down``. A reason beyond 1,024 bytes is cut; the log says so."""
        self._open().set_status(state, reason, ts_us)
        self._send_status(ts_us)

    def snap(self) -> None:
        """Publishes a snapshot now, in addition to those that the contract asks for."""
        self._open()
        self._send_snap()

    # ---- for the publisher

    def end(self, error: FeedError) -> None:
        """From now on every call raises ``error`` and nothing is published."""
        self._ended = error

    @property
    def state_subjects(self) -> tuple[str, ...]:
        """``ref``, ``status`` and ``snap``, in the order in which they announce an epoch."""
        return tuple(self._subjects[stream] for stream in ("ref", "status", "snap"))

    def reference(self, epoch: int = 0) -> bytes:
        """The ``ref`` payload, as it is or would be in another epoch."""
        return self._writer.reference(epoch)

    def announce(self, *, ref: bool = True) -> None:
        """Publishes ``ref``, ``status`` and ``snap``: of a new epoch, or because readers, or the server, may have lost them."""
        if self._ended is not None or self.following:
            return
        if ref:
            self.send_ref()
        self._send_status()
        if self._writer.storable:
            self._send_snap()

    def send_ref(self) -> None:
        self._ref_us = self._outlet.monotonic_us()
        self._outlet.send_state(self._subjects["ref"], self._writer.reference())

    def housekeep(self, at_us: int, status_interval_us: int) -> None:
        """Publishes what is due at a time of the monotonic clock: ``snap``, ``ref``, and ``status`` as a sign of life."""
        if self._ended is not None or self.following:
            return
        repeat = at_us - self._ref_us >= REPEAT_US
        if repeat:
            self.send_ref()
        if self._writer.snap_due(at_us) or (repeat and self._writer.storable):
            self._send_snap()
        if at_us - self._status_us >= status_interval_us:
            self._send_status()

    def finish(self, reason: str) -> None:
        """Publishes the last book and ``feed_down``; further calls raise."""
        if self._ended is not None:
            return
        if self._writer.unsnapped and self._writer.storable:
            self._send_snap()
        if self._writer.state != "closed":
            self._writer.set_status("feed_down", reason)
            self._send_status()
        self.end(FeedError(f"{self.id}: the publisher is closed"))
        self._finished = True

    def send_again(self, subject: str) -> None:
        """What was said last on this subject, of the state, was not stored."""
        if self.following or (self._ended is not None and not self._finished):
            return
        if subject == self._subjects["ref"]:
            self.send_ref()
        elif subject == self._subjects["status"]:
            self._send_status()
        elif self._writer.storable:
            self._send_snap()

    # ---- where several handlers share the instrument

    @property
    def following(self) -> bool:
        """Whether another writes: calls change our own book alone."""
        return self._outlet is not self._open_outlet

    @property
    def has_book(self) -> bool:
        """Whether our own book is the venue's, as far as the handler knows."""
        writer = self._writer
        down = writer.unstorable is not None or writer.state is VenueState.FEED_DOWN
        return self._ended is None and writer.book.seq > 0 and not down

    @property
    def tail(self) -> Tail:
        """Our last words, once another is to follow."""
        return self._given_up

    def last_words(self) -> None:
        """Publishes the book, if that is due sooner or later."""
        if self._ended is None and self._writer.unsnapped and self._writer.storable:
            self._send_snap()

    def withhold(self, reason: str) -> None:
        """Clients are told ``feed_down`` with this reason, until it is empty: we may soon have to be silent."""
        if self._writer.withheld != reason:
            self._writer.withheld = reason
            self._send_status()

    def follow(self) -> None:
        """From now on another writes."""
        if self.following:
            return
        self._given_up = self._writer
        self._writer = self._given_up.successor(FOLLOWING)
        self._writer.continue_from(self._given_up.book, 0)
        self._outlet = Silent(self._open_outlet)
        self._recent = RecentTrades(self._outlet.monotonic_us)

    def resume(self) -> None:
        """We go on after our own last words: nobody else has."""
        missed = self._recent.all() if self._recent is not None else []
        self._take_over(self._given_up.epoch, self._given_up, missed)

    def take_over(self, epoch: int, tail: Tail | None, last_trade: TradeId | None, *, ref: bool) -> None:
        """From now on we write: in a new epoch, or after another's last words in the same. ``last_trade`` is the venue's id of the
        last trade that was published; with ``ref`` the reference data is published too.
        """
        missed = self._recent.after(last_trade) if self._recent is not None else []
        self._take_over(epoch, tail, missed, ref=ref)

    def _take_over(self, epoch: int, tail: Tail | None, missed: list[Call], *, ref: bool = False) -> None:
        if self._ended is not None:
            return
        ours, self._writer, self._outlet = self._writer, self._writer.successor(epoch), self._open_outlet
        if tail is not None:
            self._writer.continue_from(tail.book, tail.trade_seq)
        if ref:
            self.send_ref()
        if tail is None:
            self._send_status()
            self._send_snap()
        try:
            self._send_book(self._writer.take_book(ours.book))
        except FeedError as error:
            # Without its book no later update is right.
            self.end(error)
            self._outlet.report(error)
            return
        for call in missed:
            self._outlet.send(self._subjects["trade"], call(self._writer))
        if tail is not None:
            self._send_status()

    # ---- within

    def _open(self) -> InstrumentWriter:
        if self._ended is not None:
            raise self._ended.with_traceback(None)
        return self._writer

    def _scaled(self, call: Callable[[InstrumentWriter], T]) -> T:
        """Calls the writer; where a size is too large for its scale, one of a coarser scale and a new epoch."""
        try:
            return call(self._open())
        except SizeError as error:
            return self._coarsen(error, call)

    def _coarsen(self, error: SizeError, call: Callable[[InstrumentWriter], T]) -> T:
        former = self._writer
        writer = former.coarser(error.size_exp, self._outlet.next_epoch(former.epoch))
        status, snap = writer.later_status(), writer.snap()
        book, value = writer.levels_of(former), call(writer)
        # Nothing was refused: the new epoch begins.
        log.warning("%s; this is done from now on, in a new epoch", error)
        self._writer = writer
        self.send_ref()
        self._outlet.send_state(self._subjects["status"], status, after=self._numbered)
        self._outlet.send_state(self._subjects["snap"], snap, after=[self._book_subject])
        self._send_book(book)
        return value

    def _send_book(self, value: bytes | None) -> bool:
        if value is not None:
            self._outlet.send(self._book_subject, value)
        if self._writer.unstorable is not self._unstorable:
            self._tell_unstorable()
        # ``housekeep`` sends those that are due by time.
        elif self._writer.unsnapped >= SNAP_UPDATES and self._writer.storable:
            self._send_snap()
        return value is not None

    def _send_trade(self, trade_id: TradeId | None, call: Call) -> None:
        if self._recent is not None and self._recent.is_published(trade_id):
            return
        value = self._scaled(call)
        if self._recent is not None and self.following:
            self._recent.note(trade_id, call)
        self._outlet.send(self._subjects["trade"], value)

    def _send_full_book(self, call: Callable[[], bytes | None]) -> bool:
        try:
            value = call()
        except FeedError:
            if self._ended is None and self._writer.unstorable is not self._unstorable:
                self._tell_unstorable()
            raise
        return self._send_book(value)

    def _tell_unstorable(self) -> None:
        """The venue's book has become too large to be stored, or fits again. Clients are told ``feed_down`` meanwhile."""
        self._unstorable = self._writer.unstorable
        if self._unstorable is not None:
            self._outlet.report(self._unstorable)
        else:
            self._send_snap()
        self._send_status()

    def _send_snap(self) -> None:
        try:
            value = self._writer.snap()
        except FeedError as error:
            self._outlet.report(error)
        else:
            self._outlet.send_state(self._subjects["snap"], value, after=[self._book_subject])

    def _send_status(self, ts_us: int | None = None) -> None:
        self._status_us = self._outlet.monotonic_us()
        status = self._writer.later_status(ts_us)
        self._outlet.send_state(self._subjects["status"], status, after=self._numbered)
