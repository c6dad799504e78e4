"""Puts one symbol's trades in the order of the venue's ids: drops repetitions and finds what is missing. No I/O.

The ids of a symbol's trades follow one another, so a greater one shows how many are missing. They are asked for by id; while they are
awaited, later trades wait too.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mdstream.feeds.binance.events import Trade

log = logging.getLogger("mdstream.feeds.binance")

MOST_FETCHED = 5_000
"""Missing trades that are worth asking for; those before them are told lost."""
MOST_HELD = 20_000
REMEMBERED = 1_000
"""Trades whose repetition is recognised by what they are."""
MOST_REPEATS = 100
"""Old trades in a row that are taken for repetitions."""


@dataclass(frozen=True, slots=True)
class LostTrades:
    """So many trades of the venue will never come."""

    count: int


TradeAction = Trade | LostTrades


class TradeSequence:
    """Gives what to publish, in order. Each method returns it."""

    def __init__(self) -> None:
        self._last: Trade | None = None
        self._newest_us = 0
        self._seen: set[tuple[int, str, str]] = set()
        self._seen_in_order: deque[tuple[int, str, str]] = deque()
        self._repeats = 0
        self._missing: range | None = None
        self._held: deque[Trade] = deque()

    @property
    def missing(self) -> range | None:
        """The ids to ask for, if any."""
        return self._missing

    def on_trade(self, trade: Trade) -> list[TradeAction]:
        if self._missing is None:
            return self._take(trade)
        self._held.append(trade)
        return self.give_up() if len(self._held) > MOST_HELD else []

    def on_fetched(self, trades: Sequence[Trade]) -> list[TradeAction]:
        """The venue's trades from the first missing id on, as far as it has them. An id that it passes over was never given."""
        if self._missing is None:
            return []
        actions: list[TradeAction] = []
        for trade in trades:
            if self._missing is not None and trade.trade_id in self._missing:
                self._missing = range(trade.trade_id + 1, self._missing.stop)
                actions.append(self._accept(trade))
            elif self._missing is not None and trade.trade_id >= self._missing.stop:
                self._missing = range(0)
        return actions if self._missing else actions + self._release()

    def give_up(self) -> list[TradeAction]:
        """The missing trades will not come."""
        if self._missing is None:
            return []
        lost = LostTrades(len(self._missing))
        return [lost, *self._release()]

    def _release(self) -> list[TradeAction]:
        """Goes on with the trades that were held, as far as nothing else is missing."""
        self._missing = None
        held, self._held = self._held, deque()
        actions: list[TradeAction] = []
        # The first of them ended what was missing: it follows, whatever its id.
        if held:
            actions.append(self._accept(held.popleft()))
        for trade in held:
            actions += self.on_trade(trade)
        return actions

    def _take(self, trade: Trade) -> list[TradeAction]:
        if self._last is None or trade.trade_id == self._last.trade_id + 1:
            return [self._accept(trade)]
        if trade.trade_id > self._last.trade_id:
            return self._miss(range(self._last.trade_id + 1, trade.trade_id), trade)
        if self._is_repeat(trade):
            return []
        log.warning(
            "%s: the venue's trade ids began again: %d after %d",
            trade.symbol,
            trade.trade_id,
            self._last.trade_id,
        )
        return [self._accept(trade)]

    def _miss(self, missing: range, next_trade: Trade) -> list[TradeAction]:
        beyond = len(missing) - MOST_FETCHED
        self._missing = missing[max(beyond, 0) :]
        self._held.append(next_trade)
        return [LostTrades(beyond)] if beyond > 0 else []

    def _is_repeat(self, trade: Trade) -> bool:
        """Whether we have this trade already: connections overlap. Else the venue's ids began again."""
        if _key(trade) in self._seen:
            return True
        self._repeats += 1
        return trade.ts_us < self._newest_us and self._repeats <= MOST_REPEATS

    def _accept(self, trade: Trade) -> Trade:
        self._last, self._repeats = trade, 0
        self._newest_us = trade.ts_us
        self._seen.add(_key(trade))
        self._seen_in_order.append(_key(trade))
        if len(self._seen_in_order) > REMEMBERED:
            self._seen.discard(self._seen_in_order.popleft())
        return trade


def _key(trade: Trade) -> tuple[int, str, str]:
    return trade.trade_id, trade.price, trade.size
