"""The live Binance handler against a venue of our own on loopback: gaps, old snapshots, lost and renewed connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from mdstream import feed
from mdstream.bus import EmbeddedNats
from mdstream.feeds._venue import Backoff
from mdstream.feeds.binance.live import Live
from support.bus_recorder import BusRecorder

Run = Callable[[Coroutine[Any, Any, Any]], Any]
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
        body = self._depth() if path.startswith("/api/v3/depth?symbol=BTCUSDT&") else self._info()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    def _info(self) -> bytes:
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": "0.50000000"},
            {"filterType": "LOT_SIZE", "stepSize": "0.10000000"},
        ]
        return json.dumps(
            {"symbols": [{"symbol": "BTCUSDT", "status": "TRADING", "filters": filters}]}
        ).encode()

    def _depth(self) -> bytes:
        self.snapshots += 1
        return self.answers.pop(0) if self.answers else self.snapshot()

    def snapshot(self) -> bytes:
        sides = [sorted(side.items(), key=lambda level: float(level[0])) for side in (self.bids, self.asks)]
        return json.dumps({"lastUpdateId": self.update_id, "bids": sides[0][::-1], "asks": sides[1]}).encode()

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
            self.tell("btcusdt@depth@100ms", diff)

    def trade(self) -> None:
        self.trade_id += 1
        trade = {
            "e": "trade",
            "E": self.time_ms,
            "s": "BTCUSDT",
            "t": self.trade_id,
            "p": "100.50",
            "q": "0.1",
        }
        self.tell("btcusdt@trade", trade | {"T": self.time_ms, "m": False, "M": True})

    def tell(self, stream: str, data: dict[str, Any]) -> None:
        message = json.dumps({"stream": stream, "data": data}).encode()
        for client in self.clients:
            client.send(WSMsgType.TEXT, message)

    async def until_clients(self, count: int) -> None:
        while len(self.clients) != count:
            self.news.clear()
            await self.news.wait()


class Followed(BusRecorder):
    """A running handler, and what it has published."""

    def __init__(self, venue: FakeBinance, live: Live) -> None:
        super().__init__()
        self.venue = venue
        self.live = live

    @property
    def instrument(self) -> feed.Instrument:
        return self.live.books["BTCUSDT"].published.instrument

    def equal(self) -> bool:
        """Whether what followers of the bus have is the venue's book."""
        if "BTCUSDT" not in self.live.books or self.instrument.state != "trading":
            return False
        price, size = 10.0**self.instrument.ref.price_exp, 10.0**self.instrument.ref.size_exp
        bids, asks = (
            {round(ticks * price, 6): round(lots * size, 6) for ticks, lots in side.tolist()}
            for side in self.instrument.book.arrays()
        )
        wanted = [
            {float(p): float(s) for p, s in side.items()} for side in (self.venue.bids, self.venue.asks)
        ]
        told = [value[3] for value in self.values("book") if value[1] == self.instrument.epoch]
        told_trading = self.states()[-1:] == [("trading", "")]
        return told_trading and [bids, asks] == wanted and told[-1:] == [self.instrument.seq]

    async def settle(self) -> None:
        """Until the handler is live with the venue's book; the venue goes on changing meanwhile, as a venue does."""
        while not self.equal():
            self.venue.change({"90.00": str(1 + self.venue.update_id % 7)})
            try:
                async with asyncio.timeout(0.05):
                    await self.until(self.equal)
            except TimeoutError:
                pass


@asynccontextmanager
async def following(server: EmbeddedNats, **options: Any) -> AsyncIterator[Followed]:
    venue = FakeBinance()
    async with (
        venue.serving() as (stream_url, rest_url),
        feed.connect(server.url, venue="BINANCE") as publisher,
    ):
        live = Live(
            publisher,
            ["BTCUSDT"],
            stream_url=stream_url,
            rest_url=rest_url,
            backoff=Backoff(base_s=0.01, cap_s=0.02),
            **options,
        )
        followed = Followed(venue, live)
        await publisher.bus.subscribe("md.BINANCE.BTCUSDT.*", followed.record)
        task = asyncio.create_task(live.run())
        try:
            await venue.until_clients(1)
            yield followed
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_a_snapshot_is_joined_to_the_stream_and_trades_follow(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            assert followed.venue.paths == ["/stream?streams=btcusdt@depth@100ms/btcusdt@trade"]
            await followed.settle()
            assert followed.instrument.ref.tick == 5
            followed.venue.change({"100.00": "0.0", "99.00": "0.3"}, {"100.50": "7.1"})
            followed.venue.trade()
            await followed.until(lambda: followed.equal() and followed.instrument.trade_seq == 1)
            assert followed.instrument.book.ts_us == followed.venue.time_ms * 1000
            assert followed.states() == [("feed_down", "waiting for the venue's book"), ("trading", "")]
            await followed.until(lambda: followed.values("trade"))
            assert followed.values("trade")[-1][4:] == [1005, 1, 1, 1]

    run(scenario())


def test_a_missing_diff_marks_the_feed_down_until_a_new_snapshot_mends_it(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            await followed.settle()
            missing = followed.venue.update_id + 1
            followed.venue.change({"98.00": "5.0"}, withheld=True)
            await followed.settle()
            assert followed.states()[1:] == [
                ("trading", ""),
                ("feed_down", f"venue updates {missing} to {missing + 2} are missing"),
                ("trading", ""),
            ]
            assert followed.venue.connections == 1

    run(scenario())


def test_a_snapshot_older_than_the_stream_is_asked_for_again(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            followed.venue.answers = [followed.venue.snapshot()] * 2
            followed.venue.change({"98.00": "5.0"}, withheld=True)
            await followed.settle()
            assert followed.venue.snapshots >= 3
            assert followed.states()[-1] == ("trading", "")

    run(scenario())


def test_a_lost_connection_marks_the_feed_down_and_the_handler_comes_back(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            await followed.settle()
            epoch, seq = followed.instrument.epoch, followed.instrument.seq
            followed.venue.clients[0].disconnect()
            await followed.until(lambda: [state for state, _ in followed.states()][2:3] == ["feed_down"])
            followed.venue.change({"97.00": "4.0"}, withheld=True)
            await followed.venue.until_clients(1)
            await followed.settle()
            assert followed.instrument.epoch == epoch, "the numbering goes on"
            assert followed.instrument.seq > seq
            assert followed.venue.connections == 2

    run(scenario())


def test_a_connection_near_its_end_is_succeeded_without_a_gap_or_a_repeated_trade(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server, overlap_s=0.2) as followed:
            await followed.settle()
            followed.venue.tell("", {"e": "serverShutdown", "E": followed.venue.time_ms})
            await followed.venue.until_clients(2)
            for _ in range(5):
                followed.venue.change({"96.00": str(1 + followed.venue.trade_id)})
                followed.venue.trade()
            await followed.venue.until_clients(1)
            await followed.settle()
            assert followed.venue.connections == 2
            assert followed.states() == [("feed_down", "waiting for the venue's book"), ("trading", "")]
            assert followed.venue.snapshots == 1
            assert followed.instrument.trade_seq == 5

    run(scenario())


def test_a_level_off_the_announced_increments_begins_a_new_epoch_with_finer_ones(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            await followed.settle()
            first = followed.instrument.epoch
            assert (followed.instrument.ref.price_exp, followed.instrument.ref.tick) == (-1, 5)
            followed.venue.change({"99.1": "1.0"})
            await followed.settle()
            assert (followed.instrument.ref.price_exp, followed.instrument.ref.tick) == (-1, 1)
            followed.venue.change({"99.105": "1.0"})
            await followed.settle()
            assert followed.instrument.ref.price_exp == -3
            assert followed.instrument.epoch > first

    run(scenario())


def test_what_cannot_be_understood_ends_the_connection_and_it_is_made_anew(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            await followed.settle()
            followed.venue.tell("btcusdt@depth@100ms", {"e": "depthUpdate", "E": "soon"})
            await followed.venue.until_clients(0)
            await followed.venue.until_clients(1)
            await followed.settle()
            assert any(state == "feed_down" and "Binance" in reason for state, reason in followed.states())

    run(scenario())
