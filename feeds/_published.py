"""One instrument on its way out: its scale, which may have to become finer, and the actions that a venue's synchronisation yields."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mdstream.errors import FeedError, SequenceError
from mdstream.feed import Instrument, Publisher
from mdstream.feeds._actions import Apply, BookAction, Load, Lost
from mdstream.feeds._lines import exact_exponent

log = logging.getLogger("mdstream.feeds")

WAITING = "waiting for the venue's book"


@dataclass(frozen=True, slots=True)
class Scale:
    """How a symbol's decimals become integers; increments in units of the exponents."""

    price_exp: int
    size_exp: int
    tick: int = 1
    lot: int = 1

    def holding(self, actions: Sequence[BookAction]) -> Scale:
        """The coarsest scale that also holds what actions bring.

        After a venue has changed a symbol's increments, older orders stay where they were, off the new ones.
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
    """``instrument`` once ``open`` has announced it. ``up`` is the state that a whole book brings, with its reason."""

    def __init__(self, publisher: Publisher, symbol: str, scale: Scale) -> None:
        self.symbol = symbol
        self.up = ("trading", "")
        self._publisher = publisher
        self._scale = scale
        self._new_scale: Scale | None = None
        self._instrument: Instrument | None = None

    async def open(self) -> None:
        """Announces the instrument, or announces it anew: without a book, and so ``feed_down``."""
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
        """Publishes actions; what the publisher refuses is returned: the book is then in doubt."""
        try:
            for action in actions:
                self._perform(action)
        except SequenceError:
            raise  # another writer has taken over: nothing that a venue says mends that
        except FeedError as error:
            log.error("%s", error)
            self._new_scale = self._scale.holding(actions)
            return error
        return None

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
        """Publishes the state that a whole book has."""
        state, reason = self.up
        self.instrument.status(state, reason=reason)

    async def rescale(self, scale: Scale | None = None) -> None:
        """Opens the instrument anew, in a new epoch, if ``scale``, or what was refused, asks for another one."""
        wanted, self._new_scale = scale or self._new_scale, None
        if wanted is not None and wanted != self._scale:
            self._scale = wanted
            await self.open()
