"""The states of the connection and of each subscription, and the counters, as the user sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class ConnectionState(StrEnum):
    """The state of the connection."""

    IDLE = "idle"
    """Not started."""
    CONNECTING = "connecting"
    """The gateway has not sent ``welcome`` yet."""
    OPEN = "open"
    DRAINING = "draining"
    """Open, but the gateway will stop. The client leaves at the time that the gateway gave, and connects to another one."""
    RECONNECTING = "reconnecting"
    """The connection is lost; the client waits before the next try."""
    CLOSED = "closed"
    """For good."""


class SubscriptionState(StrEnum):
    """Whether a subscription's data can be used now.

    In LIVE, STALE, HALTED and CLOSED the data is exactly what the gateway sent, and nothing is known to be missing.
    """

    PENDING = "pending"
    """Requested; no data has come yet."""
    LIVE = "live"
    RECOVERING = "recovering"
    """Something is missing, here or at the gateway, and is being recovered."""
    STALE = "stale"
    """The feed has been silent too long, or is down."""
    HALTED = "halted"
    CLOSED = "closed"
    """The venue has closed trading in the instrument."""
    DISCONNECTED = "disconnected"
    """There is no connection; the data is the last that came."""
    ENDED = "ended"
    """The user closed it, the gateway refused it, or the client is closed for good."""


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
    """How often a number was missing."""
    crc_errors: int = 0
    """How often a book did not match its checksum, or an update did not fit the book."""
    recoveries: int = 0
    """``recover`` commands sent."""
    reconnects: int = 0
    """How often a connection was lost or left and the client reconnected; tries that failed do not count."""
    latency_last_ms: float | None = None
    """Arrival time of the newest live update, by this machine's clock, minus its event time; None before the first."""
    latency_avg_ms: float | None = None
    """The exponential average of it over about the last hundred updates."""

    def note_latency(self, latency_ms: float) -> None:
        self.latency_last_ms = latency_ms
        if self.latency_avg_ms is None:
            self.latency_avg_ms = latency_ms
        else:
            self.latency_avg_ms += 0.02 * (latency_ms - self.latency_avg_ms)

    @classmethod
    def of(cls, lines: Sequence[Stats]) -> Stats:
        """The sums of several lines, and the smallest of their latencies."""
        total = cls()
        for name in ("messages", "bytes", "updates", "gaps", "crc_errors", "recoveries", "reconnects"):
            setattr(total, name, sum(getattr(line, name) for line in lines))
        for name in ("latency_last_ms", "latency_avg_ms"):
            known = [value for line in lines if (value := getattr(line, name)) is not None]
            setattr(total, name, min(known, default=None))
        return total
