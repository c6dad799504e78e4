"""Several feed handlers share a venue's instruments: who writes, who follows, and what readers see of it. With a real nats-server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgpack
import pytest

from mdstream import bus, feed
from mdstream.bus import MD_STATE, Bus, EmbeddedNats
from mdstream.bus.leases import Record, lease_subject
from mdstream.bus.streams import LEASES_STREAM, WRONG_LAST_SEQUENCE
from mdstream.errors import BusError, ConfigError, SequenceError
from support.bus_recorder import BusRecorder

Run = Callable[[Coroutine[Any, Any, Any]], Any]
LEASE = lease_subject("SIM", "main")
TTL_S = 0.6


def lease(holder: str, **more: Any) -> feed.LeaseOptions:
    return feed.LeaseOptions("main", holder=holder, **({"ttl_s": TTL_S} | more))


async def until(condition: Callable[[], object]) -> None:
    """The test's deadline bounds the wait."""
    while not condition():
        await asyncio.sleep(0.005)


class Handler:
    """A feed handler with a venue of its own: the same book that the others have, unless a test changes it."""

    def __init__(self, publisher: feed.Publisher) -> None:
        self.publisher = publisher
        self.btc: feed.Instrument
        self.lots = 0

    async def open(self, **options: Any) -> None:
        self.btc = await self.publisher.instrument("BTC-USD", price_exp=-2, size_exp=-3, **options)

    def step(self, lots: int, trade_id: int | None = None) -> None:
        """The venue's book at that moment is (10000, lots) / (10100, 5)."""
        self.btc.replace_ticks([10_000, lots], [10_100, 5])
        if trade_id is not None:
            self.btc.trade_ticks(10_000, 1, "buy", trade_id=trade_id)


class Scene:
    """Handlers on one server, and what is on the bus."""

    def __init__(self, stack: AsyncExitStack, server: EmbeddedNats, reader: Bus) -> None:
        self.stack, self.server, self.reader = stack, server, reader
        self.seen = BusRecorder()

    async def handler(self, name: str, **options: Any) -> Handler:
        publisher = await self.stack.enter_async_context(
            feed.connect(self.server.url, venue="SIM", lease=lease(name), **options)
        )
        handler = Handler(publisher)
        await handler.open()
        return handler

    async def record(self) -> Record:
        stored = await self.reader.last_stored(LEASES_STREAM, LEASE)
        assert stored is not None
        record = Record.parse(stored.payload)
        assert record is not None
        return record

    async def holder(self) -> str:
        """Empty if there is none, or no bucket."""
        with contextlib.suppress(BusError):
            stored = await self.reader.last_stored(LEASES_STREAM, LEASE)
            record = None if stored is None else Record.parse(stored.payload)
            return "" if record is None else record.holder
        return ""

    async def stored(self, stream: str) -> Any:
        payload = await self.reader.last(MD_STATE, f"md.SIM.BTC-USD.{stream}")
        assert payload is not None
        return msgpack.unpackb(payload)

    def books(self) -> list[tuple[int, int]]:
        """Epoch and number of each update, in order."""
        return [(value[1], value[2]) for value in self.seen.values("book")]

    def trades(self) -> list[int]:
        """The venue's ids, in order."""
        return [value[7] for value in self.seen.values("trade")]


@asynccontextmanager
async def scene(server: EmbeddedNats) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(await bus.connect(server.url))
        this = Scene(stack, server, reader)
        await reader.subscribe("md.>", this.seen.record)
        await reader.flush()
        yield this


def test_one_writes_and_the_other_follows_in_silence(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one, two = [await market.handler(name) for name in ("one", "two")]
            for lots in range(1, 6):
                one.step(lots, lots)
                two.step(lots, lots)
            await one.publisher.flush()
            await two.publisher.flush()
            await until(lambda: len(market.books()) == 5)
            assert (one.publisher.writes, two.publisher.writes) == (True, False)
            assert market.books() == [(one.btc.epoch, number) for number in range(1, 6)]
            assert market.trades() == [1, 2, 3, 4, 5]
            assert (await market.record()).holder.startswith("one/")

    run(scenario())


def test_a_hand_over_goes_on_with_the_next_number_of_the_epoch(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one, two = [await market.handler(name) for name in ("one", "two")]
            epoch = one.btc.epoch
            for lots in range(1, 6):
                one.step(lots, lots)
                two.step(lots, lots)
            await one.publisher.flush()
            await until(lambda: one.publisher._standby.lease.has_standby)  # type: ignore[union-attr]
            assert await one.publisher.hand_over()
            await until(lambda: two.publisher.writes and not two.btc.following)
            assert (two.btc.epoch, two.btc.seq, two.btc.trade_seq) == (epoch, 5, 5)
            for lots in range(6, 9):
                one.step(lots, lots)
                two.step(lots, lots)
            await until(lambda: len(market.books()) == 8)
            assert market.books() == [(epoch, number) for number in range(1, 9)]
            assert market.trades() == list(range(1, 9))
            assert {value[3] for value in market.seen.values("status")} == {"trading"}
            assert not one.publisher.writes

    run(scenario())


def test_where_nobody_follows_a_hand_over_changes_nothing(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one = await market.handler("one")
            one.step(1, 1)
            handing = asyncio.create_task(one.publisher.hand_over())
            await until(lambda: one.btc.following)
            one.step(2, 2)
            assert not await handing
            assert one.publisher.writes
            one.step(3, 3)
            await until(lambda: len(market.books()) == 3)
            assert market.books() == [(one.btc.epoch, number) for number in (1, 2, 3)]
            assert market.trades() == [1, 2, 3]

    run(scenario())


def test_one_without_a_book_does_not_take_what_another_gives_up(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one, two = [await market.handler(name) for name in ("one", "two")]
            one.step(1)
            await one.publisher.flush()
            await until(lambda: one.publisher._standby.lease.has_standby)  # type: ignore[union-attr]
            assert not await one.publisher.hand_over()
            assert (one.publisher.writes, two.publisher.writes) == (True, False)
            two.step(1)
            assert await one.publisher.hand_over()
            await until(lambda: two.publisher.writes)

    run(scenario())


def test_what_is_opened_during_a_vain_hand_over_is_published_afterwards(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one, two = [await market.handler(name) for name in ("one", "two")]
            one.step(1)
            await until(lambda: one.publisher._standby.lease.has_standby)  # type: ignore[union-attr]
            handing = asyncio.create_task(one.publisher.hand_over())
            await until(lambda: not one.publisher.writes)
            eth = await one.publisher.instrument("ETH-USD", price_exp=-2, size_exp=-3)
            eth.update_ticks([10, 1])
            assert eth.following
            assert not await handing
            assert not two.publisher.writes
            eth.update_ticks([11, 1])
            await until(lambda: market.books()[-1] == (eth.epoch, 2))
            assert eth.epoch > 1_000_000 and not eth.following

    run(scenario())


def test_the_last_to_leave_says_so_and_the_next_goes_on_with_its_numbers(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one = await market.handler("one")
            one.step(1, 1)
            await one.publisher.close()
            assert (await market.stored("status"))[3] == "feed_down"
            assert (await market.record()).released
            two = await market.handler("two")
            two.step(2, 2)
            await until(lambda: two.publisher.writes and market.books()[-1][1] == 2)
            assert [epoch for epoch, _ in market.books()] == [one.btc.epoch] * 2
            await market.seen.until(lambda: market.seen.values("status")[-1][3] == "trading")

    run(scenario())


def test_other_decimals_are_a_new_epoch(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one, two = [await market.handler(name) for name in ("one", "two")]
            one.step(1)
            two.btc = await two.publisher.instrument("BTC-USD", price_exp=-2, size_exp=-4)
            two.step(10)
            await until(lambda: one.publisher._standby.lease.has_standby)  # type: ignore[union-attr]
            assert await one.publisher.hand_over()
            await until(lambda: two.publisher.writes and two.btc.epoch > one.btc.tail.book.epoch)
            await until(lambda: market.books()[-1] == (two.btc.epoch, 1))
            assert (await market.stored("ref"))["size_exp"] == -4

    run(scenario())


def test_a_lease_that_is_lost_with_its_bucket_is_stored_again(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one, two = [await market.handler(name) for name in ("one", "two")]
            one.step(1)
            two.step(1)
            holder = (await market.record()).holder
            await market.reader.jetstream.delete_stream(LEASES_STREAM)
            while await market.holder() != holder:
                await asyncio.sleep(0.02)
            one.step(2)
            await until(lambda: len(market.books()) == 2)
            assert (one.publisher.writes, two.publisher.writes) == (True, False)
            assert {epoch for epoch, _ in market.books()} == {one.btc.epoch}

    run(scenario())


def test_after_a_restart_of_the_server_one_writes(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            handlers = [await market.handler(name) for name in ("one", "two")]
            for each in handlers:
                each.step(1)
            await handlers[0].publisher.flush()
            nats_server.kill()
            for each in handlers:
                each.step(2)
            await asyncio.sleep(2 * TTL_S)
            await nats_server.restart()
            lots = 3
            while len(market.books()) < 2 or market.books()[-1][1] < 2:
                for each in handlers:
                    each.step(lots)
                lots += 1
                await asyncio.sleep(0.02)
            await until(lambda: sum(each.publisher.writes for each in handlers) == 1)
            assert len(set(market.books())) == len(market.books()), "a number was used twice"

    run(scenario())


def test_a_stranger_who_does_not_ask_for_the_lease_ends_the_writer_and_is_replaced(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one, two = [await market.handler(name) for name in ("one", "two")]
            one.step(1)
            two.step(1)
            async with feed.connect(nats_server.url, venue="SIM") as stranger:
                other = await stranger.instrument("BTC-USD", price_exp=-2, size_exp=-3)
                other.update_ticks([9_000, 1])
                with pytest.raises(SequenceError, match="another writer has taken over"):
                    await one.publisher.fenced()
                await one.publisher.close()
                await until(lambda: two.publisher.writes and two.btc.epoch > other.epoch)
                with pytest.raises(SequenceError):
                    await stranger.fenced()

    run(scenario())


def test_a_status_is_not_stored_over_that_of_another_life(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one = await market.handler("one")
            one.step(1)
            await one.publisher.flush()
            await one.publisher.settled(5.0)
            status = [5, one.btc.epoch + 5_000_000, one.btc.epoch, "trading", "", 1, 0, one.btc.epoch]
            name = "md.SIM.BTC-USD.status"
            answers: list[dict[str, Any]] = []

            def on_answer(_: bytes, __: bytes, payload: bytes, ___: bytes | None) -> None:
                answers.append(json.loads(payload))

            storage = one.publisher._storage
            await market.reader.subscribe(f"{storage._inbox}.*.*", on_answer)
            await market.reader.flush()
            knew = storage._state(name).expected_seq
            assert knew is not None
            await market.reader.publish_acked(name, msgpack.packb(status))
            storage.expect(name, knew)  # as if we had not heard theirs yet
            await storage.publish(name, b"ours, sent before we knew")
            # What the publisher stored by itself just before is answered too.
            await until(lambda: any("error" in answer for answer in answers))
            (error,) = [answer["error"] for answer in answers if "error" in answer]
            assert error["err_code"] == WRONG_LAST_SEQUENCE

    run(scenario())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"group": "a.b"}, "group 'a.b' must be 1 to 64 letters"),
        ({"group": "main", "ttl_s": 0.01}, r"must last 0.2 to 3600 s, not 0.01 s"),
        ({"group": "main", "unknown": "wait"}, "'wait' is none of go-on, stop"),
    ],
)
def test_wrong_options_are_told(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        feed.LeaseOptions(**wrong)
