from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

def now_us() -> int: ...

class TurnTime:
    _left_us: int
    _slice_us: int
    _waiting: dict[Any, deque[Iterator[None]]]
    _clock_us: Callable[[], int]
    def __init__(self, slice_us: int, clock_us: Callable[[], int] | None = None) -> None: ...
    def _ask_for_turn(self) -> None: ...
