"""The compiled tap between the socket and nats-py's stream: it takes market data out, and nats-py reads everything else.

nats-py reads through asyncio's streams, which wake a task for each read and copy every byte twice. When a connection is
established, its transport gets another protocol. The transport then reads from the socket straight into the tap's buffer, and
the tap gives the stream what is not market data. The stream still writes, controls the flow and notices the connection's end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import nats.aio.client
from nats import errors
from nats.aio.transport import TcpTransport

from mdstream._core.ingest.nats_scanner import ScanError
from mdstream._core.ingest.nats_tap import NatsTap

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.transport import Transport

    from mdstream._core.ingest.receiver import Handlers


class TapProtocol(asyncio.BufferedProtocol):
    """Reads through the tap; the stream's protocol does everything else."""

    def __init__(self, tap: NatsTap, stream: asyncio.StreamReaderProtocol) -> None:
        # The transport calls these for each read: no Python method of ours comes between.
        self.get_buffer = tap.get_buffer  # type: ignore[method-assign]
        self.buffer_updated = tap.buffer_updated  # type: ignore[method-assign]
        self.pause_writing = stream.pause_writing  # type: ignore[method-assign]
        self.resume_writing = stream.resume_writing  # type: ignore[method-assign]
        self.eof_received = stream.eof_received  # type: ignore[method-assign]
        self.connection_lost = stream.connection_lost  # type: ignore[method-assign]


def why_not_tapped(client: Client) -> str | None:
    """Why the current connection of a client cannot be tapped; None if it can."""
    transport = client._transport
    if not isinstance(transport, TcpTransport):
        return "NATS over WebSocket"  # frames surround what the tap scans
    difference = _difference(transport, client.stats)
    if difference is None:
        return None
    return f"nats-py {nats.aio.client.__version__} differs from the one that mdstream knows ({difference})"


def _difference(transport: TcpTransport, stats: dict[str, int]) -> str | None:
    """What the tap relies on and does not find."""
    reader = getattr(transport, "_io_reader", None)
    writer = getattr(transport, "_io_writer", None)
    if not isinstance(reader, asyncio.StreamReader) or not isinstance(writer, asyncio.StreamWriter):
        return "its connection does not use asyncio's streams"
    if not isinstance(getattr(reader, "_buffer", None), bytearray):
        return "the stream's buffer is elsewhere"
    if not isinstance(writer.transport.get_protocol(), asyncio.StreamReaderProtocol):
        return "its connection has another protocol"
    if not {"in_msgs", "in_bytes"} <= set(stats):
        return "its counters have other names"
    return None


def socket_of(transport: Transport | None) -> asyncio.Transport:
    """The transport of asyncio's under a connection of nats-py's that is tapped."""
    return transport._io_writer.transport  # type: ignore[union-attr,no-any-return]


async def tap(
    transport: Transport,
    handlers: Handlers,
    counters: dict[str, int],
    on_fault: Callable[[Exception], object],
) -> NatsTap | None:
    """Taps a connection from which nobody reads at the moment; returns None if the connection has ended.

    The tap also takes what the stream has read already. Nothing is awaited in between, so nothing is lost.
    """
    reader: asyncio.StreamReader = transport._io_reader  # type: ignore[attr-defined]
    writer: asyncio.StreamWriter = transport._io_writer  # type: ignore[attr-defined]
    if reader.at_eof() or reader.exception() is not None or writer.is_closing():
        return None

    def on_error(error: Exception) -> None:
        if isinstance(error, ScanError):
            on_fault(errors.Error(f"nats: {error}"))
            # nats-py's parser might wait for ever for the end of what is malformed. This makes its read loop reconnect.
            reader.set_exception(errors.ProtocolError())
        else:
            on_fault(error)

    found = NatsTap(handlers, counters, reader.feed_data, on_error)
    size = len(reader._buffer)  # type: ignore[attr-defined]
    early = await reader.read(size) if size else b""
    writer.transport.set_protocol(TapProtocol(found, writer.transport.get_protocol()))  # type: ignore[arg-type]
    found.feed(early)
    return found
