from mdstream._core.fanout.after_read import Patience
from mdstream._core.fanout.instrument import Instrument
from mdstream._core.fanout.sender import Sender
from mdstream._core.fanout.sink import Sink
from mdstream._core.fanout.topic import Topic

class Hub:
    """Joins instruments, topics and sinks, and flushes: encode once per topic and format, write once per sink.

    No I/O and no clock of its own: whoever owns it calls ``flush`` after each batch from the bus and ``tick`` every 50 ms,
    or less often while nothing ``waits``.
    Times are integer µs since the Unix epoch.
    """

    def __init__(
        self,
        *,
        log_capacity: int = 16384,
        trade_capacity: int = 4096,
        max_levels: int = 65536,
        heartbeat_us: int = 15_000_000,
        slow_limit_us: int = 30_000_000,
        compression_level: int = 1,
        compression_threshold_bytes: int = 256,
        sender: Sender | None = None,
    ) -> None:
        """``compression_*``: for sinks with ``window_bits``; smaller messages are sent to them as they are. ``sender``: writes to
        many sinks at once; without it, each writes for itself."""
    @property
    def patience(self) -> Patience:
        """How long what comes from the bus may wait to be read: 0, unless all topics have intervals."""
    @property
    def now_us(self) -> int:
        """The time last given to ``flush`` or ``tick``."""
    @property
    def waits(self) -> bool:
        """Whether a tick is wanted within 50 ms: an interval ends, or a resume may come true."""
    @property
    def updates(self) -> int:
        """As in ``stats``."""
    def add_instrument(self, name: str, price_exp: int, size_exp: int) -> Instrument:
        """Raises ValueError if there is one of that name, or an exponent is beyond ±18."""
    def remove_instrument(self, instrument: Instrument) -> None:
        """Forgets an instrument that has no subscribers; ValueError if it has any."""
    # ---- from the bus; each marks what changed for the next flush
    def take_book(self, instrument: Instrument, payload: bytes) -> int:
        """One NATS payload of stream ``book``; returns an ``Outcome``. Raises PayloadError or BookError (values before it stay applied)."""
    def take_trades(self, instrument: Instrument, payload: bytes) -> int: ...
    def load_snap(self, instrument: Instrument, payload: bytes, *, force: bool = False) -> bool:
        """Loads a ``snap`` payload if it is newer than the book (or ``force``): topics then send ``reload`` or ``epoch`` snapshots."""
    def reset_trades(self, instrument: Instrument, epoch: int, seq: int) -> None:
        """Gives up trades up to ``seq`` that nobody holds any more; subscribers are told ``lost``."""
    # ---- subscriptions
    def topic(
        self, instrument: Instrument, channel: str, depth: int = 0, group: int = 1, interval_ms: int = 0
    ) -> Topic:
        """The topic of that key, made on first use; its ``number`` is the ``sub`` of everybody subscribed to it on this hub.

        A topic ends with its last subscriber (``alive`` turns False): do not keep it, ask again. ValueError for a channel that is none.
        """
    def attach(self, sink: Sink) -> None:
        """Registers a sink for heartbeats and the slow limit. ``subscribe`` does it too, a ``Session`` when it opens."""
    def find(self, sink: Sink, number: int) -> Topic | None:
        """The topic that the sink is subscribed to under this ``sub``."""
    def subscribe(self, sink: Sink, topic: Topic, resume: tuple[int, int] | None = None) -> bool:
        """Adds a subscription; True if resumed from (epoch, seq). Send ``subscribed`` first, then call ``catch_up``.

        Until ``catch_up`` the subscription gets nothing. ValueError if the sink has it already (ask ``find``) or is closed.
        """
    def join(
        self,
        sink: Sink,
        instrument: Instrument,
        view: tuple[str, int, int, int],
        resume: tuple[int, int] | None = None,
    ) -> tuple[Topic, bool | None]:
        """``subscribe`` to the ``topic`` of a view (channel, depth, group, interval_ms).

        Returns the topic, and None instead of a bool if the sink is subscribed to it already.
        """
    def catch_up(self, sink: Sink, topic: Topic, answer: bytes | None = None) -> None:
        """Sends what brings the subscription up to date (snapshot, delta or nothing), at once where the sink can take it.

        ``answer``: a control message that goes ahead of it, as by ``send``.
        """
    def unsubscribe(self, sink: Sink, topic: Topic) -> bool:
        """False if there was no such subscription."""
    def recover(self, sink: Sink, topic: Topic, from_seq: int) -> None:
        """Answers ``recover``: delta or snapshot, whichever is smaller; for trades the missing ones or ``lost``.

        ValueError if the sink has no such subscription.
        """
    def send(self, sink: Sink, payload: bytes) -> None:
        """One control message to one sink, in the sink's format, in order with its data; also while it is blocked."""
    def broadcast(self, topic: Topic, json: bytes, msgpack: bytes) -> None:
        """Hands every subscriber of a topic one control message (``state``), ready in both formats, in order with its data."""
    def cork(self) -> None:
        """Holds all writes back until ``uncork``: what is sent in between leaves in one write per sink. Nests."""
    def uncork(self) -> None: ...
    # ---- time
    def flush(self, now_us: int) -> int:
        """Emits every changed topic that is due (interval 0, or the interval has passed since its last) and writes once per
        touched sink; returns deliveries. What is not due waits for ``tick``."""
    def tick(self, now_us: int) -> int:
        """Call every 50 ms while anything ``waits``: topics whose interval ended, heartbeats, resumes that never came true, sinks
        too slow for too long."""
    def stats(self) -> dict[str, int | list[int]]:
        """Counters since the start, and what is now.

        ``updates`` (messages encoded for a topic), ``deliveries``, ``bytes``, ``writes``, ``snapshots``, ``deltas``, ``heartbeats``,
        ``recover_delta`` ``recover_snapshot`` ``recover_trades`` ``recover_lost`` (individual answers by kind), ``conflated``
        (numbers that slow sinks received merged), ``too_slow`` (closed for it), ``compressed`` (messages, each once for all its
        sinks), ``compressed_bytes_in``, ``compressed_bytes_out``; now: ``slow_sinks``, ``sinks``, ``topics``,
        ``subscriptions``; histograms in µs, ``[i]`` counting values below 2**i (the last: all others):
        ``flush_us``, ``latency_us`` (event time to written), and the sums of what they count, ``flush_total_us``, ``latency_total_us``.
        """
