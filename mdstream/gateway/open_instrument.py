"""One open instrument: its reference data, the state of its streams, and the subscriptions that wait for its data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from mdstream.gateway import messages
from mdstream.model import InstrumentId, Ref, State, StateCode

if TYPE_CHECKING:
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.fanout.sink import Sink
    from mdstream._core.fanout.topic import Topic
    from mdstream.bus import InstrumentReader


_PRUNE_LEAST = 64


class StreamStatus:
    """The state of one stream of an instrument, as its subscribers are told."""

    def __init__(self, wall_us: int) -> None:
        self.state = State.RECOVERING
        self.code: StateCode | None = StateCode.OPENING
        self.reason = "opening"
        self.age_ms: int | None = None
        self.since_us = wall_us
        self.has_data = asyncio.Event()
        """Set once there is data to show; new subscriptions wait for it."""
        self._waiting: list[tuple[Sink, Topic]] = []
        self._prune_at = _PRUNE_LEAST

    def wait_for_data(self, sink: Sink, topic: Topic, still: Callable[[Sink, Topic], bool]) -> None:
        """Remembers a new subscription until there is data; from time to time forgets those that are not ``still`` there."""
        if len(self._waiting) >= self._prune_at:
            self._waiting = [waiter for waiter in self._waiting if still(*waiter)]
            self._prune_at = max(_PRUNE_LEAST, 2 * len(self._waiting))
        self._waiting.append((sink, topic))

    def data_arrived(self) -> list[tuple[Sink, Topic]]:
        """Call when there is data to show; returns the subscriptions that waited for it."""
        self.has_data.set()
        waiting, self._waiting = self._waiting, []
        return waiting

    def messages(self, sub: int) -> tuple[bytes, bytes]:
        """The ``state`` message for one topic, as JSON and as MessagePack."""
        return messages.encode_both(
            messages.state(sub, self.state, self.since_us, self.code, self.age_ms, self.reason or None)
        )

    def change(
        self, state: State, code: StateCode | None, reason: str, age_ms: int | None, wall_us: int
    ) -> None:
        if state is not self.state:
            self.since_us = wall_us
        self.state, self.code, self.reason, self.age_ms = state, code, reason, age_ms


class OpenInstrument:
    """An open instrument; the watcher of its reader: it passes on what its subscribers must know."""

    core: Instrument
    ref: Ref

    def __init__(
        self,
        id: InstrumentId,
        now_us: int,
        wall_us: Callable[[], int],
        on_status: Callable[[OpenInstrument, StreamStatus], None],
        on_ref: Callable[[OpenInstrument], None],
        on_rescaled: Callable[[OpenInstrument], None],
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
        book, trades = StreamStatus(wall_us()), StreamStatus(wall_us())
        self._by_stream = {"book": book, "trade": trades}
        self.statuses: dict[str, StreamStatus] = {"book": book, "ticker": book, "trades": trades}
        """By channel: the status of the stream that the channel shows."""
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
        status.change(state, code, reason, age_ms, self._wall_us())
        self._on_status(self, status)

    def on_ref(self, ref: Ref, rescaled: bool) -> None:
        if rescaled:
            self._on_rescaled(self)
            return
        old, self.ref = self.ref, ref
        if messages.reference(old) != messages.reference(ref):
            self._on_ref(self)

    def note_movement(self, now_us: int) -> None:
        """Notes whether anything arrived since the last call; cheaper than reading a clock for each payload."""
        book, trades = self.core.book, self.core.trades
        position = (book.epoch, book.seq, trades.epoch, trades.seq)
        if position != self._position:
            self._position = position
            self.moved_us = now_us
