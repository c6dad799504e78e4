"""A stream of trades without gaps: each number once and in order. Missing trades are recovered, or reported as lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, Self

from mdstream.client import events
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.protocol import Request
from mdstream.client.recovery import NumberedSubscription
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Link, StreamEvent, scaled

Side = Literal["buy", "sell"]
SIDES: dict[int, Side] = {1: "buy", 2: "sell"}


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade. ``side`` is the taker's, None if unknown; ``ts_us`` is the event time in µs since the Unix epoch.

    ``skipped`` counts the trades just before this one that were not delivered: the gateway lost them, or the iteration
    was too slow and dropped them.
    """

    epoch: int
    seq: int
    ts_us: int
    price_ticks: int
    size_lots: int
    side: Side | None
    trade_id: int | str
    price_exp: int
    size_exp: int
    skipped: int = 0

    @property
    def price(self) -> Decimal:
        return scaled(self.price_ticks, self.price_exp)

    @property
    def size(self) -> Decimal:
        return scaled(self.size_lots, self.size_exp)

    def with_skipped(self, skipped: int) -> Self:
        return replace(self, skipped=self.skipped + skipped)


class Trades(NumberedSubscription[events.Trades]):
    """The trades of one instrument from the time of the subscription, over any number of connections."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self._epoch: int | None = None
        self._seq: int | None = None
        self._fresh = True
        """The gateway has sent no trade since it accepted the subscription."""
        self._skipped = 0
        self._trade_observers: list[Observer[Trade]] = []
        self._lost_observers: list[Callable[[int, int], object]] = []
        self.lost = 0
        """Trades that the gateway could no longer send."""

    # ---- for the user

    @property
    def epoch(self) -> int | None:
        return self._epoch

    @property
    def seq(self) -> int | None:
        """The number of the newest trade delivered; None before the first."""
        return self._seq

    def on_trade(self, observer: Observer[Trade]) -> Callable[[], None]:
        """Calls ``observer(trade)`` for each trade; returns a function that stops the calls."""
        return register(self._trade_observers, observer)

    def on_lost(self, observer: Callable[[int, int], object]) -> Callable[[], None]:
        """Calls ``observer(first, last)`` when trades are lost for good; returns a function that stops the calls."""
        return register(self._lost_observers, observer)

    def updates(self, buffer: int = 16384) -> UpdateStream[Trade]:
        """Returns an iteration that keeps at most ``buffer`` trades for a slow consumer."""
        return UpdateStream(self, self.on_trade, buffer)

    def __aiter__(self) -> AsyncIterator[Trade]:
        return self.updates()

    # ---- for the connection

    @property
    def resume(self) -> tuple[int, int] | None:
        if self._epoch is None or self._seq is None:
            return None
        return self._epoch, self._seq

    def _begin(self, now: float, *, resumed: bool, rescaled: bool) -> None:
        self._synced = self._fresh = True

    def _interrupt(self) -> None:
        super()._interrupt()
        self._synced = False

    def _take(self, event: StreamEvent, now: float) -> None:
        if isinstance(event, events.Lost):
            self._take_lost(event, now)
        elif isinstance(event, events.Trades) and self._follow_epoch(event):
            self._take_trades(event, now)

    def _take_heartbeat(self, seq: int, now: float) -> None:
        if self._recovery.active or seq == 0:
            return
        if self._seq is None:
            self._seq = seq
        elif seq > self._seq:
            self._recover_missing(now)

    # ---- inside

    def _follow_epoch(self, event: events.Trades) -> bool:
        """Starts again at number 1 if the epoch is new; False if it is older than the current one.

        An older one counts only right after ``subscribed``: then nothing on the bus bears out the newer one.
        """
        fresh, self._fresh = self._fresh, False
        if self._epoch is None:
            if self._seq is None or event.first <= self._seq:
                self._seq = event.first - 1
        elif fresh and event.epoch < self._epoch:
            self._seq = event.first - 1
        elif event.epoch > self._epoch:
            self._recovery.stop()
            self._synced = True
            self._seq = 0
        elif event.epoch < self._epoch:
            return False
        self._epoch = event.epoch
        return True

    def _take_trades(self, event: events.Trades, now: float) -> None:
        assert self._seq is not None
        if not event.trades:
            self._take_empty(event, now)
            return
        if event.last <= self._seq:
            return
        if event.first > self._seq + 1:
            self._recovery.hold(event)
            if not self._recovery.active:
                self._recover_missing(now)
            return
        for entry in event.trades:
            if entry.seq > self._seq:
                self._deliver(entry)
        self._seq = event.last
        self._recovery.reset_delay()
        self._resume_stream(now)

    def _take_empty(self, event: events.Trades, now: float) -> None:
        """The gateway answered ``recover`` with no trades: nothing is missing."""
        if self._recovery.active and event.last <= (self._seq or 0):
            self._recovery.reset_delay()
            self._resume_stream(now)

    def _deliver(self, entry: events.TradeEntry) -> None:
        assert self._epoch is not None
        self._seq = entry.seq
        trade = Trade(
            self._epoch,
            entry.seq,
            entry.ts_us,
            entry.price_ticks,
            entry.size_lots,
            SIDES.get(entry.side),
            entry.trade_id,
            self.price_exp,
            self.size_exp,
            self._skipped,
        )
        self._skipped = 0
        notify_all(self._trade_observers, trade)

    def _take_lost(self, event: events.Lost, now: float) -> None:
        """``lost`` without ``recover``: recovers once, because the log may still have the trades. As the answer: they are gone."""
        if self._seq is None and event.first == 1:
            # Trades from before this subscription, which are not part of it.
            self._seq = event.last
            return
        seq = event.first - 1 if self._seq is None else self._seq
        if event.last <= seq:
            return
        self._seq = seq
        if not self._recovery.active:
            self._recover_missing(now)
        elif event.first <= seq + 1:
            self._report_lost(seq + 1, event.last)
            self._resume_stream(now)

    def _report_lost(self, first: int, last: int) -> None:
        self.lost += last - first + 1
        self._skipped += last - first + 1
        self._seq = last
        self._recovery.reset_delay()
        notify_all(self._lost_observers, first, last)

    def _resume_stream(self, now: float) -> None:
        self._synced = True
        if self._recovery.active:
            for event in self._recovery.complete():
                self._take_trades(event, now)

    def _recover_missing(self, now: float) -> None:
        assert self._seq is not None
        self._synced = False
        self._recover_gap(f"trades after number {self._seq} are", self._seq + 1, now)
