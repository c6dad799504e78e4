"""A venue's instrument as it is published. Its scale may have to become finer."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from mdstream.errors import FeedError, SequenceError
from mdstream.feed import Instrument, Publisher, Side
from mdstream.feeds._actions import Apply, BookAction, Load, Lost
from mdstream.feeds._lines import exact_exponent

log = logging.getLogger("mdstream.feeds")

WAITING = "waiting for the venue's book"
MAX_HELD_TRADES = 10_000
RESUBSCRIBE_S = 0.5
"""A new scale ends clients' subscriptions. Trades that were held for it wait until clients may have subscribed again."""
MAX_REASON = 200
"""Characters. The venue's words are in it, and readers refuse long reasons."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How a symbol's decimals become integers. ``tick`` and ``lot`` are in units of the exponents."""

    price_exp: int
    size_exp: int
    tick: int = 1
    lot: int = 1

    def holding(self, levels: Iterable[tuple[str, str]]) -> Scale:
        """The coarsest scale that also holds these prices and sizes.

        After a venue changes a symbol's increments, older orders keep their prices, which may not fit the new ones.
        """
        levels = list(levels)
        price_exp = min(self.price_exp, exact_exponent(price for price, _ in levels))
        size_exp = min(self.size_exp, exact_exponent(size for _, size in levels))
        if (price_exp, size_exp) == (self.price_exp, self.size_exp):
            return replace(self, tick=1, lot=1)
        return Scale(price_exp, size_exp)


class VenueTrade(NamedTuple):
    """A trade in the venue's decimal texts; ``side`` is the taker's."""

    price: str
    size: str
    side: Side
    trade_id: int | None
    ts_us: int


class PublishedInstrument:
    """``instrument`` exists after ``open``. ``up`` is the state, with its reason, to publish while the book is complete.

    ``depth`` is the number of levels a side that the venue gives at most, 0 for all. A recording is not a ``live_venue``: its pauses are
    not a venue's silence. A venue's time of 0 is none.
    """

    def __init__(
        self,
        publisher: Publisher,
        symbol: str,
        scale: Scale,
        *,
        depth: int = 0,
        live_venue: bool = True,
    ) -> None:
        self.symbol = symbol
        self.up = ("trading", "")
        self.refused = 0
        """Groups of book actions, and trades, that the publisher refused."""
        self._publisher = publisher
        self._scale = scale
        self._depth = depth
        self._live_venue = live_venue
        self._new_scale: Scale | None = None
        self._held: deque[VenueTrade | int] = deque()
        """Trades that wait for the instrument to be open; a number stands for so many that are lost."""
        self._down = WAITING
        self._frozen = ""
        self._shown = ("", "")
        self._instrument: Instrument | None = None
        self._opened = False

    async def open(self) -> None:
        """Announces the instrument, or announces it again, without a book: ``feed_down``, or ``closed`` where the venue says so."""
        self._down = WAITING
        self._shown = state, reason = self._state()
        self._instrument = await self._publisher.instrument(
            self.symbol,
            price_exp=self._scale.price_exp,
            size_exp=self._scale.size_exp,
            tick=self._scale.tick,
            lot=self._scale.lot,
            depth=self._depth,
            live_venue=self._live_venue,
            name=self.symbol,
            state=state,
            reason=reason,
        )
        self._opened = True
        self.show()

    def _release(self) -> None:
        held, self._held = self._held, deque()
        for trade in held:
            if isinstance(trade, int):
                self.lose_trades(trade)
            else:
                self.trade(*trade)

    @property
    def instrument(self) -> Instrument:
        assert self._instrument is not None, "open() comes first"
        return self._instrument

    def perform(self, actions: Sequence[BookAction]) -> FeedError | None:
        """Publishes actions. Returns the error if the publisher refuses one: the book must then be loaded again."""
        if not self._opened:
            return FeedError(f"{self.symbol} is being opened again")
        try:
            for action in actions:
                self._perform(action)
        except SequenceError:
            raise  # another writer has taken over: a new snapshot does not help
        except FeedError as error:
            self._count(error)
            self._new_scale = self._scale.holding(_levels(actions))
            return error
        return None

    def trade(self, price: str, size: str, side: Side, trade_id: int | None, ts_us: int) -> FeedError | None:
        """Publishes a trade. Returns the error if it needs a finer scale: it is held until ``rescale``, and so are those after it.

        A trade that no scale can hold is counted and told lost.
        """
        trade = VenueTrade(price, size, side, trade_id, ts_us)
        if self._held or not self._opened:
            self._hold_next(trade)
            return None
        try:
            self.instrument.trade(price, size, side, trade_id=trade_id, ts_us=ts_us or None)
        except SequenceError:
            raise
        except FeedError as error:
            self._count(error)
            return self._hold(trade, error)
        self.thaw()
        return None

    def _hold(self, trade: VenueTrade, error: FeedError) -> FeedError | None:
        try:
            wanted = (self._new_scale or self._scale).holding([trade[:2]])
        except FeedError:
            wanted = self._scale
        if wanted == self._scale:
            self.lose_trades(1)
            return None
        self._new_scale = wanted
        self._held.append(trade)
        return error

    def _hold_next(self, trade: VenueTrade) -> None:
        """Holds a trade behind others. If it too needs a finer scale, one ``rescale`` serves all."""
        with suppress(FeedError):
            finer = self.scale_wanted.holding([trade[:2]])
            if (finer.price_exp, finer.size_exp) != (self.scale_wanted.price_exp, self.scale_wanted.size_exp):
                self._new_scale = finer
        self._held.append(trade if len(self._held) < MAX_HELD_TRADES else 1)

    def lose_trades(self, count: int) -> None:
        """So many trades of the venue will never be published: readers are told by the numbers that are left out."""
        if self._held or not self._opened:
            self._held.append(count)
        else:
            self.instrument.lose_trades(count)

    def _count(self, error: FeedError) -> None:
        self.refused += 1
        log.error("%s", error)

    def _perform(self, action: BookAction) -> None:
        match action:
            case Load():
                self._load(action)
            case Apply():
                self.instrument.update(action.bids, action.asks, ts_us=action.ts_us or None)
                self.thaw()
            case Lost():
                self._down = action.reason
                self.show()

    def _load(self, action: Load) -> None:
        changed = self.instrument.replace(action.bids, action.asks, ts_us=action.ts_us or None)
        if not changed and not self.instrument.seq:
            # The venue's book is empty. Update 1 tells that from a book that is not known yet.
            self.instrument.update(ts_us=action.ts_us or None)
        self._down = ""
        self._frozen = "" if changed else self._frozen
        self.show()

    # ---- the state

    def show(self) -> None:
        """Publishes the state, if it is another one: ``up``, or ``feed_down`` while the book is not complete.

        A closed instrument stays closed without a book, because there may never be one again.
        """
        shown = self._state()
        if shown != self._shown and self._opened:
            self._shown = shown
            self.instrument.status(shown[0], reason=shown[1])

    def _state(self) -> tuple[str, str]:
        wrong = self._down or self._frozen
        state, reason = ("feed_down", wrong) if wrong and self.up[0] != "closed" else self.up
        return state, reason[:MAX_REASON]

    def freeze(self, reason: str) -> None:
        """The venue tells nothing new where it should: ``feed_down`` until it does, also when it gives the same book again."""
        self._frozen = reason
        self.show()

    @property
    def frozen(self) -> bool:
        return bool(self._frozen)

    def thaw(self) -> None:
        """Ends ``freeze``."""
        if self._frozen:
            self._frozen = ""
            self.show()

    def heard(self) -> None:
        """The venue still sends, though nothing new of this instrument: the age of its book begins again."""
        if self._opened:
            self.instrument.heard()

    # ---- the scale

    @property
    def scale(self) -> Scale:
        """As announced."""
        return self._scale

    @property
    def scale_wanted(self) -> Scale:
        """As announced, or finer if something refused needs it."""
        return self._new_scale or self._scale

    @property
    def wants_rescale(self) -> bool:
        """Whether ``rescale`` has something to do."""
        return bool(self._held) or not self._opened or self._new_scale not in (None, self._scale)

    async def rescale(self, scale: Scale | None = None) -> None:
        """Opens the instrument again, in a new epoch, if ``scale`` or a refused action needs another scale."""
        wanted, self._new_scale = scale or self._new_scale, None
        if wanted is not None and wanted != self._scale:
            self._scale, self._opened = wanted, False
        if not self._opened:
            # Also where an earlier try failed: until one succeeds there is no instrument to publish to.
            await self.open()
        if self._held:
            await asyncio.sleep(RESUBSCRIBE_S)
            self._release()


def _levels(actions: Sequence[BookAction]) -> Iterable[tuple[str, str]]:
    for action in actions:
        if isinstance(action, Load | Apply):
            yield from (*action.bids, *action.asks)
