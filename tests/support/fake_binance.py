"""Binance on loopback: the streams and the REST API of one symbol, whose book changes when a test says so."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

Levels = dict[str, str]


class _Client(WSListener):
    def __init__(self, venue: FakeBinance) -> None:
        self._venue = venue

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._venue.clients.append(transport)
        self._venue.connections += 1
        self._venue.news.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._venue.clients.remove(transport)
        self._venue.news.set()


class FakeBinance:
    """A venue with one symbol whose book changes when the test says so."""

    def __init__(self) -> None:
        self.clients: list[WSTransport] = []
        self.connections = 0
        self.news = asyncio.Event()
        self.update_id = 1000
        self.trade_id = 0
        self.time_ms = 1_700_000_000_000
        self.bids: Levels = {"100.00": "1.0", "99.50": "2.0"}
        self.asks: Levels = {"100.50": "1.5"}
        self.answers: list[bytes] = []
        """Snapshots to answer with before the current one."""
        self.snapshots = 0
        self.paths: list[str] = []
        self.requests: list[str] = []
        self.status = "TRADING"
        self.tick = "0.50000000"
        self.traded: list[dict[str, Any]] = []
        self.keeps_trades = True
        self.diff: dict[str, Any] = {}
        """The last that was told."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[str, str]]:
        streams = await ws_create_server(self._accept, "127.0.0.1", 0)
        rest = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        try:
            ports = [server.sockets[0].getsockname()[1] for server in (streams, rest)]
            yield f"ws://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        finally:
            streams.close()
            rest.close()
            for client in list(self.clients):
                client.disconnect()

    def _accept(self, request: WSUpgradeRequest) -> WSListener:
        self.paths.append(request.path.decode())
        return _Client(self)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        path = request.split()[1].decode()
        self.requests.append(path)
        query = urllib.parse.parse_qs(urllib.parse.urlparse(path).query)
        if path.startswith("/api/v3/depth?symbol=BTCUSDT&"):
            body = self._depth(int(query["limit"][0]))
        elif path.startswith("/api/v3/historicalTrades?symbol=BTCUSDT&"):
            body = self._past_trades(int(query["fromId"][0]), int(query["limit"][0]))
        else:
            body = self._info()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    def _info(self) -> bytes:
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": self.tick},
            {"filterType": "LOT_SIZE", "stepSize": "0.10000000"},
        ]
        return json.dumps(
            {"symbols": [{"symbol": "BTCUSDT", "status": self.status, "filters": filters}]}
        ).encode()

    def _depth(self, limit: int) -> bytes:
        self.snapshots += 1
        return self.answers.pop(0) if self.answers else self.snapshot(limit)

    def snapshot(self, limit: int = 5000) -> bytes:
        sides = [sorted(side.items(), key=lambda level: float(level[0])) for side in (self.bids, self.asks)]
        bids, asks = sides[0][::-1][:limit], sides[1][:limit]
        return json.dumps({"lastUpdateId": self.update_id, "bids": bids, "asks": asks}).encode()

    def _past_trades(self, start: int, limit: int) -> bytes:
        past = [
            {"id": t["t"], "price": t["p"], "qty": t["q"], "time": t["T"], "isBuyerMaker": t["m"]}
            for t in self.traded
            if t["t"] >= start
        ]
        return json.dumps(past[:limit] if self.keeps_trades else {"code": -1, "msg": "no"}).encode()

    # ---- what the test makes happen

    def change(
        self, bids: Levels | None = None, asks: Levels | None = None, *, withheld: bool = False
    ) -> None:
        """The book changes, and connected clients are told; or not, if ``withheld``."""
        first = self.update_id + 1
        self.update_id += 3
        self.time_ms += 100
        for side, changes in ((self.bids, bids or {}), (self.asks, asks or {})):
            side.update(changes)
            for price in [price for price, size in side.items() if not float(size)]:
                del side[price]
        if not withheld:
            diff = {
                "e": "depthUpdate",
                "E": self.time_ms,
                "s": "BTCUSDT",
                "U": first,
                "u": self.update_id,
                "b": list((bids or {}).items()),
                "a": list((asks or {}).items()),
            }
            self.diff = diff
            self.tell("btcusdt@depth@100ms", diff)

    async def repeat(self, pause_s: float) -> None:
        """Says again and again what it has said already, until cancelled."""
        while True:
            self.tell("btcusdt@depth@100ms", self.diff)
            if self.traded:
                self.tell("btcusdt@trade", self.traded[-1])
            await asyncio.sleep(pause_s)

    def trade(self, price: str = "100.50", size: str = "0.1", *, withheld: bool = False) -> None:
        self.trade_id += 1
        trade = {
            "e": "trade",
            "E": self.time_ms,
            "s": "BTCUSDT",
            "t": self.trade_id,
            "p": price,
            "q": size,
        }
        self.traded.append(trade | {"T": self.time_ms, "m": False, "M": True})
        if not withheld:
            self.tell("btcusdt@trade", self.traded[-1])

    def tell(self, stream: str, data: dict[str, Any]) -> None:
        message = json.dumps({"stream": stream, "data": data}).encode()
        for client in self.clients:
            client.send(WSMsgType.TEXT, message)

    async def until_clients(self, count: int) -> None:
        while len(self.clients) != count:
            self.news.clear()
            await self.news.wait()
