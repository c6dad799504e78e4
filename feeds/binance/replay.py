"""Replays a recording as if the venue sent it now. Times stay the venue's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mdstream.errors import FeedError
from mdstream.feed import Instrument, Publisher
from mdstream.feeds._actions import BookAction, Lost
from mdstream.feeds._published import PublishedInstrument, Scale
from mdstream.feeds._replay_clock import ReplayClock, keep_up
from mdstream.feeds.binance.events import DepthDiff, DepthSnapshot, Event, Trade
from mdstream.feeds.binance.recording import Summary, read_recording, summarize
from mdstream.feeds.binance.sync import DepthSync

log = logging.getLogger("mdstream.feeds.binance")


class Replay:
    """Publishes one symbol of a recording."""

    def __init__(self, publisher: Publisher, path: Path, symbol: str | None = None) -> None:
        self._publisher = publisher
        self._path = path
        summary = summarize(path)
        self.symbol = _only_symbol(path, summary, symbol)
        self._published = PublishedInstrument(
            publisher,
            self.symbol,
            Scale(summary.price_exp, summary.size_exp),
            depth=summary.depth,
            live_venue=False,
        )
        self._sync = DepthSync()

    @property
    def refused(self) -> int:
        return self._published.refused

    async def run(self, speed: float) -> Instrument:
        """Publishes the whole recording. Raises FeedError if it cannot be read or never gives a book."""
        await self._published.open()
        instrument = self._published.instrument
        clock = ReplayClock(speed)
        for recorded in read_recording(self._path):
            await clock.until(recorded.local_ns)
            self._take(recorded.event)
            await keep_up(self._publisher)
        await self._publisher.flush()
        if not instrument.seq:
            raise FeedError(f"{self._path}: no diff follows a snapshot, so there is no book of {self.symbol}")
        return instrument

    def _take(self, event: Event) -> None:
        if isinstance(event, DepthSnapshot):
            self._perform(self._sync.on_snapshot(event))
        elif isinstance(event, DepthDiff) and event.symbol == self.symbol:
            self._perform(self._sync.on_diff(event))
        elif isinstance(event, Trade) and event.symbol == self.symbol:
            self._published.trade(event.price, event.size, event.side, event.trade_id, event.ts_us)

    @property
    def whole(self) -> bool:
        """Whether the book was complete at the end of the recording."""
        return self._sync.live

    def _perform(self, actions: Sequence[BookAction]) -> None:
        for action in actions:
            if isinstance(action, Lost):
                log.warning(
                    "%s: %s; there is no book until the next snapshot",
                    self._published.instrument.id,
                    action.reason,
                )
        refused = self._published.perform(actions)
        if refused is not None:
            self._published.perform(self._sync.lose(str(refused)))


def _only_symbol(path: Path, summary: Summary, wanted: str | None) -> str:
    if not summary.snapshots:
        raise FeedError(f"{path}: it has no snapshot (a line with lastUpdateId), so there is no book")
    if wanted is None and len(summary.symbols) == 1:
        return next(iter(summary.symbols))
    found = ", ".join(sorted(summary.symbols)) or "no symbol"
    if wanted not in summary.symbols:
        raise FeedError(f"{path} holds {found}: name one of them with --symbols")
    return wanted
