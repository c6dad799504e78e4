"""Python's garbage collector: how long it stops the process.

Left alone it looks at everything that is alive now and then, in the midst of a flush as well. Here it looks by itself only at what is
new, a thousand objects at a time, each once; and at everything between two turns of the loop, when the market is quiet or it cannot
wait any longer. A flush makes no such objects: what runs while one is under way is the exception.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final

BUCKETS: Final = 24
NEW_OBJECTS: Final = 1_000
"""Made since the last collection: as many are looked at in half a millisecond or so."""
QUIET_S: Final = 1.0
OLD_OBJECTS_QUIET: Final = 100_000
OLD_OBJECTS_MOST: Final = 2_000_000
_NEVER: Final = 1_000_000_000


class GcPauses:
    """Measures every collection while ``watch`` is on, by generation: counts of those shorter than 2**i µs (the last: all others)."""

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
    """Collects instead of the interpreter, from ``start`` to ``stop``. For a process that is nothing but a gateway.

    Call ``step`` a few times a second. ``moved`` is a count that grows with every update that is sent: while it stands still the
    market is quiet.
    """

    def __init__(self, moved: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._moved = moved
        self._clock = clock
        self._moved_last = 0
        self._moved_at = 0.0
        self._old = 0
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """What is alive now stays alive."""
        self._thresholds = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS, _NEVER, _NEVER)

    def stop(self) -> None:
        gc.set_threshold(*self._thresholds)

    def step(self) -> None:
        """One look, between two turns of the loop."""
        _, collections, _ = gc.get_count()
        self._old += collections * NEW_OBJECTS
        if self._old >= OLD_OBJECTS_MOST or (self._old >= OLD_OBJECTS_QUIET and self._is_quiet()):
            gc.unfreeze()
            gc.collect()
            self._old = 0
        elif collections:
            gc.collect(0)  # what was made since then: to be frozen, it must have been looked at
        else:
            return
        gc.freeze()

    def _is_quiet(self) -> bool:
        moved = self._moved()
        if moved != self._moved_last:
            self._moved_last, self._moved_at = moved, self._clock()
        return self._clock() - self._moved_at >= QUIET_S
