"""Scans what a NATS server sends: messages of known subscriptions go straight to their handler, all else comes back."""

from collections.abc import Callable
from typing import Any

class ScanError(Exception):
    """What came is not the NATS protocol, or beyond any bound of it; the connection must be given up."""

class Receiver:
    """A handler that takes messages without a Python object for each. Subclass it in Cython."""

    def __call__(self, subject: bytes, reply: bytes | None, payload: bytes, headers: bytes | None) -> None:
        """One message, as any other handler is given it."""

class NatsScanner:
    """Bytes in, operations out; no I/O. What it holds is bounded: one message and what was read with it."""

    def __init__(self, handlers: dict[int, Callable[[bytes, bytes, bytes, bytes | None], None]]) -> None:
        """``handlers`` by subscription id, called with subject, reply, payload and header block. It may change at any time."""
    @property
    def capacity(self) -> int:
        """Bytes allocated for what is not scanned yet."""
    @property
    def messages(self) -> int:
        """Messages handed to handlers since the start."""
    @property
    def payload_bytes(self) -> int:
        """Bytes of their payloads."""
    def feed(self, data: bytes) -> None:
        """Appends what was read from the socket."""
    def next(self) -> tuple[Any, ...] | None:
        """Hands messages to their handlers up to the first operation that has none, and returns it; None: all is scanned.

        ``("MSG", sid, subject, reply, payload, headers)`` (``reply`` empty, ``headers`` None where there are none),
        ``("PING",)``, ``("PONG",)``, ``("+OK",)``, ``("-ERR", text)``, ``("INFO", json)``, and ``("FAULT", error)`` for a handler
        that raised; its message is behind us then. Raises ScanError.
        """
    def reset(self) -> None:
        """Forgets the bytes of a connection that is gone."""
