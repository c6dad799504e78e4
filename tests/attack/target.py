"""What an attacker can reach."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mdstream.bus import connect


@dataclass(frozen=True)
class Target:
    """The ports of a gateway, and the bus, to which a publisher that was broken into has access."""

    port: int
    admin_port: int
    nats_url: str

    def publish(self, subject: str, *payloads: bytes) -> None:
        """Anything."""
        asyncio.run(self._publish(subject, payloads))

    async def _publish(self, subject: str, payloads: tuple[bytes, ...]) -> None:
        async with await connect(self.nats_url) as bus:
            for payload in payloads:
                await bus.publish(subject, payload)
            await bus.flush()

    def store(self, messages: dict[str, bytes]) -> None:
        """By bus subject, what JetStream is to have; returns when it has it."""
        asyncio.run(self._store(messages))

    async def _store(self, messages: dict[str, bytes]) -> None:
        async with await connect(self.nats_url) as bus:
            for subject, payload in messages.items():
                await bus.publish_acked(subject, payload)
