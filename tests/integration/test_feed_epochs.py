"""Which epoch a writer begins, and how it learns that another has succeeded it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgpack
import pytest

from mdstream import bus, feed
from mdstream.bus import MD_STATE, EmbeddedNats
from mdstream.errors import FeedError, MdstreamError, SequenceError
from support.publishing import listening, open_btc

Run = Callable[[Coroutine[Any, Any, Any]], Any]


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
