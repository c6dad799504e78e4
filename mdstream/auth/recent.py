"""What was verified lately: bounded, the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by digest, each until a time of its own."""

    def __init__(self, most: int, now_s: Callable[[], float]) -> None:
        self._most = most
        self._now_s = now_s
        self._found: OrderedDict[bytes, tuple[T, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, digest: bytes) -> T | None:
        entry = self._found.get(digest)
        if entry is None:
            return None
        if entry[1] <= self._now_s():
            del self._found[digest]
            return None
        self._found.move_to_end(digest)
        return entry[0]

    def put(self, digest: bytes, value: T, until_s: float) -> None:
        if self._most == 0:
            return
        self._found[digest] = value, until_s
        self._found.move_to_end(digest)
        if len(self._found) > self._most:
            self._found.popitem(last=False)

    def drop(self, digest: bytes) -> None:
        self._found.pop(digest, None)

    def clear(self) -> None:
        self._found.clear()
