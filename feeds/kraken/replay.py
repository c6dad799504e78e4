"""Replays a recording of either version as if the venue sent it now. Times stay the venue's."""

from __future__ import annotations

from pathlib import Path

from mdstream.errors import FeedError
from mdstream.feed import Publisher
from mdstream.feeds._published import PublishedInstrument, Scale
from mdstream.feeds._replay_clock import ReplayClock, keep_up
from mdstream.feeds.kraken.events import BookMessage, TradeMessage
from mdstream.feeds.kraken.pair import Pair
from mdstream.feeds.kraken.recording import Connected, Recorded, read_recording, summarize


class Replay:
    """Publishes all pairs of a recording, or those of ``names``."""

    def __init__(
        self, publisher: Publisher, path: Path, names: list[str] | None = None, depth: int | None = None
    ) -> None:
        self._publisher = publisher
        self._path = path
        summaries = summarize(path)
        missing = [name for name in names or () if name not in summaries]
        if missing or not summaries:
            raise FeedError(
                f"{path} holds books of {', '.join(summaries) or 'no pair'}; not {', '.join(missing) or 'one'}"
            )
        self.pairs = {
            name: Pair(
                PublishedInstrument(
                    publisher,
                    name,
                    Scale(summary.price_exp, summary.size_exp),
                    depth=depth or summary.depth,
                    live_venue=False,
                ),
                depth or summary.depth,
                summary.precision,
            )
            for name, summary in summaries.items()
            if names is None or name in names
        }

    @property
    def refused(self) -> int:
        return sum(pair.published.refused for pair in self.pairs.values())

    async def run(self, speed: float) -> None:
        """Publishes the whole recording. Raises FeedError if it cannot be read."""
        for pair in self.pairs.values():
            await pair.published.open()
        clock = ReplayClock(speed)
        for recorded in read_recording(self._path):
            await clock.until(_moment_ns(recorded))
            self._take(recorded)
            await keep_up(self._publisher)
        await self._publisher.flush()

    def _take(self, recorded: Recorded) -> None:
        event = recorded.event
        match event:
            case Connected():
                for pair in self.pairs.values():
                    pair.on_lost("the recording continues with another connection")
            case BookMessage() if event.pair in self.pairs:
                self.pairs[event.pair].on_book(event)
            case TradeMessage() if event.pair in self.pairs:
                self.pairs[event.pair].on_trade(event)


def _moment_ns(recorded: Recorded) -> int | None:
    """When it was recorded; if the recording does not tell, when the venue made it."""
    if recorded.local_ns is not None:
        return recorded.local_ns
    event = recorded.event
    return event.ts_us * 1000 if isinstance(event, BookMessage | TradeMessage) and event.ts_us else None
