"""The bytes from NATS that a bus has not read yet."""

from __future__ import annotations

import os
import socket

from mdstream.bus import Bus


def unread(bus: Bus) -> bytes:
    """Returns the bytes in the bus's socket, and leaves them there."""
    number = os.dup(bus.client._transport._io_writer.get_extra_info("socket").fileno())
    with socket.socket(fileno=number) as peeked:
        try:
            return peeked.recv(1 << 20, socket.MSG_PEEK)
        except BlockingIOError:
            return b""
