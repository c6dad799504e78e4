"""``GET /v1/instruments``: which instruments there are, in pages, for who asks once instead of subscribing."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from mdstream.auth.entitlements import MAX_MS
from mdstream.auth.identity import Identity
from mdstream.auth.patterns import ANY, MAX_PATTERN, Pattern
from mdstream.codes import ErrorCode
from mdstream.errors import BusError, CommandError
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.control_decoder import JSON
from mdstream.gateway.listing import encode, in_pages
from mdstream.gateway.overview import Selection
from mdstream.gateway.pages import PageAnswer, Query
from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream.bus.directory import Directory
    from mdstream.gateway.open_instruments import OpenInstruments
    from mdstream.gateway.quotes import Quotes

PATH: Final = b"/v1/instruments"
MOST_ROWS: Final = 1_000
_MOST_PATTERNS: Final = 32
_SLICE: Final = 200
"""Names that are looked at before others have their turn of the loop."""
_KNOWN: Final = ("match", "after", "limit")


class InstrumentsPage:
    """The page: call it with a query."""

    def __init__(self, config: GatewayConfig, instruments: OpenInstruments, quotes: Quotes) -> None:
        self._config = config
        self._instruments = instruments
        self._quotes = quotes

    async def __call__(self, query: Query, identity: Identity) -> PageAnswer:
        for name in query:
            if name not in _KNOWN:
                raise _bad(f"{name!r:.40} is no parameter of this page; there are {', '.join(_KNOWN)}")
        selection = self._select(query.get("match", [ANY]), identity)
        after, limit = _one(query, "after", ""), _limit(_one(query, "limit", str(MOST_ROWS)))
        readers = self._instruments.readers
        if readers is None:
            raise CommandError(ErrorCode.UNAVAILABLE, "NATS is not connected; try again")
        directory = readers.directory
        directory.hold()
        try:
            await directory.ready(self._config.open_timeout_ms / 1000)
            return await self._answer(directory, selection, after, limit)
        except BusError as error:
            raise CommandError(ErrorCode.UNAVAILABLE, f"{error}; try again") from None
        finally:
            directory.release()

    def _select(self, texts: list[str], identity: Identity) -> Selection:
        """Raises CommandError ``bad_value``, or ``not_entitled``."""
        if len(texts) > _MOST_PATTERNS:
            raise _bad(f"match is given {len(texts)} times; {_MOST_PATTERNS} are allowed")
        try:
            patterns = [Pattern.parse(text) for text in texts]
        except ValueError as error:
            raise _bad(f"match {error}") from None
        scope = identity.entitlements.scope(Channel.INSTRUMENTS, MAX_MS, self._config.delay_ms)
        for text, pattern in zip(texts, patterns, strict=True):
            if not any(map(pattern.overlaps, scope)):
                raise CommandError(
                    ErrorCode.NOT_ENTITLED, f"no instrument of {text} is among those that you may list"
                )
        return Selection(patterns, scope)

    async def _answer(self, directory: Directory, selection: Selection, after: str, limit: int) -> PageAnswer:
        found = await _find(directory.names, selection, after, limit + 1)
        refs = directory.refs
        listed = [self._quotes.list(name, refs[name]) for name in found if name in refs]
        rows = next(in_pages(JSON, listed[:limit]))
        more = len(rows) < len(listed)
        following = listed[len(rows) - 1].name if more and rows else None
        return PageAnswer(encode(JSON, {"rows": rows, "next": following}))


async def _find(names: list[str], selection: Selection, after: str, most: int) -> list[str]:
    """The first so many names of a selection, in order."""
    found: list[str] = []
    for number in range(bisect_right(names, after) if after else 0, len(names)):
        if selection.takes(names[number]):
            found.append(names[number])
            if len(found) == most:
                break
        if number % _SLICE == 0:
            await asyncio.sleep(0)
    return found


def _one(query: Query, name: str, default: str) -> str:
    values = query.get(name, [default])
    if len(values) > 1:
        raise _bad(f"{name} is given {len(values)} times")
    if len(values[0]) > MAX_PATTERN:
        raise _bad(f"{name} is longer than any name")
    return values[0]


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MOST_ROWS:
        raise _bad(f"limit is {text!r:.40}; it must be 1 to {MOST_ROWS}")
    return int(text)


def _bad(message: str) -> CommandError:
    return CommandError(ErrorCode.BAD_VALUE, message)
