"""What the core asks its driver to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DialNow:
    """Open a connection to ``ClientCore.url``; answer with ``dialed`` or ``dial_failed``."""


@dataclass(frozen=True, slots=True)
class Send:
    payload: bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection and ignore what still comes from it. ``abort``: do not wait for the peer."""

    code: int
    reason: str
    abort: bool = False


@dataclass(frozen=True, slots=True)
class RenewToken:
    """Get a fresh token; answer with ``authenticate``, unless the connection is lost meanwhile."""


Action = DialNow | Send | HangUp | RenewToken
