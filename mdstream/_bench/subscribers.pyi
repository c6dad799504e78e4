"""Many WebSocket clients in one thread, each checking what it is sent; see ``mdstream._bench.plan`` for what they do."""

from mdstream._bench.histogram import Histogram
from mdstream._bench.plan import Plan

class Subscribers:
    """The clients of one process. Nothing is opened before ``open``; nothing moves but inside ``run``.

    A client is *ready* when each of its subscriptions has its snapshot (a trades subscription: its ``subscribed``).
    ``BenchError`` says what cannot be done, where and what to do: too few file descriptors (``ulimit -n``), no gateway listening,
    an upgrade refused (status and body), a server that does not speak the contract. Later faults are counted, not raised.
    """

    def __init__(self, plan: Plan) -> None:
        """Raises BenchError if this process may not have so many files open."""
    def open(self, per_second: float = 0.0) -> None:
        """Plans the opening of all clients: so many each second, evenly, or (0) all at once, ``plan.in_flight`` at a time.

        A client that was closed is opened anew.
        """
    def run(self, seconds: float, *, until: str = "time", wake_fd: int = -1) -> bool:
        """Lets the clients live for at most ``seconds``, without the interpreter's lock; returns whether what was awaited came.

        ``until``: ``time`` (always True), ``ready`` (each client that is to be open has been made ready; False as well if one is
        given up), ``expected`` (every book and trades subscription of an open client has reached its instrument's number, see
        ``expect``), ``quiet`` (no data message for 0.5 s). If ``wake_fd`` can be read, it returns at once, False: that is how
        another process stops it. Raises BenchError if the first connections fail (nothing was ever ready), KeyboardInterrupt.
        """
    def expect(self, seqs: dict[str, int], channel: str = "book") -> None:
        """The last number of each instrument, by name, for ``run(until="expected")`` and ``behind``; the others are not awaited."""
    def behind(self) -> int:
        """Subscriptions of open clients that have not reached the number expected of them; ones beyond it are a fault."""
    def mark(self) -> None:
        """Begins a window: ``latency`` and ``counters()`` start from zero. Faults and positions stay."""
    def cut(self, window_s: float, share: float = 1.0) -> int:
        """The network dies: closes this share of the open clients (RST, no close frame), each to come back at a time drawn evenly
        from ``window_s`` (full jitter) at the next gateway of the plan, with ``resume`` where its group says so. Returns how many.
        """
    def close(self) -> None:
        """Closes all, with a close frame (1000) where it can be sent at once. May be called twice."""
    @property
    def cpu_s(self) -> float:
        """CPU that this process has used since its start, user and system, in seconds: what the load itself costs."""
    @property
    def open_clients(self) -> int: ...
    @property
    def ready_clients(self) -> int: ...
    @property
    def latency(self) -> Histogram:
        """From a message's ``ts``, the publisher's *intended* time, to its ``recv``; of deltas and trades since ``mark``."""
    def latency_of(self, group: int) -> Histogram:
        """The same of one group of the plan, by its index."""
    @property
    def ready(self) -> Histogram:
        """From ``connect`` to ready, of each connection that became ready."""
    @property
    def recovery(self) -> Histogram:
        """From ``cut`` to ready again, in step with the numbers from before: includes the random wait."""
    def counters(self) -> dict[str, int]:
        """Sums over all clients since ``mark`` (or the beginning).

        ``messages`` (protocol messages), ``frames``, ``bytes`` (off the socket), ``reads`` (recv calls), ``deltas``, ``updates``
        (their numbers, ``last - first + 1``), ``trades``, ``tickers``, ``snapshots``, ``skipped`` (numbers that later snapshots
        passed over), ``heartbeats``, ``pings``, ``states``, ``lost`` (trades given up), ``recovers`` (sent), ``checked`` (books
        compared by crc), ``window_us`` (since ``mark``).
        """
    def totals(self) -> dict[str, int]:
        """Of the whole run: ``opened`` (connections made ready), ``failed`` (never became so), ``refused`` (HTTP status other than 101),
        ``closed`` (by the server), ``cut``, ``subscribed``, ``resumed``, ``not_resumed`` (asked for it, got a snapshot), ``errors``
        (the gateway's ``error``), ``drains``, ``paused`` (rests of slow readers), and each kind of fault that happened, as
        ``fault_<kind>``.
        """
    @property
    def faults(self) -> int:
        """What broke the contract, of all kinds together; 0 is *exact*."""
    @property
    def first_fault(self) -> str:
        """The first one in words: kind, client, instrument, numbers; empty if there was none."""
    @property
    def close_codes(self) -> dict[int, int]:
        """How often the server closed with which code; 1006: without a close frame."""
    def positions(self, channel: str = "book") -> dict[str, tuple[int, int, int]]:
        """By instrument: the smallest and the greatest number that open clients stand at, and how many subscriptions there are."""
    def books(self) -> list[tuple[str, int, int, int, int, list[int], list[int]]]:
        """The books of verified clients: (instrument, depth, group, epoch, seq, bids, asks), flat and best first."""
