"""The floor: as little as a C program can do between NATS and WebSocket. What mdstream is compared with."""

from collections.abc import Sequence

class Floor:
    """Relays each update as one ready ``delta`` to whoever subscribed to its instrument: one encoding for all, and one ``send``
    per client for each read from the bus. It keeps no books (snapshots are empty, ``crc`` is constant), merges nothing, and sends
    no heartbeats.

    It reads the contract's MessagePack from NATS and speaks both subprotocols. Run it in a process of its own: its CPU is the
    figure.
    """

    def __init__(
        self,
        instruments: Sequence[str],
        subjects: Sequence[str],
        nats_host: str,
        nats_port: int,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        price_exp: int = -2,
        size_exp: int = -8,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
    ) -> None:
        """Connects to NATS, subscribes to the ``book`` stream of each ``md.<venue>.<symbol>`` in ``subjects``, and listens.
        BenchError if one of these fails.
        """
    @property
    def port(self) -> int: ...
    def run(self, seconds: float, *, wake_fd: int = -1) -> None:
        """Serves, without the interpreter's lock, until ``wake_fd`` can be read or the time is over. BenchError if NATS hangs up."""
    def counters(self) -> dict[str, int]:
        """``clients`` now; since the start ``accepted``, ``updates`` (from the bus), ``deliveries``, ``sends``,
        ``dropped`` (clients that did not read).
        """
    def close(self) -> None:
        """May be called twice."""
