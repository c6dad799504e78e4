"""The live Binance handler against a venue of our own on loopback: gaps, old snapshots, lost and renewed connections."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from mdstream import bus, feed
from mdstream.bus import EmbeddedNats
from mdstream.feeds._progress import ProgressWatch
from mdstream.feeds._venue import Backoff
from mdstream.feeds.binance.live import Live
from support.bus_recorder import BusRecorder
from support.fake_binance import FakeBinance

Run = Callable[[Coroutine[Any, Any, Any]], Any]


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
        await bus.connect(server.url) as reader,
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
        await reader.subscribe("md.BINANCE.BTCUSDT.*", followed.record)
        await reader.flush()
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


GARBLED = {"e": "depthUpdate", "s": "BTCUSDT", "E": "soon"}


def test_a_message_that_cannot_be_understood_costs_what_it_was_about(
    run: Run, nats_server: EmbeddedNats
) -> None:
    """REST tells what it may have held, even if nothing follows; the connection goes on."""

    async def scenario() -> None:
        async with following(nats_server) as followed:
            await followed.settle()
            followed.venue.change({"91.00": "4.0"}, withheld=True)
            followed.venue.tell("btcusdt@depth@100ms", GARBLED)
            await followed.until(lambda: "could not be understood" in followed.states()[-1][1])
            await followed.until(followed.equal)
            assert (followed.venue.connections, followed.live.garbled.count) == (1, 1)

    run(scenario())


def test_messages_that_cannot_be_understood_again_and_again_cost_the_connection(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            await followed.settle()
            for _ in range(6):
                followed.venue.tell("btcusdt@depth@100ms", GARBLED)
            await followed.venue.until_clients(0)
            await followed.venue.until_clients(1)
            await followed.settle()
            assert any("cannot be understood" in reason for _, reason in followed.states())

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


def test_a_connection_that_repeats_itself_is_as_good_as_silent(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        watch = ProgressWatch(least_s=0.5, most_s=5.0)
        async with following(nats_server, watch=watch) as followed:
            await followed.settle()
            followed.venue.trade()
            for _ in range(20):
                followed.venue.change({"90.00": str(1 + followed.venue.update_id % 7)})
                await asyncio.sleep(0.01)
            repeating = asyncio.create_task(followed.venue.repeat(0.1))
            await followed.until(lambda: "has sent nothing for" in followed.states()[-1][1])
            repeating.cancel()
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
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            for _ in range(150):
                followed.venue.change({"90.00": str(1 + followed.venue.update_id % 7)})
                await asyncio.sleep(0.02)
            most = 2 + math.log2(1 + loop.time() - began_s)
            assert 2 <= followed.venue.snapshots <= most, "each pause is twice the one before"

    run(scenario())
