"""A venue's instrument as it is published. Its scale may have to become finer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mdstream.errors import FeedError, SequenceError
from mdstream.feed import Instrument, Publisher, Side
from mdstream.feeds._actions import Apply, BookAction, Load, Lost
from mdstream.feeds._lines import exact_exponent

log = logging.getLogger("mdstream.feeds")

WAITING = "waiting for the venue's book"


@dataclass(frozen=True, slots=True)
class Scale:
    """How a symbol's decimals become integers. ``tick`` and ``lot`` are in units of the exponents."""

    price_exp: int
    size_exp: int
    tick: int = 1
    lot: int = 1

    def holding(self, actions: Sequence[BookAction]) -> Scale:
        """The coarsest scale that also holds the levels of ``actions``.

        After a venue changes a symbol's increments, older orders keep their prices, which may not fit the new ones.
        """
        levels = [
            level
            for action in actions
            if isinstance(action, Load | Apply)
            for level in (*action.bids, *action.asks)
        ]
        price_exp = min(self.price_exp, exact_exponent(price for price, _ in levels))
        size_exp = min(self.size_exp, exact_exponent(size for _, size in levels))
        if (price_exp, size_exp) == (self.price_exp, self.size_exp):
            return replace(self, tick=1, lot=1)
        return Scale(price_exp, size_exp)


class PublishedInstrument:
    """``instrument`` exists after ``open``. ``up`` is the state, with its reason, to publish when the book is complete."""

    def __init__(self, publisher: Publisher, symbol: str, scale: Scale) -> None:
        self.symbol = symbol
        self.up = ("trading", "")
        self.refused = 0
        """Groups of book actions, and trades, that the publisher refused."""
        self._publisher = publisher
        self._scale = scale
        self._new_scale: Scale | None = None
        self._instrument: Instrument | None = None

    async def open(self) -> None:
        """Announces the instrument, or announces it again, without a book and ``feed_down``."""
        self._instrument = await self._publisher.instrument(
            self.symbol,
            price_exp=self._scale.price_exp,
            size_exp=self._scale.size_exp,
            tick=self._scale.tick,
            lot=self._scale.lot,
            name=self.symbol,
            state="feed_down",
            reason=WAITING,
        )

    @property
    def instrument(self) -> Instrument:
        assert self._instrument is not None, "open() comes first"
        return self._instrument

    def perform(self, actions: Sequence[BookAction]) -> FeedError | None:
        """Publishes actions. Returns the error if the publisher refuses one: the book must then be loaded again."""
        try:
            for action in actions:
                self._perform(action)
        except SequenceError:
            raise  # another writer has taken over: a new snapshot does not help
        except FeedError as error:
            self._count(error)
            self._new_scale = self._scale.holding(actions)
            return error
        return None

    def trade(self, price: str, size: str, side: Side, trade_id: int | None, ts_us: int) -> None:
        """Publishes a trade, unless the publisher refuses it."""
        try:
            self.instrument.trade(price, size, side, trade_id=trade_id, ts_us=ts_us)
        except FeedError as error:
            self._count(error)

    def _count(self, error: FeedError) -> None:
        self.refused += 1
        log.error("%s", error)

    def _perform(self, action: BookAction) -> None:
        match action:
            case Load():
                self.instrument.replace(action.bids, action.asks, ts_us=action.ts_us)
                if self.instrument.state == "feed_down":
                    self.show()
            case Apply():
                self.instrument.update(action.bids, action.asks, ts_us=action.ts_us)
            case Lost():
                self.instrument.status("feed_down", reason=action.reason)

    def show(self) -> None:
        """Publishes ``up``."""
        state, reason = self.up
        self.instrument.status(state, reason=reason)

    async def rescale(self, scale: Scale | None = None) -> None:
        """Opens the instrument again, in a new epoch, if ``scale`` or a refused action needs another scale."""
        wanted, self._new_scale = scale or self._new_scale, None
        if wanted is not None and wanted != self._scale:
            self._scale = wanted
            await self.open()
