"""One open instrument: its reference data, the state of its streams, and the subscriptions that wait for its data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from mdstream.bus.epochs import is_plausible
from mdstream.gateway import messages
from mdstream.gateway.strain import REASON, Strain
from mdstream.model import Channel, InstrumentId, Ref, State, StateCode

if TYPE_CHECKING:
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.fanout.sink import Sink
    from mdstream._core.fanout.topic import Topic
    from mdstream.bus import InstrumentReader


_PRUNE_LEAST = 64
_APART = {
    StateCode.GAP: "another gateway has shown this client more; waiting for it",
    StateCode.NO_REF: "another gateway has shown this client a newer epoch, whose ref is missing here",
}


class StreamStatus:
    """The state of one stream of an instrument, as its subscribers are told."""

    def __init__(self, wall_us: int, strain: Strain) -> None:
        self._strain = strain
        self.state = State.RECOVERING
        self.code: StateCode | None = StateCode.OPENING
        self.reason = "opening"
        self.since_us = wall_us
        self.has_data = asyncio.Event()
        """Set once there is data to show; new subscriptions wait for it."""
        self._waiting: dict[tuple[Sink, Topic], None] = {}
        self._prune_at = _PRUNE_LEAST

    def wait_for_data(self, sink: Sink, topic: Topic, still: Callable[[Sink, Topic], bool]) -> None:
        """Remembers a new subscription until there is data; from time to time forgets those that are not ``still`` there."""
        if len(self._waiting) >= self._prune_at:
            self._waiting = {waiter: None for waiter in self._waiting if still(*waiter)}
            self._prune_at = max(_PRUNE_LEAST, 2 * len(self._waiting))
        self._waiting[sink, topic] = None

    @property
    def waiting(self) -> list[tuple[Sink, Topic]]:
        """The subscriptions that wait for data; some of them may have ended."""
        return list(self._waiting)

    def data_arrived(self) -> list[tuple[Sink, Topic]]:
        """Call when there is data to show; returns the subscriptions that waited for it."""
        self.has_data.set()
        waiting, self._waiting = self.waiting, {}
        return waiting

    def message(self, topic: Topic, age_ms: int | None) -> messages.Message:
        """The ``state`` for one topic. ``age_ms``: of the venue's last word now."""
        slowed = self.is_strained(topic)
        reason = REASON if slowed else self.reason or None
        return messages.state(
            topic.number, self.state, self.since_us, self.code, age_ms, reason, slowed=slowed
        )

    def is_strained(self, topic: Topic) -> bool:
        """Whether a topic is live, and its interval is longer than asked for."""
        return self._strain.concerns(topic) and self.state is State.LIVE

    def apart(self, topic: Topic, age_ms: int | None, code: StateCode, since_us: int) -> messages.Message:
        """As ``message``, for a client that has seen elsewhere what this gateway has not reached."""
        if self.state is State.RECOVERING:
            return self.message(topic, age_ms)
        return messages.state(topic.number, State.RECOVERING, since_us, code, age_ms, _APART[code])

    def change(self, state: State, code: StateCode | None, reason: str, wall_us: int) -> None:
        if state is not self.state:
            self.since_us = wall_us
        self.state, self.code, self.reason = state, code, reason


async def wait_for_data(statuses: Iterable[StreamStatus], deadline_s: float) -> None:
    """Returns when all have data to show, or at the loop's time ``deadline_s``. Waits for one after the other: no task for each."""
    missing = [status.has_data for status in statuses if not status.has_data.is_set()]
    if not missing:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline_s):
            for has_data in missing:
                await has_data.wait()


class OpenInstrument:
    """An open instrument; the watcher of its reader: it passes on what its subscribers must know."""

    core: Instrument
    ref: Ref

    def __init__(
        self,
        id: InstrumentId,
        now_us: int,
        wall_us: Callable[[], int],
        on_status: Callable[[OpenInstrument, StreamStatus, int | None], None],
        on_ref: Callable[[OpenInstrument], None],
        on_rescaled: Callable[[OpenInstrument], None],
        strain: Strain,
    ) -> None:
        self.id = id
        self.name = str(id)
        self.opened = False
        self.is_rescaled = False
        """Its scale changed: it is closed, and must be opened again."""
        self.reader: InstrumentReader | None = None
        self.idle_since_us: int | None = now_us
        """Since when it has had no subscriber, monotonic; None while it has one."""
        self.moved_us = now_us
        self._position: tuple[int, ...] = ()
        book, trades = StreamStatus(wall_us(), strain), StreamStatus(wall_us(), strain)
        self._by_stream = {"book": book, "trade": trades}
        self.statuses: dict[str, StreamStatus] = {"book": book, "ticker": book, "trades": trades}
        """By channel: the status of the stream that the channel shows."""
        self.subscribed = messages.Subscribed()
        self._on_status = on_status
        self._on_ref = on_ref
        self._on_rescaled = on_rescaled
        self._wall_us = wall_us

    def begin(self, core: Instrument, ref: Ref) -> None:
        """Call when the instrument was announced and the core has it."""
        self.core, self.ref, self.opened = core, ref, True

    def on_state(
        self, stream: str, state: State, code: StateCode | None, reason: str, age_ms: int | None
    ) -> None:
        status = self._by_stream[stream]
        status.change(state, code, reason, self._wall_us())
        self._on_status(self, status, age_ms)

    def on_ref(self, ref: Ref, rescaled: bool) -> None:
        if rescaled:
            self._on_rescaled(self)
            return
        old, self.ref = self.ref, ref
        if messages.reference(old) != messages.reference(ref):
            self._on_ref(self)

    # ---- what clients have seen elsewhere

    def position(self, channel: str) -> tuple[int, int]:
        """Epoch and number of what a channel shows."""
        log = self.core.trades if channel == Channel.TRADES else self.core.book
        return log.epoch, log.seq

    def is_behind(self, epoch: int, seq: int) -> bool:
        """Whether the book has not reached this number; the bus is asked for it. An epoch that no writer can have claimed counts for
        nothing."""
        if self.reader is None or self.position(Channel.BOOK) >= (epoch, seq):
            return False
        if not is_plausible(epoch, self._wall_us()):
            return False
        self.reader.look_for(epoch, seq)
        return True

    def bears_out(self, epoch: int, seq: int) -> bool:
        """Whether the bus has this number of the book, and the book has not reached it; also while nobody can say."""
        if self.reader is None or not is_plausible(epoch, self._wall_us()):
            return False
        return self.reader.bears_out(epoch, seq)

    @property
    def scale(self) -> tuple[int, int]:
        """The exponents of prices and sizes, as long as it is open."""
        return self.core.price_exp, self.core.size_exp

    @property
    def lacks_ref(self) -> bool:
        """Whether a greater epoch cannot be read, because its ``ref`` is missing."""
        return self.reader is not None and self.reader.lacks_ref

    @property
    def age_ms(self) -> int | None:
        """The age of the venue's last word; None if it was never heard."""
        return None if self.reader is None else self.reader.age_ms

    def note_movement(self, now_us: int) -> None:
        """Notes whether anything arrived since the last call; cheaper than reading a clock for each payload."""
        book, trades = self.core.book, self.core.trades
        position = (book.epoch, book.seq, trades.epoch, trades.seq)
        if position != self._position:
            self._position = position
            self.moved_us = now_us
