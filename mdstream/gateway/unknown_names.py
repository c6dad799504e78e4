"""Names that nobody has announced, for a moment: who asks for them again and again costs the bus nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

KEPT_S = 1.0
"""So short that an instrument announced where this gateway does not hear it is found soon."""
MOST = 4096


class UnknownNames:
    """A bounded set of names, each for ``KEPT_S`` seconds."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._until_s: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until_s)

    def add(self, name: str, now_s: float) -> None:
        """The bus was asked for it now and has nothing."""
        self._until_s[name] = now_s + KEPT_S
        self._until_s.move_to_end(name)
        if len(self._until_s) > self._most:
            self._until_s.popitem(last=False)

    def discard(self, name: str) -> None:
        """It was announced."""
        self._until_s.pop(name, None)

    def among(self, names: Iterable[str], now_s: float) -> list[str]:
        """Those of which the bus had nothing a moment ago."""
        known = self._until_s
        return [name for name in names if name in known and self._holds(name, now_s)]

    def _holds(self, name: str, now_s: float) -> bool:
        if now_s < self._until_s[name]:
            return True
        del self._until_s[name]
        return False
