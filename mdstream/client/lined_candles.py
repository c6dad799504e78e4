"""Candles on several lines at once: of each candle the greatest revision, whichever line brings it. All gateways show the same ones."""

from __future__ import annotations

from mdstream.client.candles import Candles, CandleUpdate
from mdstream.client.lined import Leg, Lined, Position


class CandlesLeg(Leg, Candles):
    @property
    def position(self) -> Position | None:
        newest = self.newest
        return (0, 0) if newest is None else (newest.start_s, newest.rev)


class LinedCandles(Lined, Candles):
    """The newest revision of each candle of all lines."""

    def _listen(self, leg: CandlesLeg) -> None:
        leg.on_candle(lambda update: self._take_update(leg, update))

    def _take_update(self, leg: CandlesLeg, update: CandleUpdate) -> None:
        if self.ended:
            return
        if not self._put(update.candle):
            leg.late += 1
            return
        leg.first += 1
        position = leg.position
        if position is not None and (self._shown is None or position > self._shown):
            self._lead(leg)

    def _show(self, leg: CandlesLeg, update: CandleUpdate | None) -> None:
        for candle in leg.all():
            self._put(candle)
        self._lead(leg)
