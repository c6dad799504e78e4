"""The venue's last trades, as one hears them who does not publish them but may have to go on. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mdstream.feed.writer import InstrumentWriter, TradeId

KEPT_US = 30_000_000
"""Another writer's last words are not older than this when we take over."""
MOST = 10_000

Call = Callable[[InstrumentWriter], bytes]


class RecentTrades:
    """Tells which trades come after the last one that another writer has published, by the venue's ids; without ids none do."""

    def __init__(self, monotonic_us: Callable[[], int]) -> None:
        self._monotonic_us = monotonic_us
        self._trades: deque[tuple[int, TradeId | None, Call]] = deque(maxlen=MOST)
        self._published: int | None = None

    def note(self, trade_id: TradeId | None, call: Call) -> None:
        now_us = self._monotonic_us()
        while self._trades and now_us - self._trades[0][0] > KEPT_US:
            self._trades.popleft()
        self._trades.append((now_us, trade_id, call))

    def all(self) -> list[Call]:
        return [call for _, _, call in self._trades]

    def after(self, last: TradeId | None) -> list[Call]:
        """Those to publish after the trade ``last``. If it has not come to us yet, those up to it are not published when they come."""
        ids = [trade_id for _, trade_id, _ in self._trades]
        if last is not None and last in ids:
            at = len(ids) - ids[::-1].index(last)
            return self.all()[at:]
        if not isinstance(last, int):
            return []
        self._published = last
        return [call for _, trade_id, call in self._trades if isinstance(trade_id, int) and trade_id > last]

    def is_published(self, trade_id: TradeId | None) -> bool:
        """Whether this trade, which comes now, is among those that another writer has published."""
        if self._published is None or not isinstance(trade_id, int):
            return False
        if trade_id <= self._published:
            return True
        self._published = None
        return False
