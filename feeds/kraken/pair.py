"""One pair: turns the venue's events into calls on the published instrument, and recovers after losses."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import Enum

from mdstream.feeds._actions import BookAction
from mdstream.feeds._lines import exact_exponent
from mdstream.feeds._published import PublishedInstrument, Scale
from mdstream.feeds.kraken.book import Precision
from mdstream.feeds.kraken.events import BookMessage, PairInfo, TradeMessage
from mdstream.feeds.kraken.sync import PairSync

NO_MATCHING = ("cancel_only", "maintenance", "post_only")
"""System states in which the venue matches no orders. Source: "WebSocket API v2: Status"."""
TRADING = ("limit_only", "post_only", "reduce_only")
"""States of one pair, next to ``online``, in which some orders are still taken. Source: "WebSocket API v2: Instrument"."""

DELISTED = "delisted"
MAX_LOST = 1_000_000
"""Where more trades seem to be missing, the venue's numbers have jumped."""


class Told(Enum):
    """What a message of the venue told of a pair."""

    NOTHING = "it was of no use, or wrong"
    NEW = "something new"
    SAME = "a snapshot that is the published book"


class Pair:
    """Follows one pair. After ``Told.NOTHING`` look at ``wants_snapshot``."""

    def __init__(self, published: PublishedInstrument, depth: int, precision: Precision) -> None:
        self.published = published
        self.sync = PairSync(published.symbol, depth, precision)
        self._last_trade: TradeMessage | None = None
        self._missed_trades = False
        """A message of trades could not be understood: the next number tells how many are missing."""
        self._follows_trades = False
        """Recent trades that come before this are from before we started."""

    @property
    def wants_snapshot(self) -> bool:
        """Whether the book needs a new subscription."""
        return self.sync.wants_snapshot

    def on_book(self, message: BookMessage) -> Told:
        before = self.published.instrument.seq
        actions = self.sync.on_book(message)
        self._perform(actions)
        if self.wants_snapshot or not actions:
            return Told.NOTHING
        return Told.NEW if self.published.instrument.seq != before else Told.SAME

    def on_trade(self, trade: TradeMessage) -> Told:
        """Publishes a trade if it is new: a subscription begins with recent trades.

        An update that is not the last one again is new. If its number is not above the last one, the venue's numbers have begun again.
        """
        last = None if self._last_trade is None else self._last_trade.trade_id
        number = trade.trade_id
        if trade.snapshot and last is not None and number is not None and number <= last:
            return Told.NOTHING
        if number is not None and trade == self._last_trade:
            return Told.NOTHING
        self._last_trade = trade
        if trade.snapshot and not self._follows_trades:
            return Told.NOTHING
        if trade.snapshot or self._missed_trades:
            self._tell_lost(last, number)
        self._follows_trades, self._missed_trades = True, False
        refused = self.published.trade(trade.price, trade.size, trade.side, trade.trade_id, trade.ts_us)
        if refused is not None:
            self.doubt(str(refused))
        return Told.NEW

    def _tell_lost(self, last: int | None, number: int | None) -> None:
        """Tells the trades between the last that we have and the recent ones of a new connection; the venue numbers them without gaps."""
        if last is not None and number is not None and 0 < number - last - 1 <= MAX_LOST:
            self.published.lose_trades(number - last - 1)

    def on_lost(self, reason: str) -> None:
        """The connection is lost. Trades that we miss now are among the recent ones of the next."""
        self._follows_trades |= self.sync.live
        self._perform(self.sync.lose(reason))

    def miss_trades(self) -> None:
        """A message of trades could not be understood."""
        self._missed_trades = True

    def doubt(self, reason: str) -> None:
        """The book may be wrong, but the connection is fine: only a new subscription helps."""
        self.published.perform(self.sync.doubt(reason))

    def _perform(self, actions: Sequence[BookAction]) -> None:
        refused = self.published.perform(actions)
        if refused is not None:
            self.doubt(str(refused))


def scale_of(info: PairInfo) -> Scale:
    """The scale of a pair by the instrument channel: the exponent is minus the precision."""
    precision = info.precision
    return Scale(
        -precision.price,
        -precision.size,
        tick=_in_units(info.price_increment, precision.price),
        lot=_in_units(info.size_increment, precision.size),
    )


def _in_units(increment: str, precision: int) -> int:
    if -exact_exponent([increment]) > precision:
        return 1
    return max(int(Decimal(increment).scaleb(precision)), 1)


def state_of(info: PairInfo | None, system: str = "online") -> tuple[str, str]:
    """The state, with its reason, to publish while the pair's book is complete; None: the venue does not list the pair."""
    if info is None:
        return "closed", "the venue does not list it any more"
    if info.status == DELISTED:
        return "closed", f"the venue's status is {DELISTED}"
    if system in NO_MATCHING:
        return "halted", f"the venue's system status is {system}"
    if info.status == "online":
        return "trading", "" if system == "online" else f"the venue's system status is {system}"
    return "trading" if info.status in TRADING else "halted", f"the venue's status is {info.status}"
