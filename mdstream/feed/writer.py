"""The writer of one instrument: checks and numbers market data and returns the bytes for the bus. No I/O.

A refused call changes nothing and uses no number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NoReturn

import msgpack
import numpy as np

from mdstream._core.base.decimals import format_decimal, parse_levels, to_integer
from mdstream._core.codec.feed_encoder import pack_book, pack_snap, pack_trade
from mdstream._core.orderbook.book import Book
from mdstream.errors import FeedError, SizeError
from mdstream.feed.numbers import (
    DecimalLike,
    FlatLevels,
    LevelLike,
    check_number,
    check_time,
    monotonic_us,
    now_us,
)
from mdstream.feed.refs import check_ref, pack_ref
from mdstream.feed.sizes import coarser_exp, rounded, rounded_lots
from mdstream.feed.snap_size import HEAD_BYTES, LEVEL_BYTES, SnapSize, full_size, packed_size
from mdstream.model import MAX_NUMBER, MAX_TEXT_BYTES, MAX_TRADE_ID_BYTES, InstrumentId, Ref, VenueState

log = logging.getLogger("mdstream.feed")

Side = Literal["buy", "sell"]
TradeId = str | int

SNAP_UPDATES = 1000
"""A snapshot is due after so many updates …"""
SNAP_US = 4_500_000
"""… or after this time, if anything changed: the contract's 5 s, less the steps in which the publisher looks."""

DEFAULT_MAX_PAYLOAD = 1_048_576
_REMEDY = "raise its max_payload, or publish fewer levels"
_INT64 = np.dtype(np.int64)
_SIDES = {None: 0, "buy": 1, "sell": 2}


class InstrumentWriter:
    """Turns calls into payloads of the streams ``book``, ``trade``, ``snap``, ``ref`` and ``status``.

    ``max_payload`` is the largest message that the bus takes, in bytes. A writer that is not of a ``live_venue`` never grows old.
    One that ``rounds`` cuts the sizes that its callers give as decimals to its ``size_exp``. Raises FeedError if ``ref`` is not
    usable.
    """

    def __init__(
        self,
        instrument: InstrumentId,
        ref: Ref,
        *,
        epoch: int,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        max_levels: int = 65536,
        live_venue: bool = True,
        rounds: bool = False,
        clock_us: Callable[[], int] = now_us,
        monotonic_us: Callable[[], int] = monotonic_us,
    ) -> None:
        check_ref(instrument, ref)
        self.id = instrument
        self.epoch = check_number(epoch, "epoch", instrument, least=1)
        self.ref = replace(ref, epoch=epoch)
        self.trade_seq = 0
        self.state = VenueState.TRADING
        self.reason = ""
        self.unstorable: FeedError | None = None
        """Why the venue's book cannot be stored: as it is published now, or the full one that was refused last."""
        self.withheld = ""
        """Why clients are told ``feed_down`` though the venue is up; empty if they are not."""
        # Nobody reads this book's change log, so it is as small as the core allows.
        self.book = Book(str(instrument), log_capacity=1024, max_levels=max_levels)
        self.book.reset(epoch)
        self._stepped = ref.tick > 1 or ref.lot > 1
        self._rounds = rounds
        self._live_venue = live_venue
        self._max_payload = max_payload
        self._max_levels = max_levels
        self._clock_us = clock_us
        self._monotonic_us = monotonic_us
        self._heard_us = self._snap_us = monotonic_us()
        self._snap_seq = 0
        self._snap_size = SnapSize(max_payload)
        self._full_book_refused = False

    # ---- the venue

    def heard(self) -> None:
        """The venue has said something, if only that nothing changed. Updates and trades call this."""
        self._heard_us = self._monotonic_us()

    # ---- the book

    def update(
        self, bids: Iterable[LevelLike] = (), asks: Iterable[LevelLike] = (), ts_us: int | None = None
    ) -> bytes:
        """One atomic update; size 0 deletes a level. Raises FeedError, BookError."""
        return self.update_ticks(self._flat(bids, "bid"), self._flat(asks, "ask"), ts_us)

    def update_ticks(self, bids: FlatLevels = (), asks: FlatLevels = (), ts_us: int | None = None) -> bytes:
        """As above, in flat ticks and lots."""
        self._check_side(bids, "bid")
        self._check_side(asks, "ask")
        return self._write_book(bids, asks, ts_us)

    def replace(
        self, bids: Iterable[LevelLike], asks: Iterable[LevelLike], ts_us: int | None = None
    ) -> bytes | None:
        """One atomic update that leads to this full book, best first; None if nothing changed."""
        return self.replace_ticks(self._flat(bids, "bid"), self._flat(asks, "ask"), ts_us)

    def replace_ticks(self, bids: FlatLevels, asks: FlatLevels, ts_us: int | None = None) -> bytes | None:
        """As above, in flat ticks and lots."""
        self._check_side(bids, "bid")
        self._check_side(asks, "ask")
        self._check_order(bids, "bid")
        self._check_order(asks, "ask")
        self._check_storable(bids, asks)
        self._full_book_refused = False
        changed_bids, changed_asks = self.book.diff_to(bids, asks)
        if not changed_bids and not changed_asks:
            self._take_size(self._snap_size.bytes)
            self.heard()
            return None
        return self._write_book(changed_bids, changed_asks, ts_us)

    def _write_book(self, bids: FlatLevels, asks: FlatLevels, ts_us: int | None) -> bytes:
        seq = self.book.seq + 1
        ts_us = self._time(ts_us)
        try:
            payload = pack_book(self.epoch, seq, seq, ts_us, bids, asks)
        except (TypeError, ValueError, OverflowError) as error:
            raise FeedError(f"{self.id}: update {seq}: {error}") from None
        # Before the book changes: an update that cannot be published must not change it.
        self._check_fits(payload, (len(bids) + len(asks)) // 2)
        size = self._snap_size.after(self.book, bids, asks)
        self.book.apply(seq, seq, ts_us, bids, asks)
        self._take_size(size)
        self.heard()
        return payload

    def _take_size(self, size: int) -> None:
        self._snap_size.take(size)
        if not self._snap_size.fits:
            self.unstorable = self.unstorable or self._too_large(len(self.book), size)
        elif not self._full_book_refused:
            self.unstorable = None

    # ---- trades

    def trade(
        self,
        price: DecimalLike,
        size: DecimalLike,
        side: Side | None = None,
        trade_id: TradeId | None = None,
        ts_us: int | None = None,
    ) -> bytes:
        """One trade; ``side`` is the taker's, ``trade_id`` the venue's (default: the trade's number). Raises FeedError."""
        return self.trade_ticks(
            self._units(price, self.ref.price_exp, "trade price"),
            self._size(size),
            side,
            trade_id,
            ts_us,
        )

    def trade_ticks(
        self,
        price_ticks: int,
        size_lots: int,
        side: Side | None = None,
        trade_id: TradeId | None = None,
        ts_us: int | None = None,
    ) -> bytes:
        """As above, in ticks and lots."""
        ticks = check_number(price_ticks, "trade price", self.id, least=-MAX_NUMBER)
        lots = check_number(size_lots, "trade size", self.id, least=1)
        self._check_step(ticks, self.ref.tick, self.ref.price_exp, "trade price", "tick")
        self._check_step(lots, self.ref.lot, self.ref.size_exp, "trade size", "lot")
        if side not in _SIDES:
            raise FeedError(f"{self.id}: trade side {side!r} is none of 'buy', 'sell', None")
        seq = self.trade_seq + 1
        number = seq if trade_id is None else self._check_trade_id(trade_id)
        payload = pack_trade(self.epoch, seq, self._time(ts_us), ticks, lots, _SIDES[side], number)
        self.trade_seq = seq
        self.heard()
        return payload

    def _check_trade_id(self, trade_id: TradeId) -> TradeId:
        if isinstance(trade_id, str):
            if len(trade_id.encode()) > MAX_TRADE_ID_BYTES:
                raise FeedError(
                    f"{self.id}: trade id {trade_id[:40]!r}… is longer than {MAX_TRADE_ID_BYTES} bytes"
                )
            return trade_id
        if isinstance(trade_id, bool) or not isinstance(trade_id, int) or abs(trade_id) > MAX_NUMBER:
            raise FeedError(
                f"{self.id}: trade id {trade_id!r} is neither a string nor an integer within ±{MAX_NUMBER} "
                "(pass larger ones as strings: JavaScript would round them)"
            )
        return trade_id

    def lose_trades(self, count: int) -> None:
        """Leaves out so many numbers, for trades that the venue had and we missed: readers tell them lost."""
        self.trade_seq += check_number(count, "lost trades", self.id, least=1)

    # ---- state

    def set_status(self, state: str, reason: str = "", ts_us: int | None = None) -> bytes:
        """The venue's state: ``trading halted closed feed_down``; a longer reason is cut, and that is logged. Raises FeedError."""
        try:
            state = VenueState(state)
        except ValueError:
            allowed = ", ".join(VenueState)
            raise FeedError(f"{self.id}: state {state!r} is none of {allowed}") from None
        if not isinstance(reason, str):
            raise FeedError(f"{self.id}: reason {reason!r} is no string")
        ts_us = self._given_time(ts_us)
        self.state, self.reason = state, _cut(reason)
        if self.reason != reason:
            log.warning(
                "%s: the reason of %s is cut: readers take %d bytes of text, not %d",
                self.id,
                state,
                MAX_TEXT_BYTES,
                len(reason.encode(errors="replace")),
            )
        return self.status(ts_us)

    def status(self, ts_us: int | None = None) -> bytes:
        """The current state and numbers with the current time: a sign of life."""
        return self.later_status(ts_us)()

    def later_status(self, ts_us: int | None = None) -> Callable[[], bytes]:
        """As ``status``, but the times are those of the moment when what is returned is called."""
        state, reason = self._shown_state()
        return partial(self._pack_status, state, reason, self.book.seq, self.trade_seq, ts_us)

    def _shown_state(self) -> tuple[VenueState, str]:
        """Clients must not take a book for live that a reader who opens it now cannot have."""
        if self.unstorable is not None and self.state is not VenueState.CLOSED:
            return VenueState.FEED_DOWN, _cut(str(self.unstorable))
        if self.withheld and self.state is not VenueState.CLOSED:
            return VenueState.FEED_DOWN, self.withheld
        return self.state, self.reason

    def _pack_status(
        self, state: VenueState, reason: str, book_seq: int, trade_seq: int, ts_us: int | None
    ) -> bytes:
        ts_us = self._clock_us() if ts_us is None else ts_us
        age_us = self._monotonic_us() - self._heard_us if self._live_venue else 0
        heard_us = max(ts_us - max(age_us, 0), 0)
        value = [5, self.epoch, ts_us, state.value, reason, book_seq, trade_seq, heard_us]
        payload: bytes = msgpack.packb(value)
        return payload

    def reference(self, epoch: int = 0) -> bytes:
        """The ``ref`` payload, of this epoch or another."""
        return pack_ref(replace(self.ref, epoch=epoch or self.epoch))

    # ---- snapshots

    @property
    def storable(self) -> bool:
        """Whether the bus takes a snapshot of the book as it is published now."""
        return self._snap_size.fits

    @property
    def unsnapped(self) -> int:
        """Updates since the last snapshot."""
        return self.book.seq - self._snap_seq

    def snap_due(self, at_us: int) -> bool:
        """Whether the contract asks for a snapshot at a time of the monotonic clock: something changed, and 1,000 updates or 5 s
        have passed."""
        updates = self.unsnapped
        if not self.storable:
            return False
        return updates >= SNAP_UPDATES or (updates > 0 and at_us - self._snap_us >= SNAP_US)

    def snap(self) -> bytes:
        """The full book. Raises FeedError if it is larger than the bus takes."""
        # Also if it is refused: otherwise every update would try again.
        self._snap_seq, self._snap_us = self.book.seq, self._monotonic_us()
        if not self.storable:
            raise self._too_large(len(self.book), self._snap_size.bytes)
        return pack_snap(self.epoch, self.book.seq, self.book.ts_us or self._clock_us(), *_view(self.book))

    # ---- another epoch, another scale, another life

    def coarser(self, size_exp: int, epoch: int) -> InstrumentWriter:
        """A writer of a new epoch with this one's state, an empty book, and sizes rounded to a coarser scale."""
        factor = 10 ** (size_exp - self.ref.size_exp)
        lot = self.ref.lot // factor if self.ref.lot % factor == 0 else 1
        return self._like(replace(self.ref, size_exp=size_exp, lot=lot), epoch, rounds=True)

    def successor(self, epoch: int) -> InstrumentWriter:
        """A writer of another epoch with this one's state and scale, and an empty book."""
        writer = self._like(self.ref, epoch, rounds=self._rounds)
        writer.unstorable, writer._full_book_refused = self.unstorable, self._full_book_refused
        return writer

    def _like(self, ref: Ref, epoch: int, *, rounds: bool) -> InstrumentWriter:
        writer = InstrumentWriter(
            self.id,
            ref,
            epoch=epoch,
            max_payload=self._max_payload,
            max_levels=self._max_levels,
            live_venue=self._live_venue,
            rounds=rounds,
            clock_us=self._clock_us,
            monotonic_us=self._monotonic_us,
        )
        writer.state, writer.reason, writer._heard_us = self.state, self.reason, self._heard_us
        return writer

    def continue_from(self, book: Book, trade_seq: int) -> None:
        """The numbers go on after those of another writer of this epoch, whose last book this is."""
        bids, asks = _view(book)
        self.book.load(self.epoch, book.seq, book.ts_us, bids, asks)
        self.trade_seq = trade_seq
        self._take_size(packed_size(self.book))

    def take_book(self, book: Book) -> bytes | None:
        """As an update: what leads to this book, of the same scale; None if it is this one's already. Raises FeedError, BookError."""
        heard_us = self._heard_us
        bids, asks = self.book.diff_to(*_view(book))
        if not bids and not asks and (self.book.seq or not book.seq):
            return None
        payload = self._write_book(bids, asks, book.ts_us or None)
        self._heard_us = heard_us  # the venue has said nothing new
        return payload

    def levels_of(self, other: InstrumentWriter) -> bytes | None:
        """The other writer's book, in this one's coarser scale, as an update; None if it is empty."""
        factor = 10 ** (self.ref.size_exp - other.ref.size_exp)
        bids, asks = (_coarser(flat, factor) for flat in _view(other.book))
        return self.replace_ticks(bids, asks, other.book.ts_us or None)

    # ---- checks

    def _flat(self, levels: Iterable[LevelLike], side: str) -> FlatLevels:
        pairs = tuple(levels)
        try:
            if self._rounds:
                pairs = tuple((price, rounded(size, self.ref.size_exp)) for price, size in pairs)
            return parse_levels(pairs, self.ref.price_exp, self.ref.size_exp)
        except (TypeError, ValueError) as error:
            self._raise_for((pair[1] for pair in pairs if len(pair) == 2), f"{side} {error}")

    def _size(self, size: DecimalLike) -> int:
        try:
            return to_integer(rounded(size, self.ref.size_exp) if self._rounds else size, self.ref.size_exp)
        except (TypeError, ValueError) as error:
            self._raise_for((size,), f"trade size {error}")

    def _raise_for(self, sizes: Iterable[object], what: str) -> NoReturn:
        """Raises FeedError for numbers that cannot be parsed: SizeError if a coarser scale would hold them."""
        coarser = coarser_exp(sizes, self.ref.size_exp)
        if coarser is None:
            raise FeedError(f"{self.id}: {what}") from None
        raise SizeError(
            f"{self.id}: {what}; open the instrument with size_exp={coarser} and round sizes to it",
            size_exp=coarser,
        ) from None

    def _units(self, value: DecimalLike, exp: int, what: str) -> int:
        try:
            return to_integer(value, exp)
        except (TypeError, ValueError) as error:
            raise FeedError(f"{self.id}: {what} {error}") from None

    def _time(self, ts_us: int | None) -> int:
        return self._clock_us() if ts_us is None else check_time(ts_us, self.id)

    def _given_time(self, ts_us: int | None) -> int | None:
        return None if ts_us is None else check_time(ts_us, self.id)

    def _check_side(self, flat: FlatLevels, side: str) -> None:
        if isinstance(flat, np.ndarray):
            if flat.dtype != _INT64 or flat.ndim != 1:
                raise FeedError(
                    f"{self.id}: {side}s are an array of {flat.dtype} {flat.shape}, not flat int64"
                )
            # Sides are short: set() of a list is several times faster than numpy's sort.
            numbers: Sequence[int] = flat.tolist()
        else:
            numbers = flat
            for number in numbers:
                if type(number) is not int:
                    raise FeedError(f"{self.id}: {side} {number!r} is not an integer; ticks and lots are")
        if not numbers:
            return
        if len(numbers) % 2:
            raise FeedError(f"{self.id}: {side}s are {len(flat)} numbers, but ticks and lots come in pairs")
        ticks = numbers[::2]
        if (
            len(set(ticks)) != len(ticks)
            or min(numbers[1::2]) < 0
            or (self._stepped and self._off_step(numbers))
        ):
            self._refuse(numbers, side)

    def _off_step(self, numbers: Sequence[int]) -> bool:
        tick, lot = self.ref.tick, self.ref.lot
        return any(number % tick for number in numbers[::2]) or any(number % lot for number in numbers[1::2])

    def _refuse(self, flat: Sequence[int], side: str) -> None:
        """Finds what is wrong with a side, and raises."""
        seen: set[int] = set()
        for ticks, lots in zip(flat[::2], flat[1::2], strict=True):
            price = format_decimal(ticks, self.ref.price_exp)
            if lots < 0:
                size = format_decimal(lots, self.ref.size_exp)
                raise FeedError(f"{self.id}: {side} {price} has the negative size {size}")
            if ticks in seen:
                raise FeedError(f"{self.id}: {side} {price} is named twice in one update")
            seen.add(ticks)
            self._check_step(ticks, self.ref.tick, self.ref.price_exp, f"{side} price", "tick")
            self._check_step(lots, self.ref.lot, self.ref.size_exp, f"size at {side} {price}", "lot")

    def _check_step(self, units: int, step: int, exp: int, what: str, name: str) -> None:
        if units % step:
            raise FeedError(
                f"{self.id}: {what} {format_decimal(units, exp)} is not a multiple of the {name}, {format_decimal(step, exp)}"
            )

    def _check_order(self, flat: FlatLevels, side: str) -> None:
        sign = -1 if side == "bid" else 1
        before: int | None = None
        for ticks, lots in zip(flat[::2], flat[1::2], strict=True):
            price = format_decimal(int(ticks), self.ref.price_exp)
            if not lots:
                raise FeedError(f"{self.id}: {side} {price} of a full book has size 0")
            if before is not None and sign * ticks < sign * before:
                raise FeedError(
                    f"{self.id}: a full book's {side}s go from best to worst, "
                    f"but {price} follows {format_decimal(int(before), self.ref.price_exp)}"
                )
            before = int(ticks)

    def _check_storable(self, bids: FlatLevels, asks: FlatLevels) -> None:
        """Refuses a full book whose snapshot the bus would refuse. Until one is taken, the published book is not the venue's."""
        levels = (len(bids) + len(asks)) // 2
        if levels * LEVEL_BYTES + HEAD_BYTES > self._max_payload:
            size = full_size(bids, asks)
            if size > self._max_payload:
                self._full_book_refused = True
                self.unstorable = self.unstorable or self._too_large(levels, size)
                raise self._too_large(levels, size)

    def _too_large(self, levels: int, size: int) -> FeedError:
        return FeedError(
            f"{self.id}: the snapshot of {levels} levels takes {size} bytes, more than the {self._max_payload} "
            f"that the NATS server takes in one message: {_REMEDY}"
        )

    def _check_fits(self, payload: bytes, levels: int) -> None:
        if len(payload) > self._max_payload:
            raise FeedError(
                f"{self.id}: an update of {levels} levels takes {len(payload)} bytes, more than the {self._max_payload} "
                f"that the NATS server takes in one message: {_REMEDY}"
            )


def _view(book: Book) -> tuple[list[int], list[int]]:
    view = book.view()
    assert view is not None, "the view as of now needs no log"
    return view


def _coarser(flat: Sequence[int], factor: int) -> list[int]:
    """Levels with ``factor`` lots made one."""
    return [rounded_lots(number, factor) if at % 2 else number for at, number in enumerate(flat)]


def _cut(reason: str) -> str:
    """What readers take of a reason: it is for people, and a state must not be lost by it."""
    text = reason.encode(errors="replace")
    if len(text) > MAX_TEXT_BYTES:
        text = text[: MAX_TEXT_BYTES - 3] + "…".encode()
    return text.decode(errors="ignore")
