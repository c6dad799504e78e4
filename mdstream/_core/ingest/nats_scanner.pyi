"""Scans what a NATS server sends: messages of known subscriptions go straight to their handler, all else comes back."""

from typing import Any

from mdstream._core.ingest.receiver import Handlers

class ScanError(Exception):
    """What came is not the NATS protocol, or beyond any bound of it; the connection must be given up."""

class NatsScanner:
    """Bytes in, operations out; no I/O. What it holds is bounded: one message and what was read with it."""

    def __init__(self, handlers: Handlers) -> None:
        """``handlers`` may change at any time."""
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
        """Appends what was read from the socket. Raises RuntimeError if a handler of its own does it."""
    def next(self) -> tuple[Any, ...] | None:
        """Hands messages to their handlers up to the first operation that has none, and returns it; None: all is scanned.

        ``("MSG", sid, subject, reply, payload, headers)`` (``reply`` empty, ``headers`` None where there are none),
        ``("PING",)``, ``("PONG",)``, ``("+OK",)``, ``("-ERR", text)``, ``("INFO", json)``, and ``("FAULT", error)`` for a handler
        that raised; its message is behind us then. Raises ScanError.
        """
    def reset(self) -> None:
        """Forgets the bytes of a connection that is gone."""
