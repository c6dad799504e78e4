"""One open instrument: what it is, how it stands, and who waits for its data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from mdstream.gateway import control_codec, messages
from mdstream.model import Channel, InstrumentId, Ref, State

if TYPE_CHECKING:
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.fanout.sink import Sink
    from mdstream._core.fanout.topic import Topic
    from mdstream.bus import InstrumentReader


_PRUNE_LEAST = 64


class StreamStatus:
    """How one stream of an instrument stands: what its subscribers are told."""

    def __init__(self, now_us: int) -> None:
        self.state = State.RECOVERING
        self.reason = "opening"
        self.since_us = now_us
        self.has_data = asyncio.Event()
        """Set once there is data to show; until then new subscriptions wait."""
        self._waiting: list[tuple[Sink, Topic]] = []
        self._prune_at = _PRUNE_LEAST

    def wait_for_data(self, sink: Sink, topic: Topic, still: Callable[[Sink, Topic], bool]) -> None:
        """Remembers a new subscription until there is data; forgets, now and then, those that are not ``still`` there."""
        if len(self._waiting) >= self._prune_at:
            self._waiting = [waiter for waiter in self._waiting if still(*waiter)]
            self._prune_at = max(_PRUNE_LEAST, 2 * len(self._waiting))
        self._waiting.append((sink, topic))

    def data_arrived(self) -> list[tuple[Sink, Topic]]:
        """There is data to show; returns who waited for it."""
        self.has_data.set()
        waiting, self._waiting = self._waiting, []
        return waiting

    def messages(self, sub: int) -> tuple[bytes, bytes]:
        """The ``state`` message for one topic, as JSON and as MessagePack."""
        message = messages.state(sub, self.state, self.since_us, self.reason or None)
        return control_codec.encode(control_codec.JSON, message), control_codec.encode(
            control_codec.MSGPACK, message
        )

    def change(self, state: State, reason: str, now_us: int) -> None:
        if state is not self.state:
            self.since_us = now_us
        self.state, self.reason = state, reason


class OpenInstrument:
    """An open instrument; as its reader's watcher it passes on what its subscribers must know."""

    core: Instrument
    ref: Ref

    def __init__(
        self,
        id: InstrumentId,
        clock_us: Callable[[], int],
        on_status: Callable[[OpenInstrument, StreamStatus], None],
        on_announced: Callable[[OpenInstrument, bool], None],
    ) -> None:
        now_us = clock_us()
        self.id = id
        self.name = str(id)
        self.opened = False
        self.reader: InstrumentReader | None = None
        self.idle_since_us: int | None = now_us
        """Since when nobody is subscribed; None while somebody is."""
        self.moved_us = now_us
        self._position: tuple[int, ...] = ()
        self._statuses = {"book": StreamStatus(now_us), "trade": StreamStatus(now_us)}
        self._on_status = on_status
        self._on_announced = on_announced
        self._clock_us = clock_us

    def begin(self, core: Instrument, ref: Ref) -> None:
        """The instrument is announced and the core has it."""
        self.core, self.ref, self.opened = core, ref, True

    def status(self, channel: str) -> StreamStatus:
        """How the stream stands that a channel shows; a ticker goes with the book."""
        return self._statuses["trade" if channel == Channel.TRADES else "book"]

    def on_state(self, stream: str, state: State, reason: str) -> None:
        status = self._statuses[stream]
        status.change(state, reason, self._clock_us())
        self._on_status(self, status)

    def on_ref(self, ref: Ref, rescaled: bool) -> None:
        if not rescaled:
            self.ref = ref
        self._on_announced(self, rescaled)

    def note_movement(self, now_us: int) -> None:
        """Notices whether anything arrived since the last time; cheaper than a clock for each payload."""
        book, trades = self.core.book, self.core.trades
        position = (book.epoch, book.seq, trades.epoch, trades.seq)
        if position != self._position:
            self._position = position
            self.moved_us = now_us
