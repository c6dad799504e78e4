"""The Python client: local order books, trades and tickers that stay equal to the gateway's.

::

    async with connect("ws://127.0.0.1:8080/v1/stream") as client:
        book = await client.book("SIM:BTC-USD", depth=20)
        async for update in book:
            print(book.seq, book.best_bid, book.best_ask)

See ``docs/client.md``.
"""

import mdstream._core  # noqa: F401 - first, because it tells when it is not built
from mdstream.auth.client_key import ClientKey
from mdstream.candle import Candle
from mdstream.client.alerts import Alerts, Crossing
from mdstream.client.api import Client
from mdstream.client.board import Board, BoardRow, BoardUpdate
from mdstream.client.book import Book, BookUpdate
from mdstream.client.candles import Candles, CandleUpdate
from mdstream.client.client import DEFAULT_URL, connect
from mdstream.client.events import Published
from mdstream.client.lined import LinedBook, LinedTicker, LinedTrades, LineReport
from mdstream.client.lined_candles import LinedCandles
from mdstream.client.listing import InstrumentList, ListedInstrument, ListUpdate
from mdstream.client.map import Map, MapEntry, MapUpdate
from mdstream.client.policy import Policy
from mdstream.client.presence import Presence, PresenceUpdate, Present
from mdstream.client.states import ConnectionState, Stats, SubscriptionState
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Subscription
from mdstream.client.ticker import Ticker, TickerUpdate
from mdstream.client.topic_events import Event, Events
from mdstream.client.trades import Trade, Trades
from mdstream.errors import (
    ClientError,
    ConnectionFailed,
    ConnectionLost,
    HandshakeRefused,
    ProtocolViolation,
    PublishRefused,
    PutConflict,
    PutRefused,
    SubscriptionRefused,
)

__all__ = [
    "DEFAULT_URL",
    "Alerts",
    "Board",
    "BoardRow",
    "BoardUpdate",
    "Book",
    "BookUpdate",
    "Candle",
    "CandleUpdate",
    "Candles",
    "Client",
    "ClientError",
    "ClientKey",
    "ConnectionFailed",
    "ConnectionLost",
    "ConnectionState",
    "Crossing",
    "Event",
    "Events",
    "HandshakeRefused",
    "InstrumentList",
    "LineReport",
    "LinedBook",
    "LinedCandles",
    "LinedTicker",
    "LinedTrades",
    "ListUpdate",
    "ListedInstrument",
    "Map",
    "MapEntry",
    "MapUpdate",
    "Policy",
    "Presence",
    "PresenceUpdate",
    "Present",
    "ProtocolViolation",
    "PublishRefused",
    "Published",
    "PutConflict",
    "PutRefused",
    "Stats",
    "Subscription",
    "SubscriptionRefused",
    "SubscriptionState",
    "Ticker",
    "TickerUpdate",
    "Trade",
    "Trades",
    "UpdateStream",
    "connect",
]
