"""Plain HTTP by picows for the admin pages: the listener, its log, answers. Also TLS certificates and the texts of OS errors."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any

from picows import (
    WSListener,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from mdstream.errors import MdstreamError

log = logging.getLogger("mdstream.gateway.http_listener")

Answer = WSListener | WSUpgradeResponseWithListener
REQUEST_S = 5.0
"""Time for a request to arrive."""


class PicowsLog:
    """The log of picows: a client's mistake is logged at debug level, a failure of our code as an error with its trace.

    Not a ``logging.Logger``: picows would make a child of it for each connection.
    """

    name = "picows"

    def isEnabledFor(self, level: int) -> bool:
        return False

    def log(self, level: int, message: str, *args: object) -> None: ...
    def debug(self, message: str, *args: object) -> None: ...
    def info(self, message: str, *args: object) -> None: ...

    def warning(self, message: str, *args: object) -> None:
        log.debug(message, *args)

    error = warning

    def exception(self, message: str, *args: object) -> None:
        log.exception(message, *args)


async def listen(
    factory: Callable[[WSUpgradeRequest], Answer],
    host: str,
    port: int,
    *,
    what: str,
) -> tuple[asyncio.Server, int]:
    """Opens a listener for plain HTTP; returns it and its port. Raises MdstreamError, in one line, if it cannot listen."""
    try:
        server: asyncio.Server = await ws_create_server(
            factory,
            host,
            port,
            websocket_handshake_timeout=REQUEST_S,
            logger_name=PicowsLog(),  # type: ignore[arg-type]
            enable_auto_ping=False,
            enable_auto_pong=False,
            use_aiofastnet=False,
        )
    except OSError as error:
        raise MdstreamError(f"cannot listen on {host}:{port} for {what}: {why(error)}") from None
    return server, server.sockets[0].getsockname()[1]


def response(
    status: int, body: str | bytes, headers: Iterable[tuple[str, str]] = ()
) -> WSUpgradeResponseWithListener:
    """A plain HTTP answer; the connection is closed after it."""
    payload = body if isinstance(body, bytes) else f"{body}\n".encode()
    answer: Any = (
        WSUpgradeResponse.create_ok_response if status == 200 else WSUpgradeResponse.create_error_response
    )
    arguments = (payload,) if status == 200 else (status, payload)
    return WSUpgradeResponseWithListener(
        answer(*arguments, extra_headers=[("Cache-Control", "no-store"), *headers]), None
    )


def retry_after_s() -> int:
    """A different time for each client, so that they do not all come back together."""
    return random.randint(1, 10)


def tls_context(cert: os.PathLike[str], key: os.PathLike[str]) -> ssl.SSLContext:
    """A server's TLS context; raises MdstreamError if certificate and key cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise MdstreamError(f"tls_cert {cert} and tls_key {key} cannot be used: {error}") from None
    return context


def why(error: OSError) -> str:
    """The system's text for an error, without the number."""
    if isinstance(error, socket.gaierror) or error.errno is None or error.errno <= 0:
        return error.strerror or str(error)
    return os.strerror(error.errno).lower()
