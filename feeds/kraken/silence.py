"""Tells a quiet market from a venue that no longer sends. No I/O; the clock is monotonic.

While other pairs' data comes, a pair that is silent for as long as usual is quiet. A pair that is silent for longer, and every pair of a
connection on which nothing comes, is subscribed again: the snapshot tells. Where a lively connection falls silent, the same book again
proves nothing, because a venue that has stopped may still give its last one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mdstream.feeds._progress import LEAST_S, ProgressWatch

CHECK_S = LEAST_S + 1
"""A pair of a silent connection is asked for after this time, so that the age of its book stays far below ``stale_after_ms``."""
FLOWING_S = 1.1
"""A connection with younger data tells that the venue sends."""
THAW_S = 300.0
"""A venue that was dead, and has given the same book for so long, is quiet after all."""


@dataclass(slots=True)
class Verdict:
    """What to do now."""

    dead_s: float = 0.0
    """The connection has been silent for so long; 0: it is not dead."""
    ask: list[str] = field(default_factory=list)
    """Pairs to subscribe again."""
    heard: list[str] = field(default_factory=list)
    """Pairs that are quiet, on a connection that is not."""


class Silence:
    """Watches the pairs of one connection after the other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._names: list[str] = []
        self._told: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        self._data_at: float | None = None
        self._frozen_at: float | None = None
        self._judged = clock()
        self._watch = ProgressWatch(clock=clock)

    def on_open(self, names: Iterable[str]) -> None:
        """A connection is open."""
        self._names = list(names)
        self._data_at = None
        self._watch.opened(self._names)

    def on_update(self, name: str) -> None:
        """An update of a pair's book has come."""
        self._told[name] = self._clock()
        self._on_data(name)

    def on_trade(self) -> None:
        """A trade has come: the venue sends. It says nothing about the pair's book."""
        self._on_data(None)

    def _on_data(self, name: str | None) -> None:
        self._data_at, self._frozen_at = self._clock(), None
        self._watch.note(name)

    def on_snapshot(self, name: str, *, new: bool) -> bool:
        """A snapshot has come. Returns whether it proves that the pair's book is the venue's present one.

        If it is ``new`` and no update has told so, updates are missing: then the silence before it was not usual.
        """
        now = self._told[name] = self._clock()
        if not new:
            self._watch.excuse(name)
        if self._frozen_at is None:
            return True
        if now - self._frozen_at < THAW_S:
            return False
        # It is quiet after all: what was learnt no longer holds.
        self._frozen_at = None
        self._watch = ProgressWatch(clock=self._clock)
        self._watch.opened(self._names)
        return True

    def judge(self, trading: Iterable[str], others: Iterable[str] = ()) -> Verdict:
        """What to do about the pairs whose book is complete; only those that trade must send something."""
        now = self._clock()
        held_up, self._judged = now - self._judged > LEAST_S / 2, now
        overdue = self._watch.check()
        if held_up:
            return Verdict()  # the venue's messages wait unread
        trading = list(trading)
        if trading and overdue.connection and self._watch.lively():
            self._frozen_at = now if self._frozen_at is None else self._frozen_at
            return Verdict(self._watch.silence_s())
        flowing = self._data_at is not None and now - self._data_at < FLOWING_S
        verdict = Verdict()
        for name in (*trading, *others):
            late = name in overdue.instruments
            if flowing and not late:
                self._told[name] = now
                verdict.heard.append(name)
            elif self._may_ask(name, now) if late else now - self._told.get(name, now) >= CHECK_S:
                self._asked[name] = now
                verdict.ask.append(name)
        return verdict

    def _may_ask(self, name: str, now: float) -> bool:
        return name not in self._asked or now - self._asked[name] >= LEAST_S
