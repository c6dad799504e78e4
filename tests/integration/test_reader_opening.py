"""Opening an instrument: from reference data, snapshot, log and live messages to a whole book."""

from __future__ import annotations

import asyncio
import time

import pytest

from mdstream.bus import UnknownInstrument
from mdstream.bus.looking_back import LookBackOptions
from mdstream.errors import BusUnavailable
from mdstream.model import InstrumentId, State


def test_an_instrument_opens_from_its_snapshot_the_log_and_what_is_live(run, market) -> None:
    async def scenario() -> None:
        async with market(recent=40) as m:
            writer = m.writer()
            await writer.announce(name="Bitcoin", listed=2009)
            await writer.update(50)
            await writer.snap()
            await writer.update(50)
            await writer.stored()
            reader, model = await m.open()
            assert (model.ref.price_exp, model.ref.name, model.ref.extra) == (-2, "Bitcoin", {"listed": 2009})
            await m.equal(writer, model)
            assert model.loads == 1
            await writer.update(100)
            await m.equal(writer, model)
            assert (reader.book_state, reader.trade_state) == (State.LIVE, State.LIVE)
            assert sorted(model.states) == [("book", State.LIVE, ""), ("trade", State.LIVE, "")]
            assert model.loads == 1 and m.readers.stats.gaps == 0

    run(scenario())


def test_an_instrument_that_nobody_announced_is_unknown_and_leaves_nothing(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            await m.reading.last("MD_STATE", "md.SIM.NONE.ref")
            before = set(m.reading.client._subs)
            with pytest.raises(
                UnknownInstrument, match=r"SIM:NONE is not announced: there is no md\.SIM\.NONE\.ref"
            ):
                await m.open("NONE")
            assert set(m.reading.client._subs) == before

    run(scenario())


def test_without_nats_opening_says_so(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            # Nothing is announced: a ref that the reader had heard would be enough to open it.
            await m.in_step()
            m.server.kill()
            with pytest.raises(BusUnavailable, match=r"MD_STATE .*cannot be asked for md\.SIM\.A\.ref"):
                await m.open()

    run(scenario())


def test_without_a_snapshot_the_log_is_read_from_its_start(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.update(300)
            await writer.stored()
            _, model = await m.open()
            await m.equal(writer, model)
            assert model.loads == 0

    run(scenario())


def test_a_new_instrument_opens_empty_and_fills(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.snap()
            await m.in_step()
            _, model = await m.open()
            await writer.update(3)
            await writer.trade(3)
            await m.equal(writer, model)
            await m.until(lambda: model.trades == [(1, 1), (1, 2), (1, 3)])

    run(scenario())


def test_opening_amid_a_stream_of_updates_ends_equal(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.snap()

            async def write() -> None:
                for number in range(100):
                    await writer.update(10)
                    await writer.trade()
                    if number % 40 == 39:
                        await writer.snap()
                    await m.writing.flush()

            writing = asyncio.ensure_future(write())
            _, model = await m.open()
            await writing
            await m.equal(writer, model)
            await m.until(lambda: model.trade_seq == writer.trade_seq)
            seqs = [seq for _, seq in model.trades]
            assert seqs == list(range(seqs[0], 101))

    run(scenario())


def test_many_instruments_open_at_once_a_few_at_a_time(run, market) -> None:
    async def scenario() -> None:
        async with market(concurrent=3) as m:
            writers = [m.writer(f"S{number}", epoch=number + 1) for number in range(20)]
            for writer in writers:
                await writer.announce()
                await writer.update(10)
                await writer.snap()
                await writer.update(10)
            await writers[-1].stored()
            opened = await asyncio.gather(*(m.open(f"S{number}") for number in range(20)))
            for writer, (_, model) in zip(writers, opened, strict=True):
                await m.equal(writer, model)

    run(scenario())


def test_trades_begin_with_the_latest_of_the_log_and_go_on_without_a_loss(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.trade(500)
            await writer.stored()
            _, model = await m.open()
            assert model.trades == [(1, seq) for seq in range(1, 501)] and model.resets == []
            await writer.trade(2)
            await m.until(lambda: model.trades[500:] == [(1, 501), (1, 502)])
            assert m.readers.stats.trades_given_up == 0

    run(scenario())


def test_trades_of_a_long_log_begin_within_it(run, market) -> None:
    async def scenario() -> None:
        async with market(recent=10, look_back=LookBackOptions(messages=10)) as m:
            writer = m.writer()
            await writer.announce()
            await writer.trade(500)
            await writer.stored()
            _, model = await m.open()
            assert model.resets == [(1, 490)] and model.trade_position() == (1, 500)
            assert m.readers.stats.trades_given_up == 0

    run(scenario())


def test_a_young_book_is_read_from_its_first_update_though_there_is_a_snapshot(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.update(20)
            await writer.snap()
            await writer.update(5)
            await writer.stored()
            _, model = await m.open()
            await m.equal(writer, model)
            assert model.loads == 0

    run(scenario())


def test_a_book_whose_updates_do_not_lead_to_its_snapshot_is_taken_from_that(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            writer.bids[500] = 7  # was there before the first update, which the contract does not allow
            await writer.update(20)
            await writer.snap()
            await writer.update(5)
            await writer.stored()
            _, model = await m.open()
            await m.equal(writer, model)
            assert model.loads == 1 and model.bids[500] == 7

    run(scenario())


@pytest.mark.parametrize("leads_on", [True, False])
def test_a_book_of_one_update_is_opened_without_reading_the_log(run, market, leads_on: bool) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            if not leads_on:
                writer.bids[500] = 7  # was there before the first update, which the contract does not allow
            await writer.update(1)
            await writer.snap()
            await writer.stored()
            read, asked = m.reading.log, []
            m.reading.log = lambda subject, **since: asked.append(subject) or read(subject, **since)
            _, model = await m.open()
            await m.equal(writer, model)
            await writer.update(5)
            await m.equal(writer, model)
            assert ("md.SIM.A.book" in asked) is not leads_on
            assert model.loads == (0 if leads_on else 1)

    run(scenario())


def test_a_log_cut_off_and_an_old_snapshot_mean_waiting_for_a_newer_one(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.update(10)
            await writer.snap()
            await writer.update(10)
            await writer.stored()
            await m.writing.jetstream.purge_stream("MD_LOG")
            await writer.update(10)
            await writer.stored()
            reader, model = await m.open(live=False)
            await writer.update(10)
            await m.in_step()
            await m.until(lambda: model.book_position() == (1, 10))
            assert reader.book_state is State.RECOVERING
            await writer.snap()
            await writer.update(10)
            await m.equal(writer, model)
            await reader.wait_live()
            assert reader.book_state is State.LIVE

    run(scenario())


def test_the_fenced_writers_snapshot_is_overcome_by_the_log(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            fenced, writer = m.writer(epoch=1), m.writer(epoch=2)
            await writer.announce()
            await fenced.update(20)
            await writer.update(20)
            await writer.stored()
            await fenced.update(5)
            await fenced.snap()
            await writer.update(20)
            await writer.stored()
            _, model = await m.open()
            await m.equal(writer, model)

    run(scenario())


def test_closing_while_opening_ends_everything(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.update(10)
            await m.in_step()
            await m.readers.slots.acquire()
            opening = asyncio.ensure_future(m.open())
            await m.reading.flush()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            m.readers.slots.release()
            reader, model = await m.open(live=False)
            await reader.close()
            told = list(model.states)
            await writer.status("halted")
            await writer.update(5)
            await m.in_step()
            assert model.states == told and model.book_position() in ((1, 0), (1, 10))

    run(scenario())


def test_a_symbol_of_reserved_characters_opens_as_any_other(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer("B.R K*>%")
            await writer.announce()
            await writer.update(5)
            await writer.stored()
            reader, model = await m.open("B.R K*>%")
            await m.equal(writer, model)
            assert reader.instrument == InstrumentId("SIM", "B.R K*>%")

    run(scenario())


@pytest.mark.parametrize("logged", [True, False])
def test_what_is_read_from_storage_is_as_old_as_the_server_says(run, market, logged: bool) -> None:
    """Also where no status is stored: the newest update of the log, else the snapshot, is the last sign of life."""

    async def scenario() -> None:
        async with market(stale_after_s=3600) as m:
            writer = m.writer()
            await writer.announce()
            await writer.update(10)
            await writer.snap()
            await writer.stored("book")
            if not logged:
                await m.writing.jetstream.purge_stream("MD_LOG")
            stored_at = time.monotonic()
            while time.monotonic() < stored_at + 0.1:
                await m.in_step()
            opened_at = time.monotonic()
            reader, model = await m.open()
            await m.equal(writer, model)
            assert reader.age_ms is not None and reader.age_ms >= int((opened_at - stored_at) * 1000) - 1

    run(scenario())


def test_an_opening_does_not_wait_for_recoveries(run, market) -> None:
    async def scenario() -> None:
        async with market(concurrent=1) as m:
            writer = m.writer()
            await writer.announce()
            await writer.update(10)
            await m.readers.slots.acquire()
            reader, _ = await m.open(live=False)
            assert reader.ref is not None and reader.book_state is State.RECOVERING
            m.readers.slots.release()
            await reader.wait_live()

    run(scenario())
