"""What the client needs of a network: a way to dial, and a message pipe. ``transport_picows.py`` is the real one."""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """An open WebSocket connection."""

    def send(self, payload: bytes) -> None:
        """Sends one message, in the kind of frame that the codec asked for; does nothing once closed."""

    def close(self, code: int, reason: str) -> None:
        """Sends a close frame and hangs up when it has left."""

    def abort(self) -> None:
        """Hangs up at once: the peer is thought dead."""

    async def wait_closed(self) -> None:
        """Returns when the connection is gone."""


class Receiver(Protocol):
    """Where a transport delivers, in the event loop's thread; nothing comes after ``closed``."""

    def received(self, payload: bytes) -> None:
        """One whole message."""

    def closed(self, code: int, reason: str) -> None:
        """The connection is gone: the peer's close code, or 1006 if there was none."""


class Dial(Protocol):
    """Opens connections."""

    async def __call__(
        self,
        url: str,
        receiver: Receiver,
        *,
        subprotocol: str,
        binary: bool,
        token: str | None,
        timeout_s: float,
    ) -> Transport:
        """Raises HandshakeRefused for an HTTP answer other than 101, ConnectionFailed where there is none."""
