"""The public listener: upgrades become sessions, everything else a short HTTP answer, before any work is done for it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from picows import WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener

from mdstream._core.hub import Hub
from mdstream._core.session import Session
from mdstream.gateway import listener
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.handshake import Accepted, Refused, decide
from mdstream.gateway.sessions import Sessions

log = logging.getLogger("mdstream.gateway.server")


class Server:
    """Accepts clients while there is room and no drain."""

    def __init__(self, config: GatewayConfig, hub: Hub, sessions: Sessions) -> None:
        self._config = config
        self._hub = hub
        self._sessions = sessions
        self._server: asyncio.Server | None = None
        self.draining = False
        self.port = 0
        self.refused_total: Counter[int] = Counter()

    async def start(self) -> None:
        """Listens; raises MdstreamError where it cannot."""
        config = self._config
        tls = (
            listener.tls_context(config.tls_cert, config.tls_key)
            if config.tls_cert and config.tls_key
            else None
        )
        self._server, self.port = await listener.listen(
            self._accept,
            config.host,
            config.port,
            what="clients",
            tls=tls,
            backlog=config.backlog,
            handshake_s=config.handshake_ms / 1000,
            max_message_bytes=config.max_message_bytes,
        )

    def close(self) -> None:
        """Stops listening; sessions stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self, request: WSUpgradeRequest) -> listener.Answer:
        try:
            verdict = decide(
                request,
                busy=self._busy(),
                retry_after_s=listener.retry_after_s(),
                compression=self._config.compression,
            )
        except Exception:
            log.exception("an upgrade request could not be judged")
            verdict = Refused(500, "internal error")
        if isinstance(verdict, Refused):
            self.refused_total[verdict.status] += 1
            return listener.response(verdict.status, verdict.reason, verdict.headers)
        return self._admit(verdict)

    def _busy(self) -> str | None:
        if self.draining:
            return "draining; connect to another gateway"
        if len(self._sessions) >= self._config.max_connections:
            return "full; try again later, or another gateway"
        return None

    def _admit(self, verdict: Accepted) -> WSUpgradeResponseWithListener:
        session = Session(
            self._hub,
            verdict.format,
            on_open=self._sessions.opened,
            on_message=self._sessions.received,
            on_close=self._sessions.closed,
            max_message_bytes=self._config.max_message_bytes,
            send_buffer_bytes=self._config.send_buffer_bytes,
            control_backlog_bytes=self._config.control_backlog_bytes,
            window_bits=verdict.deflate.window_bits if verdict.deflate else 0,
        )
        echoed = [("Sec-WebSocket-Protocol", verdict.subprotocol)] if verdict.subprotocol else []
        if verdict.deflate:
            echoed.append(("Sec-WebSocket-Extensions", verdict.deflate.answer))
        return WSUpgradeResponseWithListener(
            WSUpgradeResponse.create_101_response(extra_headers=echoed), session
        )
