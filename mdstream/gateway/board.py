"""A board: the newest prices of many instruments, as numbered messages that hold only what changed; without I/O.

The ``source`` of a composed topic. A row has an index, which names an instrument in one scale for as long as the board lives.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from mdstream._core.base.decimals import format_decimal
from mdstream.gateway.composed_rows import ComposedRows
from mdstream.gateway.control_decoder import JSON

_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode

NAMES: Final = 7
SNAPSHOT: Final = 8
CHANGES: Final = 9
"""The first number of each MessagePack message."""
UNKNOWN: Final = 0
"""The state of an instrument that is not read here (yet)."""


class Quote(NamedTuple):
    """What a row shows: prices in ticks, ``volume`` in lots, None where there is none."""

    state: int
    bid: int | None = None
    ask: int | None = None
    last: int | None = None
    open: int | None = None
    high: int | None = None
    low: int | None = None
    volume: int | None = None
    since_us: int = 0


class _Row:
    """One state of a row, encoded when it is first asked for."""

    __slots__ = ("_made", "index", "name", "quote", "scale")

    def __init__(self, index: int, name: str, scale: tuple[int, int], quote: Quote) -> None:
        self.index = index
        self.name = name
        self.scale = scale
        self.quote = quote
        self._made: list[msgspec.Raw | None] = [None, None]

    def encoded(self, format: int) -> msgspec.Raw:
        made = self._made[format]
        if made is None:
            made = msgspec.Raw(_to_json(self._texts()) if format == JSON else _to_msgpack(self._numbers()))
            self._made[format] = made
        return made

    def _numbers(self) -> list[int | None]:
        return [self.index, *self.quote]

    def _texts(self) -> list[int | str | None]:
        price_exp, size_exp = self.scale
        state, *prices, volume, since_us = self.quote
        texts = [None if ticks is None else format_decimal(ticks, price_exp) for ticks in prices]
        return [
            self.index,
            state,
            *texts,
            None if volume is None else format_decimal(volume, size_exp),
            since_us,
        ]


class Board(ComposedRows[int, _Row]):
    """``set`` and ``remove`` instruments, then ``commit``."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch
        self.ts_us = 0
        """Event time of the newest data in it."""
        self._indices: dict[str, int] = {}
        self._named: dict[int, int] = {}
        """By index, the number at which it came; the newest last."""
        self._next = 0

    def names(self) -> list[str]:
        return list(self._indices)

    # ---- what it shows

    def set(self, name: str, scale: tuple[int, int], quote: Quote) -> None:
        """What an instrument shows now. Another scale comes under another index."""
        index = self._indices.get(name)
        row = None if index is None else self._log.find(index)
        if row is not None and row.scale != scale:
            self.remove(name)
            row = None
        if row is None:
            index = self._indices[name] = self._next
            self._next += 1
            self._named[index] = self._log.seq + 1
        elif row.quote == quote:
            return
        else:
            index = row.index
        self._put(index, _Row(index, name, scale, quote))

    def remove(self, name: str) -> None:
        index = self._indices.pop(name, None)
        if index is not None:
            self._log.remove(index)
            del self._named[index]

    def commit(self, ts_us: int) -> bool:
        """Whether anything has changed; it then has the next number."""
        if not self._commit():
            return False
        self.ts_us = max(self.ts_us, ts_us)
        return True

    # ---- for its topic

    def _make(self, format: int, since: int | None) -> list[bytes]:
        changed = self._log.rows() if since is None else self._log.changed(since)
        rows = [row for _, row in sorted(changed)]
        new = [row for row in rows if since is None or self._named[row.index] > since]
        names = [[row.index, row.name, *row.scale] for row in new]
        encoded = [row.encoded(format) for row in rows]
        gone = [] if since is None else sorted(self._log.gone(since))
        if format == JSON:
            head = [_to_json({"type": "board_names", "sub": self.sub, "names": names})] if names else []
            return [*head, _to_json(self._map(since, encoded, gone))]
        packed = _to_msgpack([NAMES, self.sub, names]) if names else b""
        return [packed + _to_msgpack(self._array(since, encoded, gone))]

    def _map(self, since: int | None, rows: list[msgspec.Raw], gone: list[int]) -> dict[str, Any]:
        rest = {"ts": self.ts_us, "rows": rows, "gone": gone}
        if since is None:
            head = {"type": "board_snapshot", "sub": self.sub, "epoch": self.epoch, "seq": self.seq}
        else:
            head = {"type": "board", "sub": self.sub, "first": since + 1, "last": self.seq}
        return head | rest

    def _array(self, since: int | None, rows: list[msgspec.Raw], gone: list[int]) -> list[Any]:
        if since is None:
            return [SNAPSHOT, self.sub, self.epoch, self.seq, self.ts_us, rows, gone]
        return [CHANGES, self.sub, since + 1, self.seq, self.ts_us, rows, gone]
