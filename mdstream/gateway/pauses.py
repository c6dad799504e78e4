"""Python's garbage collector: how long it stops the process, and when it may.

By default it examines all live objects from time to time, even in the middle of a flush. Here it examines by itself only new objects,
a thousand at a time and each once. All objects are examined between two turns of the loop, when no updates arrive or when it cannot
wait any longer. A flush makes no such objects, so a collection during a flush is the exception.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final

BUCKETS: Final = 24
NEW_OBJECTS: Final = 1_000
"""New objects until a collection; it takes about half a millisecond to examine them."""
EXAMINED_OBJECTS: Final = 250
"""About so many are left of those that ``examine`` looks at."""
QUIET_S: Final = 1.0
OLD_OBJECTS_QUIET: Final = 100_000
OLD_OBJECTS_MOST: Final = 2_000_000
_NEVER: Final = 1_000_000_000


class GcPauses:
    """Measures collections from ``watch`` to ``unwatch``, by generation: counts of those shorter than 2**i µs (the last: all others)."""

    def __init__(self) -> None:
        self.counts = [[0] * BUCKETS for _ in range(3)]
        self.total_us = [0, 0, 0]
        self._began_ns = 0

    def watch(self) -> None:
        gc.callbacks.append(self._told)

    def unwatch(self) -> None:
        if self._told in gc.callbacks:
            gc.callbacks.remove(self._told)

    def _told(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began_ns = time.perf_counter_ns()
            return
        us = (time.perf_counter_ns() - self._began_ns) // 1000
        generation = info["generation"]
        self.counts[generation][min(us.bit_length(), BUCKETS - 1)] += 1
        self.total_us[generation] += us


class Collecting:
    """Collects instead of the interpreter, from ``start`` to ``stop``. For a process that runs only a gateway.

    Call ``step`` a few times a second. ``moved`` is a count that grows with every update that is sent; while it does not grow, it is
    quiet.
    """

    def __init__(self, moved: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._moved = moved
        self._clock = clock
        self._moved_last = 0
        self._moved_at = 0.0
        self._old = 0
        self._examined = 0
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """Objects that are alive now are not examined until the next full collection."""
        self._thresholds = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS, _NEVER, _NEVER)

    def stop(self) -> None:
        gc.set_threshold(*self._thresholds)

    def examine(self) -> None:
        """Examines what is new now; call it where some hundred objects have been made."""
        gc.collect(0)
        self._examined += 1

    def step(self) -> None:
        """Collects if it is time; call it between two turns of the loop."""
        _, collections, _ = gc.get_count()
        asked = min(self._examined, collections)
        self._examined = 0
        self._old += asked * EXAMINED_OBJECTS + (collections - asked) * NEW_OBJECTS
        if self._old >= OLD_OBJECTS_MOST or (self._old >= OLD_OBJECTS_QUIET and self._is_quiet()):
            gc.unfreeze()
            gc.collect()
            self._old = 0
        elif collections:
            gc.collect(0)  # examine what was made since then before it is frozen
        else:
            return
        gc.freeze()

    def _is_quiet(self) -> bool:
        moved = self._moved()
        if moved != self._moved_last:
            self._moved_last, self._moved_at = moved, self._clock()
        return self._clock() - self._moved_at >= QUIET_S
