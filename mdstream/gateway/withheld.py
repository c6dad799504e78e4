"""Subscriptions whose data is withheld: their clients have seen a greater epoch elsewhere, and the bus bears it out, or nobody can say.

What this gateway could show them is older. They are told ``recovering`` and sent nothing until it reaches what they have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdstream.gateway import messages
from mdstream.model import Channel, StateCode

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.sink import Sink
    from mdstream._core.fanout.topic import Topic
    from mdstream.gateway.open_instrument import OpenInstrument, StreamStatus
    from mdstream.model import Ref

REACH_US = 2_000_000
"""How long a client waits for what nothing bears out."""


@dataclass(slots=True)
class _Kept:
    sink: Sink
    topic: Topic
    instrument: OpenInstrument
    status: StreamStatus
    seen: tuple[int, int]
    """Epoch and number that the client resumes at."""
    ref: Ref
    """As it was told with ``subscribed``."""
    since_us: int
    until_us: int
    told: tuple[StateCode | None, str] | None = None

    @property
    def wanted(self) -> tuple[int, int]:
        """Trades have no number that goes back: they are shown as soon as their epoch begins."""
        epoch, seq = self.seen
        return epoch, seq if self.topic.channel != Channel.TRADES else 0


class Withheld:
    """The subscriptions of all clients that wait so."""

    def __init__(self, hub: Hub, *, now_us: Callable[[], int], wall_us: Callable[[], int]) -> None:
        self._hub = hub
        self._now_us = now_us
        self._wall_us = wall_us
        self._kept: dict[tuple[Sink, Topic], _Kept] = {}

    def __contains__(self, subscription: tuple[Sink, Topic]) -> bool:
        return subscription in self._kept

    def begin(self, sink: Sink, topic: Topic, instrument: OpenInstrument, seen: tuple[int, int]) -> None:
        """Withholds the data of a new subscription, which must not be caught up, and tells the client."""
        kept = _Kept(
            sink,
            topic,
            instrument,
            instrument.statuses[topic.channel],
            seen,
            instrument.ref,
            self._wall_us(),
            self._now_us() + REACH_US,
        )
        self._kept[sink, topic] = kept
        self._tell(kept)

    def look(self) -> None:
        """Call a few times a second: shows what was reached, or is not borne out any more."""
        for key, kept in list(self._kept.items()):
            if kept.sink.closed or self._hub.find(kept.sink, kept.topic.number) is not kept.topic:
                del self._kept[key]
            elif self._must_wait(kept):
                self._tell(kept)
            else:
                del self._kept[key]
                self._show(kept)

    def _must_wait(self, kept: _Kept) -> bool:
        if kept.instrument.is_behind(*kept.wanted):
            if kept.instrument.bears_out(*kept.wanted):
                kept.until_us = self._now_us() + REACH_US
            if self._now_us() < kept.until_us:
                return True
        return not kept.status.has_data.is_set()

    def _tell(self, kept: _Kept) -> None:
        """Tells why, where that has changed."""
        status = kept.status
        code = StateCode.NO_REF if kept.instrument.lacks_ref else StateCode.GAP
        told = status.apart(kept.topic, kept.instrument.age_ms, code, kept.since_us)
        if (told["code"], told["reason"]) != kept.told:
            kept.told = told["code"], told["reason"]
            self._send(kept, told)

    def _show(self, kept: _Kept) -> None:
        instrument = kept.instrument
        self._hub.cork()
        try:
            self._hub.catch_up(kept.sink, kept.topic, seen=kept.seen[1])
            if messages.reference(kept.ref) != messages.reference(instrument.ref):
                self._send(kept, messages.ref(kept.topic.number, instrument.ref))
            self._send(kept, kept.status.message(kept.topic, instrument.age_ms))
        finally:
            self._hub.uncork()

    def _send(self, kept: _Kept, message: messages.Message) -> None:
        self._hub.send(kept.sink, messages.encode(kept.sink.format, message))
