"""The options of a sender of webhooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from mdstream.bus.topic_streams import TopicStreamOptions
from mdstream.webhooks.retries import FIRST_S


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """How webhooks are sent."""

    lease_s: float = 2.0
    """How long a sender that was killed is waited for."""
    poll_s: float = 0.25
    """How often a stream is asked for what is new, where there was nothing."""
    retry_s: float = FIRST_S
    """How long the first wait is after a failure."""
    events: TopicStreamOptions = field(default_factory=TopicStreamOptions)
    """Of ``MD_EVENTS``, where it is made."""
    now_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    at: Callable[[str], object] = lambda step: None
    """Called between two steps; tests stop there."""
