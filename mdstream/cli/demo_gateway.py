"""The demo's gateway, which its page may kill: another one takes its address a moment later."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import replace

from mdstream.gateway import Gateway
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.ui import header

KILL = b"/demo/kill"
DOWN_S = 1.0
"""How long nobody answers."""


class DemoGateway:
    """``start`` it, then ``drain`` it; ``now`` is the gateway that lives, or lived last."""

    def __init__(
        self, config: GatewayConfig, token: str, make: Callable[[GatewayConfig], Gateway] = Gateway
    ) -> None:
        self._make = make
        self._expected = f"Bearer {token}"
        self.now = make(config)
        self._restarting: asyncio.Task[None] | None = None
        self._killed = asyncio.Event()

    @property
    def clients(self) -> int:
        return self.now.clients

    async def start(self) -> None:
        await self.now.start()
        self._listen_to_page()

    async def drain(self) -> None:
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.gather(self._restarting, return_exceptions=True)
            await self.now.stop(at_once=True)
        else:
            await self.now.drain()

    async def ended(self) -> None:
        """Returns never, unless no gateway comes after the one that was killed; then raises its error."""
        while True:
            await self._killed.wait()
            self._killed.clear()
            if self._restarting is not None:
                await asyncio.shield(self._restarting)

    def _listen_to_page(self) -> None:
        if self.now.ui is not None:
            self.now.ui.actions[KILL] = self._kill

    def _kill(self, head: bytes) -> tuple[int, str]:
        if not hmac.compare_digest(header(head, "Authorization").encode(), self._expected.encode()):
            return 401, "only who has the demo's token may do this"
        if self._restarting is None:
            self._restarting = asyncio.get_running_loop().create_task(self._restart())
            self._killed.set()
        return 202, f"it is killed; another one comes in {DOWN_S:g} s"

    async def _restart(self) -> None:
        old = self.now
        await asyncio.sleep(0)  # the answer leaves first
        await old.stop(at_once=True)
        await asyncio.sleep(DOWN_S)
        self.now = self._make(replace(old.config, port=old.port, admin_port=old.admin_port))
        await self.now.start()
        self._listen_to_page()
        self._restarting = None
