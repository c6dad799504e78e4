"""The public side: upgrades become sessions, everything else a short HTTP answer, before any work is done for it."""

from __future__ import annotations

import logging
from collections import Counter

from mdstream._core.fanout.hub import Hub
from mdstream._core.net.session import Session
from mdstream._core.net.session_group import SessionGroup
from mdstream.gateway import listener
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.door import Door
from mdstream.gateway.handshake import Accepted, Refused
from mdstream.gateway.sessions import Sessions
from mdstream.gateway.upgrades import Upgrades, refusal

log = logging.getLogger("mdstream.gateway.server")


class Server:
    """Accepts clients while there is room and no drain."""

    def __init__(self, config: GatewayConfig, hub: Hub, sessions: Sessions) -> None:
        self._config = config
        self._upgrades = Upgrades(compression=config.compression)
        self._endpoint = SessionGroup(
            hub,
            on_request=self._on_request,
            on_open=sessions.opened,
            on_message=sessions.received,
            on_close=sessions.closed,
            max_connections=config.max_connections,
            max_message_bytes=config.max_message_bytes,
            control_backlog_bytes=config.control_backlog_bytes,
            handshake_s=config.handshake_ms / 1000,
        )
        self._door: Door | None = None
        self.draining = False
        self.port = 0
        self.refused_total: Counter[int] = Counter()

    @property
    def half_open(self) -> int:
        """Connections that have not asked for their upgrade yet."""
        return self._endpoint.half_open

    async def start(self) -> None:
        """Listens; raises MdstreamError where it cannot."""
        config = self._config
        tls = (
            listener.tls_context(config.tls_cert, config.tls_key)
            if config.tls_cert and config.tls_key
            else None
        )
        self._door = Door(
            self._endpoint,
            turn_away=self._turn_away,
            max_handshakes=config.max_handshakes,
            tls=tls,
            tls_handshake_s=config.handshake_ms / 1000,
        )
        await self._door.open(
            config.host, config.port, backlog=config.backlog, send_buffer_bytes=config.send_buffer_bytes
        )
        self.port = self._door.port

    def tick(self) -> None:
        """Call a few times a second: drops who ran out of time."""
        self._endpoint.tick()

    def close(self) -> None:
        """Stops listening; sessions stay."""
        if self._door is not None:
            self._door.close()

    async def end(self) -> None:
        """Ends every connection that is left, with or without a session."""
        if self._door is not None:
            await self._door.end()

    def _on_request(self, session: Session, head: bytes) -> None:
        try:
            verdict, answer = self._upgrades.answer(head, self._busy(session))
        except Exception:
            log.exception("an upgrade request could not be judged")
            verdict = Refused(500, "internal error")
            answer = refusal(verdict)
        if isinstance(verdict, Accepted):
            session.accept(answer, verdict.format, verdict.deflate.window_bits if verdict.deflate else 0)
        else:
            self.refused_total[verdict.status] += 1
            session.refuse(answer)

    def _busy(self, session: Session) -> str | None:
        if self.draining:
            return "draining; connect to another gateway"
        if session.surplus:
            return "full; try again later, or another gateway"
        return None

    def _turn_away(self) -> bytes:
        self.refused_total[503] += 1
        wait_s = str(listener.retry_after_s())
        return refusal(
            Refused(503, "too many clients are connecting; try again later", (("Retry-After", wait_s),))
        )
