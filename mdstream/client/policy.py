"""The times and bounds that a client keeps to; the defaults are the contract's client duties."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Times are in seconds."""

    backoff_base_s: float = 0.5
    """Ceiling of the first delay before coming back; it doubles with each try."""
    backoff_cap_s: float = 20.0
    """Greatest ceiling of that delay."""
    healthy_after_s: float = 30.0
    """A connection must live this long until the tries are counted from the start again."""
    connect_timeout_s: float = 10.0
    """For TCP, TLS and the upgrade together, and again for ``welcome``."""
    silent_heartbeats: float = 2.0
    """Heartbeat intervals without a message after which the link counts as dead."""
    recover_timeout_s: float = 10.0
    """An unanswered ``recover`` is asked again, as a request for a snapshot."""
    held_messages: int = 4096
    """Messages held per subscription while a ``recover`` is unanswered; beyond that they are dropped and asked for."""
    subscribe_batch: int = 50
    """Most instruments in one ``subscribe`` after a reconnect."""
    persist: bool = False
    """Keep trying when the very first connection fails, instead of raising."""
