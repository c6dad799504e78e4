"""The live Binance handler against a venue of our own on loopback: gaps, old snapshots, lost and renewed connections."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from mdstream import feed
from mdstream.bus import EmbeddedNats
from mdstream.feeds._progress import ProgressWatch
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
        self.requests: list[str] = []
        self.status = "TRADING"
        self.tick = "0.50000000"
        self.traded: list[dict[str, Any]] = []
        self.keeps_trades = True

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
            self.tell("btcusdt@depth@100ms", diff)

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
            **{"mend_base_s": 0.05, **options},
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


def trade_ids(followed: Followed) -> list[tuple[int, int]]:
    """(number, the venue's id) of the trades of the newest epoch."""
    values = [value for value in followed.values("trade") if value[1] == followed.instrument.epoch]
    return [(value[2], value[7]) for value in values]


def test_a_halt_and_its_end_are_told_while_running(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server, info_interval_s=0.05) as followed:
            await followed.settle()
            followed.venue.status = "HALT"
            await followed.until(lambda: followed.states()[-1:] == [("halted", "the venue's status is HALT")])
            followed.venue.status = "BREAK"
            await followed.until(
                lambda: followed.states()[-1:] == [("halted", "the venue's status is BREAK")]
            )
            followed.venue.status = "TRADING"
            await followed.until(lambda: followed.states()[-1:] == [("trading", "")])
            assert followed.venue.snapshots == 1

    run(scenario())


def test_a_status_that_changed_while_the_connection_was_lost_is_read_after_it(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server, info_interval_s=1_000) as followed:
            await followed.settle()
            followed.venue.status = "HALT"
            followed.venue.clients[0].disconnect()
            while followed.states()[-1][0] != "halted":
                followed.venue.change({"90.00": str(1 + followed.venue.update_id % 7)})
                await asyncio.sleep(0.02)

    run(scenario())


def test_a_quiet_halted_symbol_has_its_book_without_a_diff(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            followed.venue.status = "BREAK"
            followed.venue.clients[0].disconnect()
            await followed.until(
                lambda: followed.states()[-1:] == [("halted", "the venue's status is BREAK")]
            )
            assert followed.instrument.seq == 1

    run(scenario())


def test_trades_finer_than_the_increments_are_published_in_a_new_epoch(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            await followed.settle()
            first = followed.instrument.epoch
            followed.venue.tick = "0.01000000"
            followed.venue.trade()
            followed.venue.trade("100.25")
            followed.venue.trade("100.50", "0.0001")
            followed.venue.trade()
            await followed.until(lambda: followed.instrument.epoch != first and len(trade_ids(followed)) == 3)
            assert trade_ids(followed) == [(1, 2), (2, 3), (3, 4)]
            assert (followed.instrument.ref.price_exp, followed.instrument.ref.size_exp) == (-2, -4)
            await followed.settle()
            assert len(followed.values("ref")) == 2, "one new epoch serves both"

    run(scenario())


def test_increments_that_the_venue_made_finer_are_announced(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server, info_interval_s=0.05) as followed:
            await followed.settle()
            followed.venue.tick = "0.02000000"
            await followed.until(
                lambda: (followed.instrument.ref.price_exp, followed.instrument.ref.tick) == (-2, 2)
            )
            await followed.settle()

    run(scenario())


def test_trades_missed_while_the_connection_was_lost_are_fetched(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            await followed.settle()
            followed.venue.trade()
            await followed.until(lambda: len(trade_ids(followed)) == 1)
            followed.venue.clients[0].disconnect()
            await followed.venue.until_clients(0)
            for _ in range(3):
                followed.venue.trade(withheld=True)
            await followed.venue.until_clients(1)
            followed.venue.trade()
            followed.venue.trade()
            await followed.until(lambda: len(trade_ids(followed)) == 6)
            assert trade_ids(followed) == [(number, number) for number in range(1, 7)]

    run(scenario())


def test_trades_that_cannot_be_fetched_leave_their_numbers_out(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            await followed.settle()
            followed.venue.keeps_trades = False
            followed.venue.trade()
            followed.venue.trade(withheld=True)
            followed.venue.trade(withheld=True)
            followed.venue.trade()
            await followed.until(lambda: len(trade_ids(followed)) == 2)
            assert trade_ids(followed) == [(1, 1), (4, 4)]

    run(scenario())


def test_a_deep_book_whose_price_walks_never_shows_a_wrong_best_level(
    run: Run, nats_server: EmbeddedNats
) -> None:
    """400 bids, snapshots of 100: the price falls level by level, and then through all that is known at once."""

    async def scenario() -> None:
        async with following(nats_server, depth=100) as followed:
            venue = followed.venue
            venue.bids = {f"{100 - n * 0.5 + 400:.2f}": "1.0" for n in range(400)}
            venue.asks = {"600.00": "1.0"}
            venue.change(withheld=True)
            prices = sorted(venue.bids, key=float, reverse=True)

            def best_is_the_venues() -> bool:
                if "BTCUSDT" not in followed.live.books or followed.instrument.state != "trading":
                    return False
                best = followed.instrument.book.best()[0]
                exp = 10.0**followed.instrument.ref.price_exp
                return best is not None and round(best[0] * exp, 6) == max(map(float, venue.bids))

            async def until_right() -> None:
                while not best_is_the_venues():
                    venue.change({"300.00": str(1 + venue.update_id % 7)})
                    await asyncio.sleep(0.02)

            await until_right()
            for price in prices[:150]:
                venue.change({price: "0"})
                await asyncio.sleep(0.005)
            await until_right()
            assert venue.snapshots >= 3
            assert all(state == "trading" for state, _ in followed.states()[2:])
            venue.change(dict.fromkeys(prices[150:300], "0"))
            await followed.until(lambda: followed.states()[-1][0] == "feed_down")
            assert "left the 100 levels" in followed.states()[-1][1]
            await until_right()
            shown = followed.instrument.book.arrays()[0][:, 0].tolist()
            whole = sorted((round(float(price) * 2) for price in venue.bids), reverse=True)
            assert [ticks // 5 for ticks in shown] == whole[: len(shown)], "no hole"

    run(scenario())


def test_a_venue_that_sends_nothing_is_left_and_stays_down_until_it_sends(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        watch = ProgressWatch(least_s=0.5, most_s=5.0)
        async with following(nats_server, watch=watch) as followed:
            await followed.settle()
            for _ in range(20):
                followed.venue.change({"90.00": str(1 + followed.venue.update_id % 7)})
                await asyncio.sleep(0.01)
            await followed.until(lambda: followed.states()[-1][0] == "feed_down")
            assert "has sent nothing for" in followed.states()[-1][1]
            while followed.venue.connections < 2:
                await asyncio.sleep(0.01)
            await followed.settle()

    run(scenario())


def test_a_stream_that_stands_still_while_rest_goes_on_is_dead(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        watch = ProgressWatch(least_s=0.5, most_s=2.0)
        async with following(nats_server, watch=watch) as followed:
            await followed.settle()
            followed.venue.change({"91.00": "4.0"}, withheld=True)
            while followed.venue.connections < 2:
                await asyncio.sleep(0.01)
            assert any("stands still, its REST API goes on" in reason for _, reason in followed.states())
            await followed.settle()

    run(scenario())


def test_a_book_that_is_refused_again_and_again_is_asked_for_less_and_less(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server, mend_base_s=1.0) as followed:
            followed.venue.bids["99.00"] = "1234567890123456.7"
            for _ in range(150):
                followed.venue.change({"90.00": str(1 + followed.venue.update_id % 7)})
                await asyncio.sleep(0.02)
            assert 2 <= followed.venue.snapshots <= 4

    run(scenario())
