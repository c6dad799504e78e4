"""Python's garbage collector: how long it stops the process, and when it may.

Left alone it runs whenever so many objects were made, in the midst of a flush as well, and now and then looks at everything that is
alive. Here it runs between two turns of the loop only: often over what is new, which is little and quick, each object once; and over
everything only when the market is quiet or it cannot wait any longer. It looks when the process is awake anyway, and in between only
while many objects are made: a process that is woken up for nothing finds its caches cold.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger("mdstream.gateway.pauses")

BUCKETS: Final = 24
NEW_OBJECTS: Final = 1_000
"""Made since the last collection: as many are looked at in half a millisecond or so."""
MANY_OBJECTS: Final = 250
"""Made since the last look: the next one comes soon."""
SOON_S: Final = 0.02
QUIET_STEPS: Final = 20
OLD_OBJECTS_QUIET: Final = 100_000
OLD_OBJECTS_MOST: Final = 2_000_000


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


Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]
"""``call_later`` of an event loop."""


class Collecting:
    """Collects instead of the interpreter, from ``start`` to ``stop``. For a process that is nothing but a gateway.

    Call ``step`` some twenty times a second. ``moved`` is a count that grows with every update that is sent: while it stands
    still the market is quiet.
    """

    def __init__(self, moved: Callable[[], int], call_later: Later) -> None:
        self._moved = moved
        self._call_later = call_later
        self._moved_last = 0
        self._quiet_steps = 0
        self._old = 0
        self._seen = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """What is alive now stays alive."""
        gc.collect()
        gc.freeze()
        gc.disable()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        gc.enable()

    def step(self) -> None:
        """One look, between two turns of the loop."""
        moved = self._moved()
        self._quiet_steps = self._quiet_steps + 1 if moved == self._moved_last else 0
        self._moved_last = moved
        new, _, _ = gc.get_count()
        self._look_soon(new - self._seen >= MANY_OBJECTS)
        quiet = self._quiet_steps >= QUIET_STEPS and self._old >= OLD_OBJECTS_QUIET
        if quiet or self._old >= OLD_OBJECTS_MOST:
            gc.unfreeze()
            gc.collect()
            self._old = 0
        elif new >= NEW_OBJECTS:
            gc.collect(0)
            self._old += new
        else:
            self._seen = new
            return
        gc.freeze()
        self._seen = 0

    def _look_soon(self, many: bool) -> None:
        """Whether another look is due before the next one that comes of itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if many:
            self._timer = self._call_later(SOON_S, self.step)
