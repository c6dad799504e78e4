"""The live Kraken handler against a venue of our own on loopback: checksums, resubscription, lost connections, states."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import groupby
from random import Random
from typing import Any

import pytest

from mdstream import bus, feed
from mdstream.bus import EmbeddedNats
from mdstream.feeds._venue import Backoff
from mdstream.feeds.kraken.live import Live, UnknownPair
from support.bus_recorder import BusRecorder
from support.fake_kraken import DEPTH, OTHER, PAIR, D, FakeKraken

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Followed(BusRecorder):
    """A running handler, and what it has published."""

    def __init__(self, venue: FakeKraken, live: Live) -> None:
        super().__init__()
        self.venue = venue
        self.live = live

    def names(self) -> list[str]:
        return [state for state, _ in self.states()]

    @property
    def instrument(self) -> feed.Instrument:
        return self.live.pairs[PAIR].published.instrument

    def equal(self) -> bool:
        """Whether what followers of the bus have is the venue's book."""
        if PAIR not in self.live.pairs or self.names()[-1:] == ["feed_down"]:
            return False
        ref = self.instrument.ref
        bids, asks = (
            {D(ticks).scaleb(ref.price_exp): D(lots).scaleb(ref.size_exp) for ticks, lots in side.tolist()}
            for side in self.instrument.book.arrays()
        )
        told = [value[3] for value in self.values("book") if value[1] == self.instrument.epoch]
        return (bids, asks) == (self.venue.bids, self.venue.asks) and told[-1:] == [self.instrument.seq]


async def eventually(met: Callable[[], object]) -> None:
    """For what no message on the bus tells."""
    while not met():
        await asyncio.sleep(0.01)


@asynccontextmanager
async def following(
    server: EmbeddedNats, *, names: tuple[str, ...] = (PAIR,), seconds_per_second: int = 1
) -> AsyncIterator[Followed]:
    venue = FakeKraken()
    async with (
        venue.serving() as url,
        feed.connect(server.url, venue="KRAKEN", status_interval_s=0.2) as publisher,
        await bus.connect(server.url) as reader,
    ):
        live = Live(
            publisher,
            names,
            depth=DEPTH,
            url=url,
            backoff=Backoff(base_s=0.01, cap_s=0.02),
            clock=lambda: time.monotonic() * seconds_per_second,
        )
        followed = Followed(venue, live)
        await reader.subscribe("md.KRAKEN.BTC/USD.*", followed.record)
        await reader.flush()
        task = asyncio.create_task(live.run())
        try:
            await followed.until(followed.equal)
            yield followed
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_books_are_cut_checked_and_published_with_the_deletes_the_venue_leaves_out(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            followed.venue.change({D("100.5"): D("0.005")})
            await followed.until(followed.equal)
            assert len(followed.instrument.book.arrays()[0]) == DEPTH, "the eleventh bid was deleted"
            followed.venue.change({D("100.5"): D(0)}, {D("101"): D("0.001")})
            await followed.until(followed.equal)
            assert followed.live.pairs[PAIR].sync.checked == 3
            assert followed.names() == ["feed_down", "trading"]
            assert followed.instrument.book.ts_us == 1_714_979_289_123_456

    run(scenario())


def test_a_wrong_checksum_marks_the_feed_down_and_a_new_subscription_mends_it(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            epoch = followed.instrument.epoch
            followed.venue.change({D("100.5"): D("0.005")}, spoil=True)
            await followed.until(
                lambda: followed.names()[1:] == ["trading", "feed_down", "trading"] and followed.equal()
            )
            methods = [
                request["method"]
                for request in followed.venue.requests
                if request["params"]["channel"] == "book"
            ]
            assert methods == ["subscribe", "unsubscribe", "subscribe"]
            reasons = [reason for state, reason in followed.states() if state == "feed_down"]
            assert f"{PAIR}: the venue's checksum is" in reasons[-1]
            assert (followed.instrument.epoch, followed.venue.connections) == (epoch, 1)

    run(scenario())


def test_a_lost_connection_is_made_anew_and_trades_missed_meanwhile_are_published_once(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            for _ in range(3):
                followed.venue.trade()
            await followed.until(lambda: followed.instrument.trade_seq == 3)
            followed.venue.hang_up()
            followed.venue.trades += 1
            followed.venue.change({D("100.7"): D("1.005")})
            await followed.until(
                lambda: followed.names()[2:] == ["feed_down", "trading"] and followed.equal()
            )
            await followed.until(lambda: followed.instrument.trade_seq == 4)
            followed.venue.trade()
            await followed.until(lambda: len(followed.values("trade")) == 5)
            ids = [value[7] for value in followed.values("trade")]
            assert ids == [1, 2, 3, 4, 5]
            assert followed.names() == ["feed_down", "trading", "feed_down", "trading"]

    run(scenario())


def test_the_venues_own_state_of_a_pair_is_published(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            for status, state in (("maintenance", "halted"), ("online", "trading"), ("delisted", "closed")):
                followed.venue.tell_pairs(status)
                await followed.until(lambda state=state: followed.names()[-1] == state)  # type: ignore[misc]

    run(scenario())


def test_other_decimals_begin_a_new_epoch(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            epoch = followed.instrument.epoch
            followed.venue.precision = (2, 4)
            followed.venue.tell_pairs("online")
            await followed.until(lambda: followed.instrument.epoch > epoch and followed.equal())
            assert (followed.instrument.ref.price_exp, followed.instrument.ref.size_exp) == (-2, -4)

    run(scenario())


@pytest.mark.parametrize("fault", ["wrong checksums", "crossed snapshots", "refusals"])
def test_any_number_of_faults_in_a_row_is_recovered_from(
    run: Run, nats_server: EmbeddedNats, fault: str
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            venue = followed.venue
            match fault:
                case "wrong checksums":
                    venue.spoiled = 12
                case "crossed snapshots":
                    venue.crossed = 12
                case "refusals":
                    venue.refusals = ["Exceeded msg rate"] * 12
            venue.change({D("100.5"): D("0.005")}, spoil=True)
            await followed.until(lambda: followed.names()[-1] == "feed_down")
            await followed.until(followed.equal)
            assert venue.asked("book") == ["subscribe"] + ["unsubscribe", "subscribe"] * 13
            assert (venue.connections, followed.names()[-1]) == (1, "trading")
            venue.change({D("100.5"): D(2)})
            await followed.until(followed.equal)

    run(scenario())


@pytest.mark.parametrize("seed", range(3))
def test_after_a_storm_of_faults_the_book_is_the_venues(
    run: Run, nats_server: EmbeddedNats, seed: int
) -> None:
    async def scenario() -> None:
        rng = Random(seed)
        async with following(nats_server, seconds_per_second=10) as followed:
            venue = followed.venue
            for number in range(150):
                match rng.randrange(8):
                    case 0:
                        venue.spoiled = rng.randrange(4)
                    case 1:
                        venue.crossed = rng.randrange(4)
                    case 2:
                        venue.refusals = ["Exceeded msg rate"] * rng.randrange(4)
                    case 3 if venue.client is not None:
                        venue.hang_up()
                    case 4:
                        venue.pairs = rng.choice([[], [OTHER], [PAIR, OTHER]])
                        venue.tell_pairs(rng.choice(["online", "maintenance", "delisted"]))
                    case 5:
                        venue.tell_system(rng.choice(["online", "maintenance"]))
                    case 6:
                        venue.trade()
                venue.change({D("100.5"): D(number + 1)}, spoil=not rng.randrange(10))
                await asyncio.sleep(rng.choice([0, 0, 0.01, 0.05]))
            venue.spoiled = venue.crossed = 0
            venue.refusals.clear()
            venue.pairs = [PAIR, OTHER]
            await eventually(lambda: venue.client is not None)
            venue.tell_system("online")
            venue.tell_pairs("online")
            await followed.until(lambda: followed.names()[-1] == "trading" and followed.equal())
            numbers = [value[7] for value in followed.values("trade")]
            assert numbers == sorted(set(numbers)), "each trade once"

    run(scenario())


def test_one_pair_that_is_gone_is_closed_and_the_others_go_on(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server, names=(PAIR, OTHER, "FOO/BAR")) as followed:
            followed.venue.pairs = [OTHER]
            followed.venue.hang_up()
            await followed.until(lambda: followed.names()[-1] == "closed")
            await followed.until(lambda: followed.live.pairs[OTHER].published.up[0] == "trading")
            followed.venue.pairs = [PAIR, OTHER]
            followed.venue.hang_up()
            await followed.until(lambda: followed.names()[-1] == "trading" and followed.equal())

    run(scenario())


def test_all_pairs_may_be_gone_for_a_while(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            followed.venue.pairs = []
            followed.venue.tell_pairs("online")
            await followed.until(lambda: followed.names()[-1] == "closed")
            followed.venue.pairs = [PAIR]
            followed.venue.tell_pairs("online")
            await followed.until(lambda: followed.names()[-1] == "trading" and followed.equal())

    run(scenario())


def test_the_state_of_the_whole_venue_is_that_of_each_pair(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            for system, state in (
                ("maintenance", "halted"),
                ("cancel_only", "halted"),
                ("online", "trading"),
                ("post_only", "halted"),
                ("online", "trading"),
            ):
                followed.venue.tell_system(system)
                await followed.until(lambda state=state: followed.names()[-1] == state)  # type: ignore[misc]
            reasons = [reason for state, reason in followed.states() if state == "halted"]
            assert reasons[0] == "the venue's system status is maintenance"

    run(scenario())


def test_a_venue_that_answers_pings_and_sends_no_data_is_told_until_something_new_comes(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server, seconds_per_second=10) as followed:
            venue = followed.venue
            for number in range(1, 40):
                venue.change({D("100.5"): D(number)})
                await asyncio.sleep(0.005)
            await followed.until(followed.equal)
            await followed.until(lambda: "sent no data" in followed.states()[-1][1])
            # The new connection gives the old book. That is no news.
            await eventually(lambda: venue.connections == 2 and followed.live.pairs[PAIR].sync.live)
            assert followed.live.pairs[PAIR].published.frozen
            told = len(followed.values("status"))
            await followed.until(lambda: len(followed.values("status")) == told + 4)
            before, after = followed.values("status")[-4], followed.values("status")[-1]
            assert after[7] - before[7] < (after[2] - before[2]) / 2, (
                "the publisher's own timer is no word of the venue"
            )
            # That it is silent may be said again, with another number of seconds.
            assert [name for name, _ in groupby(followed.names())] == ["feed_down", "trading", "feed_down"]
            venue.change({D("100.5"): D(41)})
            await followed.until(lambda: followed.names()[-1] == "trading" and followed.equal())

    run(scenario())


def test_a_connection_that_repeats_itself_is_as_good_as_silent(run: Run, nats_server: EmbeddedNats) -> None:
    """The same update, trade and snapshot again are no progress, and are not published."""

    async def scenario() -> None:
        async with following(nats_server, seconds_per_second=10) as followed:
            venue = followed.venue
            venue.trade()
            for number in range(1, 40):
                venue.change({D("100.5"): D(number)})
                await asyncio.sleep(0.005)
            await followed.until(lambda: followed.equal() and followed.instrument.trade_seq == 1)
            seq = followed.instrument.seq
            repeating = asyncio.create_task(venue.repeat(0.01))
            await followed.until(lambda: any("sent no data" in reason for _, reason in followed.states()))
            repeating.cancel()
            assert (followed.instrument.seq, followed.instrument.trade_seq) == (seq, 1)
            venue.change({D("100.5"): D(41)})
            await eventually(lambda: venue.connections == 2 and venue.subscribed)
            venue.change({D("100.5"): D(42)})
            await followed.until(lambda: followed.names()[-1] == "trading" and followed.equal())

    run(scenario())


def test_a_message_that_cannot_be_understood_costs_what_it_was_about(
    run: Run, nats_server: EmbeddedNats
) -> None:
    """That book is fetched again; the connection goes on."""

    async def scenario() -> None:
        async with following(nats_server) as followed:
            venue = followed.venue
            for garbled in (
                {"channel": "book", "type": "update", "data": [{"symbol": PAIR, "bids": "?"}]},
                {"channel": "book", "type": "update", "data": "?"},
            ):
                before = len(venue.asked("book"))
                venue.tell(garbled)
                await followed.until(lambda: followed.states()[-1][0] == "feed_down")
                assert "could not be understood" in followed.states()[-1][1]
                await followed.until(followed.equal)
                assert venue.asked("book")[before:] == ["unsubscribe", "subscribe"]
            before = len(venue.asked("book"))
            venue.tell({"channel": "book", "type": "update", "data": [{"symbol": OTHER, "bids": "?"}]})
            venue.trade()
            venue.trades += 1
            venue.tell({"channel": "trade", "type": "update", "data": [{"symbol": PAIR, "price": None}]})
            venue.trade()
            await followed.until(lambda: len(followed.values("trade")) == 2)
            assert [value[2] for value in followed.values("trade")] == [1, 3], (
                "the one between them is told lost"
            )
            assert len(venue.asked("book")) == before, (
                "trades, and the books of other pairs, are not this book"
            )
            assert (venue.connections, followed.live.garbled.count) == (1, 4)

    run(scenario())


def test_messages_that_cannot_be_understood_again_and_again_cost_the_connection(
    run: Run, nats_server: EmbeddedNats, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            venue = followed.venue
            for _ in range(6):
                venue.tell({"channel": "book", "type": "update", "data": "?"})
            await eventually(lambda: venue.connections == 2)
            await followed.until(followed.equal)
            assert "more than 5 messages within 60 s cannot be understood" in caplog.text

    run(scenario())


def test_a_quiet_market_is_asked_and_stays_as_it_is(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server, seconds_per_second=10) as followed:
            await eventually(lambda: len(followed.venue.asked("book")) >= 5)
            assert followed.names() == ["feed_down", "trading"]
            assert (followed.venue.connections, followed.instrument.seq) == (1, 1)
            heard_us = max(status[7] for status in followed.values("status"))
            await followed.until(lambda: followed.values("status")[-1][7] > heard_us)

    run(scenario())


def test_a_trade_finer_than_the_scale_is_published_in_a_finer_one(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            epoch = followed.instrument.epoch
            for price in (101.0, 101.25, 101.0):
                followed.venue.trade(price)
            await followed.until(lambda: len(followed.values("trade")) == 3)
            assert [(value[1] > epoch, value[4], value[7]) for value in followed.values("trade")] == [
                (False, 1010, 1),
                (True, 10125, 2),
                (True, 10100, 3),
            ]
            await followed.until(lambda: followed.names()[-1] == "trading" and followed.equal())

    run(scenario())


def test_the_announcement_tells_the_depth(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with following(nats_server) as followed:
            assert followed.values("ref")[0]["depth"] == DEPTH

    run(scenario())


def test_a_pair_that_the_venue_does_not_know_is_an_error(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with FakeKraken().serving() as url, feed.connect(nats_server.url, venue="KRAKEN") as publisher:
            with pytest.raises(UnknownPair, match="Kraken knows no pair FOO/BAR"):
                await Live(publisher, ["FOO/BAR"], url=url).run()

    run(scenario())
