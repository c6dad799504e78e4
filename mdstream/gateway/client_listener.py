"""The listening sockets for clients: accepts a few connections per turn of the loop and turns away those that are too many.

On Linux a connection becomes a ``Connection`` or, with TLS, a ``SecureConnection``, without asyncio; elsewhere it becomes a transport of
the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from math import inf
from typing import Any

from mdstream._core.entry.doorway import Door, Doorway
from mdstream._core.entry.load_state import LoadState
from mdstream._core.net import connection
from mdstream._core.net.connection import Connections
from mdstream._core.net.session import Session
from mdstream._core.net.session_group import SessionGroup
from mdstream.errors import MdstreamError
from mdstream.gateway.addresses import shown_address
from mdstream.gateway.budget import Budget
from mdstream.gateway.limits import Limits
from mdstream.gateway.proxy_protocol import START_BYTES, read_length, read_source
from mdstream.gateway.sockets import bind, listen, why
from mdstream.gateway.tls_hello import Hellos

log = logging.getLogger("mdstream.gateway.client_listener")

ANSWERS_PER_SECOND = 1_000
"""So many of those that are turned away are told why, and as many at once; what is beyond is a flood, and is reset."""
_PAUSE_S = 1.0
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class ClientListener:
    """Opens once, closes once. ``turn_away`` gives the whole HTTP answer for a connection that comes during too many handshakes: of all
    clients (503), or of its address (429); or, with the reason, while the ``door`` is shut."""

    def __init__(
        self,
        group: SessionGroup,
        *,
        turn_away: Callable[[int, str | None], bytes],
        limits: Limits,
        door: Door | None = None,
        max_handshakes: int = 2_000,
        tls: ssl.SSLContext | None = None,
        handshake_s: float = 5.0,
        compiled: bool = connection.AVAILABLE,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``door`` None: it is always open. ``handshake_s``: time for what comes before the upgrade request, TLS or a PROXY header, each.
        ``compiled`` False: transports of the event loop, as elsewhere."""
        self._group = group
        self._turn_away = turn_away
        self._backlog = 0
        """0: the sockets are others', and listen already."""
        self._takes = False
        self._tls = tls
        self._handshake_s = handshake_s
        self._now_s = now_s
        self._answers = Budget(ANSWERS_PER_SECOND, ANSWERS_PER_SECOND, now_s())
        self._uses_compiled = compiled
        self._doorway = Doorway(
            self, group, limits, door or _open(now_s), max_handshakes=max_handshakes, tls=tls
        )
        self._sockets: list[socket.socket] = []
        self._resuming: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._hellos = Hellos()
        group.call_soon = self._loop.call_soon

    @property
    def port(self) -> int:
        """The port of the first address."""
        return int(self._sockets[0].getsockname()[1])

    async def open(
        self,
        host: str,
        port: int,
        *,
        backlog: int = 128,
        send_buffer_bytes: int = 0,
        notsent_lowat_bytes: int = 0,
    ) -> None:
        """Takes the address; the arguments are those of ``sockets.bind``. Raises MdstreamError, in one line, if it cannot."""
        self._backlog = backlog
        sockets = await bind(
            host,
            port,
            what="clients",
            send_buffer_bytes=send_buffer_bytes,
            notsent_lowat_bytes=notsent_lowat_bytes,
        )
        self.use(sockets)

    def use(self, sockets: Sequence[socket.socket]) -> None:
        """Accepts on these, and on no others, once clients are taken. Raises MdstreamError, in one line, if it cannot."""
        self._pause()
        self._sockets = list(sockets)
        if self._uses_compiled and self._doorway.connections is None:
            try:
                self._doorway.connections = Connections(self._loop, self._group.hub)
            except OSError as error:
                self.close()
                raise MdstreamError(f"no connections can be served: {why(error)}") from None
        if self._takes:
            self._resume()

    def take_clients(self) -> None:
        """Accepts from now on; listens where nobody does for it. Raises MdstreamError, in one line, if it cannot."""
        if self._backlog:
            listen(self._sockets, self._backlog, what="clients")
        self._takes = True
        self._resume()

    def use_tls(self, tls: ssl.SSLContext) -> None:
        """For connections from now on."""
        self._tls = self._doorway.tls = tls

    def close(self) -> None:
        """Stops listening; connections stay."""
        self._pause()
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()

    async def end(self) -> None:
        """Ends every connection that is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._doorway.connections is not None:
            self._doorway.connections.close()

    # ---- new connections

    def _resume(self) -> None:
        self._resuming = None
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening.fileno())

    def _pause(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)

    def _accept(self, listening: int) -> None:
        try:
            self._doorway.take(listening)
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            log.error("no connection can be accepted for %g s: %s", _PAUSE_S, why(error))
            self._pause()
            self._resuming = self._loop.call_later(_PAUSE_S, self._resume)

    def introduce(self, fd: int, peer: bytes) -> None:
        """Has a proxy say whom it brings: as a rule it has said so already."""
        start = _read_now(fd, START_BYTES)
        rest, source, is_whole = b"", None, False
        try:
            size = read_length(start)
            rest = _read_now(fd, size)
            if len(rest) == size:
                source, is_whole = read_source(start, rest), True
        except ValueError:  # it is judged once more where that is logged
            pass
        if is_whole:
            self._doorway.serve(fd, peer, source or peer)
        else:
            self._begin(self._introduce(socket.socket(fileno=fd), peer, start + rest))

    def hand_over(self, fd: int, session: Session) -> None:
        """To the event loop."""
        self._begin(self._hand_over(socket.socket(fileno=fd), session))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def send_away(self, fd: int, status: int, why_not: str | None = None) -> bool:
        """With an answer, if there are not too many, and not to a TLS client, which could not read it. False: it is not served."""
        answer = self._turn_away(status, why_not)
        if not self._answers.take(self._now_s()):
            connection.turn_away(fd, None)
        else:
            connection.turn_away(fd, b"" if self._tls is not None else answer)
        return False

    async def _introduce(self, connection: socket.socket, peer: bytes, received: bytes) -> None:
        """Reads the rest of the PROXY header with which a proxy begins; without one, the connection ends."""
        connection.setblocking(False)  # it is, but Python does not know
        self._doorway.introductions += 1
        try:
            async with asyncio.timeout(self._handshake_s):
                start = await self._receive(connection, START_BYTES, received)
                rest = received[START_BYTES:]
                source = read_source(start, await self._receive(connection, read_length(start), rest))
            self._doorway.serve(connection.detach(), peer, source or peer)
        except (OSError, ValueError, asyncio.CancelledError) as error:
            log.info(
                "proxy %s: a connection is dropped: %s", shown_address(peer), str(error) or "it was silent"
            )
            connection.close()
        finally:
            self._doorway.introductions -= 1

    async def _receive(self, connection: socket.socket, size: int, received: bytes) -> bytes:
        """Exactly so many bytes, of which some have come; what follows is not for us."""
        received = received[:size]
        while len(received) < size:
            piece = await self._loop.sock_recv(connection, size - len(received))
            if not piece:
                raise ConnectionError("it ended in its PROXY header")
            received += piece
        return received

    async def _hand_over(self, connection: socket.socket, session: Session) -> None:
        """Gives the socket to the event loop, which speaks TLS; an error here is the client's problem."""
        protocol: Any = session
        timeout_s = self._handshake_s if self._tls else None
        try:
            if self._tls is not None:
                await self._hellos.wait(connection, self._handshake_s)
            await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )
        except (OSError, asyncio.CancelledError) as error:
            log.debug("a connection ended in its TLS handshake: %s", error)
            connection.close()
            session.drop()


def _read_now(fd: int, size: int) -> bytes:
    """As many bytes as have come, at most ``size``; none if there are none, or the connection has ended."""
    try:
        return os.read(fd, size) if size else b""
    except OSError:
        return b""


def _open(now_s: Callable[[], float]) -> Door:
    return Door(LoadState(), Budget(inf, inf, now_s()), lambda: "", now_s)
