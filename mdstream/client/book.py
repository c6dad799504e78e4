"""A local order book: applies what the gateway sends, checks its numbers and checksums, and recovers when one is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, auto
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from mdstream._core.orderbook.book import Book as CoreBook
from mdstream.client.events import Delta, Snapshot, StateChange
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.protocol import Request
from mdstream.client.recovery import NumberedSubscription
from mdstream.client.states import SubscriptionState
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Link, StreamEvent
from mdstream.errors import BookError
from mdstream.model import StateCode

Quote = tuple[Decimal, Decimal]


class Sync(Enum):
    """How the view compares with the gateway's."""

    EMPTY = auto()
    """No snapshot has come yet."""
    EXACT = auto()
    BEHIND = auto()
    """Right at ``seq``, but an update after it is missing."""
    BROKEN = auto()
    """The view was wrong and has been emptied."""


@dataclass(frozen=True, slots=True)
class BookUpdate:
    """What one message changed. A snapshot replaces everything; its ``first`` equals its ``last``.

    ``skipped`` counts the updates before this one that were dropped because the iteration was too slow. The book itself
    is always the newest.
    """

    kind: Literal["snapshot", "delta"]
    epoch: int
    first: int
    last: int
    ts_us: int
    flat_bids: list[int]
    flat_asks: list[int]
    skipped: int = 0

    @property
    def bids(self) -> NDArray[np.int64]:
        """The changed bids as (n, 2) ticks and lots; lots 0: the level is deleted."""
        return _as_levels(self.flat_bids)

    @property
    def asks(self) -> NDArray[np.int64]:
        return _as_levels(self.flat_asks)

    def with_skipped(self, skipped: int) -> Self:
        return replace(self, skipped=skipped)


class Book(NumberedSubscription[Delta]):
    """A view of one instrument's book, kept equal to the gateway's.

    Do not use the view while ``trusted`` is False: an update is missing, or the view was wrong and has been emptied.
    """

    def __init__(self, request: Request, link: Link, *, max_levels: int = 1 << 20) -> None:
        super().__init__(request, link)
        self._max_levels = max_levels
        self._view = self._new_view()
        self._sync = Sync.EMPTY
        self._arrays: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._update_observers: list[Observer[BookUpdate]] = []
        self.crc_errors = 0

    # ---- for the user

    @property
    def depth(self) -> int:
        return self.request.depth

    @property
    def epoch(self) -> int:
        return self._view.epoch

    @property
    def seq(self) -> int:
        """The number of the last update in the view."""
        return self._view.seq

    @property
    def ts_us(self) -> int:
        """Event time of the last update, µs since the Unix epoch."""
        return self._view.ts_us

    @property
    def bids(self) -> NDArray[np.int64]:
        """Bids as (n, 2) int64 ticks and lots, best first. Read-only; later updates do not change the array."""
        return self._sides()[0]

    @property
    def asks(self) -> NDArray[np.int64]:
        return self._sides()[1]

    @property
    def best_bid(self) -> Quote | None:
        """(price, size) as exact decimals; None if there is no bid."""
        return self._quote(self._view.best()[0])

    @property
    def best_ask(self) -> Quote | None:
        return self._quote(self._view.best()[1])

    def levels(self, depth: int | None = None) -> tuple[list[Quote], list[Quote]]:
        """Bids and asks as (price, size) decimals, best first, at most ``depth`` of each."""
        bids, asks = self._sides()
        return self._decimals(bids[:depth]), self._decimals(asks[:depth])

    @property
    def crc(self) -> int:
        """The contract's checksum of the view."""
        return self._view.crc()

    def on_update(self, observer: Observer[BookUpdate]) -> Callable[[], None]:
        """Calls ``observer(update)`` after each message is applied; returns a function that stops the calls."""
        return register(self._update_observers, observer)

    def updates(self, buffer: int = 1024) -> UpdateStream[BookUpdate]:
        """Returns an iteration that keeps at most ``buffer`` updates for a slow consumer."""
        return UpdateStream(self, self.on_update, buffer)

    def __aiter__(self) -> AsyncIterator[BookUpdate]:
        return self.updates()

    # ---- for the connection

    @property
    def resume(self) -> tuple[int, int] | None:
        if self._sync in (Sync.EXACT, Sync.BEHIND):
            return self._view.epoch, self._view.seq
        return None

    def _begin(self, now: float, *, resumed: bool, rescaled: bool) -> None:
        if resumed and not rescaled and self._sync is not Sync.EMPTY:
            self._set_sync(Sync.EXACT)
            return
        self._set_sync(Sync.EMPTY)
        self._recovery.expect(now)
        if rescaled:
            self._clear()

    def _take(self, event: StreamEvent, now: float) -> None:
        if isinstance(event, Snapshot):
            self._take_snapshot(event, now)
        elif isinstance(event, Delta):
            self._take_delta(event, now)

    def take_state(self, event: StateChange, now: float) -> None:
        """While the gateway says that it has no book to send, there is nothing to ask for: a snapshot comes by itself."""
        super().take_state(event, now)
        if self._gateway_has_none:
            self._recovery.wait()
        elif not self._synced and self._recovery.deadline is None:
            self._recovery.expect(now)

    @property
    def _gateway_has_none(self) -> bool:
        if self._reported is not SubscriptionState.RECOVERING:
            return False
        return self._report.code == StateCode.NO_BOOK or self._sync is Sync.EMPTY

    def _take_heartbeat(self, seq: int, now: float) -> None:
        if (
            self._gateway_has_none
            or self._recovery.active
            or seq <= (0 if self._sync is Sync.EMPTY else self.seq)
        ):
            return
        self._recover_missing(now)

    # ---- inside

    def _take_snapshot(self, event: Snapshot, now: float) -> None:
        if event.epoch != self._view.epoch:
            self._recovery.drop_held()
        try:
            self._view.load(event.epoch, event.seq, event.ts_us, event.bids, event.asks)
        except BookError as error:
            self._discard(now, f"snapshot {event.seq} cannot be a book: {error}")
            return
        if self._crc_matches(event.crc, event.seq, now):
            update = BookUpdate(
                "snapshot", event.epoch, event.seq, event.seq, event.ts_us, event.bids, event.asks
            )
            self._publish(update, now)

    def _take_delta(self, event: Delta, now: float) -> None:
        if self._sync in (Sync.EXACT, Sync.BEHIND):
            if event.last <= self.seq:
                return
            if event.first == self.seq + 1:
                self._apply(event, now)
                return
            if event.first <= self.seq:
                self._discard(
                    now,
                    f"update {event.first}..{event.last} overlaps number {self.seq}, which was applied before",
                )
        self._recovery.hold(event)
        if not self._recovery.active:
            self._recover_missing(now)

    def _apply(self, event: Delta, now: float) -> None:
        try:
            self._view.apply(event.first, event.last, event.ts_us, event.bids, event.asks)
        except BookError as error:
            self._discard(now, f"update {event.first}..{event.last} does not fit the book: {error}")
            return
        if self._crc_matches(event.crc, event.last, now):
            self._recovery.reset_delay()
            update = BookUpdate(
                "delta", self.epoch, event.first, event.last, event.ts_us, event.bids, event.asks
            )
            self._publish(update, now)

    def _crc_matches(self, crc: int, seq: int, now: float) -> bool:
        actual = self._view.crc()
        if actual != crc:
            self._discard(now, f"checksum at {seq} was {actual}, the gateway's is {crc}")
        return actual == crc

    def _publish(self, update: BookUpdate, now: float) -> None:
        self._arrays = None
        self._set_sync(Sync.EXACT)
        held = self._recovery.complete() if self._recovery.deadline is not None else ()
        notify_all(self._update_observers, update)
        for event in held:
            self._take_delta(event, now)

    def _recover_missing(self, now: float) -> None:
        """The number after ``seq`` is missing: the view stays as it was at ``seq`` until the answer."""
        from_seq = 0 if self._sync is Sync.EMPTY else self.seq + 1
        if from_seq:
            self._set_sync(Sync.BEHIND)
        self._recover_gap(f"what follows number {self.seq} is", from_seq, now)

    def _discard(self, now: float, why: str) -> None:
        """The view is wrong: empties it, because no view is better than a wrong one."""
        self.crc_errors += 1
        self._link.stats.crc_errors += 1
        self._clear()
        self._set_sync(Sync.BROKEN)
        self._next_reason = why
        self._recovery.start(0, now)

    def _new_view(self) -> CoreBook:
        return CoreBook(self.instrument, log_capacity=16, max_levels=self._max_levels)

    def _clear(self) -> None:
        self._view.reset(self._view.epoch)
        self._arrays = None

    def _set_sync(self, sync: Sync) -> None:
        self._sync = sync
        self._synced = sync is Sync.EXACT

    def _sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._arrays is None:
            bids, asks = self._view.arrays()
            bids.flags.writeable = False
            asks.flags.writeable = False
            self._arrays = bids, asks
        return self._arrays

    def _quote(self, level: tuple[int, int] | None) -> Quote | None:
        return None if level is None else (self.price(level[0]), self.size(level[1]))

    def _decimals(self, levels: NDArray[np.int64]) -> list[Quote]:
        return [(self.price(ticks), self.size(lots)) for ticks, lots in levels.tolist()]


def _as_levels(flat: list[int]) -> NDArray[np.int64]:
    return np.array(flat, dtype=np.int64).reshape(-1, 2)
