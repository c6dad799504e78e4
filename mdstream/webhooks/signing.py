"""Signatures of webhooks as Standard Webhooks 1.0 has them (https://www.standardwebhooks.com), without I/O.

What is signed is ``id.timestamp.body``, by HMAC-SHA256 with the bytes behind ``whsec_``. While a secret is replaced there are two
signatures, and a receiver that knows either secret finds its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
LEAST_BYTES: Final = 24
MOST_BYTES: Final = 64
NEW_BYTES: Final = 32


class Secret:
    """What a webhook is signed with. It shows nothing of itself."""

    __slots__ = ("_key",)

    def __init__(self, text: str) -> None:
        """``text`` is ``whsec_`` and base64. Raises ValueError, which says what is wrong and repeats nothing of it."""
        if not text.startswith(PREFIX):
            raise ValueError(
                f"a secret begins with {PREFIX}; `mdstream webhooks --new-secret FILE` makes one"
            )
        try:
            self._key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"what follows {PREFIX} is not base64") from None
        if not LEAST_BYTES <= len(self._key) <= MOST_BYTES:
            raise ValueError(
                f"a secret has {LEAST_BYTES} to {MOST_BYTES} bytes before they are encoded, this one has {len(self._key)}"
            )

    def __repr__(self) -> str:
        return "Secret(…)"

    def sign(self, id: str, timestamp: int, body: bytes) -> str:
        signed = f"{id}.{timestamp}.".encode() + body
        digest = hmac.new(self._key, signed, hashlib.sha256).digest()
        return f"v1,{base64.b64encode(digest).decode()}"


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(NEW_BYTES)).decode()


def headers_of(keys: Sequence[Secret], id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt; ``timestamp`` in seconds: receivers refuse what is older than some minutes."""
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(key.sign(id, timestamp, body) for key in keys),
    }
