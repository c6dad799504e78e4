"""The states a user can see, of the connection and of each subscription, and the counters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ConnectionState(StrEnum):
    """Where the connection stands."""

    IDLE = "idle"
    """Not started."""
    CONNECTING = "connecting"
    """On the way to a gateway that has not said ``welcome`` yet."""
    OPEN = "open"
    DRAINING = "draining"
    """Open, but the gateway goes away: the client leaves at the time it was given and comes back elsewhere."""
    RECONNECTING = "reconnecting"
    """Cut off; waiting before the next try."""
    CLOSED = "closed"
    """For good."""


class SubscriptionState(StrEnum):
    """What a subscription's data is worth at this moment.

    LIVE, STALE, HALTED and CLOSED: what is held is exactly what the gateway sent, and nothing is known to be missing.
    """

    PENDING = "pending"
    """Asked for; nothing has come yet."""
    LIVE = "live"
    RECOVERING = "recovering"
    """Something is missing, here or at the gateway, and is being fetched."""
    STALE = "stale"
    """The feed has been silent too long, or is down."""
    HALTED = "halted"
    CLOSED = "closed"
    """The market is closed."""
    DISCONNECTED = "disconnected"
    """There is no connection; what is held is what was last known."""
    ENDED = "ended"
    """Closed by the user, refused, or the connection is gone for good."""


TRUSTED_STATES = frozenset(
    {SubscriptionState.LIVE, SubscriptionState.STALE, SubscriptionState.HALTED, SubscriptionState.CLOSED}
)


@dataclass(slots=True)
class Stats:
    """Counters of one client since it was made; they are never reset."""

    messages: int = 0
    """WebSocket messages received."""
    bytes: int = 0
    """Their payloads."""
    updates: int = 0
    """Data messages: snapshots, deltas, trades, tickers."""
    gaps: int = 0
    """Times that a number was missing."""
    crc_errors: int = 0
    """Times that a book did not match its checksum, or an update did not fit the book."""
    recoveries: int = 0
    """``recover`` commands sent."""
    reconnects: int = 0
    """Times that a connection was lost or left and another was sought; tries that failed do not count."""
    latency_last_ms: float | None = None
    """Arrival of the newest live update minus its event time, by this machine's clock; None before the first."""
    latency_avg_ms: float | None = None
    """The same, averaged exponentially over about the last hundred."""

    def note_latency(self, latency_ms: float) -> None:
        self.latency_last_ms = latency_ms
        if self.latency_avg_ms is None:
            self.latency_avg_ms = latency_ms
        else:
            self.latency_avg_ms += 0.02 * (latency_ms - self.latency_avg_ms)
