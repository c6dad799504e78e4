"""The publisher against a real nats-server: what it announces, batches and confirms, and what it does while NATS is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgpack
import pytest

from mdstream import bus, feed
from mdstream.bus import MD_STATE, Bus, EmbeddedNats
from mdstream.errors import BusUnavailable, FeedError, MdstreamError
from support.bus_recorder import unpack
from support.publishing import listening, open_btc

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_an_instrument_is_announced_and_confirmed_before_its_first_update(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with (
            listening(nats_server) as (recorder, reader),
            feed.connect(nats_server.url, venue="SIM") as publisher,
        ):
            btc = await open_btc(publisher, base="BTC")
            btc.update([("100.10", "1")])
            await publisher.flush()
            await recorder.until(lambda: bool(recorder.values("book")))
            assert [stream for stream, _ in recorder.messages[:4]] == ["ref", "status", "snap", "book"]
            assert recorder.values("ref")[0]["base"] == "BTC"
            assert recorder.values("ref")[0]["epoch"] == btc.epoch
            assert recorder.values("snap")[0][1:3] == [btc.epoch, 0]
            assert recorder.values("status")[0][3] == "trading"
            for stream in ("ref", "snap", "status"):
                assert await reader.last(MD_STATE, f"md.SIM.BTC-USD.{stream}") is not None

    run(scenario())


def test_what_is_handed_in_within_one_turn_of_the_loop_is_one_message(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with (
            listening(nats_server) as (recorder, _),
            feed.connect(nats_server.url, venue="SIM") as publisher,
        ):
            btc = await open_btc(publisher)
            for lots in range(1, 51):
                btc.update_ticks([10_000, lots])
            btc.trade("100", "1", "buy")
            await recorder.until(lambda: bool(recorder.values("trade")))
            books = [values for stream, values in recorder.messages if stream == "book"]
            assert [value[2] for value in books[0]] == list(range(1, 51))

    run(scenario())


def test_batches_keep_to_their_size_and_their_order(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with (
            listening(nats_server) as (recorder, _),
            feed.connect(nats_server.url, venue="SIM", batch_bytes=200, linger_ms=5) as publisher,
        ):
            btc = await open_btc(publisher)
            for lots in range(1, 101):
                btc.update_ticks([10_000, lots])
            await recorder.until(lambda: len(recorder.values("book")) == 100)
            assert [value[2] for value in recorder.values("book")] == list(range(1, 101))
            sizes = [
                sum(len(msgpack.packb(value)) for value in values)
                for stream, values in recorder.messages
                if stream == "book"
            ]
            assert len(sizes) > 10
            assert max(sizes) <= 200

    run(scenario())


def test_a_snapshot_follows_a_thousand_updates_at_its_place_among_them(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with (
            listening(nats_server) as (recorder, _),
            feed.connect(nats_server.url, venue="SIM") as publisher,
        ):
            btc = await open_btc(publisher)
            for lots in range(1, 1501):
                btc.update_ticks([10_000, lots])
            await publisher.flush()
            await recorder.until(lambda: len(recorder.values("snap")) == 2)
            _, epoch, seq, _, bids, asks = recorder.values("snap")[1]
            assert (epoch, seq, bids, asks) == (btc.epoch, 1000, [10_000, 1000], [])
            before = recorder.messages[: [stream for stream, _ in recorder.messages].index("snap", 3)]
            seen = [value[3] for stream, values in before if stream == "book" for value in values]
            assert 1000 in seen, "the snapshot overtook the updates it holds"

    run(scenario())


def test_the_status_is_repeated_as_a_sign_of_life(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with (
            listening(nats_server) as (recorder, _),
            feed.connect(nats_server.url, venue="SIM", status_interval_s=0.01) as publisher,
        ):
            btc = await open_btc(publisher)
            before = len(recorder.values("status"))
            btc.status("halted", reason="auction")
            await recorder.until(lambda: len(recorder.values("status")) >= before + 5)
            assert [value[3:5] for value in recorder.values("status")[-3:]] == [["halted", "auction"]] * 3

    run(scenario())


def test_only_the_venue_moves_heard_and_a_source_without_one_is_never_old(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        now = [0]
        options = {"status_interval_s": 0.02, "monotonic_us": lambda: now[0]}
        async with (
            listening(nats_server) as (recorder, _),
            feed.connect(nats_server.url, venue="SIM", **options) as publisher,
        ):
            btc = await open_btc(publisher)
            eth = await publisher.instrument("ETH-USD", price_exp=-2, size_exp=-3)
            sim = await publisher.instrument("SIM-USD", price_exp=-2, size_exp=-3, live_venue=False)
            epochs = {each.epoch: each for each in (btc, eth, sim)}

            async def ages_s() -> list[int]:
                """As the next status of each instrument tells them."""
                recorder.messages.clear()
                now[0] += 20_000
                await recorder.until(lambda: {each[1] for each in recorder.values("status")} == epochs.keys())
                ages = {each[1]: each[2] - each[7] for each in recorder.values("status")}
                return [ages[each.epoch] // 1_000_000 for each in (btc, eth, sim)]

            now[0] += 7_000_000
            assert await ages_s() == [7, 7, 0]
            publisher.heard([eth])
            assert await ages_s() == [7, 0, 0]
            publisher.heard()
            assert await ages_s() == [0, 0, 0]

    run(scenario())


def test_on_leaving_the_last_book_is_stored_and_the_feed_is_down(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with feed.connect(nats_server.url, venue="SIM") as publisher:
            btc = await open_btc(publisher)
            btc.replace([("100.10", "1")], [("100.20", "2")])
        async with listening(nats_server) as (_, reader):
            snap = await reader.last(MD_STATE, "md.SIM.BTC-USD.snap")
            status = await reader.last(MD_STATE, "md.SIM.BTC-USD.status")
        assert snap is not None and status is not None
        assert msgpack.unpackb(snap)[2::2] == [1, [10010, 1000]]
        assert msgpack.unpackb(status)[3:7] == ["feed_down", "publisher stopped", 1, 0]
        with pytest.raises(FeedError, match="SIM:BTC-USD: the publisher is closed"):
            btc.update([("100.10", "3")])

    run(scenario())


def test_updates_while_nats_is_away_arrive_afterwards_and_state_is_published_again(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with feed.connect(nats_server.url, venue="SIM") as publisher:
            btc = await open_btc(publisher)
            btc.update_ticks([10_000, 1])
            await publisher.flush()
            async with listening(nats_server) as (_, reader):
                while not [payload async for payload in reader.log("md.SIM.BTC-USD.book")]:
                    await asyncio.sleep(0.01)  # the log is stored a moment after it was published
            await stop_and_lose(nats_server, publisher)
            btc.update_ticks([10_000, 2])
            btc.update_ticks([10_001, 3])
            await publisher.flush()
            assert publisher.backlog_bytes > 0
            await nats_server.restart()
            async with listening(nats_server) as (_, reader):
                await state_reaches(reader, "snap", lambda snap: snap[2] == 3)
                assert publisher.dropped == 0
                logged: list[int] = []
                while logged[-1:] != [3]:  # the log is stored a moment after the state
                    payloads = [payload async for payload in reader.log("md.SIM.BTC-USD.book")]
                    logged = [value[2] for payload in payloads for value in unpack(payload)]
                assert logged == [1, 2, 3]
                assert (await state_reaches(reader, "ref", bool))["name"] == "Bitcoin"

    run(scenario())


def test_beyond_the_backlog_payloads_are_dropped_and_told_and_a_snapshot_mends(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        told: list[MdstreamError] = []
        async with feed.connect(
            nats_server.url, venue="SIM", batch_bytes=1000, backlog_bytes=5000, on_error=told.append
        ) as publisher:
            btc = await open_btc(publisher)
            await stop_and_lose(nats_server, publisher)
            for lots in range(1, 501):
                btc.update_ticks([10_000, lots])
            assert publisher.dropped > 0
            assert publisher.backlog_bytes <= 5000
            assert len(told) == 1
            assert isinstance(told[0], BusUnavailable)
            await nats_server.restart()
            async with listening(nats_server) as (_, reader):
                snap = await state_reaches(reader, "snap", lambda snap: snap[2] == 500)
                assert snap[4] == [10_000, 500]

    run(scenario())


def test_live_data_does_not_wait_for_jetstream_and_what_is_not_stored_is_told_and_stored_later(
    run: Run, nats_server: EmbeddedNats, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        told: list[MdstreamError] = []
        async with await EmbeddedNats.start(jetstream=False) as server:
            async with (
                listening(server) as (recorder, _),
                feed.connect(server.url, venue="SIM", on_error=told.append) as publisher,
            ):
                btc = await open_btc(publisher)
                btc.update([("100.10", "1")])
                await publisher.flush()
                await recorder.until(lambda: bool(recorder.values("book")))
                assert [stream for stream, _ in recorder.messages[:4]] == ["ref", "status", "snap", "book"]
                assert len(told) == 1
                assert "SIM: not stored: " in str(told[0]) and "JetStream is off" in str(told[0])
                assert str(told[0]) in caplog.text
        async with (
            await bus.connect(nats_server.url) as reader,
            feed.connect(nats_server.url, venue="SIM", on_error=told.append) as publisher,
        ):
            told.clear()
            btc = await open_btc(publisher)
            for stream in ("MD_STATE", "MD_LOG"):
                await reader.jetstream.delete_stream(stream)
            btc.status("halted")
            btc.snap()
            while len(told) < 2:
                await asyncio.sleep(0.02)
            assert "no stream takes it" in str(told[0]) or "does not confirm" in str(told[0])
            assert str(told[1]) == "SIM: everything is stored again"
            for stream in ("ref", "status", "snap"):
                assert await reader.last(MD_STATE, f"md.SIM.BTC-USD.{stream}") is not None
            assert len(told) == 2

    run(scenario())


def test_a_symbol_with_colons_or_of_128_characters_is_published(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with feed.connect(nats_server.url, venue="SIM") as publisher:
            for symbol, published in (("tABCF0:USTF0", "tABCF0%3AUSTF0"), ("x" * 128, "x" * 128)):
                instrument = await publisher.instrument(symbol, price_exp=0, size_exp=0)
                assert instrument.id.symbol == published
                assert await publisher.bus.last(MD_STATE, bus.subject(instrument.id, "ref")) is not None
            with pytest.raises(FeedError, match="128 printable characters"):
                await publisher.instrument("x" * 129, price_exp=0, size_exp=0)

    run(scenario())


def test_no_nats_is_an_error_that_names_the_url(run: Run) -> None:
    async def scenario() -> None:
        options = bus.BusOptions(urls=("nats://127.0.0.1:9",), connect_deadline_s=0.2)
        with pytest.raises(BusUnavailable, match=r"nats://127\.0\.0\.1:9"):
            async with feed.connect(options, venue="SIM"):
                raise AssertionError("unreachable")

    run(scenario())


@pytest.mark.parametrize("venue", ["", "sim", "A:B", "X" * 40])
def test_a_bad_venue_name_is_refused_before_anything_is_connected(run: Run, venue: str) -> None:
    async def scenario() -> None:
        with pytest.raises(FeedError, match="venue"):
            async with feed.connect("nats://127.0.0.1:9", venue=venue):
                raise AssertionError("unreachable")

    run(scenario())


async def stop_and_lose(server: EmbeddedNats, publisher: feed.Publisher) -> None:
    """Kills the server and returns when the publisher has noticed."""
    lost = asyncio.Event()
    unregister = publisher.bus.on_disconnect(lost.set)
    server.kill()
    await lost.wait()
    unregister()


async def state_reaches(reader: Bus, stream: str, met: Callable[[Any], bool]) -> Any:
    """Polls MD_STATE, for what is awaited may be there already or still to come."""
    while True:
        payload = await reader.last(MD_STATE, f"md.SIM.BTC-USD.{stream}")
        if payload is not None and met(value := msgpack.unpackb(payload)):
            return value
        await asyncio.sleep(0.02)
