"""Something that stays open while somebody needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Needed:
    """``holds`` counts who needs it for a while."""

    __slots__ = ("holds",)

    def __init__(self) -> None:
        self.holds = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """It is not given up meanwhile."""
        self.holds += 1
        try:
            yield
        finally:
            self.holds -= 1
