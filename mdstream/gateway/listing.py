"""A list of instruments with their reference data and state, in pages and then as what changed; without I/O.

The ``source`` of a composed topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from mdstream.gateway import messages
from mdstream.gateway.composed_rows import ComposedRows
from mdstream.gateway.control_decoder import JSON
from mdstream.model import Ref, State, StateCode

_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode

PAGE_BYTES: Final = 65_536
UNKNOWN: Final = "unknown"
"""The state of an instrument that is not read here."""
_ROOM: Final = 256
"""Of a page, for what is not rows."""


class Listed:
    """One state of an instrument in lists. All lists share it, and it is encoded once."""

    __slots__ = ("_made", "code", "name", "ref", "since_us", "state")

    def __init__(
        self,
        name: str,
        ref: Ref,
        state: State | None = None,
        code: StateCode | None = None,
        since_us: int = 0,
    ) -> None:
        self.name = name
        self.ref = ref
        self.state = state
        self.code = code
        self.since_us = since_us
        self._made: list[msgspec.Raw | None] = [None, None]

    def is_still(self, ref: Ref, state: State | None, code: StateCode | None, since_us: int) -> bool:
        same = self.state is state and self.code is code and self.since_us == since_us
        return same and (self.ref is ref or self.ref == ref)

    def encoded(self, format: int) -> msgspec.Raw:
        made = self._made[format]
        if made is None:
            made = msgspec.Raw(_to_json(self.row()) if format == JSON else _to_msgpack(self.row()))
            self._made[format] = made
        return made

    def row(self) -> messages.Message:
        return {
            "instrument": self.name,
            "price_exp": self.ref.price_exp,
            "size_exp": self.ref.size_exp,
            "ref": messages.reference(self.ref),
            "epoch": self.ref.epoch,
            "state": self.state or UNKNOWN,
            "code": self.code,
            "since": self.since_us,
        }


class Listing(ComposedRows[str, Listed]):
    """``set`` and ``remove`` instruments, then ``commit``."""

    def names(self) -> list[str]:
        return self._log.keys()

    def has(self, name: str) -> bool:
        return name in self._log

    # ---- what it shows

    def set(self, listed: Listed) -> None:
        if self._log.find(listed.name) is not listed:
            self._put(listed.name, listed)

    def remove(self, name: str) -> None:
        self._log.remove(name)

    def commit(self) -> bool:
        """Whether anything has changed; it then has the next number."""
        return self._commit()

    # ---- for its topic

    def _make(self, format: int, since: int | None) -> list[bytes]:
        """Where the changes would be too large: all pages."""
        changes = [] if since is None else self._changes(format, since)
        return changes or self._pages(format)

    def _changes(self, format: int, since: int) -> list[bytes]:
        rows = [listed.encoded(format) for _, listed in sorted(self._log.changed(since), key=_name)]
        message = {
            "type": "instruments_changed",
            "sub": self.sub,
            "rows": rows,
            "gone": sorted(self._log.gone(since)),
            "first": since + 1,
            "last": self.seq,
        }
        whole = encode(format, message)
        return [whole] if len(whole) <= PAGE_BYTES else []

    def _pages(self, format: int) -> list[bytes]:
        pages = list(in_pages(format, (listed for _, listed in sorted(self._log.rows(), key=_name))))
        made = []
        for number, rows in enumerate(pages, 1):
            more = number < len(pages)
            page = {"type": "instruments", "sub": self.sub, "page": number, "more": more, "rows": rows}
            made.append(encode(format, page if more else page | {"seq": self.seq}))
        return made


def in_pages(format: int, listed: Iterable[Listed]) -> Iterator[list[msgspec.Raw]]:
    """The rows of one page after the other; at least one page, of no rows if there are none."""
    page: list[msgspec.Raw] = []
    size, is_first = _ROOM, True
    for each in listed:
        row = each.encoded(format)
        took = len(memoryview(row)) + 1
        if page and size + took > PAGE_BYTES:
            yield page
            page, size, is_first = [], _ROOM, False
        page.append(row)
        size += took
    if page or is_first:
        yield page


def encode(format: int, message: dict[str, Any]) -> bytes:
    """As ``messages.encode``; the message may hold encoded rows."""
    return _to_json(message) if format == JSON else _to_msgpack(message)


def _name(item: tuple[str, Listed]) -> str:
    return item[0]
