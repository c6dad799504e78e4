"""The numbers of one stream in one epoch."""

from __future__ import annotations

from collections.abc import Hashable

NEXT, AGAIN = "next", "again"

KEPT = 50_000
"""Contents that are kept at least, for comparison with a repeated number; at most twice as many."""


class Numbering:
    """Says of each number whether it follows. ``last`` is None until one is known; ``live_last`` is the newest that came live."""

    def __init__(self, last: int | None) -> None:
        self.last = last
        self._floor = last or 0
        self.live_last = 0
        self._contents: dict[int, int] = {}
        self._older: dict[int, int] = {}

    def begin(self, last: int) -> None:
        """The numbers up to ``last`` are known from a snapshot; their contents are not."""
        self.last = self._floor = last

    def forget(self) -> None:
        """Numbers were missed: any may be the next."""
        self.last = None

    def take(self, first: int, last: int, content: Hashable, *, live: bool) -> tuple[str, str]:
        """``NEXT``, ``AGAIN`` (the same as before) or the broken rule, with what is wrong."""
        digest = hash(content)
        known = self._contents.get(last, self._older.get(last))
        goes_back = live and last <= self.live_last
        if live:
            self.live_last = max(self.live_last, last)
        if known is not None:
            return (AGAIN, "") if known == digest else ("conflict", f"{last} came before with other content")
        if last <= self._floor or (self.last is not None and last <= self.last):
            return ("conflict", f"{last} came after {self.last}") if goes_back else (AGAIN, "")
        before = self.last
        if before is None:
            self._floor = first - 1
        self.last = last
        self._remember(last, digest)
        return _follows(before, first, last)

    def _remember(self, last: int, digest: int) -> None:
        if len(self._contents) >= KEPT:
            self._older, self._contents = self._contents, {}
        self._contents[last] = digest


def _follows(before: int | None, first: int, last: int) -> tuple[str, str]:
    if before is None or first == before + 1:
        return NEXT, ""
    if before == 0:
        return "numbering", f"the first number of the epoch is {first}, not 1"
    if first > before + 1:
        return "numbering", f"{first} follows {before}; {before + 1} is missing"
    return "conflict", f"{first} to {last} covers {before}, which came before"
