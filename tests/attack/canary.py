"""Bytes that only one subscription may ever carry: anyone else who receives them was sent data of another session."""

from __future__ import annotations

INSTRUMENT = "CANARY:S3CRET-XQZ"
LOTS = 0x04AF_1234_5000
"""Sizes on its book are from here to ``LOTS + SPREAD``: alike in their leading bytes and digits, and on no other book."""
SPREAD = 3_000
PING_MARK = "ATTACKERS-OWN-ECHO"
"""In what attackers let the gateway echo; no honest session may receive it."""

assert LOTS % 65_536 + SPREAD < 65_536 and LOTS % 10_000 + SPREAD < 10_000
MARKS = (b"S3CRET", str(LOTS)[:-4].encode(), LOTS.to_bytes(8)[:6])


def leaks(data: bytes) -> list[str]:
    """Which of the canary's marks are in these bytes."""
    return [repr(mark) for mark in MARKS if mark in data]
