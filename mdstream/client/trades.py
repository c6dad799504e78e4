"""A stream of trades without holes: each number once, in order; what is missing is fetched, or owned up to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, Self

from mdstream.client import events
from mdstream.client.protocol import Request
from mdstream.client.recovery import Recovery
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Link, Observer, StreamEvent, Subscription, notify, register, scaled

Side = Literal["buy", "sell"]
SIDES: dict[int, Side] = {1: "buy", 2: "sell"}


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade. ``side`` is the taker's, None if unknown; ``ts_us`` its event time, µs since the Unix epoch.

    ``skipped`` counts the trades between the one before and this one that were not delivered: lost at the gateway, or
    dropped by an iteration too slow for the stream.
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


class Trades(Subscription):
    """The trades of one instrument from the moment of the subscription on, over any number of connections."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self._epoch: int | None = None
        self._seq: int | None = None
        self._missed = 0
        self._recovery: Recovery[events.Trades] = Recovery(self._send_recover, link)
        self._trade_observers: list[Observer[Trade]] = []
        self._lost_observers: list[Callable[[int, int], object]] = []
        self.recoveries = 0
        self.gaps = 0
        self.lost = 0
        """Trades that the gateway could not give any more."""

    # ---- for the user

    @property
    def epoch(self) -> int | None:
        return self._epoch

    @property
    def seq(self) -> int | None:
        """Number of the newest trade delivered; None before the first."""
        return self._seq

    def on_trade(self, observer: Observer[Trade]) -> Callable[[], None]:
        """Calls ``observer(trade)`` for each trade; returns a function that ends it."""
        return register(self._trade_observers, observer)

    def on_lost(self, observer: Callable[[int, int], object]) -> Callable[[], None]:
        """Calls ``observer(first, last)`` when trades are lost for good; returns a function that ends it."""
        return register(self._lost_observers, observer)

    def updates(self, buffer: int = 16384) -> UpdateStream[Trade]:
        """An iteration that keeps at most ``buffer`` trades for a consumer that is slower than the stream."""
        return UpdateStream(self, self.on_trade, buffer)

    def __aiter__(self) -> AsyncIterator[Trade]:
        return self.updates()

    # ---- for the connection

    @property
    def deadline(self) -> float | None:
        return self._recovery.deadline

    @property
    def resume(self) -> tuple[int, int] | None:
        if self._epoch is None or self._seq is None:
            return None
        return self._epoch, self._seq

    def recover_refused(self, now: float) -> None:
        if self._recovery.active:
            self._recovery.refused(now)

    def tick(self, now: float) -> None:
        self._recovery.tick(now)

    def _interrupt(self) -> None:
        self._recovery.stop()
        self._synced = False

    def _take(self, event: StreamEvent, now: float) -> None:
        if isinstance(event, events.Lost):
            self._take_lost(event, now)
        elif isinstance(event, events.Trades) and self._same_life(event):
            self._take_trades(event, now)

    def _hear(self, seq: int, now: float) -> None:
        if self._recovery.active or seq == 0:
            return
        if self._seq is None:
            self._seq = seq
        elif seq > self._seq:
            self._miss(now)

    # ---- inside

    def _same_life(self, event: events.Trades) -> bool:
        """Follows a new epoch, which counts from 1 again; False for what an older writer left."""
        if self._epoch is None:
            if self._seq is None or event.first <= self._seq:
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
            self._take_nothing(event, now)
            return
        if event.last <= self._seq:
            return
        if event.first > self._seq + 1:
            self._recovery.hold(event)
            if not self._recovery.active:
                self._miss(now)
            return
        for entry in event.trades:
            if entry.seq > self._seq:
                self._deliver(entry)
        self._seq = event.last
        self._recovery.prove()
        self._go_on(now)

    def _take_nothing(self, event: events.Trades, now: float) -> None:
        """The answer to a ``recover`` for what does not exist: nothing is missing."""
        if self._recovery.active and event.last <= (self._seq or 0):
            self._recovery.prove()
            self._go_on(now)

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
            self._missed,
        )
        self._missed = 0
        for observer in tuple(self._trade_observers):
            notify(observer, trade)

    def _take_lost(self, event: events.Lost, now: float) -> None:
        """Lost unasked: ask once, the log may still have them. Lost as the answer: they are gone."""
        if self._seq is None and event.first == 1:
            # All that went before this subscription: it was never promised.
            self._seq = event.last
            return
        seq = event.first - 1 if self._seq is None else self._seq
        if event.last <= seq:
            return
        self._seq = seq
        if not self._recovery.active:
            self._miss(now)
        elif event.first <= seq + 1:
            self._give_up(seq + 1, event.last)
            self._go_on(now)

    def _give_up(self, first: int, last: int) -> None:
        self.lost += last - first + 1
        self._missed += last - first + 1
        self._seq = last
        self._recovery.prove()
        for observer in tuple(self._lost_observers):
            notify(observer, first, last)

    def _go_on(self, now: float) -> None:
        self._synced = True
        if self._recovery.active:
            for event in self._recovery.settle():
                self._take_trades(event, now)

    def _miss(self, now: float) -> None:
        assert self._seq is not None
        self.gaps += 1
        self._link.stats.gaps += 1
        self._synced = False
        self._why = f"trades after number {self._seq} are missing"
        self._recovery.start(self._seq + 1, now)

    def _send_recover(self, from_seq: int) -> None:
        self.recoveries += 1
        super()._send_recover(from_seq)
