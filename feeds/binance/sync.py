"""Joins a REST snapshot to the stream of diffs by the venue's rules. No I/O.

Source: Binance spot API, "How to manage a local order book correctly": buffer the stream; take a snapshot; if it is older than the
first buffered diff, take another; drop diffs with ``u`` ≤ ``lastUpdateId``; the first kept diff must span
``lastUpdateId`` + 1; after that each diff's ``U`` must be the previous ``u`` + 1, or start over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mdstream.feeds._actions import Apply, BookAction, Levels, Load, Lost
from mdstream.feeds.binance.events import DepthDiff, DepthSnapshot


class DepthSync:
    """Gives the actions that keep one book equal to the venue's. Each method returns them."""

    def __init__(self, *, max_buffered: int = 10_000) -> None:
        self._buffered: deque[DepthDiff] = deque(maxlen=max_buffered)
        self._snapshot: DepthSnapshot | None = None
        self._update_id: int | None = None

    @property
    def live(self) -> bool:
        return self._update_id is not None

    @property
    def wants_snapshot(self) -> bool:
        """Whether to ask the venue for a snapshot. Before a diff is buffered one may be too old for the first diff."""
        return not self.live and self._snapshot is None and bool(self._buffered)

    def lose(self, reason: str) -> list[BookAction]:
        """The connection is lost, and perhaps some diffs."""
        was_live = self.live
        self._update_id = self._snapshot = None
        self._buffered.clear()
        return [Lost(reason)] if was_live else []

    def on_snapshot(self, snapshot: DepthSnapshot) -> list[BookAction]:
        """A live book does not need it."""
        if self.live:
            return []
        self._snapshot = snapshot
        return list(self._join())

    def on_diff(self, diff: DepthDiff) -> list[BookAction]:
        if self._update_id is None:
            self._buffered.append(diff)
            return list(self._join())
        if diff.final_id <= self._update_id:
            return []
        if diff.first_id > self._update_id + 1:
            reason = f"venue updates {self._update_id + 1} to {diff.first_id - 1} are missing"
            actions = self.lose(reason)
            return actions + self.on_diff(diff)
        self._update_id = diff.final_id
        return [Apply(_newest(diff.bids), _newest(diff.asks), diff.ts_us, diff.final_id)]

    def _join(self) -> Iterator[BookAction]:
        if self._snapshot is None:
            return
        while self._buffered and self._buffered[0].final_id <= self._snapshot.update_id:
            self._buffered.popleft()
        if not self._buffered:
            return
        first = self._buffered[0]
        if first.first_id > self._snapshot.update_id + 1:
            self._snapshot = None
            return
        snapshot, self._snapshot = self._snapshot, None
        # The venue does not tell when it took the snapshot: use the time just before the first diff after it.
        yield Load(snapshot.bids, snapshot.asks, first.ts_us - 1, snapshot.update_id)
        self._update_id = snapshot.update_id
        buffered = list(self._buffered)
        self._buffered.clear()
        for diff in buffered:
            yield from self.on_diff(diff)


def _newest(levels: Levels) -> Levels:
    """Sizes are absolute: if a price is named twice, the last one counts."""
    newest = dict(levels)
    return levels if len(newest) == len(levels) else list(newest.items())
