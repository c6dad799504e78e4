"""Joins REST snapshots to the stream of diffs by the venue's rules. No I/O.

Source: Binance spot API, "How to manage a local order book correctly": buffer the stream; take a snapshot; if it is older than the
first buffered diff, take another; drop diffs with ``u`` ≤ ``lastUpdateId``; the first kept diff must span
``lastUpdateId`` + 1; after that each diff's ``U`` must be the previous ``u`` + 1, or start over. What lies beyond a snapshot's last
level and does not change is never told: a book is known as far as its snapshot went.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mdstream.errors import FeedError
from mdstream.feeds._actions import Apply, BookAction, Levels, Load, Lost
from mdstream.feeds.binance.events import DepthDiff, DepthSnapshot

MOST_REPEATS = 50
"""Diffs in a row that we have already. Connections overlap for less; more mean that the venue's numbers began again."""
REMEMBERED = 1_000
"""Diffs whose repetition is not surprising."""
_LATER_US = 1_000_000


class KnownSide:
    """One side of a book as far as it is known: with a snapshot of ``limit`` levels, up to the last of them."""

    def __init__(self, levels: Levels, limit: int, *, bids: bool) -> None:
        self._limit = limit
        self._sign = 1 if bids else -1
        self._edge = _number(levels[-1][0]) * self._sign if limit and len(levels) >= limit else None
        # As float: a price has fewer digits than a float holds, and it is only compared.
        self._prices = set() if self._edge is None else {_number(price) for price, _ in levels}

    def take(self, changes: Levels) -> Levels:
        """The changes within what is known. Beyond its edge there may be levels that we never hear of."""
        if self._edge is None:
            return changes
        known = [change for change in changes if _number(change[0]) * self._sign >= self._edge]
        for price, size in known:
            if _number(size):
                self._prices.add(_number(price))
            else:
                self._prices.discard(_number(price))
        return known

    @property
    def exhausted(self) -> bool:
        """Nothing of what is known is left: the best level is one that we may not know."""
        return self._edge is not None and not self._prices

    @property
    def nears_edge(self) -> bool:
        """Half of the snapshot's levels are gone."""
        return self._edge is not None and len(self._prices) < self._limit / 2


class DepthSync:
    """Gives the actions that keep one book equal to the venue's. Each method returns them.

    ``limit`` is the number of levels a side that a snapshot holds at most; levels beyond those are then left out. 0: snapshots are whole,
    or there is no way to get another.
    """

    def __init__(self, *, limit: int = 0, max_buffered: int = 10_000) -> None:
        self._limit = limit
        self._max_buffered = max_buffered
        self._buffered: deque[DepthDiff] = deque(maxlen=max_buffered)
        self._snapshot: DepthSnapshot | None = None
        self._update_id: int | None = None
        self._ts_us = 0
        self._outdated = 0
        self._repeats = 0
        self._applied: deque[int] = deque(maxlen=REMEMBERED)
        self._bids = self._asks = KnownSide([], 0, bids=True)
        self._renewing: list[DepthDiff] | None = None
        self._renewing_from = 0

    @property
    def live(self) -> bool:
        return self._update_id is not None

    @property
    def update_id(self) -> int:
        """The venue's number of the newest update in the book; -1 without a book."""
        return -1 if self._update_id is None else self._update_id

    @property
    def waiting(self) -> bool:
        """Whether neither a book nor a diff has come yet."""
        return not self.live and not self._buffered

    @property
    def wants_snapshot(self) -> bool:
        """Whether to ask the venue for a snapshot. Before a diff is buffered one may be too old for the first diff."""
        return not self.live and self._snapshot is None and bool(self._buffered)

    @property
    def nears_edge(self) -> bool:
        """Whether to take another snapshot of a live book before the price leaves what is known."""
        return self.live and self._renewing is None and (self._bids.nears_edge or self._asks.nears_edge)

    # ---- from the venue

    def lose(self, reason: str) -> list[BookAction]:
        """The connection is lost, and perhaps some diffs."""
        was_live = self.live
        self._update_id = self._snapshot = self._renewing = None
        self._buffered.clear()
        return [Lost(reason)] if was_live else []

    def on_snapshot(self, snapshot: DepthSnapshot) -> list[BookAction]:
        """A live book does not need it, unless ``renew`` has asked for it."""
        if self.live:
            return self._on_renewal(snapshot)
        self._snapshot, self._outdated = snapshot, 0
        return list(self._join())

    def on_diff(self, diff: DepthDiff) -> list[BookAction]:
        if self._update_id is None:
            self._buffered.append(diff)
            return list(self._join())
        if diff.final_id <= self._update_id:
            return [] if self._is_repeat(diff) else self._start_over(diff, _again(diff, self._update_id))
        if diff.first_id > self._update_id + 1:
            reason = f"venue updates {self._update_id + 1} to {diff.first_id - 1} are missing"
            return self._start_over(diff, reason)
        return self._apply(diff)

    def _start_over(self, diff: DepthDiff, reason: str) -> list[BookAction]:
        return self.lose(reason) + self.on_diff(diff)

    def _is_repeat(self, diff: DepthDiff) -> bool:
        """Whether we may have this diff already: connections overlap. Else the venue's numbers began again."""
        self._repeats += 1
        remembered = diff.final_id >= self._applied[0] and diff.ts_us <= self._ts_us + _LATER_US
        return remembered and self._repeats <= MOST_REPEATS

    def _apply(self, diff: DepthDiff) -> list[BookAction]:
        bids, asks = self._bids.take(_newest(diff.bids)), self._asks.take(_newest(diff.asks))
        if self._bids.exhausted or self._asks.exhausted:
            reason = f"the price has left the {self._limit} levels that the venue's snapshot held"
            return self._start_over(diff, reason)
        self._stand_at(diff.final_id, diff.ts_us)
        applied: list[BookAction] = [Apply(bids, asks, diff.ts_us, diff.final_id)]
        return applied if self._renewing is None else applied + self._go_on_renewing(diff)

    def _stand_at(self, update_id: int, ts_us: int) -> None:
        self._update_id, self._ts_us, self._repeats = update_id, ts_us, 0
        self._applied.append(update_id)

    # ---- the first snapshot

    def _join(self) -> Iterator[BookAction]:
        if self._snapshot is None:
            return
        while self._buffered and self._buffered[0].final_id <= self._snapshot.update_id:
            self._buffered.popleft()
            self._outdated += 1
        if not self._buffered:
            if self._outdated > MOST_REPEATS:
                # The stream never gets there: the venue's numbers began again after this snapshot was taken.
                self._snapshot = None
            return
        first = self._buffered[0]
        if first.first_id > self._snapshot.update_id + 1:
            self._snapshot = None
            return
        # The venue does not tell when it took the snapshot: use the time just before the first diff after it.
        yield from self._load(self._snapshot, first.ts_us - 1)
        buffered = list(self._buffered)
        self._buffered.clear()
        for diff in buffered:
            yield from self.on_diff(diff)

    def settle(self, ts_us: int) -> list[BookAction]:
        """No diff has come since the connection opened, so the snapshot is the book. A diff that does not continue it would show."""
        if self.live or self._snapshot is None or self._buffered:
            return []
        return list(self._load(self._snapshot, ts_us))

    def _load(self, snapshot: DepthSnapshot, ts_us: int) -> Iterator[BookAction]:
        self._snapshot = None
        self._applied.clear()
        self._know(snapshot.bids, snapshot.asks)
        self._stand_at(snapshot.update_id, ts_us)
        yield Load(snapshot.bids, snapshot.asks, ts_us, snapshot.update_id)

    def _know(self, bids: Levels, asks: Levels) -> None:
        self._bids = KnownSide(bids, self._limit, bids=True)
        self._asks = KnownSide(asks, self._limit, bids=False)

    # ---- another snapshot of a live book

    def renew(self) -> None:
        """A snapshot will be asked for: diffs are kept from now on, to bring it up to where the book stands."""
        if self._update_id is not None:
            self._renewing, self._renewing_from = [], self._update_id

    def cancel_renewal(self) -> None:
        """The snapshot does not come."""
        self._renewing = None
        if self.live:
            self._snapshot = None

    def _on_renewal(self, snapshot: DepthSnapshot) -> list[BookAction]:
        if self._renewing is None:
            return []
        if snapshot.update_id < self._renewing_from:
            self.cancel_renewal()
            return []
        self._snapshot = snapshot
        return self._finish_renewal()

    def _go_on_renewing(self, diff: DepthDiff) -> list[BookAction]:
        assert self._renewing is not None
        self._renewing.append(diff)
        if len(self._renewing) > self._max_buffered:
            self.cancel_renewal()
            return []
        return self._finish_renewal()

    def _finish_renewal(self) -> list[BookAction]:
        """Loads the snapshot with the diffs after it, once the book has got as far as the snapshot: it never goes back."""
        snapshot, diffs = self._snapshot, self._renewing
        if snapshot is None or diffs is None or self.update_id < snapshot.update_id:
            return []
        self.cancel_renewal()
        self._know(snapshot.bids, snapshot.asks)
        later = [diff for diff in diffs if diff.final_id > snapshot.update_id]
        bids = _merged(snapshot.bids, [self._bids.take(_newest(diff.bids)) for diff in later], -1)
        asks = _merged(snapshot.asks, [self._asks.take(_newest(diff.asks)) for diff in later], 1)
        return [Load(bids, asks, self._ts_us, self.update_id)]


def _merged(levels: Levels, changes: list[Levels], sign: int) -> Levels:
    """The levels after the changes, best first."""
    newest = {_number(price): (price, size) for part in (levels, *changes) for price, size in part}
    return [
        level for _, level in sorted(newest.items(), key=lambda item: sign * item[0]) if _number(level[1])
    ]


def _again(diff: DepthDiff, update_id: int) -> str:
    return f"the venue's update numbers began again: {diff.first_id} to {diff.final_id} after {update_id}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FeedError(f"{text!r} is not a decimal number") from None


def _newest(levels: Levels) -> Levels:
    """Sizes are absolute: if a price is named twice, the last one counts."""
    newest = dict(levels)
    return levels if len(newest) == len(levels) else list(newest.items())
