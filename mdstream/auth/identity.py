"""Who a session belongs to, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from mdstream.auth.entitlements import ALL, Entitlements

MAX_NAME = 256
"""Characters of a subject, a key id or a token id."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a credential proved. Immutable: all sessions of one token share it."""

    subject: str
    method: str
    """``jwt`` ``api_key`` ``callback`` ``certificate`` ``anonymous`` ``none``"""
    entitlements: Entitlements
    expires_us: int | None = None
    """``exp`` in µs since the Unix epoch, as clients are told; None: never."""
    token_id: str | None = None
    key_id: str | None = None
    issued_us: int | None = None
    expires_at_s: float = inf
    """When it ends, in seconds of this process's monotonic clock, the leeway included: computed once, when the credential was verified,
    so that a step of the wall clock afterwards ends nothing early and keeps nothing."""
    leeway_s: float = 0.0
    """How much of it is leeway."""


NOBODY = Identity("", "none", ALL)
"""Where nobody is asked who he is."""


def is_name(value: object) -> bool:
    """Whether it can be a subject or an id: a string of 1 to 256 printable characters."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()
