"""The publisher against a real nats-server: what it announces, batches and confirms, and what it does while NATS is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest

from mdstream import bus, feed
from mdstream.bus import MD_STATE, Bus, EmbeddedNats
from mdstream.errors import BusUnavailable, FeedError, MdstreamError, SequenceError
from support.bus_recorder import BusRecorder, unpack

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@asynccontextmanager
async def listening(server: EmbeddedNats) -> AsyncIterator[tuple[BusRecorder, Bus]]:
    async with await bus.connect(server.url) as reader:
        recorder = BusRecorder()
        await reader.subscribe("md.>", recorder.record)
        await reader.flush()
        yield recorder, reader


async def open_btc(publisher: feed.Publisher, **more: Any) -> feed.Instrument:
    return await publisher.instrument("BTC-USD", price_exp=-2, size_exp=-3, name="Bitcoin", **more)


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


def test_a_writer_whose_clock_went_back_still_gets_a_greater_epoch(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with feed.connect(nats_server.url, venue="SIM") as publisher:
            first = (await open_btc(publisher)).epoch
        async with feed.connect(nats_server.url, venue="SIM", clock_us=lambda: 1_000) as publisher:
            second = await open_btc(publisher)
            assert second.epoch > first
            third = await open_btc(publisher, state="halted")
            assert third.epoch > second.epoch
            third.update([("100.10", "3")])
            with pytest.raises(FeedError, match="opened again"):
                second.update([("100.10", "3")])

    run(scenario())


def test_a_writer_that_starts_again_hears_its_own_ref_and_keeps_the_epoch_in_it(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        epochs = []
        async with listening(nats_server) as (recorder, _):
            for _ in range(3):
                async with feed.connect(nats_server.url, venue="SIM") as publisher:
                    epochs.append((await open_btc(publisher)).epoch)
            await recorder.until(lambda: len(recorder.values("ref")) >= 3)
            assert [ref["epoch"] for ref in recorder.values("ref")] == epochs == sorted(epochs)

    run(scenario())


def test_a_writer_that_another_has_succeeded_is_told_and_stays_silent(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        told: list[MdstreamError] = []
        async with (
            feed.connect(nats_server.url, venue="SIM", on_error=told.append) as old,
            feed.connect(nats_server.url, venue="SIM") as new,
        ):
            loser = await open_btc(old)
            bystander = await old.instrument("ETH-USD", price_exp=-2, size_exp=-3)
            loser.update([("100.10", "1")])
            await old.flush()
            winner = await open_btc(new)
            winner.update([("200.20", "2")])
            await new.flush()
            with pytest.raises(SequenceError, match="SIM:BTC-USD: another writer has taken over with epoch"):
                await old.fenced()
            with pytest.raises(SequenceError, match=str(winner.epoch)):
                loser.update([("100.10", "3")])
            bystander.update([("1", "1")])
            assert [type(error) for error in told] == [SequenceError]
            await old.close()
            snap = await new.bus.last(MD_STATE, "md.SIM.BTC-USD.snap")
            assert snap is not None
            assert msgpack.unpackb(snap)[1] == winner.epoch, (
                "the last words of the loser must not replace the winner's"
            )

    run(scenario())


def test_a_status_alone_does_not_silence_a_writer(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        told: list[MdstreamError] = []
        async with (
            await bus.connect(nats_server.url) as other,
            feed.connect(nats_server.url, venue="SIM", on_error=told.append) as publisher,
        ):
            btc = await open_btc(publisher)
            answers: list[bus.Stored | None] = []
            last_stored = publisher.bus.last_stored

            async def ask(stream: str, subject: str) -> bus.Stored | None:
                answers.append(await last_stored(stream, subject))
                return answers[-1]

            publisher.bus.last_stored = ask  # type: ignore[method-assign]
            value = [5, btc.epoch + 1_000_000, 1, "trading", "", 0, 0, 1]
            await other.publish_acked("md.SIM.BTC-USD.status", msgpack.packb(value))
            while len(answers) < 3:
                await asyncio.sleep(0.01)
            await publisher.flush()
            btc.update([("100.10", "3")])
            assert told == []

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


def test_a_writer_whose_state_is_gone_finds_an_epoch_above_the_one_in_the_log(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with await bus.connect(nats_server.url) as other:
            await other.ensure_streams()
            ahead = await other.server_us() + 600_000_000
            update = [1, ahead, 1, 1, 1, [5, 5], []]
            await other.publish_acked("md.SIM.BTC-USD.book", msgpack.packb(update))
            async with feed.connect(nats_server.url, venue="SIM") as publisher:
                assert (await open_btc(publisher)).epoch > ahead

    run(scenario())


def test_a_writer_whose_state_is_gone_hears_the_epoch_of_one_that_lives(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with await bus.connect(nats_server.url) as other:
            await other.ensure_streams()
            ahead = await other.server_us() + 600_000_000
            far_ahead = ahead + 3_600_000_000

            async def talk() -> None:
                while True:
                    for epoch in (ahead, far_ahead):
                        await other.publish("md.SIM.BTC-USD.snap", msgpack.packb([2, epoch, 0, 1, [], []]))
                    await asyncio.sleep(0.02)

            # A writer hears everything only for a moment after it has connected.
            talking = asyncio.create_task(talk())
            async with feed.connect(nats_server.url, venue="SIM") as publisher:
                await other.jetstream.delete_stream("MD_STATE")
                await publisher.bus.ensure_streams()
                epoch = (await open_btc(publisher)).epoch
                talking.cancel()
            assert ahead < epoch < far_ahead, "an epoch that no clock can have claimed counts for nobody"

    run(scenario())


def test_two_writers_that_open_at_once_have_two_epochs_and_the_greater_one_stays(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with (
            feed.connect(nats_server.url, venue="SIM") as one,
            feed.connect(nats_server.url, venue="SIM") as other,
        ):
            opened = await asyncio.gather(*map(open_btc, (one, other)))
            assert opened[0].epoch != opened[1].epoch
            loser = min(zip((one, other), opened, strict=True), key=lambda each: each[1].epoch)
            with pytest.raises(SequenceError, match="another writer has taken over"):
                await loser[0].fenced()
            ref = msgpack.unpackb(await one.bus.last(MD_STATE, "md.SIM.BTC-USD.ref") or b"")
            assert ref["epoch"] == max(each.epoch for each in opened)

    run(scenario())


def test_a_writer_finds_out_from_what_is_stored_that_another_has_succeeded_it(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        told: list[MdstreamError] = []
        async with (
            await bus.connect(nats_server.url) as other,
            feed.connect(nats_server.url, venue="SIM", on_error=told.append) as publisher,
        ):
            btc = await open_btc(publisher)
            # Its status was not heard, and the writer is gone.
            ref = {"epoch": btc.epoch + 1, "price_exp": -2, "size_exp": -3}
            await other.publish_acked("md.SIM.BTC-USD.ref", msgpack.packb(ref))
            btc.send_ref()
            with pytest.raises(SequenceError, match=f"taken over with epoch {btc.epoch + 1}"):
                await publisher.fenced()
            stored = await other.last(MD_STATE, "md.SIM.BTC-USD.ref")
            assert stored is not None and msgpack.unpackb(stored) == ref, "ours must not replace it"
            assert len(told) == 1

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
                loop = asyncio.get_running_loop()
                start = loop.time()
                btc = await open_btc(publisher)
                btc.update([("100.10", "1")])
                await publisher.flush()
                await recorder.until(lambda: bool(recorder.values("book")))
                assert loop.time() - start < 2.5
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
