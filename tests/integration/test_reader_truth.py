"""What is live is the writer's newest, in its scale: fenced writers, two in one epoch, numbers that nothing bears out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from mdstream.errors import BusUnavailable
from mdstream.model import State, StateCode

NOW_US = time.time_ns() // 1000
HOUR_US = 3_600_000_000


async def opened(m, writer, *, updates: int = 20):
    await writer.announce()
    await writer.update(updates)
    await writer.snap()
    await writer.stored()
    reader, model = await m.open(writer.instrument.symbol)
    await m.equal(writer, model)
    await m.until(lambda: reader.book_state is reader.trade_state is State.LIVE)
    model.states.clear()
    model.codes.clear()
    return reader, model


def codes(model, stream: str = "book") -> list[StateCode | None]:
    return [code for name, code, _ in model.codes if name == stream]


async def until(condition: Callable[[], bool]) -> None:
    """For what changes without a call of the model."""
    while not condition():
        await asyncio.sleep(0.01)


def counts(m) -> dict[str, int]:
    return {str(reason): count for reason, count in m.readers.stats.refusals.counts.items() if count}


def test_a_fenced_writer_that_talks_on_is_counted_and_told_at_the_bound(run, market, caplog) -> None:
    async def scenario() -> None:
        async with market(stale_after_s=0.6) as m:
            writer, fenced = m.writer(epoch=2), m.writer(epoch=1)
            reader, model = await opened(m, writer)
            while codes(model)[-1:] != [StateCode.FENCED]:  # `silent`, where this machine stands still
                await fenced.update()
                await fenced.status("trading")
                await fenced.snap()
                await m.in_step()
            assert reader.book_state is State.STALE
            assert model.book_position() == (2, 20)
            assert set(counts(m)) == {"fenced"}
            await writer.update()
            await m.until(lambda: reader.book_state is State.LIVE)

    run(scenario())
    assert "its epoch 1 is smaller than 2, which is read" in caplog.text


def test_a_number_repeated_with_other_content_is_a_conflict(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            again = writer.change()
            await writer.raw("book", again)
            await writer.raw("book", again)
            await m.equal(writer, model)
            await m.in_step()
            assert reader.book_state is State.LIVE and counts(m) == {}
            await writer.raw("book", msgpack.packb([1, 1, writer.seq, writer.seq, 0, [1, 77], []]))
            await m.until(lambda: codes(model)[-1:] == [StateCode.CONFLICT])
            assert counts(m) == {"conflict": 1}
            successor = m.writer(epoch=2)
            await successor.announce()
            await successor.update()
            await m.equal(successor, model)
            await m.until(lambda: reader.book_state is State.LIVE)

    run(scenario())


def test_a_snapshot_that_differs_is_a_conflict_and_is_loaded(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            writer.bids = {5: 5}
            await writer.snap()
            await m.until(lambda: codes(model)[-1:] == [StateCode.CONFLICT])
            await m.equal(writer, model)
            assert reader.book_state is State.RECOVERING

    run(scenario())


def test_a_trade_repeated_with_other_content_is_a_conflict_of_trades(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            await writer.trade()
            await writer.raw("trade", msgpack.packb([3, 1, 1, 0, 2000, 1, 1, 1]))
            await m.until(lambda: codes(model, "trade")[-1:] == [StateCode.CONFLICT])
            assert reader.book_state is State.LIVE

    run(scenario())


@pytest.mark.parametrize("stream", ["book", "snap", "trade", "status"])
def test_one_message_with_a_number_far_ahead_silences_nothing(run, market, stream: str) -> None:
    async def scenario() -> None:
        async with market(log_lag_s=0.3) as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            await writer.trade(3)
            far = {
                "book": [1, 1, 9000, 9000, 0, [1, 1], []],
                "snap": [2, 1, 9000, 0, [1, 1], []],
                "trade": [3, 1, 9000, 0, 1, 1, 1, 1],
                "status": [5, 1, 10**15, "trading", "", 9000, 9000, 10**15],
            }[stream]
            await writer.raw(stream, msgpack.packb(far))
            for _ in range(3):
                await writer.update()
                await writer.trade()
            await writer.status("trading", "", writer.seq, writer.trade_seq, 10**15)
            await m.equal(writer, model)
            await m.until(lambda: model.trade_seq == writer.trade_seq)
            await m.until(lambda: reader.book_state is reader.trade_state is State.LIVE)
            assert 9000 not in (model.book_position()[1], model.trade_seq)

    run(scenario())


def test_one_message_of_an_epoch_far_ahead_is_refused(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer(epoch=NOW_US)
            reader, model = await opened(m, writer)
            far = m.writer(epoch=time.time_ns() // 1000 + HOUR_US + 10_000_000)
            await far.announce()
            await far.update()
            await far.snap()
            await far.status("halted")
            await m.in_step()
            await writer.update()
            await m.equal(writer, model)
            assert model.states == [] and counts(m) == {"epoch": 4}
            assert reader.book_state is State.LIVE

    run(scenario())


def test_an_epoch_without_a_ref_waits_and_the_smaller_one_goes_on(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer, next_writer = m.writer(epoch=1), m.writer(epoch=2)
            reader, model = await opened(m, writer)
            await next_writer.update(3)
            await m.in_step()
            await writer.update()
            await m.equal(writer, model)
            assert reader.book_state is State.LIVE
            await m.until(lambda: codes(model)[-1:] == [StateCode.NO_REF])
            await next_writer.announce()
            await m.equal(next_writer, model)
            await m.until(lambda: reader.book_state is State.LIVE)

    run(scenario())


def test_a_second_scale_within_an_epoch_is_a_contradiction(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            await writer.announce(price_exp=-4)
            await m.until(lambda: codes(model)[-1:] == [StateCode.REFUSED])
            assert counts(m) == {"scale": 1}
            other_reader, other = await m.open()
            await m.until(lambda: codes(other)[-1:] == [StateCode.REFUSED])
            assert other.ref.price_exp == -2
            await writer.announce()
            await m.until(lambda: reader.book_state is other_reader.book_state is State.LIVE)

    run(scenario())


def test_trades_of_an_older_epoch_are_not_replayed_into_the_new_one(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            old, new = m.writer(epoch=1), m.writer(epoch=2)
            await old.trade(5)
            await old.update(5)
            await new.announce(price_exp=-4)
            await new.update(2)
            await new.trade(1)
            await new.stored()
            _, model = await m.open()
            await m.equal(new, model)
            await m.until(lambda: model.trades == [(2, 1)])

    run(scenario())


def test_a_live_status_shows_a_lost_tail(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            with m.withheld(reader, "book", "trade"):
                await writer.update(3)
                await writer.trade(2)
                await m.in_step()
            await writer.status("trading", "", writer.seq, writer.trade_seq, 10**15)
            await m.equal(writer, model)
            await m.until(lambda: model.trade_seq == 2)
            await m.until(lambda: reader.book_state is reader.trade_state is State.LIVE)
            assert codes(model) == codes(model, "trade") == [StateCode.GAP, None]

    run(scenario())


def test_a_book_at_0_is_not_live(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            reader, model = await m.open()
            await m.until(lambda: codes(model)[-1:] == [StateCode.NO_BOOK])
            await writer.update()
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is State.LIVE)

    run(scenario())


def test_a_book_whose_log_aged_and_whose_snapshot_was_never_stored_is_not_live(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.snap()
            await writer.update(5)
            await writer.status("trading", "", writer.seq, 0, 10**15)
            await writer.stored("book")
            await m.writing.jetstream.purge_stream("MD_LOG")
            reader, model = await m.open(live=False)
            await writer.update()
            await m.in_step()
            assert reader.book_state is State.RECOVERING and model.book_position() == (1, 0)
            await writer.snap()
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is State.LIVE)

    run(scenario())


def test_a_number_that_a_client_resumed_at_is_looked_for(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            with m.withheld(reader, "book"):
                await writer.update(3)
                await writer.stored("book")
                await m.in_step()
            reader.look_for(1, 999)
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is State.LIVE)
            assert codes(model) == [StateCode.GAP, None]

    run(scenario())


def test_a_hole_that_a_status_claimed_ends_with_the_next_one(run, market) -> None:
    """At once, however long the recovery would wait before it tries again."""

    async def scenario() -> None:
        async with market(retry_base_s=3600.0, retry_cap_s=3600.0, log_lag_s=3600.0) as m:
            writer = m.writer()
            reader, _ = await opened(m, writer)
            await writer.status("trading", "", 9000, 0, 10**15)
            await m.until(lambda: reader.book_state is State.RECOVERING)
            await writer.status("trading", "", writer.seq, 0, 10**15)
            await m.until(lambda: reader.book_state is State.LIVE)

    run(scenario())


def test_a_status_of_a_greater_epoch_asks_for_its_ref_and_bears_it_out(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer, successor = m.writer(epoch=1), m.writer(epoch=2)
            reader, model = await opened(m, writer)
            assert not reader.bears_out(2, 5)
            await successor.status("halted", "", 5, 0, 10**15)
            await m.until(lambda: StateCode.NO_REF in codes(model))
            assert reader.lacks_ref and reader.bears_out(2, 5) and reader.bears_out(1, 21) is False
            await successor.announce()
            await m.until(lambda: reader.book_state is State.LIVE)
            assert not reader.lacks_ref and model.book_position() == (1, 20), "a status begins no epoch"
            model.states.clear()
            await successor.update()
            await m.equal(successor, model)
            await m.until(lambda: reader.book_state is State.HALTED)
            assert State.LIVE not in [state for _, state, _ in model.states]
            assert not reader.bears_out(2, 1)

    run(scenario())


def test_a_status_before_its_epoch_begins_bears_no_stranger_out(run, market, caplog) -> None:
    """The numbers that it names hold from the beginning of the epoch on."""

    async def scenario() -> None:
        async with market(log_lag_s=0.0) as m:
            writer = m.writer()
            await writer.announce()
            await writer.update(3)
            await writer.stored()
            _, model = await m.open()
            await m.equal(writer, model)
            later = m.writer(epoch=2)
            await later.status("trading", "", 0, 0, 10**15)
            await m.in_step()
            await later.announce()
            while "bears its number out" not in caplog.text:
                # One that was not stored yet when it was asked for is there when the next one comes.
                await later.raw("snap", msgpack.packb([2, 2, 500, 0, [1, 7], [2, 7]]))
                assert model.book_position() <= (2, 0)
                await asyncio.sleep(0.01)
            await later.update(10)
            await m.equal(later, model)

    run(scenario())


def test_while_jetstream_cannot_be_asked_nobody_is_taken_back(run, market, monkeypatch) -> None:
    """Who resumed ahead waits until it answers, or until a live status says what there is."""
    monkeypatch.setattr("mdstream.bus.lookout.LOOK_EVERY_S", 0.01)

    def awaited(model: Any) -> int:
        return model.awaited if hasattr(model, "awaited") else model._core.awaited

    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            ask, asked = m.reading.last_stored, 0

            async def away(stream: str, subject: str) -> Any:
                nonlocal asked
                asked += 1
                raise BusUnavailable("JetStream does not answer")

            m.reading.last_stored = away
            reader.look_for(1, 999)
            await until(lambda: awaited(model) == 999)
            m.reading.last_stored = ask
            await until(lambda: awaited(model) < 999)

            m.reading.last_stored = away
            reader.look_for(1, 999)
            await until(lambda: awaited(model) == 999)
            await writer.status("trading", "", writer.seq, 0, 10**15)
            await until(lambda: awaited(model) == writer.seq)
            enough = asked + 3
            await until(lambda: asked >= enough)
            assert awaited(model) == writer.seq

            reader.look_for(2, 5)
            await until(lambda: reader.bears_out(2, 5))
            await writer.status("trading", "", writer.seq, 0, 10**15)
            await m.in_step()
            enough = asked + 3
            await until(lambda: asked >= enough)
            assert reader.bears_out(2, 5), "the writer of epoch 1 may be fenced and not know it"
            m.reading.last_stored = ask
            await until(lambda: not reader.bears_out(2, 5))

    run(scenario())


def test_what_was_looked_for_when_nats_was_lost_is_looked_for_again(run, market, monkeypatch) -> None:
    monkeypatch.setattr("mdstream.bus.lookout.LOOK_EVERY_S", 0.01)

    async def scenario() -> None:
        async with market() as m:
            reader, _ = await opened(m, m.writer())
            ask = m.reading.last_stored

            async def away(stream: str, subject: str) -> Any:
                raise BusUnavailable("JetStream does not answer")

            m.reading.last_stored = away
            reader.look_for(2, 5)
            await until(lambda: reader.bears_out(2, 5))
            reader.disconnected()
            m.reading.last_stored = ask
            reader.reconnected()
            await until(lambda: not reader.bears_out(2, 5))

    run(scenario())
