"""Gaps: lost messages, a trimmed log, refused payloads, new and fenced writers. Nothing is guessed, nothing skipped."""

from __future__ import annotations

import logging
import re

import msgpack
import pytest

from mdstream.bus.refusals import Reason
from mdstream.model import State, StateCode


def book_states(model) -> list[State]:
    return [state for stream, state, _ in model.states if stream == "book"]


async def opened(m, writer, *, updates: int = 20):
    await writer.announce()
    await writer.update(updates)
    await writer.snap()
    await writer.stored()
    reader, model = await m.open(writer.instrument.symbol)
    await m.equal(writer, model)
    model.states.clear()
    return reader, model


def test_withheld_messages_are_mended_from_the_log(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            loads = model.loads
            with m.withheld(reader, "book", "trade"):
                await writer.update(30)
                await writer.trade(7)
                await m.in_step()
            assert model.book_position() == (1, 20)
            await writer.update()
            await writer.trade()
            await m.equal(writer, model)
            await m.until(lambda: model.trades == [(1, seq) for seq in range(1, 9)])
            await reader.wait_live()
            await m.until(lambda: reader.book_state is State.LIVE)
            assert book_states(model) == [State.RECOVERING, State.LIVE]
            assert model.loads == loads
            assert m.readers.stats.gaps == 2

    run(scenario())


def test_a_lost_tail_is_noticed_by_the_next_snapshot(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            loads = model.loads
            with m.withheld(reader, "book"):
                await writer.update(5)
                await m.in_step()
            await writer.snap()
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is State.LIVE)
            assert book_states(model) == [State.RECOVERING, State.LIVE]
            assert model.loads == loads  # the log had them

    run(scenario())


def test_what_the_log_lacks_too_waits_for_a_snapshot_past_it(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            with m.withheld(reader, "book"):
                await writer.update(10)
                await writer.stored()
                await m.writing.jetstream.purge_stream("MD_LOG")
                await m.in_step()
            await writer.update(10)
            await m.until(lambda: book_states(model) == [State.RECOVERING])
            await writer.stored()
            assert model.book_position() == (1, 20)
            await writer.snap()
            await writer.update(10)
            await m.equal(writer, model)
            await m.until(lambda: book_states(model) == [State.RECOVERING, State.LIVE])

    run(scenario())


def test_a_snapshot_stored_meanwhile_mends_what_the_log_lacks(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            with m.withheld(reader, "book", "snap"):
                await writer.update(10)
                await writer.stored()
                await m.writing.jetstream.purge_stream("MD_LOG")
                await writer.update(3)
                await writer.snap()
                await writer.update(3)
                await writer.stored()
                await m.in_step()
            await writer.update()
            await m.equal(writer, model)
            await m.until(lambda: book_states(model) == [State.RECOVERING, State.LIVE])

    run(scenario())


def test_trades_that_the_log_lacks_are_given_up_and_numbering_goes_on(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            await writer.trade(3)
            await m.until(lambda: model.trade_seq == 3)
            with m.withheld(reader, "trade"):
                await writer.trade(4)
                await writer.stored()
                await m.writing.jetstream.purge_stream("MD_LOG")
                await writer.trade(2)
                await writer.stored("trade")
                await m.in_step()
            await writer.trade()
            await m.until(lambda: model.trade_seq == 10)
            assert model.trades == [(1, seq) for seq in (1, 2, 3, 8, 9, 10)]
            assert model.resets[-1] == (1, 7)
            assert m.readers.stats.trades_given_up == 1
            await m.until(lambda: reader.trade_state is State.LIVE)

    run(scenario())


def test_a_hole_of_thousands_of_trades_is_given_up_on_the_word_of_one(run, market) -> None:
    async def scenario() -> None:
        async with market(log_lag_s=0.2) as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            await writer.trade(3)
            await m.until(lambda: model.trade_seq == 3)
            writer.trade_seq += 20_000
            await writer.trade()
            await m.until(lambda: model.trade_seq == 20_004)
            await m.until(lambda: reader.trade_state is State.LIVE)
            assert model.resets[-1] == (1, 20_003)

    run(scenario())


@pytest.mark.parametrize("stream", ["book", "trade"])
def test_a_status_ends_what_one_stray_message_claimed(run, market, stream: str) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            await writer.trade(3)
            await m.until(lambda: model.trade_seq == 3)
            far = {"book": [1, 1, 9000, 9000, 0, [1, 1], []], "trade": [3, 1, 900, 0, 1, 1, 1, 1]}[stream]
            await writer.raw(stream, msgpack.packb(far))
            state = (lambda: reader.book_state) if stream == "book" else (lambda: reader.trade_state)
            await m.until(lambda: state() is State.RECOVERING)
            await writer.status("trading", "", writer.seq, writer.trade_seq, 10**15)
            await m.until(lambda: state() is State.LIVE)
            assert m.readers.stats.refusals.counts[Reason.JUMP] == 1
            await writer.update()
            await writer.trade()
            await m.equal(writer, model)
            await m.until(lambda: model.trade_seq == 4)

    run(scenario())


def test_trades_missing_within_the_log_are_given_up_alone(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            with m.withheld(reader, "trade"):
                await writer.trade(4)
                writer.trade_seq += 2  # never published
                await writer.trade(4)
                await m.in_step()
            await writer.trade()
            await m.until(lambda: model.trade_seq == 11)
            assert [seq for _, seq in model.trades] == [1, 2, 3, 4, 7, 8, 9, 10, 11]
            assert model.resets[-1] == (1, 6)

    run(scenario())


def test_a_new_writer_takes_over_in_the_open(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            reader, model = await opened(m, m.writer(epoch=1))
            successor = m.writer(epoch=2)
            await successor.announce()
            await successor.snap()
            await successor.status("trading")
            await successor.update(10)
            await successor.trade(2)
            await m.equal(successor, model)
            await m.until(lambda: model.trades == [(2, 1), (2, 2)])
            assert book_states(model) == [State.RECOVERING, State.LIVE]
            assert ("book", StateCode.NO_BOOK) in [told[:2] for told in model.codes]
            assert reader.book_state is State.LIVE

    run(scenario())


@pytest.mark.parametrize("log_lost", [False, True])
def test_a_new_writer_that_was_not_heard_is_caught_up_with(run, market, log_lost: bool) -> None:
    async def scenario() -> None:
        async with market() as m:
            reader, model = await opened(m, m.writer(epoch=1))
            successor = m.writer(epoch=2)
            with m.withheld(reader, "snap", "book", "trade", "status", "ref"):
                await successor.announce()
                await successor.update(10)
                await successor.snap()
                await successor.trade(2)
                await successor.stored()
                if log_lost:
                    await m.writing.jetstream.purge_stream("MD_LOG")
                await m.in_step()
            await successor.update(10)
            await successor.trade(2)
            await m.equal(successor, model)
            await m.until(lambda: model.trade_position() == (2, 4))
            await m.until(lambda: reader.book_state is State.LIVE)

    run(scenario())


def test_a_fenced_writer_is_not_heard(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            fenced, writer = m.writer(epoch=1), m.writer(epoch=2)
            await fenced.update(5)
            reader, model = await opened(m, writer)
            await fenced.update(30)
            await fenced.snap()
            await fenced.trade(3)
            await fenced.status("closed", "the old writer goes home")
            await writer.update(5)
            await m.equal(writer, model)
            with m.withheld(reader, "book"):
                await writer.update(5)
                await fenced.update(5)
                await m.in_step()
            await writer.update(5)
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is State.LIVE)
            assert State.CLOSED not in book_states(model)

    run(scenario())


def test_an_update_that_the_book_refuses_needs_a_snapshot_past_it(run, market, caplog) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            _reader, model = await opened(m, writer)
            writer.seq += 1
            crossing = [1, 1, writer.seq, writer.seq, 0, [2000, 1], [1500, 1]]
            await writer.raw("book", msgpack.packb(crossing))
            await writer.update(5)
            await m.until(lambda: book_states(model) == [State.RECOVERING])
            await writer.stored()
            assert model.book_position() == (1, 20)
            await writer.snap()
            await writer.update(5)
            await m.equal(writer, model)
            await m.until(lambda: book_states(model) == [State.RECOVERING, State.LIVE])

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert len(re.findall(r"md\.SIM\.A\.book: refused: .*cross.*; recovering", caplog.text)) == 1


def test_rubbish_on_the_subject_is_overcome_by_the_next_number(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            loads = model.loads
            await writer.raw("book", b"\xc1 rubbish")
            await writer.raw("trade", b"\xc1 rubbish")
            await m.until(lambda: len(model.states) == 2)
            assert {state for _, state, _ in model.states} == {State.RECOVERING}
            await writer.update()
            await writer.trade()
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is reader.trade_state is State.LIVE)
            assert model.loads == loads and model.trades == [(1, 1)]
            assert m.readers.stats.refusals.total >= 2

    run(scenario())


@pytest.mark.parametrize("stream", ["snap", "status", "ref"])
def test_rubbish_beside_the_updates_is_named_and_ignored(run, market, caplog, stream: str) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            _, model = await opened(m, writer)
            await writer.raw(stream, b"\xc1")
            await writer.update()
            await m.equal(writer, model)
            assert model.states == [] and model.refs == []

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert f"md.SIM.A.{stream} was refused" in caplog.text


def test_what_is_held_beyond_its_bound_is_read_back_from_the_log(run, market) -> None:
    async def scenario() -> None:
        async with market(concurrent=1, held_bytes=2000) as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            await m.readers.slots.acquire()
            with m.withheld(reader, "book"):
                await writer.update()
                await m.in_step()
            await writer.update(500)
            await m.in_step()
            assert m.readers.stats.overflows > 0
            assert model.codes[-1][:2] == ("book", StateCode.OVERLOAD)
            assert sum(map(len, reader._book.held)) <= 2000
            m.readers.slots.release()
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is State.LIVE)

    run(scenario())


def test_a_hole_long_ago_is_found_by_looking_further_back(run, market) -> None:
    async def scenario() -> None:
        async with market(slack_s=0.000001, widest_s=1.0) as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            loads = model.loads
            with m.withheld(reader, "book"):
                for _ in range(20):
                    await writer.update()
                    await writer.stored()
                await m.in_step()
            await writer.update()
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is State.LIVE)
            assert model.loads == loads

    run(scenario())


def test_a_log_that_lags_behind_the_live_messages_is_waited_for(run, market) -> None:
    async def scenario() -> None:
        async with market(log_lag_s=20) as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            loads = model.loads
            handler = m.reading.client._taps[reader._subscription._id]
            missing, later = writer.change(), writer.change()
            handler(b"md.SIM.A.book", b"", later, None)  # as if delivered before either was stored
            await m.until(lambda: book_states(model) == [State.RECOVERING])
            await writer.raw("book", missing)
            await writer.raw("book", later)
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is State.LIVE)
            assert model.loads == loads

    run(scenario())


def test_random_losses_never_lead_astray(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            for number in range(30):
                with m.withheld(reader, *(("book",), ("book", "trade"), ("snap", "trade"))[number % 3]):
                    await writer.update(number % 7)
                    await writer.trade(number % 3)
                    if number % 5 == 0:
                        await writer.snap()
                    await m.in_step()
                await writer.update(3)
                await writer.trade()
            await m.equal(writer, model)
            await m.until(lambda: model.trade_seq == writer.trade_seq)
            assert [seq for _, seq in model.trades] == list(range(1, writer.trade_seq + 1))
            await m.until(lambda: reader.book_state is reader.trade_state is State.LIVE)

    run(scenario())


def test_closing_amid_a_mend_ends_it(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            await m.writing.jetstream.purge_stream("MD_LOG")
            writer.seq += 5
            await writer.update()
            await m.until(lambda: book_states(model) == [State.RECOVERING])
            await reader.close()
            await writer.snap()
            await m.in_step()
            assert model.book_position() == (1, 20)
            assert book_states(model) == [State.RECOVERING]

    run(scenario())
