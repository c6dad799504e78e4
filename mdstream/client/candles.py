"""The candles of one instrument and span: those before the subscription that were asked for, and every change from then on."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Final, Self

from mdstream.candle import Candle
from mdstream.client import events
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.protocol import Request
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Link, StreamEvent, Subscription

MOST_KEPT: Final = 2_500
"""Candles that a subscription keeps; the oldest go first."""


@dataclass(frozen=True, slots=True)
class CandleUpdate:
    """A candle that is new or has changed. ``skipped`` counts the updates just before it that a slow iteration dropped."""

    candle: Candle
    skipped: int = 0

    def with_skipped(self, skipped: int) -> Self:
        return replace(self, skipped=skipped)


class Candles(Subscription):
    """Keeps the newest revision of each candle. They may have holes: a span without a trade has no candle."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self._starts: list[int] = []
        self._candles: dict[int, Candle] = {}
        self._is_fresh = True
        """Nothing has come since the gateway accepted: what comes first is the history."""
        self._candle_observers: list[Observer[CandleUpdate]] = []

    # ---- for the user

    @property
    def span(self) -> str:
        """``1s``, ``1m``, ``5m``, ``15m``, ``1h`` or ``1d``."""
        return self.request.span

    @property
    def newest(self) -> Candle | None:
        """The candle of now, as a rule not closed yet; None if there is none at all."""
        return self._candles[self._starts[-1]] if self._starts else None

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, start_s: int) -> Candle:
        """The candle that begins at this second. Raises KeyError."""
        return self._candles[start_s]

    def all(self) -> list[Candle]:
        """Oldest first."""
        return [self._candles[start_s] for start_s in self._starts]

    def on_candle(self, observer: Observer[CandleUpdate]) -> Callable[[], None]:
        """Calls ``observer(update)`` for each candle that is new or has changed; returns a function that stops the calls."""
        return register(self._candle_observers, observer)

    def updates(self, buffer: int = 4096) -> UpdateStream[CandleUpdate]:
        """Returns an iteration that keeps at most ``buffer`` updates for a slow consumer."""
        return UpdateStream(self, self.on_candle, buffer)

    def __aiter__(self) -> AsyncIterator[CandleUpdate]:
        return self.updates()

    # ---- for the connection

    def _begin(self, now: float, *, resumed: bool, rescaled: bool) -> None:
        self._synced, self._is_fresh = False, True

    def _interrupt(self) -> None:
        self._synced = False

    def _take(self, event: StreamEvent, now: float) -> None:
        if not isinstance(event, events.Candles):
            return
        if self._is_fresh and event.rows:
            self._is_fresh = False
            self._forget_from(event.rows[0].start_s)
        for candle in event.rows:
            self._put(candle)
        self._synced = self._synced or not event.more

    def _forget_from(self, start_s: int) -> None:
        """What is sent now counts, also where the stream of candles was made anew and revisions begin at one again."""
        kept = bisect_left(self._starts, start_s)
        for known in self._starts[kept:]:
            del self._candles[known]
        del self._starts[kept:]

    def _put(self, candle: Candle) -> bool:
        known = self._candles.get(candle.start_s)
        if known is not None and known.rev >= candle.rev:
            return False
        if known is None:
            insort(self._starts, candle.start_s)
        self._candles[candle.start_s] = candle
        if len(self._starts) > MOST_KEPT:
            del self._candles[self._starts.pop(0)]
        notify_all(self._candle_observers, CandleUpdate(candle))
        return True
