"""The JSON format: one object per WebSocket message, prices and sizes as exact decimal strings."""

from __future__ import annotations

import logging
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import Struct, field

from mdstream._core.base.decimals import parse_levels
from mdstream.candle import Candle
from mdstream.client.events import (
    BoardChange,
    BoardName,
    BoardNames,
    BoardRow,
    BoardSnapshot,
    Candles,
    Control,
    Count,
    Delta,
    Event,
    Heartbeat,
    MapPage,
    MapRow,
    PresencePage,
    PresentRow,
    Snapshot,
    Subscribed,
    Ticker,
    TopicEvent,
    TradeEntry,
    Trades,
)
from mdstream.client.protocol import Command
from mdstream.errors import ProtocolViolation
from mdstream.wording import explained

log = logging.getLogger(__name__)

TextLevels: TypeAlias = list[tuple[str, str]]
Scale: TypeAlias = tuple[int, int]

SIDES = {None: 0, "buy": 1, "sell": 2}


class TextDelta(Struct, frozen=True, tag_field="type", tag="delta"):
    sub: Count
    first: Count
    last: Count
    ts: Count
    bids: TextLevels
    asks: TextLevels
    crc: Count


class TextSnapshot(Struct, frozen=True, tag_field="type", tag="snapshot"):
    sub: Count
    epoch: Count
    seq: Count
    ts: Count
    bids: TextLevels
    asks: TextLevels
    crc: Count
    reason: str = ""


class TextTrade(Struct, frozen=True, array_like=True):
    seq: Count
    ts: Count
    price: str
    size: str
    side: str | None
    id: int | str


class TextTrades(Struct, frozen=True, tag_field="type", tag="trades"):
    sub: Count
    epoch: Count
    first: Count
    last: Count
    trades: list[TextTrade]


class TextTicker(Struct, frozen=True, tag_field="type", tag="ticker"):
    sub: Count
    epoch: Count
    seq: Count
    ts: Count
    bid: tuple[str, str] | None = None
    ask: tuple[str, str] | None = None
    last: tuple[str, str] | None = None


class TextCandle(Struct, frozen=True, array_like=True):
    start_s: Count
    rev: Count
    open: str
    high: str
    low: str
    close: str
    volume: str
    count: Count
    epoch: Count
    first_seq: Count
    last_seq: Count
    price_exp: int
    size_exp: int
    flags: Count

    def candle(self) -> Candle:
        """In ticks and lots of its own scale."""
        prices = (self.open, self.high, self.low, self.close)
        pairs = [(price, self.volume) for price in prices]
        numbers = parse_levels(pairs, self.price_exp, self.size_exp)
        open_, high, low, close = numbers[::2]
        of_trades = (self.count, self.epoch, self.first_seq, self.last_seq)
        scale = (self.price_exp, self.size_exp)
        return Candle(
            self.start_s, self.rev, open_, high, low, close, numbers[1], *of_trades, *scale, self.flags
        )


class TextCandles(Struct, frozen=True, tag_field="type", tag="candles"):
    sub: Count
    rows: list[TextCandle]
    more: bool = False


class TextEvent(Struct, frozen=True, tag_field="type", tag="event"):
    sub: Count
    topic: str
    seq: Count
    prev: Count
    time: Count
    event: str
    data: Any
    sender: str | None = None
    redelivered: bool = False


class TextHeartbeat(Struct, frozen=True, tag_field="type", tag="heartbeat"):
    time: Count
    seqs: list[tuple[Count, Count]]


class TextBoardNames(Struct, frozen=True, tag_field="type", tag="board_names"):
    sub: Count
    names: list[BoardName]


class TextBoardSnapshot(Struct, frozen=True, tag_field="type", tag="board_snapshot"):
    sub: Count
    epoch: Count
    seq: Count
    ts: Count
    rows: list[BoardRow]
    gone: list[Count]


class TextBoardChange(Struct, frozen=True, tag_field="type", tag="board"):
    sub: Count
    first: Count
    last: Count
    ts: Count
    rows: list[BoardRow]
    gone: list[Count]


class TextMap(Struct, frozen=True, tag_field="type", tag="map"):
    sub: Count
    prev: Count | None
    seq: Count
    page: Count
    pages: Count
    rows: dict[str, MapRow] = field(name="set", default_factory=dict)
    delete: list[str] = field(default_factory=list)

    def typed(self) -> MapPage:
        return MapPage(self.sub, self.prev, self.seq, self.page, self.pages, self.rows, self.delete)


class TextPresence(Struct, frozen=True, tag_field="type", tag="presence"):
    sub: Count
    prev: Count | None
    seq: Count
    page: Count
    pages: Count
    count: Count
    rows: dict[str, PresentRow] | None = field(name="set", default=None)
    delete: list[str] | None = None

    def typed(self) -> PresencePage:
        place = (self.sub, self.prev, self.seq, self.page, self.pages)
        return PresencePage(*place, self.count, self.rows, self.delete)


TextBoard: TypeAlias = TextBoardNames | TextBoardSnapshot | TextBoardChange
Text: TypeAlias = (
    TextDelta
    | TextSnapshot
    | TextTrades
    | TextTicker
    | TextCandles
    | TextEvent
    | TextHeartbeat
    | TextBoard
    | TextMap
    | TextPresence
)


class _Envelope(Struct):
    type: str


class JsonCodec:
    """Keeps the exponents from each ``subscribed`` to read the decimals of its data."""

    subprotocol = "mdstream.v1.json"
    binary = False

    def __init__(self) -> None:
        self._decoder: msgspec.json.Decoder[Text | Control] = msgspec.json.Decoder(cast(Any, Text | Control))
        self._encoder = msgspec.json.Encoder()
        self._scales: dict[int, Scale] = {}

    def decode(self, payload: bytes) -> list[Event]:
        try:
            message = self._decoder.decode(payload)
            event = self._typed(message)
        except (msgspec.DecodeError, ValueError) as error:
            if _is_unknown(payload):
                return []
            raise ProtocolViolation(f"JSON message of {len(payload)} bytes: {explained(error)}") from error
        return [] if event is None else [event]

    def encode(self, command: Command) -> bytes:
        return self._encoder.encode(command)

    def _typed(self, message: Text | Control) -> Event | None:
        if isinstance(message, TextHeartbeat):
            return Heartbeat(message.time, [number for pair in message.seqs for number in pair])
        if isinstance(message, TextCandles):
            return Candles(message.sub, [row.candle() for row in message.rows], message.more)
        if isinstance(message, TextEvent):
            return _event(message)
        if isinstance(message, TextBoard):
            return _board(message)
        if isinstance(message, TextMap | TextPresence):
            return message.typed()
        if isinstance(message, Subscribed) and message.price_exp is not None and message.size_exp is not None:
            self._scales[message.sub] = (message.price_exp, message.size_exp)
        if not isinstance(message, Text):
            return message
        scale = self._scales.get(message.sub)
        if scale is None:
            log.debug("ignoring data of subscription %d, which has had no subscribed message", message.sub)
            return None
        return _scaled(message, scale)


def _event(m: TextEvent) -> Event:
    return TopicEvent(m.sub, m.topic, m.seq, m.prev, m.time, m.event, m.data, m.sender, m.redelivered)


def _board(m: TextBoard) -> Event:
    """Its decimals stay text: the board knows the scale of each row."""
    if isinstance(m, TextBoardNames):
        return BoardNames(m.sub, m.names)
    if isinstance(m, TextBoardSnapshot):
        return BoardSnapshot(m.sub, m.epoch, m.seq, m.ts, m.rows, m.gone)
    return BoardChange(m.sub, m.first, m.last, m.ts, m.rows, m.gone)


def _scaled(message: TextDelta | TextSnapshot | TextTrades | TextTicker, scale: Scale) -> Event:
    m = message
    if isinstance(m, TextDelta):
        return Delta(m.sub, m.first, m.last, m.ts, _flat(m.bids, scale), _flat(m.asks, scale), m.crc)
    if isinstance(m, TextSnapshot):
        bids, asks = _flat(m.bids, scale), _flat(m.asks, scale)
        return Snapshot(m.sub, m.epoch, m.seq, m.ts, bids, asks, m.crc, m.reason)
    if isinstance(m, TextTicker):
        bid, ask, last = _quote(m.bid, scale), _quote(m.ask, scale), _quote(m.last, scale)
        return Ticker(m.sub, m.epoch, m.seq, m.ts, *bid, *ask, *last)
    return Trades(m.sub, m.epoch, m.first, m.last, _trades(m.trades, scale))


def _flat(levels: TextLevels, scale: Scale) -> list[int]:
    return parse_levels(levels, *scale).tolist()


def _quote(quote: tuple[str, str] | None, scale: Scale) -> tuple[int, int] | tuple[None, None]:
    if quote is None:
        return None, None
    ticks, lots = parse_levels([quote], *scale)
    return ticks, lots


def _trades(trades: list[TextTrade], scale: Scale) -> list[TradeEntry]:
    numbers = parse_levels([(trade.price, trade.size) for trade in trades], *scale)
    return [
        TradeEntry(
            trade.seq, trade.ts, numbers[2 * i], numbers[2 * i + 1], SIDES.get(trade.side, 0), trade.id
        )
        for i, trade in enumerate(trades)
    ]


def _is_unknown(payload: bytes) -> bool:
    """Whether this is a well-formed message of an unknown type."""
    known = {member.__struct_config__.tag for member in (Text | Control).__args__}
    try:
        type_name = msgspec.json.decode(payload, type=_Envelope).type
    except msgspec.DecodeError:
        return False
    if type_name in known:
        return False
    log.debug("ignoring a message of unknown type %r", type_name)
    return True
