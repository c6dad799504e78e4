"""One pair: turns the venue's events into calls on the published instrument, and recovers after losses."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from mdstream.feeds._actions import BookAction
from mdstream.feeds._lines import exact_exponent
from mdstream.feeds._published import PublishedInstrument, Scale
from mdstream.feeds.kraken.book import Precision
from mdstream.feeds.kraken.events import BookMessage, PairInfo, TradeMessage
from mdstream.feeds.kraken.sync import PairSync

TRADING = ("online", "limit_only", "post_only", "reduce_only")


class Pair:
    """Follows one pair."""

    def __init__(self, published: PublishedInstrument, depth: int, precision: Precision) -> None:
        self.published = published
        self.sync = PairSync(published.symbol, depth, precision)
        self._last_trade_id: int | None = None

    @property
    def wants_snapshot(self) -> bool:
        """Whether the book needs a new subscription."""
        return self.sync.wants_snapshot

    def on_book(self, message: BookMessage) -> None:
        self._perform(self.sync.on_book(message))

    def on_trade(self, trade: TradeMessage) -> None:
        """Publishes a trade if it is new: a subscription begins with recent trades."""
        last, self._last_trade_id = self._last_trade_id, trade.trade_id
        if trade.trade_id is not None and last is not None and trade.trade_id <= last:
            self._last_trade_id = last
            return
        if trade.snapshot and last is None:
            return  # it is from before we started
        self.published.trade(trade.price, trade.size, trade.side, trade.trade_id, trade.ts_us)

    def on_lost(self, reason: str) -> None:
        self._perform(self.sync.lose(reason))

    def _perform(self, actions: Sequence[BookAction]) -> None:
        refused = self.published.perform(actions)
        if refused is not None:
            self.published.perform(self.sync.doubt(str(refused)))


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


def state_of(info: PairInfo) -> tuple[str, str]:
    """The state, with its reason, to publish when the pair's book is complete."""
    if info.status in TRADING:
        return "trading", ""
    return ("closed" if info.status == "delisted" else "halted"), f"the venue's status is {info.status}"
