"""Best bid, best ask and last trade of one instrument. Each message replaces the one before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Self

from mdstream.client import events
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.protocol import Request
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Link, StreamEvent, Subscription

Quote = tuple[Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class TickerUpdate:
    """(price, size) of best bid, best ask and last trade; None if there is none. ``ts_us`` is the event time."""

    epoch: int
    seq: int
    ts_us: int
    bid: Quote | None
    ask: Quote | None
    last: Quote | None
    skipped: int = 0

    def with_skipped(self, skipped: int) -> Self:
        return replace(self, skipped=skipped)


class Ticker(Subscription):
    """Keeps the newest ticker in ``current``; it is None before the first."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self.current: TickerUpdate | None = None
        self._observers: list[Observer[TickerUpdate]] = []

    @property
    def bid(self) -> Quote | None:
        return None if self.current is None else self.current.bid

    @property
    def ask(self) -> Quote | None:
        return None if self.current is None else self.current.ask

    @property
    def last(self) -> Quote | None:
        return None if self.current is None else self.current.last

    def on_update(self, observer: Observer[TickerUpdate]) -> Callable[[], None]:
        """Calls ``observer(update)`` for each ticker; returns a function that stops the calls."""
        return register(self._observers, observer)

    def updates(self, buffer: int = 1) -> UpdateStream[TickerUpdate]:
        """Returns an iteration that keeps at most ``buffer`` updates; the default, 1, always gives the newest."""
        return UpdateStream(self, self.on_update, buffer)

    def __aiter__(self) -> AsyncIterator[TickerUpdate]:
        return self.updates()

    @property
    def resume(self) -> tuple[int, int] | None:
        return None if self.current is None else (self.current.epoch, self.current.seq)

    def _begin(self, now: float, *, resumed: bool, rescaled: bool) -> None:
        self._synced = (
            not self.ready
        )  # after a lost connection, what is shown is old until the next ticker comes
        if rescaled:
            self.current = None

    def _take(self, event: StreamEvent, now: float) -> None:
        if not isinstance(event, events.Ticker):
            return
        self._synced = True
        self.current = TickerUpdate(
            event.epoch,
            event.seq,
            event.ts_us,
            self._quote(event.bid_ticks, event.bid_lots),
            self._quote(event.ask_ticks, event.ask_lots),
            self._quote(event.last_ticks, event.last_lots),
        )
        notify_all(self._observers, self.current)

    def _take_heartbeat(self, seq: int, now: float) -> None:
        if self._synced and self.current is not None and seq > self.current.seq:
            self._synced = False
            self._next_reason = f"the ticker after number {self.current.seq} is missing"
            self._send_recover(0)

    def _interrupt(self) -> None:
        self._synced = False

    def _quote(self, ticks: int | None, lots: int | None) -> Quote | None:
        if ticks is None or lots is None:
            return None
        return self.price(ticks), self.size(lots)
