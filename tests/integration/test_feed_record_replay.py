"""Recording the bus and replaying the tape, against a real nats-server: the book at the end is the recorded one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mdstream import bus, feed
from mdstream._core.orderbook.book import Book
from mdstream.bus import MD_STATE, Bus, EmbeddedNats
from mdstream.errors import FeedError
from mdstream.feeds._tape import TapeWriter, read_tape
from mdstream.feeds.record import Recorder
from mdstream.feeds.replay import Replay
from support.bus_recorder import unpack

Run = Callable[[Coroutine[Any, Any, Any]], Any]
View = tuple[list[int], list[int]]


async def record(
    server: EmbeddedNats, path: Path, patterns: list[str] | None = None
) -> dict[str, View | None]:
    """Records two instruments that have a life before the recording; returns their books at its end."""
    async with (
        feed.connect(server.url, venue="SIM") as publisher,
        await bus.connect(server.url) as reader,
    ):
        instruments = [
            await publisher.instrument(name, price_exp=-2, size_exp=0) for name in ("A-B", "C.D E")
        ]
        for number in range(1, 1301):
            for instrument in instruments:
                instrument.update_ticks([100 + number % 50, number], [])
        await publisher.flush()
        with TapeWriter(path, 1) as tape:
            recorder = Recorder(reader, tape, patterns or ["*"])
            await recorder.start()
            for number in range(1, 101):
                for instrument in instruments:
                    instrument.update_ticks([], [200 + number % 20, number])
                    instrument.trade_ticks(200, number, "buy")
                await publisher.flush()
            await reader.flush()
            return {str(instrument.id): instrument.book.view() for instrument in instruments}


async def ends_as(reader: Bus, subject: str, view: Any) -> Book:
    """The book that a reader ends with. The log is stored a moment after it was published; the test's deadline bounds the wait."""
    while (book := await follow(reader, subject)).view() != view:
        await asyncio.sleep(0.01)
    return book


async def follow(reader: Bus, subject: str) -> Book:
    """The book from the stored snapshot and the log alone, as far as they are stored."""
    snap = await reader.last(MD_STATE, f"{subject}.snap")
    assert snap is not None
    _, epoch, seq, ts, bids, asks = msgpack.unpackb(snap)
    book = Book(subject)
    book.load(epoch, seq, ts, bids, asks)
    async for payload in reader.log(f"{subject}.book"):
        for _, own, first, last, ts, bids, asks in unpack(payload):
            if own == epoch and last > book.seq:
                assert first == book.seq + 1, "a hole"
                book.apply(first, last, ts, bids, asks)
    return book


def test_a_tape_begun_in_the_middle_rebuilds_the_books(
    run: Run, nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    async def scenario() -> None:
        path = tmp_path / "a.tape.gz"
        recorded = await record(nats_server, path)
        async with await EmbeddedNats.start() as other, await bus.connect(other.url) as reader:
            replay = Replay(reader, path, rebase=False)
            await replay.run(float("inf"))
            for subject, name in (("md.SIM.A-B", "SIM:A-B"), ("md.SIM.C%2ED%20E", "SIM:C.D E")):
                await ends_as(reader, subject, recorded[name])
                status = await reader.last(MD_STATE, f"{subject}.status")
                assert status is not None
                assert msgpack.unpackb(status)[3:5] == ["feed_down", "end of the recording"]
            while len([payload async for payload in reader.log("md.SIM.A-B.trade")]) != 100:
                await asyncio.sleep(0.01)

    run(scenario())


def test_on_the_bus_it_came_from_a_tape_needs_rebasing(
    run: Run, nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    async def scenario() -> None:
        path = tmp_path / "a.tape"
        recorded = await record(nats_server, path)
        async with feed.connect(nats_server.url, venue="SIM") as publisher:
            newer = await publisher.instrument("A-B", price_exp=-2, size_exp=0)
        async with await bus.connect(nats_server.url) as reader:
            with pytest.raises(FeedError, match="newer epochs of SIM:A-B than the tape"):
                await Replay(reader, path, rebase=False, silent_s=0.1).run(float("inf"))
            await Replay(reader, path, rebase=True, silent_s=0.1).run(float("inf"))
            book = await ends_as(reader, "md.SIM.A-B", recorded["SIM:A-B"])
            assert book.epoch > newer.epoch

    run(scenario())


@pytest.mark.parametrize("state", ["trading", "halted", "feed_down", "closed"])
def test_a_tape_is_not_replayed_over_an_instrument_whose_writer_lives(
    run: Run, nats_server: EmbeddedNats, tmp_path: Path, state: str
) -> None:
    async def scenario() -> None:
        path = tmp_path / "a.tape"
        recorded = await record(nats_server, path)
        async with (
            feed.connect(nats_server.url, venue="SIM", status_interval_s=0.2) as publisher,
            await bus.connect(nats_server.url) as reader,
        ):
            live = await publisher.instrument("A-B", price_exp=-2, size_exp=0, state=state)
            for rebase in (False, True):
                with pytest.raises(FeedError, match="SIM:A-B is published by another writer now.*--venue"):
                    await Replay(reader, path, rebase=rebase, silent_s=5).run(float("inf"))
            await Replay(reader, path, rebase=True, venue="TAPE").run(float("inf"))
            await ends_as(reader, "md.TAPE.A-B", recorded["SIM:A-B"])
            live.update([("1", "1")])
            assert live.seq == 1, "the live writer was not disturbed"

    run(scenario())


def test_only_the_instruments_named_are_recorded(run: Run, nats_server: EmbeddedNats, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "a.tape"
        await record(nats_server, path, ["SIM:C*"])
        assert {message.subject.rpartition(".")[0] for message in read_tape(path)} == {"md.SIM.C%2ED%20E"}

    run(scenario())


def test_the_order_of_the_tape_is_the_order_on_the_bus(
    run: Run, nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    async def scenario() -> None:
        path = tmp_path / "a.tape"
        await record(nats_server, path)
        wanted = [(message.subject, message.payload) for message in read_tape(path)]
        async with await EmbeddedNats.start() as other, await bus.connect(other.url) as reader:
            heard: list[tuple[str, bytes]] = []
            done = asyncio.Event()

            def hear(subject: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
                heard.append((subject.decode(), payload))
                if len(heard) == len(wanted):
                    done.set()

            await reader.subscribe("md.>", hear)
            await Replay(reader, path, rebase=False).run(float("inf"))
            await done.wait()
            assert heard[: len(wanted)] == wanted

    run(scenario())
