"""Scans what a NATS server sends: messages of known subscriptions go straight to their handler."""

from mdstream._core.ingest.receiver import Handlers

class ScanError(Exception):
    """The server does not speak the NATS protocol, or exceeds its limits; the connection must be closed."""

class NatsScanner:
    """For compiled modules: what reads is ``NatsTap``."""

    def __init__(self, handlers: Handlers) -> None: ...
