"""A batch with which a receiver is tried; without I/O."""

from __future__ import annotations

import secrets
from typing import Final

import msgspec

from mdstream.bus.activity import utc
from mdstream.webhooks.batches import TYPE, Batch

TEST: Final = "webhook.test"


def trial_batch(wall_us: int) -> Batch:
    """One record of the type ``webhook.test``."""
    at = utc(wall_us)
    record = {"id": f"test.{wall_us}", "type": TEST, "timestamp": at, "data": {}}
    body = msgspec.json.encode({"type": TYPE, "timestamp": at, "data": {"records": [record]}})
    return Batch(f"msg_{secrets.token_hex(16)}", body, 0, 1, 0, 0)
