"""The client's times and bounds. The defaults are what the contract asks of a client."""

from __future__ import annotations

from dataclasses import dataclass

from mdstream.codes import ErrorCode

FINAL_STATUSES = frozenset({400, 403, 404})
"""HTTP answers to the upgrade after which another try at that URL would fail too."""
TEMPORARY_ERRORS = frozenset({ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE, ErrorCode.UNKNOWN_INSTRUMENT})
"""Refusals of a repeated ``subscribe`` that may be temporary: the new gateway is busy, or does not know every instrument yet."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Times are in seconds."""

    backoff_base_s: float = 0.5
    """The longest first delay before a reconnect; it doubles with each try."""
    backoff_cap_s: float = 20.0
    """The longest delay of all."""
    retry_after_cap_s: float = 60.0
    """The longest ``Retry-After`` of a gateway that counts; a longer one counts as this."""
    healthy_after_s: float = 30.0
    """After a connection that lasted this long and was useful, the count of tries starts at 0 again; a gateway that is well asks for less
    in its ``welcome``."""
    most_replaced: int = 3
    """So many times within ``replaced_within_s`` may a newer session of the same subject replace this one (4409); then the client leaves it
    to the other one. 1: at once."""
    replaced_within_s: float = 60.0
    connect_timeout_s: float = 10.0
    """For TCP, TLS and the upgrade together, and again for ``welcome``."""
    silent_heartbeats: float = 2.0
    """Heartbeat intervals without a message after which the connection counts as dead."""
    recover_timeout_s: float = 10.0
    """After this time without an answer to ``recover``, the client asks for a snapshot."""
    held_messages: int = 4096
    """Most messages held per subscription until ``recover`` is answered. If there are more, all are dropped and recovered later."""
    acknowledge_s: float = 0.05
    """Acknowledgements of this time are sent together."""
    publish_timeout_s: float = 30.0
    """How long `publish` tries."""
    subscribe_batch: int = 50
    """Most instruments in one ``subscribe`` after a reconnect."""
    persist: bool = False
    """Try again if the first connection fails, instead of raising an error."""
