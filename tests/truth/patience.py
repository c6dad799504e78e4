"""Whether it counts how long something took. ``make truth`` judges that, on a machine that does nothing else. A run of all tests judges
what is told, and waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

ENOUGH_S = 30.0
"""How long is waited where it does not count."""
_times_count = True


def times_count() -> bool:
    return _times_count


def within(bound_s: float) -> float:
    """How long to wait for what must come within this time."""
    return bound_s if _times_count else max(bound_s, ENOUGH_S)


@contextmanager
def patient() -> Iterator[None]:
    """Times do not count meanwhile."""
    global _times_count
    _times_count = False
    try:
        yield
    finally:
        _times_count = True
