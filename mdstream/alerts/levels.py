"""The alerts on one price of an instrument, sorted so that a price that moves none of them costs two comparisons. Without I/O."""

from __future__ import annotations

from bisect import bisect_left, insort

from mdstream.alert import ABOVE, BELOW
from mdstream.alerts.watched import Watched


class Levels:
    """``rising`` are those that a greater price moves, ``falling`` those that a smaller one does: an alert whose side is not known is
    in both."""

    def __init__(self) -> None:
        self._price_exp: int | None = None
        self._all: dict[int, Watched] = {}
        self._rising: list[tuple[int, int]] = []
        """Prices beyond which alerts are above, and the alerts' numbers."""
        self._falling: list[tuple[int, int]] = []
        """The same for below, negated."""

    def __len__(self) -> int:
        return len(self._all)

    def rescale(self, price_exp: int) -> None:
        """The prices that come now are of this scale."""
        if price_exp == self._price_exp:
            return
        self._price_exp = price_exp
        self._rising, self._falling = [], []
        for watched in self._all.values():
            self._insert(watched)

    def add(self, watched: Watched) -> None:
        self._all[watched.number] = watched
        if self._price_exp is not None:
            self._insert(watched)

    def remove(self, watched: Watched) -> None:
        if self._all.pop(watched.number, None) is None or self._price_exp is None:
            return
        down, up = watched.alert.price.in_ticks(self._price_exp)
        _take_out(self._rising, (down, watched.number))
        _take_out(self._falling, (-up, watched.number))

    def moved(self, ticks: int) -> list[tuple[Watched, int]]:
        """The alerts whose side this price changes, each with the new one, which its state must take at once."""
        rising, falling = self._rising, self._falling
        found: list[tuple[Watched, int]] = []
        if rising and rising[0][0] < ticks:
            found = [(each, ABOVE) for each in self._turn(rising, falling, ticks, 1)]
        if falling and falling[0][0] < -ticks:
            found += [(each, BELOW) for each in self._turn(falling, rising, -ticks, 0)]
        return found

    def _turn(
        self, these: list[tuple[int, int]], others: list[tuple[int, int]], ticks: int, other: int
    ) -> list[Watched]:
        """Moves those before a price to the other list, unless they are there already."""
        at = bisect_left(these, (ticks, -1))
        turned = [self._all[number] for _, number in these[:at]]
        del these[:at]
        for watched in turned:
            if watched.state.side:
                bounds = watched.alert.price.in_ticks(self._price_exp or 0)
                insort(others, (-bounds[1] if other else bounds[0], watched.number))
        return turned

    def _insert(self, watched: Watched) -> None:
        down, up = watched.alert.price.in_ticks(self._price_exp or 0)
        if watched.state.side != ABOVE:
            insort(self._rising, (down, watched.number))
        if watched.state.side != BELOW:
            insort(self._falling, (-up, watched.number))


def _take_out(these: list[tuple[int, int]], each: tuple[int, int]) -> None:
    at = bisect_left(these, each)
    if at < len(these) and these[at] == each:
        del these[at]
