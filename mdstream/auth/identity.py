"""Who is connected, and what they may see."""

from __future__ import annotations

from dataclasses import dataclass

from mdstream.auth.entitlements import ALL, Entitlements


@dataclass(frozen=True, slots=True)
class Identity:
    """What authentication found. ``expires_us``: when the credential ends, µs since the Unix epoch; None: never."""

    subject: str
    method: str
    """``jwt``, ``api_key``, ``callback``, ``certificate``, ``anonymous``; ``none`` where nobody is asked who they are."""
    entitlements: Entitlements
    expires_us: int | None = None
    token_id: str | None = None
    key_id: str | None = None


NOBODY = Identity(subject="", method="none", entitlements=ALL)
"""Everybody, where the gateway asks nobody who they are."""
