"""The public side: turns upgrade requests into sessions and answers everything else with a short HTTP answer, at little cost."""

from __future__ import annotations

import logging
import ssl
from collections import Counter
from collections.abc import Callable

from mdstream._core.fanout.hub import Hub
from mdstream._core.net.session import Session
from mdstream._core.net.session_group import SessionGroup, SessionLimits
from mdstream.gateway.client_listener import ClientListener
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.handshake import Accepted, Refused
from mdstream.gateway.http_messages import retry_after_s
from mdstream.gateway.sessions import Sessions
from mdstream.gateway.sockets import peer_of, tls_context
from mdstream.gateway.upgrades import Upgrades, refusal

log = logging.getLogger("mdstream.gateway.server")


class Server:
    """Accepts clients while there is room and no drain."""

    def __init__(
        self, config: GatewayConfig, hub: Hub, sessions: Sessions, bus_trouble: Callable[[], str | None]
    ) -> None:
        """``bus_trouble`` says why there is no market data; health checks on the clients' port are told."""
        self._config = config
        self._upgrades = Upgrades(compression=config.compression, trouble=bus_trouble)
        self._group = SessionGroup(
            hub,
            on_request=self._on_request,
            on_open=sessions.opened,
            on_message=sessions.received,
            on_close=sessions.closed,
            on_limited=sessions.limited,
            limits=SessionLimits(
                max_connections=config.max_connections,
                max_message_bytes=config.max_message_bytes,
                control_backlog_bytes=config.control_backlog_bytes,
                handshake_s=config.handshake_ms / 1000,
                max_unread_bytes=config.max_unread_bytes,
                control_frames_burst=config.control_frames_burst,
                control_frames_per_second=config.control_frames_per_second,
                decoded_bytes_burst=config.decoded_bytes_burst,
                decoded_bytes_per_second=config.decoded_bytes_per_second,
            ),
        )
        self._listener: ClientListener | None = None
        self.draining = False
        self.port = 0
        self.refused_total: Counter[int] = Counter()

    @property
    def half_open(self) -> int:
        """Connections that have not sent their upgrade request yet."""
        return self._group.half_open

    def not_ready(self) -> str | None:
        """Why a client that comes now is refused; None if it is not."""
        if self.draining:
            return "draining"
        if self._group.connections >= self._group.max_connections:
            return f"full: {self._group.connections} of {self._group.max_connections} connections"
        return None

    async def start(self) -> None:
        """Listens; raises MdstreamError if it cannot."""
        config = self._config
        tls = self._tls()
        self._listener = ClientListener(
            self._group,
            turn_away=self._turn_away,
            max_handshakes=config.max_handshakes,
            tls=tls,
            tls_handshake_s=config.handshake_ms / 1000,
        )
        await self._listener.open(
            config.host,
            config.port,
            backlog=config.backlog,
            send_buffer_bytes=config.send_buffer_bytes,
            notsent_lowat_bytes=config.notsent_lowat_bytes,
        )
        self.port = self._listener.port

    def _tls(self) -> ssl.SSLContext | None:
        cert, key = self._config.tls_cert, self._config.tls_key
        return tls_context(cert, key) if cert and key else None

    def reload_certificate(self) -> bool:
        """Reads the certificate files again, for new connections; False if there are none. Raises MdstreamError if they cannot be
        used: what was in use stays in use."""
        tls = self._tls()
        if tls is not None and self._listener is not None:
            self._listener.use_tls(tls)
        return tls is not None

    def tick(self) -> None:
        """Call a few times a second: drops connections that ran out of time."""
        self._group.tick()

    def close(self) -> None:
        """Stops listening; sessions stay."""
        if self._listener is not None:
            self._listener.close()

    async def end(self) -> None:
        """Ends every connection that is left, with a session or without."""
        if self._listener is not None:
            await self._listener.end()

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
            if verdict.status >= 400:
                self.refused_total[verdict.status] += 1
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%s is answered %d: %s", peer_of(session.transport), verdict.status, verdict.reason)
            session.refuse(answer)

    def _busy(self, session: Session) -> str | None:
        if self.draining:
            return "draining; connect to another gateway"
        if session.surplus:
            return "full; try again later, or another gateway"
        return None

    def _turn_away(self) -> bytes:
        self.refused_total[503] += 1
        log.debug("a connection is answered 503: too many are in their handshake")
        wait_s = str(retry_after_s())
        return refusal(
            Refused(503, "too many clients are connecting; try again later", (("Retry-After", wait_s),))
        )
