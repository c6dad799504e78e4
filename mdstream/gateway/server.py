"""The public side: turns upgrade requests into sessions and answers everything else with a short HTTP answer, at little cost."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from mdstream._core.entry.doorway import Door
from mdstream._core.entry.load_state import LoadState
from mdstream._core.entry.upgrades import UsualUpgrades, is_passed_on
from mdstream._core.entry.visitor import Visitor
from mdstream._core.fanout.hub import Hub
from mdstream._core.net.session import Session
from mdstream._core.net.session_group import SessionGroup, SessionLimits
from mdstream.auth.authenticator import Authenticator
from mdstream.auth.identity import NOBODY, Identity
from mdstream.gateway.admission import Admission
from mdstream.gateway.audit import Audit
from mdstream.gateway.auth_setup import make_origins
from mdstream.gateway.budget import Budget, Cost
from mdstream.gateway.client_listener import ClientListener
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.handshake import PATH, UNAUTHORIZED, Accepted, Refused
from mdstream.gateway.http_messages import retry_after_s
from mdstream.gateway.lifetimes import line_of
from mdstream.gateway.limits import Limits
from mdstream.gateway.pages import Asked, Pages
from mdstream.gateway.sessions import UNWELCOME, Sessions
from mdstream.gateway.sockets import peer_of
from mdstream.gateway.tls import ServerTls
from mdstream.gateway.ui import Ui
from mdstream.gateway.upgrades import KeptRefusals, Upgrades, refusal, token_of

log = logging.getLogger("mdstream.gateway.server")

MOST_SHOWING: Final = 64
"""Pages that are made at a time."""
WRONG_LINE = Refused(400, "line must be 1 or 2: each user has one session on each of two lines here")
TOO_MANY_HANDSHAKES = {
    503: "too many clients are connecting; try again later",
    429: "too many connections of one address have not sent their request; try again later",
}


class Server:
    """Accepts clients while there is room and no drain."""

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        sessions: Sessions,
        limits: Limits,
        bus_trouble: Callable[[], str | None],
        audit: Audit,
        authenticator: Authenticator | None = None,
        unknown: Callable[[], str | None] = lambda: None,
        *,
        load: LoadState,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``bus_trouble`` says why there is no market data; health checks on the clients' port are told. ``unknown`` as in
        ``Admission``."""
        self._config = config
        self.ui = Ui() if config.ui else None
        self._audit = audit
        self._limits = limits
        self._load = load
        self._asks = authenticator is not None
        self.origins = origins = make_origins(config)
        self._upgrades = Upgrades(
            compression=config.compression,
            trouble=bus_trouble,
            origins=origins,
            query_token=config.auth_query_token,
            asks=authenticator is not None,
            page=self.ui.answer if self.ui is not None else lambda head: None,
        )
        self.pages = Pages(origins=origins, query_token=config.auth_query_token)
        self._showing: set[asyncio.Task[None]] = set()
        """Pages that are being made."""
        self.admission = Admission(
            authenticator,
            self,
            max_pending=config.auth_max_pending,
            explains=config.auth_reject_close,
            unauthorized=self._unauthorized,
            unknown=unknown,
        )
        usual = UsualUpgrades(
            self,
            limits,
            load,
            self._upgrades.known,
            origins,
            path=PATH,
            asks=authenticator is not None or config.auth_single_session,
            token_of=token_of,
            identity_of=self.admission.known,
        )
        self.group = SessionGroup(
            hub,
            on_request=usual.requested,
            on_open=sessions.opened,
            on_message=sessions.received,
            on_close=sessions.closed,
            on_gone=lambda session: limits.answered(_visitor(session)),
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
        self.opening: str | None = "starting"
        """Why clients are not taken yet; None once they are."""
        self._kept = KeptRefusals(now_s)
        accepts = Budget(config.accepts_per_second, config.accepts_per_second, now_s())
        self._door = Door(load, accepts, self._why_shut, now_s)
        self.tls: ServerTls | None = None
        """Once started, if there is a certificate."""
        self.draining = self.ended = False
        self.port = 0
        self.refused_total: Counter[int] = Counter()

    @property
    def half_open(self) -> int:
        """Connections that have not sent their upgrade request yet."""
        return self.group.half_open

    @property
    def unread_bytes(self) -> int:
        """What waits in memory for clients that do not read."""
        return self.group.unread

    def not_ready(self) -> str | None:
        """Why a client that comes now is refused; None if it is not."""
        if self.draining:
            return "draining"
        if (why := self.opening or self._load.refuses) is not None:
            return why
        if self.group.connections >= self.group.max_connections:
            return f"full: {self.group.connections} of {self.group.max_connections} connections"
        return None

    async def start(self, *, inherits: bool = False) -> None:
        """Takes the address; raises MdstreamError if it cannot. ``inherits``: no address, only what ``watch`` gives."""
        config = self._config
        if config.tls_cert is not None:
            self.tls = ServerTls(config)
        self._listener = ClientListener(
            self.group,
            turn_away=self._turn_away,
            limits=self._limits,
            door=self._door,
            max_handshakes=config.max_handshakes,
            tls=self.tls.context if self.tls is not None else None,
            handshake_s=config.handshake_ms / 1000,
        )
        if inherits:
            self._listener.use(())
            return
        await self._listener.open(
            config.host,
            config.port,
            backlog=config.backlog,
            send_buffer_bytes=config.send_buffer_bytes,
            notsent_lowat_bytes=config.notsent_lowat_bytes,
        )
        self.port = self._listener.port

    def watch(self, sockets: Sequence[socket.socket]) -> None:
        """Accepts clients on these sockets, which listen already, and on no others."""
        if self._listener is not None and not self.ended:
            self._listener.use(sockets)

    def take_clients(self) -> None:
        """Listens; raises MdstreamError if it cannot."""
        if self._listener is not None and self.opening is not None:
            self._listener.take_clients()
            self.opening = None

    def reload_certificate(self) -> bool:
        """Reads the certificate files again, for new connections; False if there are none. Raises MdstreamError if they cannot be
        used: what was in use stays in use."""
        if self.tls is None or self._listener is None:
            return False
        self.tls.reload()
        self._listener.use_tls(self.tls.context)
        return True

    def tick(self) -> None:
        """Call a few times a second: drops connections that ran out of time, and looks for a new certificate."""
        self.group.tick()
        self._audit.tick()
        if self.tls is not None and self._listener is not None and self.tls.look():
            self._listener.use_tls(self.tls.context)

    def close(self) -> None:
        """Stops listening; sessions stay."""
        self.ended = True
        if self._listener is not None:
            self._listener.close()

    async def end(self) -> None:
        """Ends every connection that is left, with a session or without."""
        await self.admission.stop()
        for task in list(self._showing):
            task.cancel()
        await asyncio.gather(*self._showing, return_exceptions=True)
        if self._listener is not None:
            await self._listener.end()

    def requested(self, session: Session, head: bytes) -> None:
        """Answers any request."""
        try:
            verdict, answer = self._judge(session, head)
        except Exception:
            log.exception("an upgrade request could not be judged")
            verdict = Refused(500, "internal error")
            answer = refusal(verdict)
        if not isinstance(verdict, Accepted):
            self._send_away(session, verdict, answer)
        elif self._asks:
            self.admission.judge(session, verdict, answer)
        else:
            self._admit(session, verdict, answer, NOBODY)

    def let_in(self, session: Session, verdict: Accepted, answer: bytes, identity: Identity | None) -> None:
        """``identity`` None: to be told that it is unauthorized."""
        busy = self._busy(session)
        if busy is not None:  # since its request came
            self.refuse(session, Refused(503, busy, (("Retry-After", str(retry_after_s())),)))
        elif identity is not None:
            self._admit(session, verdict, answer, identity)
        else:
            self._limits.answered(_visitor(session))
            session.context = UNWELCOME
            self._answer(session, verdict, answer)

    def _admit(self, session: Session, verdict: Accepted, answer: bytes, identity: Identity) -> None:
        visitor = _visitor(session)
        visitor.identity = identity
        if not visitor.is_exempt and (why := self._limits.admit(visitor)):
            self.refuse(session, _too_many(why))
        else:
            self._answer(session, verdict, answer)

    def _answer(self, session: Session, verdict: Accepted, answer: bytes) -> None:
        if isinstance(verdict, Asked):
            self._show(session, verdict)
        else:
            session.accept(answer, verdict.format, verdict.deflate.window_bits if verdict.deflate else 0)

    def _show(self, session: Session, asked: Asked) -> None:
        """A page for a client that may see it, within its limits."""
        if why := self._limits.charge_request(_visitor(session), Cost.COMMANDS):
            self.refuse(session, _too_many(why))
            return
        if len(self._showing) >= MOST_SHOWING:
            self.refuse(
                session, Refused(503, "too many pages are asked for; try again later", (_retry_after(),))
            )
            return
        task = asyncio.get_running_loop().create_task(self._answer_page(session, asked))
        self._showing.add(task)
        task.add_done_callback(self._showing.discard)

    async def _answer_page(self, session: Session, asked: Asked) -> None:
        visitor = _visitor(session)
        try:
            status, answer = await self.pages.answer(asked, visitor.identity)
        except Exception:
            log.exception("a page could not be made")
            self.refuse(session, Refused(500, "internal error"))
            return
        self._limits.charge_request(visitor, Cost.ANSWER_BYTES, len(answer))
        self._send_away(session, Refused(status, "a page"), answer)

    def _unauthorized(self, session: Session, why: str) -> None:
        self._audit.refused("credentials", why, _visitor(session).address)

    def refuse(self, session: Session, verdict: Refused) -> None:
        self._send_away(session, verdict, refusal(verdict))

    def _send_away(self, session: Session, verdict: Refused, answer: bytes) -> None:
        if verdict.status >= 400:
            self.refused_total[verdict.status] += 1
            if verdict.status != UNAUTHORIZED.status:
                self._audit.refused("upgrade", str(verdict.status), _visitor(session).address)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s is answered %d: %s", peer_of(session.transport), verdict.status, verdict.reason)
        session.refuse(answer)

    def _judge(self, session: Session, head: bytes) -> tuple[Accepted | Refused, bytes]:
        """All but the credentials."""
        visitor = _visitor(session)
        if not visitor.is_exempt and (why := self._limits.requested(visitor, head)):
            refused = _too_many(why)
            return refused, refusal(refused)
        is_busy = self.draining or session.surplus
        busy = self._busy(session) if is_busy else self._load.refuses
        verdict, answer = self._upgrades.answer(head, busy)
        if visitor.is_exempt and isinstance(verdict, Accepted) and is_passed_on(visitor.peer, head):
            self._limits.passed_on(visitor.peer)
        if isinstance(verdict, Refused) and verdict.status == 404:
            page = self.pages.find(head, busy)
            if page is not None:
                verdict, answer = page, refusal(page) if isinstance(page, Refused) else b""
        elif self._config.auth_single_session and isinstance(verdict, Accepted):
            line = line_of(verdict.credentials.target)
            if line is None:
                return WRONG_LINE, refusal(WRONG_LINE)
            visitor.line = line
        if self._asks and self.tls is not None and isinstance(verdict, Accepted):
            verdict.credentials.certificate = self.tls.shown(session.transport)
        return verdict, answer

    def _busy(self, session: Session) -> str | None:
        if self.draining:
            return "draining; connect to another gateway"
        if session.surplus:
            return "full; try again later, or another gateway"
        return self._load.refuses

    def _why_shut(self) -> str:
        """Why a connection is turned away before anything is done for it."""
        if (why := self._load.refuses) is not None:
            return why
        self._audit.limited("gateway", "accepts")
        return "too many clients come at once"

    def _turn_away(self, status: int, why_not: str | None) -> bytes:
        self.refused_total[status] += 1
        if why_not is not None:
            return self._kept.answer(status, f"{why_not}; try again later, or another gateway")
        if status == 503:  # the limits tell of those of one address
            self._audit.limited("gateway", "handshakes")
        return self._kept.answer(status, TOO_MANY_HANDSHAKES[status])


def _visitor(session: Session) -> Visitor:
    """Who connected; a session has it until it is let in."""
    visitor = session.context
    assert isinstance(visitor, Visitor)
    return visitor


def _too_many(why: str) -> Refused:
    return Refused(429, f"{why}; try again later", (_retry_after(),))


def _retry_after() -> tuple[str, str]:
    return "Retry-After", str(retry_after_s())
