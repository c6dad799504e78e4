"""The listening sockets for clients: accepts a few connections per turn of the loop and turns away those that are too many.

On Linux a connection becomes a ``Connection``, without asyncio; elsewhere, and with TLS, it becomes a transport of the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from mdstream._core.net import connection
from mdstream._core.net.connection import Connection, Connections
from mdstream._core.net.session import Session
from mdstream._core.net.session_group import SessionGroup
from mdstream.errors import MdstreamError
from mdstream.gateway.sockets import listen, why

log = logging.getLogger("mdstream.gateway.client_listener")

ACCEPTS_PER_TURN = 16
"""After that the loop does its other work: market data does not wait for a storm of connections."""
_PAUSE_S = 1.0
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class ClientListener:
    """Opens once, closes once. ``turn_away`` gives the whole HTTP answer for a connection that comes during too many handshakes."""

    def __init__(
        self,
        group: SessionGroup,
        *,
        turn_away: Callable[[], bytes],
        max_handshakes: int = 2_000,
        tls: ssl.SSLContext | None = None,
        tls_handshake_s: float = 5.0,
        compiled: bool = connection.AVAILABLE,
    ) -> None:
        """``compiled`` False: transports of the event loop for plain TCP too."""
        self._group = group
        self._turn_away = turn_away
        self._max_handshakes = max_handshakes
        self._tls = tls
        self._tls_handshake_s = tls_handshake_s
        self._uses_compiled = compiled and tls is None
        self._connections: Connections | None = None
        self._sockets: list[socket.socket] = []
        self._resuming: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
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
        """Listens; the arguments are those of ``sockets.listen``. Raises MdstreamError, in one line, if it cannot."""
        self._sockets = await listen(
            host,
            port,
            what="clients",
            backlog=backlog,
            send_buffer_bytes=send_buffer_bytes,
            notsent_lowat_bytes=notsent_lowat_bytes,
        )
        if self._uses_compiled:
            try:
                self._connections = Connections(self._loop)
            except OSError as error:
                self.close()
                raise MdstreamError(f"no connections can be served: {why(error)}") from None
        self._resume()

    def use_tls(self, tls: ssl.SSLContext) -> None:
        """For connections from now on."""
        self._tls = tls

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
        if self._connections is not None:
            self._connections.close()

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
            for _ in range(ACCEPTS_PER_TURN):
                fd = connection.accept(listening) if connection.AVAILABLE else _accept(listening)
                if fd < 0:
                    return
                self._admit(fd)
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            log.error("no connection can be accepted for %g s: %s", _PAUSE_S, why(error))
            self._pause()
            self._resuming = self._loop.call_later(_PAUSE_S, self._resume)

    def _admit(self, fd: int) -> None:
        if self._group.half_open >= self._max_handshakes:
            self._send_away(fd)
            return
        session = Session(self._group)
        if self._connections is not None:
            session.connection_made(Connection(self._connections, fd, session))
            return
        task = self._loop.create_task(self._hand_over(socket.socket(fileno=fd), session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send_away(self, fd: int) -> None:
        """Sends as much of the answer as the socket takes; a TLS client could not read it."""
        with socket.socket(fileno=fd) as connection:
            if self._tls is None:
                connection.send(self._turn_away())

    async def _hand_over(self, connection: socket.socket, session: Session) -> None:
        """Gives the socket to the event loop, which speaks TLS; an error here is the client's problem."""
        protocol: Any = session
        timeout_s = self._tls_handshake_s if self._tls else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )
        except (OSError, asyncio.CancelledError) as error:
            log.debug("a connection ended in its TLS handshake: %s", error)
            connection.close()
            session.drop()


def _accept(listening: int) -> int:
    """``connection.accept`` for systems without accept4."""
    with socket.socket(fileno=os.dup(listening)) as again:
        try:
            connection, _ = again.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return -1
    connection.setblocking(False)
    return connection.detach()
