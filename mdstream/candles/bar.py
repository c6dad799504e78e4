"""A candle that grows, and the run of trades that it grows by."""

from __future__ import annotations

from dataclasses import dataclass

from mdstream.candle import INCOMPLETE, SATURATED, Candle
from mdstream.model import MAX_NUMBER


@dataclass(slots=True)
class Run:
    """Trades of one second and one epoch that follow each other, in the scale of their epoch."""

    second: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    count: int
    epoch: int
    first_seq: int
    last_seq: int
    price_exp: int
    size_exp: int
    flags: int = 0
    """INCOMPLETE: trades before it were lost."""


@dataclass(slots=True)
class Bar:
    """As ``Candle``, but it changes; ``rev`` counts what was stored of it."""

    start_s: int
    rev: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    count: int
    epoch: int
    first_seq: int
    last_seq: int
    price_exp: int
    size_exp: int
    flags: int

    @classmethod
    def begin(cls, start_s: int, run: Run, flags: int = 0) -> Bar:
        bar = cls(start_s, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags)
        bar._restart(run)
        return bar

    @classmethod
    def of(cls, candle: Candle) -> Bar:
        return cls(*candle)

    def candle(self) -> Candle:
        return Candle(
            self.start_s,
            self.rev,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.count,
            self.epoch,
            self.first_seq,
            self.last_seq,
            self.price_exp,
            self.size_exp,
            self.flags,
        )

    def add(self, run: Run) -> None:
        """Adds trades with greater numbers than all that are in it. In another scale, the finer one of both holds from now on; where its
        numbers would be too great, the bar begins again, incomplete."""
        prices, sizes = (1, 1), (1, 1)
        if (self.price_exp, self.size_exp) != (run.price_exp, run.size_exp):
            prices = self._factors(self.price_exp, run.price_exp)
            sizes = self._factors(self.size_exp, run.size_exp)
            greatest = max(abs(each) * prices[0] for each in (self.high, self.low))
            if max(greatest, *(abs(each) * prices[1] for each in (run.high, run.low))) > MAX_NUMBER:
                self.flags |= INCOMPLETE
                self._restart(run)
                return
            self._rescale(prices[0], sizes[0], run)
        self.high = max(self.high, run.high * prices[1])
        self.low = min(self.low, run.low * prices[1])
        self.close = run.close * prices[1]
        self._add_volume(run.volume * sizes[1])
        self.count += run.count
        if self.epoch != run.epoch:
            self.epoch, self.first_seq = run.epoch, run.first_seq
        self.last_seq = run.last_seq
        self.flags |= run.flags

    def _restart(self, run: Run) -> None:
        self.open, self.high, self.low, self.close = run.open, run.high, run.low, run.close
        self.price_exp, self.size_exp = run.price_exp, run.size_exp
        self.epoch, self.first_seq, self.last_seq = run.epoch, run.first_seq, run.last_seq
        self.volume, self.count = 0, run.count
        self.flags = (self.flags | run.flags) & ~SATURATED
        self._add_volume(run.volume)

    def _rescale(self, price_factor: int, size_factor: int, run: Run) -> None:
        self.open *= price_factor
        self.high *= price_factor
        self.low *= price_factor
        self.close *= price_factor
        volume, self.volume = self.volume * size_factor, 0
        self._add_volume(volume)
        self.price_exp = min(self.price_exp, run.price_exp)
        self.size_exp = min(self.size_exp, run.size_exp)

    def _add_volume(self, lots: int) -> None:
        volume = self.volume + lots
        if volume > MAX_NUMBER:
            volume = MAX_NUMBER
            self.flags |= SATURATED
        self.volume = volume

    @staticmethod
    def _factors(ours: int, theirs: int) -> tuple[int, int]:
        """By what our numbers and theirs are multiplied in the finer of two scales."""
        finer = min(ours, theirs)
        return 10 ** (ours - finer), 10 ** (theirs - finer)
