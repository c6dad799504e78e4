"""The client's interface to the network. ``transport_picows.py`` implements it; a test may use a fake."""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """An open WebSocket connection."""

    def send(self, payload: bytes) -> None:
        """Sends one message as a text or binary frame, as the codec needs; does nothing once closed."""

    def close(self, code: int, reason: str) -> None:
        """Sends a close frame, then closes the connection."""

    def abort(self) -> None:
        """Closes the connection at once, because the peer seems dead."""

    async def wait_closed(self) -> None:
        """Returns when the connection is gone."""


class Receiver(Protocol):
    """Receives from a transport, in the event loop's thread; ``closed`` is the last call."""

    def received(self, payload: bytes) -> None:
        """One whole message."""

    def closed(self, code: int, reason: str) -> None:
        """The connection is gone; ``code`` is the peer's close code, 1006 if it sent none."""


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
        """Raises HandshakeRefused for an HTTP answer other than 101, ConnectionFailed if there is no answer."""
