"""The compiled tap between the socket and nats-py's stream: it takes market data out, and nats-py reads all else as ever.

nats-py reads by asyncio's streams: a task is woken for each read, and every byte copied twice. Once a connection stands, its
transport is given another protocol, which lets the socket be read straight into the scanner's buffer, and which hands the
stream what is not ours. Writing, flow control and the end of the connection stay the stream's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from nats.aio.transport import TcpTransport

from mdstream._core.ingest.nats_tap import NatsTap

if TYPE_CHECKING:
    from nats.aio.transport import Transport

    from mdstream._core.ingest.receiver import Handlers


class TapProtocol(asyncio.BufferedProtocol):
    """Reads through the tap; all else is for the protocol that it stands before."""

    def __init__(self, tap: NatsTap, stream: asyncio.StreamReaderProtocol) -> None:
        # Called for every read, so without a frame of ours between.
        self.get_buffer = tap.get_buffer  # type: ignore[method-assign]
        self.buffer_updated = tap.buffer_updated  # type: ignore[method-assign]
        self.pause_writing = stream.pause_writing  # type: ignore[method-assign]
        self.resume_writing = stream.resume_writing  # type: ignore[method-assign]
        self.eof_received = stream.eof_received  # type: ignore[method-assign]
        self.connection_lost = stream.connection_lost  # type: ignore[method-assign]


def why_not_tapped(transport: Transport | None) -> str | None:
    """Why a connection of nats-py's over TCP or TLS cannot be tapped; None if it can."""
    reader = getattr(transport, "_io_reader", None)
    writer = getattr(transport, "_io_writer", None)
    if not isinstance(reader, asyncio.StreamReader) or not isinstance(writer, asyncio.StreamWriter):
        return "its connection is not made of asyncio's streams"
    if not isinstance(getattr(reader, "_buffer", None), bytearray):
        return "what a stream has read is not where it was"
    if not isinstance(writer.transport.get_protocol(), asyncio.StreamReaderProtocol):
        return "its connection has another protocol"
    return None


def can_be_tapped(transport: Transport | None) -> bool:
    """Not, for one, over WebSocket: there are frames around what is to be scanned."""
    return isinstance(transport, TcpTransport)


def socket_of(transport: Transport | None) -> asyncio.Transport:
    """The transport of asyncio's under a connection of nats-py's that is tapped."""
    return transport._io_writer.transport  # type: ignore[union-attr,no-any-return]


async def tap(
    transport: Transport,
    handlers: Handlers,
    counters: dict[str, int],
    on_fault: Callable[[Exception], object],
) -> NatsTap | None:
    """Puts the tap into a connection of which nobody reads just now; None if there is nothing to be read from it any more.

    What was read already is taken too: nothing is lost, and nothing awaited, between.
    """
    reader: asyncio.StreamReader = transport._io_reader  # type: ignore[attr-defined]
    writer: asyncio.StreamWriter = transport._io_writer  # type: ignore[attr-defined]
    if reader.at_eof() or reader.exception() is not None or writer.is_closing():
        return None
    found = NatsTap(handlers, counters, reader.feed_data, on_fault)
    size = len(reader._buffer)  # type: ignore[attr-defined]
    early = await reader.read(size) if size else b""
    writer.transport.set_protocol(TapProtocol(found, writer.transport.get_protocol()))  # type: ignore[arg-type]
    found.feed(early)
    return found
