"""What boards and lists show of an instrument: read from the open instruments when it is asked for, so updates cost nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mdstream.bus.day_statistics import NO_DAY, Day, read_day, subject_of
from mdstream.gateway.board import UNKNOWN, Quote
from mdstream.gateway.listing import Listed
from mdstream.model import Ref, State

if TYPE_CHECKING:
    from mdstream.gateway.open_instrument import OpenInstrument
    from mdstream.gateway.open_instruments import OpenInstruments

NUMBERS: Final = {State.LIVE: 1, State.RECOVERING: 2, State.STALE: 3, State.HALTED: 4, State.CLOSED: 5}
"""Of the states in a row of a board."""
AGED_US: Final = 60_000_000
"""Statistics are looked at again after so long: they may be too old by then."""

Scale = tuple[int, int]


class _Seen:
    """What was read of one instrument, and what of."""

    __slots__ = ("day", "day_at_us", "payload", "position", "quote", "scale", "subject", "ts_us")

    def __init__(self, name: str) -> None:
        self.subject = subject_of(name)
        self.position: tuple[object, ...] = ()
        self.payload: bytes | None = None
        self.day: Day = NO_DAY
        self.day_at_us = 0
        self.quote = Quote(UNKNOWN)
        self.scale: Scale = (0, 0)
        self.ts_us = 0


class Quotes:
    """Shared by all boards and lists of a gateway: nothing that has not changed is read, or encoded, twice."""

    def __init__(self, instruments: OpenInstruments, wall_us: Callable[[], int]) -> None:
        self._instruments = instruments
        self._wall_us = wall_us
        self._seen: dict[str, _Seen] = {}
        self._listed: dict[str, Listed] = {}

    def forget(self, name: str) -> None:
        """No board shows it any more."""
        self._seen.pop(name, None)

    def forget_all(self) -> None:
        """Nobody asks for a list any more."""
        self._listed.clear()

    # ---- rows of boards

    def read(self, name: str, ref: Ref) -> tuple[Scale, Quote, int]:
        """The scale, what a row shows, and the event time of the newest data in it. ``ref`` counts where the instrument is not open."""
        seen = self._seen.get(name)
        if seen is None:
            seen = self._seen[name] = _Seen(name)
        found = self._instruments.find(name)
        scale = (ref.price_exp, ref.size_exp) if found is None else found.scale
        position = () if found is None else _position(found)
        is_new_day = self._read_day(seen, scale)
        if position != seen.position or scale != seen.scale or is_new_day:
            seen.position, seen.scale = position, scale
            seen.quote = Quote(UNKNOWN) if found is None else _quote(found)
            seen.quote = seen.quote._replace(**seen.day._asdict())
            if found is not None:
                seen.ts_us = found.core.book.ts_us
        return seen.scale, seen.quote, seen.ts_us

    def _read_day(self, seen: _Seen, scale: Scale) -> bool:
        """Whether the statistics may have changed."""
        readers = self._instruments.readers
        statistics = None if readers is None else readers.statistics
        payload = None if statistics is None else statistics.find(seen.subject)
        if payload is None and seen.payload is None:
            return False
        now_us = self._wall_us()
        if payload is seen.payload and scale == seen.scale and now_us - seen.day_at_us < AGED_US:
            return False
        seen.payload, seen.day_at_us = payload, now_us
        day = NO_DAY if payload is None else read_day(payload, *scale, now_us)
        changed, seen.day = day != seen.day, day
        return changed

    # ---- rows of lists

    def list(self, name: str, ref: Ref) -> Listed:
        """As it is now; the same object while nothing changes."""
        found = self._instruments.find(name)
        listed = self._listed.get(name)
        if found is None:
            if listed is None or not listed.is_still(ref, None, None, 0):
                listed = self._listed[name] = Listed(name, ref)
            return listed
        status = found.statuses["book"]
        if listed is None or not listed.is_still(found.ref, status.state, status.code, status.since_us):
            listed = Listed(name, found.ref, status.state, status.code, status.since_us)
            self._listed[name] = listed
        return listed


def _position(instrument: OpenInstrument) -> tuple[object, ...]:
    """Changes whenever what a row shows may have changed."""
    book, trades = instrument.core.book, instrument.core.trades
    return book.epoch, book.seq, trades.epoch, trades.seq, instrument.statuses["book"].state


def _quote(instrument: OpenInstrument) -> Quote:
    core = instrument.core
    bid, ask = core.book.best()
    last = core.last_trade
    return Quote(
        NUMBERS[instrument.statuses["book"].state],
        None if bid is None else bid[0],
        None if ask is None else ask[0],
        last["ticks"] if last["lots"] else None,
    )
