"""The recovery of trades: from the log; those that are gone from it are given up, and reported as lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator

from mdstream.bus.gap_recovery import GapRecovery
from mdstream.bus.gate import GAP

NEAR = 100_000
"""A hole of at most so many trades is believed on the word of one message, if the log does not fill it, and neither a trade that
continues nor a ``status`` denies it."""
PATIENCE_S = 12.0
"""A greater one too, once the next ``status``, due within 10 s, has not denied it."""


class TradeRecovery(GapRecovery):
    """Trades continue from the log; those that are gone from it are given up, and reported as lost."""

    _stream = "trade"

    async def _recover(self, *, log_may_lag: bool) -> bool:
        gate, has_log = self._gate, True
        if not self._opened:
            has_log = await self._start_at_recent()
            self._opened = True
        complete = not has_log or await self._apply_log(gate.complete_us)
        if complete and self.reaches_named and gate.open_if_complete():
            return True
        if not log_may_lag and self._give_up():
            complete = await self._apply_log(gate.complete_us)
        return gate.live or (complete and self.reaches_named and gate.open_if_complete())

    async def _start_at_recent(self) -> bool:
        """A new reader has missed nothing: it starts with the latest of the log, else after the newest trade that a ``status`` names,
        else before the first trade that it received. Returns whether the log has any."""
        gate = self._gate
        newest = await self._newest()
        if newest is not None:
            since_us = newest.stored_us - int(self._options.look_back.age_s * 1e6)
            if not await self._read_recent(self._looked_back(since_us, newest)):
                await self._read_recent(self._recent(newest))
            gate.suspect = False  # what was refused there is past
            gate.complete_us = newest.stored_us
        if self._position()[1] == 0 and self.named:
            self._reset_to(self.named)
        elif self._position()[1] == 0 and gate.held:
            self._reset_before(gate.held[0])
        return newest is not None

    async def _read_recent(self, log: AsyncGenerator[bytes, None]) -> bool:
        """Returns whether there was anything."""
        gate, found = self._gate, False
        async with contextlib.aclosing(log) as recent:
            async for payload in recent:
                found = True
                if gate.apply(payload) == GAP and self._position()[1] == 0 and self._reset_before(payload):
                    gate.apply(payload)
        return found

    def _follow_jump(self, payload: bytes) -> int:
        jump, found = self._numbers(self._jump), self._numbers(payload)
        if self._jump is None or not jump or not found or found[0][0] != jump[-1][1] + 1:
            return GAP
        first, self._jump = self._jump, None
        if not self._give_up_before(first):
            return GAP
        self._gate.apply(first)
        return self._gate.apply(payload)

    def _give_up(self) -> bool:
        """Gives up what is missing before the next trade, or up to the number that a ``status`` names."""
        ahead = self._jump or (self._gate.held[0] if self._gate.held else None)
        first = min((first for first, _ in self._numbers(ahead)), default=0) or self.named
        if first <= self._position()[1] or not self._is_believed(first):
            return False
        if ahead is not None:
            return self._give_up_before(ahead)
        self._stats.trades_given_up += 1
        self._reset_to(first)
        return True

    def _is_believed(self, seq: int) -> bool:
        """Whether trades up to a number that is ahead may be given up: for one message alone not at once, if it is far ahead."""
        held = self._gate.held
        is_continued = len(held) > 1 and self._reaches(held[-1], seq + 1)
        waited_s = time.monotonic() - (self._began_at or 0.0)
        is_near = seq - self._position()[1] <= NEAR
        return is_near or is_continued or (seq < self.named) or waited_s > PATIENCE_S

    def _give_up_before(self, payload: bytes) -> bool:
        if not self._reset_before(payload):
            return False
        self._stats.trades_given_up += 1
        return True

    def _reset_before(self, payload: bytes) -> bool:
        """Moves to just before the first trade in ``payload`` that is beyond the position."""
        seq = self._position()[1]
        for first, _ in self._numbers(payload):
            if first > seq:
                self._reset_to(first - 1)
                return True
        return False

    def _reset_to(self, seq: int) -> None:
        self._core.reset_trades(self._position()[0], seq)
        self._gate.changed()
