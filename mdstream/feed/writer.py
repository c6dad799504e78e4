"""The writer of one instrument: checks and numbers market data and returns the bytes for the bus. No I/O.

A refused call changes nothing and uses no number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgpack
import numpy as np
from numpy.typing import NDArray

from mdstream._core.base.decimals import format_decimal, parse_levels, to_integer
from mdstream._core.codec.feed_encoder import pack_book, pack_snap, pack_trade
from mdstream._core.orderbook.book import Book
from mdstream.errors import FeedError
from mdstream.feed.numbers import DecimalLike, LevelLike, check_number
from mdstream.model import MAX_EXPONENT, MAX_NUMBER, InstrumentId, Ref, VenueState

FlatLevels = Sequence[int] | NDArray[np.int64]
"""``[ticks, lots, ticks, lots, …]``"""

Side = Literal["buy", "sell"]
TradeId = str | int

SNAP_UPDATES = 1000
"""A snapshot is due after so many updates …"""
SNAP_US = 5_000_000
"""… or after this time, if anything changed."""

DEFAULT_MAX_PAYLOAD = 1_048_576
_MAX_TRADE_ID_BYTES = 126
_INT64 = np.dtype(np.int64)
_SIDES = {None: 0, "buy": 1, "sell": 2}


def now_us() -> int:
    return time.time_ns() // 1000


class InstrumentWriter:
    """Turns calls into payloads of the streams ``book``, ``trade``, ``snap``, ``ref`` and ``status``.

    ``max_payload`` is the largest message that the bus takes, in bytes. Raises FeedError if ``ref`` is not usable.
    """

    def __init__(
        self,
        instrument: InstrumentId,
        ref: Ref,
        *,
        epoch: int,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        max_levels: int = 65536,
        clock_us: Callable[[], int] = now_us,
    ) -> None:
        _check_ref(instrument, ref)
        self.id = instrument
        self.ref = ref
        self.epoch = check_number(epoch, "epoch", instrument, least=1)
        self.trade_seq = 0
        self.state = VenueState.TRADING
        self.reason = ""
        # Nobody reads this book's change log, so it is as small as the core allows.
        self.book = Book(str(instrument), log_capacity=1024, max_levels=max_levels)
        self.book.reset(epoch)
        self._stepped = ref.tick > 1 or ref.lot > 1
        self._max_payload = max_payload
        self._clock_us = clock_us
        self._snap_seq = 0
        self._snap_us = clock_us()

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
        changed_bids, changed_asks = self.book.diff_to(bids, asks)
        if not changed_bids and not changed_asks:
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
        self._check_fits(payload, "an update", (len(bids) + len(asks)) // 2)
        self.book.apply(seq, seq, ts_us, bids, asks)
        return payload

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
            self._units(size, self.ref.size_exp, "trade size"),
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
        return payload

    def _check_trade_id(self, trade_id: TradeId) -> TradeId:
        if isinstance(trade_id, str):
            if len(trade_id.encode()) > _MAX_TRADE_ID_BYTES:
                raise FeedError(
                    f"{self.id}: trade id {trade_id[:40]!r}… is longer than {_MAX_TRADE_ID_BYTES} bytes"
                )
            return trade_id
        if isinstance(trade_id, bool) or not isinstance(trade_id, int) or abs(trade_id) > MAX_NUMBER:
            raise FeedError(
                f"{self.id}: trade id {trade_id!r} is neither a str nor an int within ±{MAX_NUMBER} "
                "(pass larger ones as str: JavaScript would round them)"
            )
        return trade_id

    def lose_trades(self, count: int) -> None:
        """Leaves out so many numbers, for trades that the venue had and we missed: readers tell them lost."""
        self.trade_seq += check_number(count, "lost trades", self.id, least=1)

    # ---- state

    def set_status(self, state: str, reason: str = "", ts_us: int | None = None) -> bytes:
        """The venue's state: ``trading halted closed feed_down``. Raises FeedError."""
        try:
            state = VenueState(state)
        except ValueError:
            allowed = ", ".join(VenueState)
            raise FeedError(f"{self.id}: state {state!r} is none of {allowed}") from None
        payload = self._pack_status(state, reason, ts_us)
        self.state, self.reason = state, reason
        return payload

    def status(self) -> bytes:
        """The current state with the current time: a sign of life."""
        return self._pack_status(self.state, self.reason, None)

    def _pack_status(self, state: VenueState, reason: str, ts_us: int | None) -> bytes:
        payload: bytes = msgpack.packb([5, self.epoch, self._time(ts_us), state.value, reason])
        return payload

    def reference(self) -> bytes:
        """The ``ref`` payload."""
        return _pack_ref(self.ref)

    # ---- snapshots

    @property
    def unsnapped(self) -> int:
        """Updates since the last snapshot."""
        return self.book.seq - self._snap_seq

    def snap_due(self, at_us: int) -> bool:
        """Whether the contract asks for a snapshot now: something changed, and 1,000 updates or 5 s have passed."""
        updates = self.unsnapped
        return updates >= SNAP_UPDATES or (updates > 0 and at_us - self._snap_us >= SNAP_US)

    def snap(self) -> bytes:
        """The full book. Raises FeedError if it is larger than the bus takes."""
        view = self.book.view()
        assert view is not None, "the view as of now needs no log"
        bids, asks = view
        payload = pack_snap(self.epoch, self.book.seq, self.book.ts_us or self.epoch, bids, asks)
        # Also if it is refused: otherwise every update would try again.
        self._snap_seq, self._snap_us = self.book.seq, self._clock_us()
        self._check_fits(payload, "the snapshot", (len(bids) + len(asks)) // 2)
        return payload

    # ---- checks

    def _flat(self, levels: Iterable[LevelLike], side: str) -> FlatLevels:
        try:
            return parse_levels(levels, self.ref.price_exp, self.ref.size_exp)
        except (TypeError, ValueError) as error:
            raise FeedError(f"{self.id}: {side} {error}") from None

    def _units(self, value: DecimalLike, exp: int, what: str) -> int:
        try:
            return to_integer(value, exp)
        except (TypeError, ValueError) as error:
            raise FeedError(f"{self.id}: {what} {error}") from None

    def _time(self, ts_us: int | None) -> int:
        return self._clock_us() if ts_us is None else check_number(ts_us, "ts_us", self.id)

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
                    raise FeedError(f"{self.id}: {side} {number!r} is not an integer; ticks and lots are int")
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

    def _check_fits(self, payload: bytes, what: str, levels: int) -> None:
        if len(payload) > self._max_payload:
            raise FeedError(
                f"{self.id}: {what} of {levels} levels takes {len(payload)} bytes, more than the {self._max_payload} "
                "that the NATS server takes in one message: raise its max_payload, or publish fewer levels"
            )


def _check_ref(instrument: InstrumentId, ref: Ref) -> None:
    for name, exp in (("price_exp", ref.price_exp), ("size_exp", ref.size_exp)):
        if type(exp) is not int or abs(exp) > MAX_EXPONENT:
            raise FeedError(
                f"{instrument}: {name} {exp!r} is not an integer in −{MAX_EXPONENT} … {MAX_EXPONENT}"
            )
    check_number(ref.tick, "tick", instrument, least=1)
    check_number(ref.lot, "lot", instrument, least=1)
    try:
        _pack_ref(ref)
    except (TypeError, ValueError, OverflowError) as error:
        raise FeedError(
            f"{instrument}: the reference data {ref} cannot be encoded as MessagePack: {error}"
        ) from None


def _pack_ref(ref: Ref) -> bytes:
    known = {
        "price_exp": ref.price_exp,
        "size_exp": ref.size_exp,
        "tick": ref.tick,
        "lot": ref.lot,
        "name": ref.name,
    }
    extra = {key: value for key, value in ref.extra.items() if key not in known}
    payload: bytes = msgpack.packb(known | extra)
    return payload
