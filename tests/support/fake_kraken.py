"""Kraken on loopback: version 2 of its API for one pair, whose book changes when a test says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from zlib import crc32

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

Levels = dict[Decimal, Decimal]

PAIR = "BTC/USD"
OTHER = "ETH/USD"
DEPTH = 10
D = Decimal


class _Client(WSListener):
    def __init__(self, venue: FakeKraken) -> None:
        self._venue = venue

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._venue.client = transport
        self._venue.connections += 1

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self._venue.on_request(json.loads(frame.get_payload_as_bytes()))
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._venue.client is transport:
            self._venue.client = None


class FakeKraken:
    """A venue with one pair, one price decimal and three size decimals, whose book changes when the test says so."""

    def __init__(self) -> None:
        self.client: WSTransport | None = None
        self.connections = 0
        self.requests: list[dict[str, Any]] = []
        self.subscribed = False
        self.precision = (1, 3)
        self.bids: Levels = {D(100) - i: D(1) for i in range(DEPTH)}
        self.asks: Levels = {D(101) + i: D("2.5") for i in range(DEPTH)}
        self.trades = 0
        self.refusals: list[str] = []
        """What the next requests for a book are refused with."""
        self.spoiled = 0
        """How many of the next snapshots have a wrong checksum."""
        self.crossed = 0
        """How many of the next snapshots are crossed."""
        self.pairs = [PAIR, OTHER]
        self.update: dict[str, Any] = {}
        """The last update of the book that was told."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await ws_create_server(self._accept, "127.0.0.1", 0)
        try:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"
        finally:
            server.close()
            if self.client is not None:
                self.client.disconnect()

    def _accept(self, _: WSUpgradeRequest) -> WSListener:
        self.subscribed = False
        return _Client(self)

    def on_request(self, request: dict[str, Any]) -> None:
        self.requests.append(request)
        params = request["params"]
        if self.refusals and (request["method"], params["channel"]) == ("subscribe", "book"):
            error = self.refusals.pop(0)
            self.tell({"method": "subscribe", "success": False, "error": error, "symbol": PAIR})
            return
        answer = {"channel": params["channel"], "symbol": PAIR}
        self.tell({"method": request["method"], "success": True, "result": answer})
        if params["channel"] == "instrument":
            self.tell_pairs("online")
        elif params["channel"] == "book":
            self.subscribed = request["method"] == "subscribe"
            if self.subscribed:
                self.tell_snapshot()
        elif params["channel"] == "trade":
            self.tell_trades("snapshot", range(max(self.trades - 2, 0), self.trades))

    def tell_snapshot(self) -> None:
        if self.crossed:
            self.crossed -= 1
            bids, self.bids = self.bids, self.bids | {D(500): D(1)}
            self.tell_book("snapshot", self.bids, self.asks)
            self.bids = bids
            return
        self.spoiled, spoil = max(self.spoiled - 1, 0), self.spoiled > 0
        self.tell_book("snapshot", self.bids, self.asks, spoil=spoil)

    def asked(self, channel: str) -> list[str]:
        """The methods of all requests for a channel."""
        return [each["method"] for each in self.requests if each["params"]["channel"] == channel]

    # ---- what the test makes happen

    def hang_up(self) -> None:
        """From here on nothing is told, until the handler is back."""
        client, self.client = self.client, None
        assert client is not None
        client.disconnect()

    def tell(self, message: dict[str, Any]) -> None:
        if self.client is not None:
            text = json.dumps(message, default=float)
            self.client.send(WSMsgType.TEXT, text.encode())

    def tell_pairs(self, status: str) -> None:
        pair = {
            "symbol": PAIR,
            "status": status,
            "price_precision": self.precision[0],
            "qty_precision": self.precision[1],
            "price_increment": D(1).scaleb(-self.precision[0]),
            "qty_increment": D(1).scaleb(-self.precision[1]),
        }
        pairs = [pair | {"symbol": name} for name in self.pairs]
        self.tell({"channel": "instrument", "type": "snapshot", "data": {"assets": [], "pairs": pairs}})

    def tell_system(self, system: str) -> None:
        self.tell({"channel": "status", "type": "update", "data": [{"system": system, "version": "2.0.0"}]})

    def tell_trades(self, kind: str, ids: range, price: float = 101.0) -> None:
        trades = [
            {
                "symbol": PAIR,
                "side": "buy",
                "price": price,
                "qty": 0.005,
                "trade_id": number + 1,
                "timestamp": "2024-05-06T07:08:09.123456789Z",
            }
            for number in ids
        ]
        self.tell({"channel": "trade", "type": kind, "data": trades})

    def trade(self, price: float = 101.0) -> None:
        self.trades += 1
        self.tell_trades("update", range(self.trades - 1, self.trades), price)

    def change(self, bids: Levels | None = None, asks: Levels | None = None, *, spoil: bool = False) -> None:
        """The book changes and, as with this venue, what falls beyond the depth is forgotten without a word."""
        for side, changes, best_last in ((self.bids, bids or {}, True), (self.asks, asks or {}, False)):
            side.update(changes)
            for price in [price for price, size in side.items() if not size]:
                del side[price]
            for price in sorted(side, reverse=best_last)[DEPTH:]:
                del side[price]
        if self.subscribed:
            self.tell_book("update", bids or {}, asks or {}, spoil=spoil)

    def tell_book(self, kind: str, bids: Levels, asks: Levels, *, spoil: bool = False) -> None:
        sides = [[{"price": price, "qty": size} for price, size in side.items()] for side in (bids, asks)]
        sides[0].sort(key=lambda level: -level["price"])
        data = {
            "symbol": PAIR,
            "bids": sides[0],
            "asks": sorted(sides[1], key=lambda level: level["price"]),
            "checksum": self.checksum() ^ spoil,
            "timestamp": "2024-05-06T07:08:09.123456Z",
        }
        message = {"channel": "book", "type": kind, "data": [data]}
        if kind == "update":
            self.update = message
        self.tell(message)

    async def repeat(self, pause_s: float) -> None:
        """Says again and again what it has said already, until cancelled."""
        while True:
            self.tell(self.update)
            if self.trades:
                self.tell_trades("update", range(self.trades - 1, self.trades))
            self.tell_snapshot()
            await asyncio.sleep(pause_s)

    def checksum(self) -> int:
        def digits(number: Decimal, decimals: int) -> str:
            return f"{number:.{decimals}f}".replace(".", "").lstrip("0")

        levels = sorted(self.asks.items())[:10] + sorted(self.bids.items(), reverse=True)[:10]
        price, size = self.precision
        return crc32("".join(digits(p, price) + digits(s, size) for p, s in levels).encode())
