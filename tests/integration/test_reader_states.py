"""What is told of an instrument: the venue's word, silence, NATS killed, starved, emptied, or too fast for us."""

from __future__ import annotations

import asyncio

import pytest

from mdstream.bus import EmbeddedNats
from mdstream.model import State


def states(model, stream: str = "book") -> list[State]:
    return [state for name, state, _ in model.states if name == stream]


async def opened(m, writer):
    await writer.announce()
    await writer.update(20)
    await writer.snap()
    await writer.stored()
    reader, model = await m.open(writer.instrument.symbol)
    await m.equal(writer, model)
    await m.until(lambda: reader.book_state is reader.trade_state is State.LIVE)
    model.states.clear()
    return reader, model


def test_the_venues_word_is_passed_on(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            for word in ("halted", "trading", "closed", "feed_down", "trading"):
                await writer.status(word, f"because of {word}")
            await m.until(lambda: len(states(model)) == 5)
            expected = [State.HALTED, State.LIVE, State.CLOSED, State.STALE, State.LIVE]
            assert states(model) == states(model, "trade") == expected
            assert model.states[0][2] == "because of halted"
            assert reader.book_state is State.LIVE

    run(scenario())


def test_an_instrument_that_is_halted_opens_so(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.status("halted", "circuit breaker")
            await writer.update()
            await writer.stored("book")
            _reader, model = await m.open()
            await m.until(lambda: len(model.states) == 2)
            assert {(state, reason) for _, state, reason in model.states} == {
                (State.HALTED, "circuit breaker")
            }

    run(scenario())


def test_a_snapshot_that_comes_before_nats_is_said_to_be_back(run, market) -> None:
    """Of the new connection, or in the last bytes of the old one: what may be missing behind it is looked up, once and for all."""

    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            reader.disconnected()
            await writer.update()
            await writer.snap()
            await m.until(lambda: reader._book.live)
            with m.withheld(reader, "book"):
                await writer.update(3)
                await writer.stored("book")
                await m.in_step()
            model.states.clear()
            reader.reconnected()
            assert states(model) == states(model, "trade") == [State.RECOVERING]
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is reader.trade_state is State.LIVE)

    run(scenario())


def test_recovering_outranks_the_venues_word(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            await m.readers.slots.acquire()
            for _ in range(m.readers.options.recovery.concurrent - 1):
                await m.readers.slots.acquire()
            with m.withheld(reader, "book"):
                await writer.update()
                await m.in_step()
            await writer.update()
            await writer.status("halted")
            await m.until(lambda: State.HALTED in states(model, "trade"))
            assert states(model) == [State.RECOVERING]
            for _ in range(m.readers.options.recovery.concurrent):
                m.readers.slots.release()
            await m.until(lambda: states(model) == [State.RECOVERING, State.HALTED])

    run(scenario())


def test_silence_is_stale_until_anything_is_heard(run, market) -> None:
    async def scenario() -> None:
        async with market(stale_after_s=0.1) as m:
            writer = m.writer()
            await writer.announce()
            await writer.update()
            await writer.snap()
            _reader, model = await m.open()
            await m.until(lambda: states(model)[-1:] == [State.STALE])
            assert model.states[-1][2] == "the feed is silent"
            told = len(states(model))
            while (
                states(model)[told:] == []
            ):  # on a busy machine an update may be too old when it is looked at
                await writer.update()
                await asyncio.sleep(0.05)
            await m.until(lambda: states(model)[told : told + 2] == [State.LIVE, State.STALE])

    run(scenario())


def test_a_killed_server_is_stale_then_recovering_then_live_and_the_book_is_whole(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            _reader, model = await opened(m, writer)
            m.server.kill()
            await m.until(lambda: states(model) == [State.STALE])
            await m.away()
            await writer.update(10)  # to the backlog, until the server is there again
            await writer.trade(3)
            await m.server.restart()
            await m.equal(writer, model)
            await m.until(lambda: model.trades == [(1, 1), (1, 2), (1, 3)])
            await m.until(lambda: states(model)[-1] is states(model, "trade")[-1] is State.LIVE)
            assert states(model)[:2] == [State.STALE, State.RECOVERING]
            await writer.update(10)
            await m.equal(writer, model)

    run(scenario())


def test_what_was_published_while_we_alone_were_away_is_caught_up_with(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer(epoch=2)
            reader, model = await opened(m, writer)
            loads = model.loads
            back = asyncio.Event()
            m.reading.on_reconnect(back.set)
            m.reading.client._transport.close()
            await m.until(lambda: State.STALE in states(model))
            await writer.update(10)
            await writer.trade(3)
            await m.writer(epoch=writer.epoch - 1).update(3)  # a fenced writer has the last word in the log
            await writer.status("halted")
            await writer.announce(name="Renamed")
            await back.wait()
            await m.equal(writer, model)
            await m.until(lambda: model.trade_seq == 3)
            await m.until(lambda: reader.book_state is State.HALTED and model.refs)
            assert model.refs[0][0].name == "Renamed" and not model.refs[0][1]
            assert model.loads == loads

    run(scenario())


def test_a_server_that_lost_all_its_data_is_overcome_by_the_next_snapshot(run, market) -> None:
    async def scenario() -> None:
        first = await EmbeddedNats.start(password=False)
        async with market(first) as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            await first.stop()
            await m.until(lambda: states(model) == [State.STALE])
            await m.away()
            writer.seq += 3  # lost with the server
            async with await EmbeddedNats.start(port=first.port, password=False):
                await m.back()
                await writer.update(3)
                await m.in_step()
                assert model.book_position() == (1, 20)
                await writer.announce()
                await writer.snap()
                await writer.update(3)
                await m.equal(writer, model)
                await m.until(lambda: reader.book_state is State.LIVE)

    run(scenario())


def test_a_starved_server_is_stale_and_then_whole_again(run, market) -> None:
    async def scenario() -> None:
        async with market(bus={"ping_interval_s": 0.2}) as m:
            writer = m.writer()
            reader, model = await opened(m, writer)
            m.server.pause()
            await m.until(lambda: State.STALE in states(model))
            m.server.resume_process()
            await m.back()
            await m.until(lambda: reader.book_state is State.LIVE)
            await writer.update(10)
            await m.equal(writer, model)

    run(scenario())


def test_a_reader_too_slow_for_the_server_is_cut_off_and_mended(run, market) -> None:
    async def scenario() -> None:
        tight = 'max_pending: 1MB\nwrite_deadline: "50ms"'
        async with (
            await EmbeddedNats.start(max_payload_bytes=500_000, extra_config=tight) as server,
            market(server, bus={"ping_interval_s": 0.2}) as m,
        ):
            writer = m.writer()
            reader, model = await opened(m, writer)
            slow_consumers = 0
            m.reading.client._transport._io_writer.transport.pause_reading()
            while not slow_consumers:  # as the server's log says: more than the socket's buffers hold
                await writer.announce(padding=bytes(400_000))
                await writer.update(10)
                await m.writing.flush()
                slow_consumers = server.log_path.read_text().count("Slow Consumer Detected")
            await m.until(lambda: State.STALE in states(model))
            await m.equal(writer, model)
            await m.until(lambda: reader.book_state is State.LIVE)
            assert State.RECOVERING in states(model)

    run(scenario())


def test_new_decimals_end_the_reader_before_anything_is_misread(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            reader, model = await opened(m, m.writer())
            writer = m.writer(epoch=2)
            await writer.announce(price_exp=-3)
            await m.in_step()
            assert reader.book_state is State.LIVE and model.refs == []
            await writer.update(5)
            await m.until(lambda: model.refs)
            assert model.refs[0][1] is True
            await m.in_step()
            assert model.book_position() == (1, 20)
            assert reader.book_state is State.RECOVERING
            assert model.states[-1][2] == "its scale changed; open it again"
            await reader.close()
            _, again = await m.open()
            assert again.ref.price_exp == -3
            await m.equal(writer, again)

    run(scenario())


@pytest.mark.parametrize("while_away", [False, True])
def test_closing_leaves_no_task_and_no_subscription(run, market, while_away: bool) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            reader, _ = await opened(m, writer)
            if while_away:
                m.server.kill()
                await m.away()
            await reader.close()
            assert reader._subscription._id not in m.reading.client._subs
            assert all(task.done() for task in reader._tasks.values())

    run(scenario())
