"""A map as clients are sent it: its rows, each encoded once, and the messages that lead from any number to now; without I/O.

``MapLog`` is one map. ``MapView``, ``WhoView`` and ``CountView`` show it; each is the ``source`` of a composed topic. A message says from
which number it begins (``prev``) and where it leads (``seq``). Its values are absolute: whoever has more than ``prev`` may apply it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from mdstream.gateway.control_decoder import JSON
from mdstream.gateway.row_log import RowLog
from mdstream.maps import Applied, Entry, MapState

_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode

MAP: Final = 12
PRESENCE: Final = 13
"""The first number of each MessagePack message."""
PAGE_BYTES: Final = 65_536
_ROOM: Final = 256
"""Of a page, for what is not rows."""
STEP: Final = 100
"""Rows that are encoded before others may have their turn of the loop."""

_Rows: TypeAlias = dict[str, msgspec.Raw]
_Place: TypeAlias = Sequence[int | None]
"""Of a message: sub, prev, seq, page, pages."""


class MapRow:
    """One state of a key, encoded when it is first asked for."""

    __slots__ = ("_made", "entry", "key")

    def __init__(self, key: str, entry: Entry) -> None:
        self.key = key
        self.entry = entry
        self._made: list[msgspec.Raw | None] = [None, None]

    def encoded(self, format: int) -> msgspec.Raw:
        made = self._made[format]
        if made is None:
            row = self.row()
            made = self._made[format] = msgspec.Raw(_to_json(row) if format == JSON else _to_msgpack(row))
        return made

    def row(self) -> list[Any]:
        value, rev, by, ts_us, _, _ = self.entry
        return [value, rev, by, ts_us]


class PresentRow(MapRow):
    """One session of a map of presence: who, since when, and what he says of himself."""

    def row(self) -> list[Any]:
        value = self.entry.value
        return value[:3] if isinstance(value, list) else [None, 0, None]


class MapLog:
    """The rows of one map, and which have changed since any number that is remembered."""

    def __init__(self, row: type[MapRow] = MapRow) -> None:
        self._row = row
        self._log: RowLog[str, MapRow] = RowLog()
        self._formats: set[int] = set()
        """In which rows are encoded as soon as they are set, not all at once when they are sent."""

    @property
    def seq(self) -> int:
        return self._log.seq

    def __len__(self) -> int:
        return len(self._log)

    def begin(self, state: MapState) -> Iterator[None]:
        """The steps that make it the map as it is now, which must not change meanwhile; what was before is not known."""
        log: RowLog[str, MapRow] = RowLog()
        for number, (key, entry) in enumerate(state.items(), 1):
            self._put(log, key, entry)
            if number % STEP == 0:
                yield
        log.begin(state.seq)
        self._log = log

    def follow(self, state: MapState, applied: Applied) -> None:
        """``state`` has applied a change."""
        for key in applied.gone:
            self._log.remove(key, state.seq)
        for key in applied.set:
            entry = state.find(key)
            assert entry is not None
            self._put(self._log, key, entry)
        self._log.advance(state.seq)

    def _put(self, log: RowLog[str, MapRow], key: str, entry: Entry) -> None:
        row = self._row(key, entry)
        log.put(key, row, entry.rev)
        for format in self._formats:
            row.encoded(format)

    def use(self, format: int) -> Iterator[None]:
        """Somebody wants this format: the steps that encode all rows, unless that was done before."""
        if format in self._formats:
            return
        self._formats.add(format)
        for number, (_, row) in enumerate(list(self._log.rows()), 1):
            row.encoded(format)
            if number % STEP == 0:
                yield

    def reaches(self, since: int) -> bool:
        return self._log.reaches(since)

    def rows(self, since: int | None, prefix: str) -> list[MapRow]:
        """Those that have changed since a number, or all."""
        changed = self._log.rows() if since is None else self._log.changed(since)
        return [row for key, row in changed if key.startswith(prefix)]

    def gone(self, since: int, prefix: str) -> list[str]:
        return [key for key in self._log.gone(since) if key.startswith(prefix)]


class MapView:
    """What of a map begins with ``prefix``; ``sub`` is the number of its topic."""

    def __init__(self, log: MapLog, prefix: str = "") -> None:
        self.sub = 0
        self.prefix = prefix
        self._log = log
        self._made_at = (0, 0)
        self._made: dict[tuple[int, int | None], list[bytes]] = {}
        """Messages that lead to the number of ``_made_at``; several clients may need the same."""

    @property
    def seq(self) -> int:
        """The number that it shows."""
        return self._log.seq

    def __len__(self) -> int:
        return len(self._log)

    def use(self, format: int) -> Iterator[None]:
        return self._log.use(format)

    def advance(self) -> bool:
        """Shows what has come; whether that is all of it."""
        return True

    def is_touched(self, applied: Applied) -> bool:
        """Whether a change shows here."""
        if not self.prefix:
            return bool(applied.set or applied.gone)
        return any(key.startswith(self.prefix) for key in (*applied.set, *applied.gone))

    # ---- for its topic

    def reaches(self, since: int) -> bool:
        return self._log.reaches(since)

    def missing(self, format: int, since: int | None) -> list[bytes]:
        """The messages that lead from a number to now; None: the whole map."""
        if since is not None and not self.reaches(since):
            since = None
        if self._made_at != (now := (self._log.seq, self.seq)):
            self._made_at = now
            self._made.clear()
        made = self._made.get((format, since))
        if made is None:
            made = self._made[format, since] = self._make(format, since)
        return made

    def _make(self, format: int, since: int | None) -> list[bytes]:
        rows = self._rows(since)
        gone = [] if since is None else self._log.gone(since, self.prefix)
        pages = list(_in_pages(format, rows, gone))
        return [
            self._message(format, since, number, len(pages), *page) for number, page in enumerate(pages, 1)
        ]

    def _rows(self, since: int | None) -> list[MapRow]:
        return self._log.rows(since, self.prefix)

    def _message(
        self,
        format: int,
        since: int | None,
        page: int,
        pages: int,
        rows: _Rows,
        gone: Sequence[str],
    ) -> bytes:
        return self._encoded(format, [self.sub, since, self.seq, page, pages], rows, gone)

    def _encoded(self, format: int, place: _Place, rows: _Rows, gone: Sequence[str]) -> bytes:
        if format != JSON:
            return _to_msgpack([MAP, *place, rows, gone])
        return _to_json({"type": "map", **_named(place), "set": rows, "delete": gone})


class WhoView(MapView):
    """Who is present, and how many. A message to all holds about a page: of thousands that come at once, the others follow in the next."""

    def __init__(self, log: MapLog) -> None:
        super().__init__(log)
        self._shown = log.seq

    @property
    def seq(self) -> int:
        return self._shown

    def advance(self) -> bool:
        size, whole, last = _ROOM, self._shown, self._shown
        for row in sorted(self._log.rows(self._shown, ""), key=_number):
            if row.entry.rev != last:
                whole, last = last, row.entry.rev
            size += row.entry.size
            if size > PAGE_BYTES and whole > self._shown:
                self._shown = whole
                return False
        self._shown = self._log.seq
        return True

    def reaches(self, since: int) -> bool:
        return since <= self._shown and super().reaches(since)

    def _rows(self, since: int | None) -> list[MapRow]:
        return [row for row in super()._rows(since) if row.entry.rev <= self._shown]

    def _encoded(self, format: int, place: _Place, rows: _Rows, gone: Sequence[str]) -> bytes:
        if format != JSON:
            return _to_msgpack([PRESENCE, *place, len(self), rows, gone])
        return _to_json(
            {"type": "presence", **_named(place), "count": len(self), "set": rows, "delete": gone}
        )


class CountView(MapView):
    """How many are present."""

    def use(self, format: int) -> Iterator[None]:
        return iter(())

    def reaches(self, since: int) -> bool:
        return since <= self.seq

    def _make(self, format: int, since: int | None) -> list[bytes]:
        place = [self.sub, since, self.seq, 1, 1]
        if format != JSON:
            return [_to_msgpack([PRESENCE, *place, len(self), None, None])]
        return [_to_json({"type": "presence", **_named(place), "count": len(self)})]


def _number(row: MapRow) -> int:
    return row.entry.rev


def _named(place: _Place) -> dict[str, int | None]:
    return dict(zip(("sub", "prev", "seq", "page", "pages"), place, strict=True))


def _in_pages(format: int, rows: Iterable[MapRow], gone: Sequence[str]) -> Iterator[tuple[_Rows, list[str]]]:
    """Rows and keys that are gone, in pages of about ``PAGE_BYTES``; at least one page."""
    page: _Rows = {}
    keys: list[str] = []
    size = _ROOM
    for key in gone:
        if size + 4 * len(key) > PAGE_BYTES:
            yield page, keys
            keys, size = [], _ROOM
        keys.append(key)
        size += 4 * len(key)
    for row in rows:
        made = row.encoded(format)
        took = len(memoryview(made)) + 4 * len(row.key) + 4
        if (page or keys) and size + took > PAGE_BYTES:
            yield page, keys
            page, keys, size = {}, [], _ROOM
        page[row.key] = made
        size += took
    yield page, keys
