"""The gateway's messages as typed values: one type per message of the contract, the same for both formats.

Prices and sizes are ticks and lots, levels are flat (``[ticks, lots, …]``, best first), times are integer µs since the
Unix epoch. The fields of a data message have the order of its MessagePack array, so msgspec decodes it directly. Unknown
keys and trailing elements are ignored, so that a newer gateway can send more.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct, field

from mdstream.candle import Candle
from mdstream.codes import ErrorCode
from mdstream.model import MAX_NUMBER

Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
"""A number that is never negative: seq, epoch, time, subscription."""


class Delta(Struct, frozen=True, array_like=True, tag=1):
    """The changes of a view from ``first - 1`` to ``last``; lots 0 deletes a level."""

    sub: Count
    first: Count
    last: Count
    ts_us: Count
    bids: list[int]
    asks: list[int]
    crc: Count

    def __post_init__(self) -> None:
        _require_pairs(bids=self.bids, asks=self.asks)
        _require_order(self.first, self.last)


class Snapshot(Struct, frozen=True, array_like=True, tag=2):
    """The whole view at ``seq``; it replaces the client's view."""

    sub: Count
    epoch: Count
    seq: Count
    ts_us: Count
    bids: list[int]
    asks: list[int]
    crc: Count
    reason: str

    def __post_init__(self) -> None:
        _require_pairs(bids=self.bids, asks=self.asks)


class TradeEntry(Struct, frozen=True, array_like=True):
    """One trade; ``side`` is 1 (buyer took), 2 (seller took) or 0 (unknown)."""

    seq: Count
    ts_us: Count
    price_ticks: int
    size_lots: int
    side: int
    trade_id: int | str


class Trades(Struct, frozen=True, array_like=True, tag=3):
    """All trades from ``first`` to ``last``, in order. If ``last`` is ``first - 1``, there is no trade after ``last``."""

    sub: Count
    epoch: Count
    first: Count
    last: Count
    trades: list[TradeEntry]

    def __post_init__(self) -> None:
        _require_order(self.first, self.last + 1)
        if [trade.seq for trade in self.trades] != list(range(self.first, self.last + 1)):
            raise ValueError(f"the trades are not number {self.first} to {self.last}, each once and in order")


class Ticker(Struct, frozen=True, array_like=True, tag=4):
    """Best bid, best ask and last trade; None if there is none."""

    sub: Count
    epoch: Count
    seq: Count
    ts_us: Count
    bid_ticks: int | None
    bid_lots: int | None
    ask_ticks: int | None
    ask_lots: int | None
    last_ticks: int | None
    last_lots: int | None


class Candles(Struct, frozen=True, array_like=True, tag=10):
    """Candles that are new or have changed; after ``subscribed`` the history, oldest first. ``more``: it goes on in the next message."""

    sub: Count
    rows: list[Candle]
    more: bool = False


class TopicEvent(Struct, frozen=True, array_like=True, tag=11):
    """An event of a topic; ``prev``: the number of the one before it, 0 where that is not known."""

    sub: Count
    topic: str
    seq: Count
    prev: Count
    time_us: Count
    event: str
    data: Any
    sender: str | None = None
    redelivered: bool = False


class Heartbeat(Struct, frozen=True, array_like=True, tag=5):
    """``seqs`` is flat, ``[sub, seq, …]``: the newest seq sent for each subscription without messages since the last heartbeat."""

    time_us: Count
    seqs: list[Count]

    def __post_init__(self) -> None:
        _require_pairs(seqs=self.seqs)


class BoardName(Struct, frozen=True, array_like=True):
    """What an index of a board's rows stands for."""

    index: Count
    instrument: str
    price_exp: int
    size_exp: int


Number: TypeAlias = int | str | None
"""Ticks or lots, or the decimal value as text, where JSON has that; None if there is none."""


class BoardRow(Struct, frozen=True, array_like=True):
    """A whole row; ``since_us`` is the oldest trade in open, high, low and volume, 0: there is none."""

    index: Count
    state: int
    bid: Number
    ask: Number
    last: Number
    open: Number
    high: Number
    low: Number
    volume: Number
    since_us: Count


class BoardNames(Struct, frozen=True, array_like=True, tag=7):
    sub: Count
    names: list[BoardName]


class BoardSnapshot(Struct, frozen=True, array_like=True, tag=8):
    """The whole board at ``seq``; it replaces the client's rows."""

    sub: Count
    epoch: Count
    seq: Count
    ts_us: Count
    rows: list[BoardRow]
    gone: list[Count]


class BoardChange(Struct, frozen=True, array_like=True, tag=9):
    """The rows that changed from ``first - 1`` to ``last``, and the indices that are gone."""

    sub: Count
    first: Count
    last: Count
    ts_us: Count
    rows: list[BoardRow]
    gone: list[Count]

    def __post_init__(self) -> None:
        _require_order(self.first, self.last)


class MapRow(Struct, frozen=True, array_like=True):
    """What a key of a map holds; ``rev`` is the number of the change that set it."""

    value: Any
    rev: Count
    by: str | None
    ts_us: Count


class MapPage(Struct, frozen=True, array_like=True, tag=12):
    """A page of a message that leads a map from ``prev`` (None: from nothing) to ``seq``."""

    sub: Count
    prev: Count | None
    seq: Count
    page: Count
    pages: Count
    rows: dict[str, MapRow]
    delete: list[str]


class PresentRow(Struct, frozen=True, array_like=True):
    """A session that is present."""

    user: str
    since_us: Count
    info: Any = None


class PresencePage(Struct, frozen=True, array_like=True, tag=13):
    """As ``MapPage``, of who is present; ``rows`` and ``delete`` are None where only the count is told."""

    sub: Count
    prev: Count | None
    seq: Count
    page: Count
    pages: Count
    count: Count
    rows: dict[str, PresentRow] | None = None
    delete: list[str] | None = None


class Welcome(Struct, frozen=True, tag_field="type", tag="welcome"):
    version: int
    heartbeat_ms: Annotated[int, Meta(gt=0)]
    node: str = ""
    session: str = ""
    time: Count = 0
    limits: dict[str, Any] = field(default_factory=dict)
    healthy_ms: Annotated[int, Meta(ge=0)] | None = None
    """How long a connection must last to count as a success; None: the gateway does not say."""
    resumes: frozenset[str] = frozenset({"book", "trades"})
    """Channels of which a subscription may go on from a number. A gateway that does not say resumes no others."""


class Subscribed(Struct, frozen=True, tag_field="type", tag="subscribed"):
    """``instruments``: the patterns of a list or a board, which has no instrument and no scale of its own."""

    sub: Count
    channel: str
    instrument: str = ""
    price_exp: int | None = None
    size_exp: int | None = None
    id: int | str | None = None
    depth: int = 0
    group: int = 1
    interval_ms: int = 0
    resumed: bool = False
    ref: dict[str, Any] = field(default_factory=dict)
    delay_ms: int = 0
    instruments: list[str] | None = None
    span: str = ""
    topic: str = ""
    """Of events, maps and presence, which have no instrument."""
    acknowledge: str = "none"
    position: Count | None = None
    newest: Count = 0
    epoch: Count = 0

    def __post_init__(self) -> None:
        if (
            not self.topic
            and self.instruments is None
            and (not self.instrument or self.price_exp is None or self.size_exp is None)
        ):
            raise ValueError("subscribed names no instrument and its scale, nor instruments or a topic")


class InstrumentRow(Struct, frozen=True):
    """An instrument of a list; ``state`` is ``unknown`` where the gateway does not read it."""

    instrument: str
    price_exp: int
    size_exp: int
    state: str
    ref: dict[str, Any] = field(default_factory=dict)
    epoch: Count = 0
    code: str | None = None
    since: Count = 0


class Instruments(Struct, frozen=True, tag_field="type", tag="instruments"):
    """A page of a list; the first one begins the list anew, the last one has the list's number."""

    sub: Count
    page: Count
    more: bool
    rows: list[InstrumentRow]
    seq: Count = 0


class InstrumentsChanged(Struct, frozen=True, tag_field="type", tag="instruments_changed"):
    sub: Count
    rows: list[InstrumentRow]
    gone: list[str]
    first: Count
    last: Count

    def __post_init__(self) -> None:
        _require_order(self.first, self.last)


class Lost(Struct, frozen=True, tag_field="type", tag="lost"):
    """The gateway has not sent the trades ``first`` to ``last`` to this client, and will not send them without ``recover``."""

    sub: Count
    first: Count
    last: Count


class Acknowledged(Struct, frozen=True, tag_field="type", tag="acknowledged"):
    """All events up to ``seq`` are acknowledged, and it is stored."""

    sub: Count
    seq: Count


class Recovered(Struct, frozen=True, tag_field="type", tag="recovered"):
    """The end of an answer to ``recover`` of events; ``more``: others follow ``last``, and can be asked for."""

    sub: Count
    last: Count
    more: bool = False
    id: int | str | None = None


class Published(Struct, frozen=True, tag_field="type", tag="published"):
    """An event is stored under ``seq``; ``duplicate``: it was before."""

    topic: str
    seq: Count
    duplicate: bool = False
    id: int | str | None = None


class RefChange(Struct, frozen=True, tag_field="type", tag="ref"):
    """The reference data changed; the exponents never do."""

    sub: Count
    ref: dict[str, Any]


class StateChange(Struct, frozen=True, tag_field="type", tag="state"):
    """``age_ms`` is the age of the venue's last word when the gateway sent this."""

    sub: Count
    state: str
    since: Count | None = None
    reason: str | None = None
    code: str | None = None
    age_ms: Count | None = None


class Unsubscribed(Struct, frozen=True, tag_field="type", tag="unsubscribed"):
    subs: list[Count]
    id: int | str | None = None
    reason: str | None = None


class Drain(Struct, frozen=True, tag_field="type", tag="drain"):
    reconnect_after_ms: Count = 0
    deadline_ms: Count = 0


class Refused(Struct, frozen=True, tag_field="type", tag="error"):
    """The gateway refused a command (message type ``error``)."""

    code: str
    message: str = ""
    id: int | str | None = None
    current: dict[str, MapRow | None] | None = None
    """Of a `put` with the code `conflict`: what the expected keys hold."""

    @property
    def before_welcome(self) -> bool:
        """Whether it may be the first message: of a gateway that says so what is wrong with a credential, and closes."""
        return self.code == ErrorCode.UNAUTHORIZED


class Stored(Struct, frozen=True, tag_field="type", tag="stored"):
    """The answer to a ``put`` that was applied."""

    topic: str
    seq: Count
    id: int | str | None = None


class Pong(Struct, frozen=True, tag_field="type", tag="pong"):
    id: int | str | None = None
    data: Any = None
    time: Count = 0


class TokenExpiring(Struct, frozen=True, tag_field="type", tag="token_expiring"):
    """The session ends at ``expires`` unless ``auth`` brings a fresh token before."""

    expires: Count | None = None


class Authenticated(Struct, frozen=True, tag_field="type", tag="authenticated"):
    """The answer to ``auth``."""

    id: int | str | None = None
    expires: Count | None = None


Update: TypeAlias = Delta | Snapshot | Trades | Ticker | Candles
BoardData: TypeAlias = BoardNames | BoardSnapshot | BoardChange
KeyedData: TypeAlias = MapPage | PresencePage
Data: TypeAlias = Update | BoardData | KeyedData | Heartbeat | TopicEvent
TopicData: TypeAlias = TopicEvent | Acknowledged | Recovered
ListData: TypeAlias = Instruments | InstrumentsChanged
Control: TypeAlias = (
    Welcome
    | Subscribed
    | Lost
    | RefChange
    | StateChange
    | Unsubscribed
    | Drain
    | Refused
    | Stored
    | Pong
    | TokenExpiring
    | Authenticated
    | Instruments
    | InstrumentsChanged
    | Acknowledged
    | Recovered
    | Published
)
Event: TypeAlias = Data | Control
Answer: TypeAlias = Published | Stored | Refused | None
"""To a command that somebody waits for; None: the connection was lost before."""


def live_ts_us(event: Update) -> int | None:
    """The event time of what has just happened; None for a snapshot, for no trades and for candles."""
    if isinstance(event, Trades):
        return event.trades[-1].ts_us if event.trades else None
    return None if isinstance(event, Snapshot | Candles) else event.ts_us


def _require_pairs(**lists: list[int]) -> None:
    for name, numbers in lists.items():
        if len(numbers) % 2:
            raise ValueError(f"{name} has {len(numbers)} numbers; they come in pairs")


def _require_order(first: int, last: int) -> None:
    if first > last:
        raise ValueError(f"first {first} is greater than last {last}")
