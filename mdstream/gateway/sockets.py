"""Listening sockets, addresses of peers, and the texts of OS errors."""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import socket
import termios
from contextlib import suppress
from typing import Any, TypeAlias

from mdstream.errors import MdstreamError

EVERY_ADDRESS = "*"
"""As a host: every address of this machine, IPv4 and IPv6."""
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)

_Address: TypeAlias = tuple[Any, ...]


async def bind(
    host: str,
    port: int,
    *,
    what: str,
    send_buffer_bytes: int = 0,
    notsent_lowat_bytes: int = 0,
    reuse_port: bool = False,
) -> list[socket.socket]:
    """A socket for every address that ``host`` has, all with the same port; clients are refused until ``listen``. Raises
    MdstreamError, in one line, if it cannot.

    ``send_buffer_bytes``, ``notsent_lowat_bytes``: SO_SNDBUF and TCP_NOTSENT_LOWAT of the connections, which inherit them; 0
    leaves the kernel's default. ``reuse_port``: other sockets that say so too may listen there, and the kernel shares out the
    connections. ``what`` is for the error: what listens.
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in await _addresses(host, port):
            if sockets:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sockets.append(_bound(family, address, send_buffer_bytes, notsent_lowat_bytes, reuse_port))
            except OSError as error:
                if host != EVERY_ADDRESS or family != socket.AF_INET6 or error.errno not in _NO_IPV6:
                    raise
    except OSError as error:
        for each in sockets:
            each.close()
        raise MdstreamError(f"cannot listen on {host}:{port} for {what}: {why(error)}") from None
    return sockets


def listen(sockets: list[socket.socket], backlog: int, *, what: str) -> None:
    """Raises MdstreamError, in one line, if it cannot: another process was faster at the same port. They are then closed."""
    host, port = sockets[0].getsockname()[:2]
    try:
        for each in sockets:
            each.listen(backlog)
    except OSError as error:
        for each in sockets:
            each.close()
        sockets.clear()
        raise MdstreamError(f"cannot listen on {host}:{port} for {what}: {why(error)}") from None


async def _addresses(host: str, port: int) -> list[tuple[int, _Address]]:
    """Each address of a host once, with its family."""
    if host == EVERY_ADDRESS:
        return [(socket.AF_INET, ("0.0.0.0", port)), (socket.AF_INET6, ("::", port))]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(
    family: int, address: _Address, send_buffer: int, notsent_lowat: int, reuse_port: bool
) -> socket.socket:
    """A bound socket; its connections inherit the options that are set here once."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if send_buffer:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        if notsent_lowat and _NOTSENT_LOWAT is not None:
            listening.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, notsent_lowat)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


def peer_of(transport: Any) -> str:
    """``127.0.0.1:4242``, for the log; of a ``Connection`` or of an asyncio transport, which may have ended."""
    address = None
    with suppress(OSError, AttributeError):
        if hasattr(transport, "get_extra_info"):
            address = transport.get_extra_info("peername")
        else:
            with socket.socket(fileno=os.dup(transport.fd)) as again:
                address = again.getpeername()
    if not address:
        return "an unknown address"
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def url_of(scheme: str, host: str, port: int) -> str:
    """``ws://127.0.0.1:8080``, ``http://[::1]:8081``."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def why(error: OSError) -> str:
    """The system's text for an error, without the number."""
    if isinstance(error, socket.gaierror) or error.errno is None or error.errno <= 0:
        return error.strerror or str(error)
    return os.strerror(error.errno).lower()


def unread_bytes(connection: object | None) -> int:
    """What the kernel holds for a socket that nobody has read; 0 where there is none, or the system does not tell."""
    answer = array.array("i", [0])
    try:
        fcntl.ioctl(connection.fileno(), termios.FIONREAD, answer)  # type: ignore[union-attr]
    except (OSError, AttributeError, ValueError):
        return 0
    return answer[0]
