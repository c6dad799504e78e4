"""Subscriptions on several lines at once: what is shown is what the line that is ahead has. No I/O.

Numbers belong to the instrument, so every gateway shows the same view at the same number. Each line has a *leg*: an ordinary
subscription with a view of its own, which checks and recovers for itself. A leg applies only what its own gateway sent, so
an update is never applied twice, wherever two gateways end their updates.

* An update that goes on from the shown number (``first == seq + 1``) is passed on as it came.
* An update that ends at or before the shown number came second, and is only counted.
* An update that ends after it but began before it is passed on as the difference of the two views.

A snapshot is shown only if the view that is shown cannot go on: a new epoch, or no view at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mdstream.client.book import Book, BookUpdate
from mdstream.client.events import Snapshot
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.protocol import Request
from mdstream.client.states import TRUSTED_STATES, SubscriptionState
from mdstream.client.subscription import Link, Subscription
from mdstream.client.ticker import Ticker, TickerUpdate
from mdstream.client.trades import Trade, Trades

log = logging.getLogger(__name__)

Position = tuple[int, ...]
"""Epoch, number, and where the number may stay, the time."""

BEST_FIRST = tuple(SubscriptionState(name) for name in (
    "live", "halted", "closed", "stale", "recovering", "pending", "disconnected", "ended",
))  # fmt: skip
RANK = {state: rank for rank, state in enumerate(BEST_FIRST)}


class LinedLink(Link, Protocol):
    """What a subscription on several lines needs from its client."""

    def now(self) -> float:
        """Seconds of a monotonic clock."""


@dataclass(frozen=True, slots=True)
class LineReport:
    """What one line has brought to a subscription so far."""

    line: int
    """Its place in ``Client.lines``."""
    ahead: bool
    """Whether its view is the one that is shown; of trades, whether it brought the newest."""
    state: SubscriptionState
    first: int
    """Updates (trades) that it brought before every other line."""
    late: int
    """Those that had come before."""
    gaps: int
    """How often a number was missing on this line."""
    recoveries: int
    """``recover`` commands sent on it."""
    lost: int
    """Trades that its gateway could no longer send."""


class Leg(Subscription):
    """A subscription on one line of several; it tells of each change."""

    line: int
    changed: Callable[[], None]
    first = 0
    late = 0

    def leave(self) -> None:
        self._link.unsubscribe(self)

    @property
    def position(self) -> Position | None:
        """What it has; None for nothing."""
        raise NotImplementedError

    def _update_state(self, reason: str | None) -> None:
        super()._update_state(reason)
        self.changed()


class BookLeg(Leg, Book):
    def _take_snapshot(self, event: Snapshot, now: float) -> None:
        """Into a view of its own: the one before may still be shown."""
        self._view = self._new_view()
        super()._take_snapshot(event, now)

    @property
    def position(self) -> Position | None:
        return (self.epoch, self.seq) if self.epoch else None


class TickerLeg(Leg, Ticker):
    @property
    def position(self) -> Position | None:
        now = self.current
        return None if now is None else (now.epoch, now.seq, now.ts_us)


class TradesLeg(Leg, Trades):
    @property
    def position(self) -> Position | None:
        return None if self.epoch is None or self.seq is None else (self.epoch, self.seq)


class Lined(Subscription):
    """A subscription whose data comes from its legs. Times are those of the link's clock."""

    _link: LinedLink

    def __init__(self, request: Request, link: LinedLink) -> None:
        super().__init__(request, link)
        self.legs: list[Leg] = []
        self._ahead: Leg | None = None
        self._shown: Position | None = None
        self._behind_since: float | None = None
        self._ahead_observers: list[Observer[int]] = []

    # ---- for the user

    @property
    def lines(self) -> tuple[LineReport, ...]:
        """What each line has brought, and which is ahead."""
        return tuple(
            LineReport(
                leg.line, leg is self._ahead, leg.state, leg.first, leg.late,
                getattr(leg, "gaps", 0), getattr(leg, "recoveries", 0), getattr(leg, "lost", 0),
            )
            for leg in self.legs
        )  # fmt: skip

    def on_ahead(self, observer: Observer[int]) -> Callable[[], None]:
        """Calls ``observer(line)`` when another line has come to be ahead; returns a function that stops the calls."""
        return register(self._ahead_observers, observer)

    @property
    def state(self) -> SubscriptionState:
        if self.ended:
            return SubscriptionState.ENDED
        teller = self._teller()
        if teller is None or teller.ended:
            return SubscriptionState.DISCONNECTED if self.ready else SubscriptionState.PENDING
        return teller.state if self._carries(teller) else SubscriptionState.RECOVERING

    # ---- for the client

    def set_leg(self, leg: Leg) -> None:
        """A leg for a line that had none, or whose leg has ended."""
        leg.changed = lambda: self._leg_changed(leg)
        leg.on_ref(lambda ref: self.take_ref(ref) if leg is self._ahead else None)
        self._listen(leg)
        self.legs = sorted(
            [*(each for each in self.legs if each.line != leg.line), leg], key=lambda each: each.line
        )
        self._leg_changed(leg)

    # ---- which line is ahead

    def _listen(self, leg: Any) -> None:
        """Registers for what the leg brings."""
        raise NotImplementedError

    def _show(self, leg: Any, update: Any) -> None:
        """Shows what this leg has; ``update`` brought it there, or None."""
        raise NotImplementedError

    def _intact(self) -> bool:
        """Whether what is shown is still whole, though its line may be lost."""
        return True

    def _leg_changed(self, leg: Leg) -> None:
        if self.ended:
            return
        self._choose()
        self._count()
        self._update_state(None)

    def _choose(self) -> None:
        """Shows another line if that is further, or has as much and the line ahead cannot go on."""
        able = [
            (leg.position, leg is self._ahead, -leg.line, leg)
            for leg in self.legs
            if leg.trusted and leg.position
        ]
        if not able:
            return
        position, _, _, best = max(able)
        if self._shown is None or position > self._shown:
            self._show(best, None)
        elif self._ahead is None or not self._ahead.trusted:
            if position == self._shown or self._given_up(position):
                self._show(best, None)
        elif self._ahead.position != self._shown:
            self._show(best, None)  # its own gateway has taken it back

    def _given_up(self, position: Position) -> bool:
        """Whether the line ahead is gone for so long that what only it had counts no more: nothing bears it out."""
        assert self._shown is not None
        if position[0] == self._shown[0] and self._intact():
            return False
        now = self._link.now()
        if self._behind_since is None:
            self._behind_since = now
        return now - self._behind_since >= self._link.policy.recover_timeout_s

    def _lead(self, leg: Leg) -> None:
        """From now on this line is ahead."""
        changed, self._ahead, self._shown = leg is not self._ahead, leg, leg.position
        self._behind_since = None
        self.delay_ms = leg.delay_ms
        self.price_exp, self.size_exp = leg.price_exp, leg.size_exp
        if changed:
            self.take_ref(leg.ref)
            notify_all(self._ahead_observers, leg.line)

    # ---- what is told

    def _teller(self) -> Leg | None:
        """Whose state is told: the better of the lines that have what is shown; of all, if the one ahead cannot go on."""
        ahead, legs = self._ahead, self.legs
        if ahead is not None and ahead.trusted:
            legs = [leg for leg in legs if leg is ahead or (leg.trusted and leg.position == self._shown)]
        return min(legs, key=lambda leg: (RANK[leg.state], leg is not ahead), default=None)

    def _carries(self, leg: Leg) -> bool:
        """Whether this line's state says something about what is shown. One that is a moment behind goes on with it."""
        if not leg.trusted or self._shown is None or leg is self._ahead:
            return True
        return self._intact() and leg.position is not None and leg.position[0] == self._shown[0]

    def _update_state(self, reason: str | None) -> None:
        teller, state = (None if self.ended else self._teller()), self.state
        told = teller if teller is not None and teller.state is state else None
        code = None if told is None else told.state_code
        changed = (state, code) != (self._known_state, self.state_code)
        if state in TRUSTED_STATES:
            self._was_ready = True
        self._known_state, self.state_code = state, code
        self.age_ms = None if told is None else told.age_ms
        self._reported_at = 0.0 if told is None else told._reported_at
        self.state_reason = reason if told is None else told.state_reason
        if changed:
            notify_all(self._state_observers, state)

    def _count(self) -> None:
        """The troubles of all legs together."""


class LinedBook(Lined, Book):
    """A book whose view is that of the line that is ahead."""

    def __init__(self, request: Request, link: LinedLink) -> None:
        super().__init__(request, link)
        self._crc: tuple[Position, int] | None = None
        self.disagreed = 0
        """How often two lines had another checksum at the same number."""

    def _listen(self, leg: BookLeg) -> None:
        leg.on_update(lambda update: self._take_update(leg, update))

    def _take_update(self, leg: BookLeg, update: BookUpdate) -> None:
        position = leg.position
        if self.ended or position is None:
            return
        if leg is self._ahead or self._shown is None or position > self._shown:
            if leg is self._ahead and self._shown is not None and position < self._shown:
                self._choose()  # taken back by its gateway
                return
            leg.first += 1
            self._show(leg, update)
            return
        leg.late += 1
        if self._crc is not None and self._crc[0] == position and self._crc[1] != leg.crc:
            self.disagreed += 1
            log.warning(
                "%s: lines %s and %d differ at number %d",
                self,
                self._ahead and self._ahead.line,
                leg.line,
                leg.seq,
            )

    def _show(self, leg: BookLeg, update: BookUpdate | None) -> None:
        own = leg is self._ahead and update is not None and update.kind == "delta"
        told = update if own else self._told(leg, update)
        self._view, self._arrays = leg._view, None
        self._lead(leg)
        if told is not None:
            self._crc = (leg.epoch, leg.seq), leg.crc
            notify_all(self._update_observers, told)

    def _told(self, leg: BookLeg, update: BookUpdate | None) -> BookUpdate | None:
        """What leads from the shown view to this line's; None if they are the same."""
        shown, position = self._shown, leg.position
        assert position is not None
        if shown is None or shown[0] != position[0] or shown > position or not self._intact():
            bids, asks = leg._view.view() or ([], [])
            return BookUpdate("snapshot", leg.epoch, leg.seq, leg.seq, leg.ts_us, bids, asks)
        if shown == position:
            return None
        if update is not None and update.kind == "delta" and update.first == shown[1] + 1:
            return update
        bids, asks = self._view.diff_to(*(leg._view.view() or ([], [])))
        return BookUpdate("delta", leg.epoch, shown[1] + 1, leg.seq, leg.ts_us, bids, asks)

    def _intact(self) -> bool:
        return (self._view.epoch, self._view.seq) == self._shown

    def _leg_changed(self, leg: Leg) -> None:
        super()._leg_changed(leg)
        if self._shown is not None and not self._intact():
            self._view = self._new_view()  # its line found it wrong, and no other has as much
        self._arrays = None

    def _count(self) -> None:
        legs = [leg for leg in self.legs if isinstance(leg, BookLeg)]
        self.gaps = sum(leg.gaps for leg in legs)
        self.recoveries = sum(leg.recoveries for leg in legs)
        self.crc_errors = sum(leg.crc_errors for leg in legs)


class LinedTicker(Lined, Ticker):
    """The newer of the lines' tickers. Of two with the same number and time, the one that is shown stays."""

    def _listen(self, leg: TickerLeg) -> None:
        leg.on_update(lambda update: self._take_update(leg, update))

    def _take_update(self, leg: TickerLeg, update: TickerUpdate) -> None:
        position = leg.position
        if self.ended or position is None:
            return
        if leg is self._ahead and self._shown is not None and position < self._shown:
            self._choose()
        elif leg is self._ahead or self._shown is None or position > self._shown:
            leg.first += 1
            self._show(leg, update)
        else:
            leg.late += 1

    def _show(self, leg: TickerLeg, update: TickerUpdate | None) -> None:
        differs = leg.current != self.current
        self.current = leg.current
        self._lead(leg)
        if leg.current is not None and differs:
            notify_all(self._observers, leg.current)


class LinedTrades(Lined, Trades):
    """Each trade once and in order, from whichever line brings it first; lost only if no line can bring it."""

    def __init__(self, request: Request, link: LinedLink) -> None:
        super().__init__(request, link)
        self._waiting: dict[int, tuple[TradesLeg, Trade]] = {}
        """Trades of this epoch that came before those in front of them."""

    def _listen(self, leg: TradesLeg) -> None:
        leg.on_trade(lambda trade: self._take_trade(leg, trade))

    def _show(self, leg: TradesLeg, update: Trade | None) -> None:
        """Nothing: a trade is shown when it comes."""

    def _choose(self) -> None:
        self._pass_on()

    def _carries(self, leg: Leg) -> bool:
        return True

    def _teller(self) -> Leg | None:
        return min(self.legs, key=lambda leg: (RANK[leg.state], leg is not self._ahead), default=None)

    def _take_trade(self, leg: TradesLeg, trade: Trade) -> None:
        if self.ended or self._is_late(trade):
            leg.late += 1
            return
        if self._epoch is None:
            self._epoch, self._seq = trade.epoch, trade.seq - 1
        elif trade.epoch > self._epoch:
            self._waiting.clear()
            self._epoch, self._seq = trade.epoch, 0
        leg.first += 1
        self._waiting[trade.seq] = leg, trade
        self._pass_on()

    def _is_late(self, trade: Trade) -> bool:
        if self._epoch is None or self._seq is None:
            return False
        return (trade.epoch, trade.seq) <= (self._epoch, self._seq) or (
            trade.epoch == self._epoch and trade.seq in self._waiting
        )

    def _pass_on(self) -> None:
        """Delivers what follows; where something is missing that no line can bring, it is lost."""
        while self._waiting and self._seq is not None:
            following = self._waiting.pop(self._seq + 1, None)
            if following is None:
                next_seq = min(self._waiting)
                full = len(self._waiting) >= self._link.policy.held_messages
                if not full and any(self._may_bring(leg, self._seq + 1) for leg in self.legs):
                    return
                self._report_lost(self._seq + 1, next_seq - 1)
            else:
                self._pass(*following)

    def _pass(self, leg: TradesLeg, trade: Trade) -> None:
        self._seq = trade.seq
        trade, self._skipped = replace(trade, skipped=self._skipped), 0
        self._lead(leg)
        notify_all(self._trade_observers, trade)

    def _may_bring(self, leg: Leg, seq: int) -> bool:
        """Whether this line, which is at work, has not come to that number yet."""
        if leg.state not in TRUSTED_STATES | {SubscriptionState.RECOVERING}:
            return False
        return leg.position is None or leg.position < (self._epoch, seq)

    def _count(self) -> None:
        legs = [leg for leg in self.legs if isinstance(leg, TradesLeg)]
        self.gaps = sum(leg.gaps for leg in legs)
        self.recoveries = sum(leg.recoveries for leg in legs)
