"""The options of a watcher of alerts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mdstream.bus.topic_streams import TopicStreamOptions


@dataclass(frozen=True, slots=True)
class AlertOptions:
    """How alerts are watched."""

    lease_s: float = 2.0
    """How long a watcher that was killed is waited for."""
    place_s: float = 5.0
    """How often it is stored up to where an instrument was read: a watcher that takes over reads the log from there."""
    events: TopicStreamOptions = field(default_factory=TopicStreamOptions)
    """Of ``MD_EVENTS``, where it is made."""
    now_s: Callable[[], float] = time.monotonic
    wall_us: Callable[[], int] = lambda: time.time_ns() // 1000
    at: Callable[[str], object] = lambda step: None
    """Called between two steps; tests stop there."""
