"""``GET /v1/candles``: candles of one instrument and span, for who asks once instead of subscribing."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import msgspec

from mdstream.auth.identity import Identity
from mdstream.auth.patterns import MAX_PATTERN
from mdstream.candle import SPANS
from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway.candle_log import json_row
from mdstream.gateway.candle_topics import INTERVAL_MS, CandleTopics
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.entitled import check_instruments
from mdstream.gateway.pages import PageAnswer, Query
from mdstream.model import MAX_NUMBER, Channel

PATH: Final = b"/v1/candles"
MOST_ROWS: Final = 1_000
_KNOWN: Final = ("instrument", "span", "from", "to", "limit")

_to_json = msgspec.json.Encoder().encode


class _Asked(NamedTuple):
    instrument: str
    span: str
    from_s: int
    to_s: int
    limit: int


class CandlesPage:
    """The page: call it with a query."""

    def __init__(self, config: GatewayConfig, topics: CandleTopics) -> None:
        self._config = config
        self._topics = topics

    async def __call__(self, query: Query, identity: Identity) -> PageAnswer:
        asked = _read(query)
        check_instruments(
            identity.entitlements, Channel.CANDLES, (asked.instrument,), INTERVAL_MS, self._config.delay_ms
        )
        try:
            async with asyncio.timeout(self._config.open_timeout_ms / 1000):
                found = await self._topics.open(asked.instrument, asked.span)
        except TimeoutError:
            raise CommandError(
                ErrorCode.UNAVAILABLE, f"the candles of {asked.instrument} cannot be read now; try again"
            ) from None
        candles, following = found.source.between(asked.from_s, asked.to_s, asked.limit)
        answer = {"instrument": asked.instrument, "span": asked.span, "rows": list(map(json_row, candles))}
        return PageAnswer(_to_json({**answer, "next": following}))


def _read(query: Query) -> _Asked:
    """Raises CommandError ``bad_value``."""
    for name, values in query.items():
        if name not in _KNOWN:
            raise _bad(f"{name!r:.40} is no parameter of this page; there are {', '.join(_KNOWN)}")
        if len(values) > 1:
            raise _bad(f"{name} is given {len(values)} times")
    given = {name: values[0] for name, values in query.items()}
    instrument, span = given.get("instrument", ""), given.get("span", "")
    if not 0 < len(instrument) <= MAX_PATTERN:
        raise _bad("instrument is missing, or longer than any name")
    if span not in SPANS:
        raise _bad(f"span is {span!r:.40}; it must be one of {', '.join(SPANS)}")
    from_s, to_s = _number(given, "from", 0, MAX_NUMBER, 0), _number(given, "to", 0, MAX_NUMBER, MAX_NUMBER)
    return _Asked(instrument, span, from_s, to_s, _number(given, "limit", 1, MOST_ROWS, MOST_ROWS))


def _number(given: dict[str, str], name: str, least: int, most: int, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16) or not least <= int(text) <= most:
        raise _bad(f"{name} is {text!r:.40}; it must be a whole number from {least} to {most}")
    return int(text)


def _bad(message: str) -> CommandError:
    return CommandError(ErrorCode.BAD_VALUE, message)
