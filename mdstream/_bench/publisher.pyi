"""Updates of real books, on schedule, written straight to nats-server: the feed of a load test."""

from mdstream._bench.books import Books as Books
from mdstream._bench.histogram import Histogram

class Publisher:
    """One connection to nats-server, plain TCP, that publishes changes of ``books`` by an open-loop schedule.

    Each update's ``ts`` is the time at which it was *due*. A publisher that falls behind hurries after its schedule, so that its
    lateness shows in the latencies, as it would to a user (no coordinated omission).
    """

    def __init__(
        self,
        books: Books,
        host: str,
        port: int,
        *,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
    ) -> None:
        """Connects. BenchError if nothing listens there, it is no nats-server, or it refuses us."""
    def run(
        self,
        seconds: float,
        *,
        rate: float,
        burst: int = 1,
        changes: int = 10,
        per_message: int = 1,
        zipf: float = 0.0,
        wake_fd: int = -1,
    ) -> dict[str, int | float | bool]:
        """Publishes ``rate`` updates a second, ``burst`` back to back at a time (500 with rate 5,000: 500 each 100 ms; 0: flat out), each
        of ``changes`` level changes, ``per_message`` updates of a symbol joined in a NATS message. Symbols in turn, or (``zipf`` s
        > 0) drawn with weight 1/rank^s. Without the interpreter's lock, until ``seconds`` are over or ``wake_fd`` can be read.

        Returns ``updates``, ``messages``, ``bytes`` (payload), ``snaps``, ``elapsed_s``, ``offered`` (updates that were due),
        ``late_max_us`` (when an update left against when it was due), ``late`` (True if more than 1 % were over 10 ms late, or less
        than 99.5 % was sent), ``cpu_s``. BenchError if the server hangs up, says ``-ERR`` or takes nothing for 10 s.
        """
    @property
    def lateness(self) -> Histogram:
        """How late updates were written to the socket, since the start."""
    def finish(self) -> None:
        """The last update of each symbol, which touches its best bid and ask, so that every view must reach the last
        number; a ``snap`` of each; returns when the server has confirmed (PING, PONG) that it has read all.
        """
    def close(self) -> None:
        """May be called twice."""
